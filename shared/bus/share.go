package bus

// plan is what a member of a group does about its leases: how many it takes, or
// how many it gives up, so that each member has at most its fair share. The
// members themselves disagree for a moment when one comes or goes; leases see to
// it that nobody owns twice.
func plan(partitions, members, owned int) (take, give int) {
	members = max(members, 1)
	share := (partitions + members - 1) / members
	return max(share-owned, 0), max(owned-share, 0)
}
