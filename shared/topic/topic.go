// Package topic is the catalogue of everything that travels on the bus, in flow
// order: its name, what it carries, what keeps its order, and who reads it.
//
//	ingress ──Commands──▶ chat ──Events──▶ notifier ──Deliveries(node)──▶ ingress
//	                        └──────────────────┴───────Traces(id)────────────┴──▶ operator
package topic

import (
	"github.com/parley-chat/parley/shared/bus"
	"github.com/parley-chat/parley/shared/event"
)

// The groups that read, each named after its service. A topic is trimmed below
// what all of its groups have acknowledged.
const (
	Chat     = "chat"
	Notifier = "notifier"
	Edge     = "edge"
	Operator = "operator"
)

// Commands is what edges ask of chat: commands-NN, keyed by room or user.
func Commands() bus.Topic[event.Command] {
	return bus.Topic[event.Command]{
		Name:   "commands",
		Groups: []string{Chat},
		Key:    event.Command.Key,
	}
}

// Events is what chat says: events-NN, keyed by room or user.
func Events() bus.Topic[event.Event] {
	return bus.Topic[event.Event]{
		Name:   "events",
		Groups: []string{Notifier},
		Key:    event.Event.Key,
	}
}

// Deliveries is what the notifier says to one life of an edge. It has one
// reader, that edge, and lives as long as it.
func Deliveries(node event.NodeID) bus.Topic[event.Delivery] {
	return bus.Topic[event.Delivery]{Name: "deliveries-" + string(node), Groups: []string{Edge}}
}

// Traces is where the services say what they know of a message that an operator
// traces, who chose the id and is the one reader. It is dropped when he has seen
// enough; what comes later than event.VolatileMS is not said at all.
func Traces(id string) bus.Topic[event.Finding] {
	return bus.Topic[event.Finding]{Name: "traces-" + id, Groups: []string{Operator}}
}

// Nodes is the set of live edges (bus.Announce, bus.Members).
const Nodes = "nodes"
