package presence

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parley-chat/parley/shared/event"
)

const t0 = 1_700_000_000_000

// script runs a Partition step by step; what was sent is compared as text.
type script struct {
	t   *testing.T
	p   *Partition
	now int64
}

// newScript has nodes a and b live and synced.
func newScript(t *testing.T) *script {
	s := &script{t: t, now: t0, p: New(Config{
		Partition: 3, Generation: 7, Hold: 10 * time.Second, Large: 3, UserSessions: 2,
	}, t0)}
	s.look("a", "b")
	s.whole("a", 0)
	s.whole("b", 0)
	s.p.Tick(s.now)
	s.p.Take()
	if !s.p.rebuilt {
		t.Fatal("not rebuilt though all nodes have answered")
	}
	return s
}

func (s *script) look(live ...event.NodeID) { s.p.Look(s.now, live) }

func (s *script) whole(node event.NodeID, asked uint64, rooms ...event.RoomSync) {
	s.p.Synced(s.now, node, event.SyncNode{Partition: 3, Whole: true, ID: uint64(s.now), Part: 1, Parts: 1, Asked: asked, Rooms: rooms})
}

// pass lets time go by in ticks, with a look each second.
func (s *script) pass(d time.Duration, live ...event.NodeID) {
	for end := s.now + d.Milliseconds(); s.now < end; {
		s.now += 250
		if s.now%1000 == 0 {
			s.look(live...)
		}
		s.p.Tick(s.now)
	}
}

func (s *script) want(want ...string) {
	s.t.Helper()
	var got []string
	for _, x := range s.p.Take() {
		got = append(got, text(x))
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		s.t.Fatalf("sent\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

func text(x Send) string {
	d := x.Delivery
	switch {
	case d.Presence != nil:
		out := fmt.Sprintf("%s %s", x.Node, d.Room)
		for _, u := range d.Presence.On {
			out += " +" + string(u)
		}
		for _, u := range d.Presence.Off {
			out += " -" + string(u)
		}
		if d.Presence.Large {
			out += " large"
		}
		return fmt.Sprintf("%s =%d", out, d.Presence.Count)
	case d.Replaced != nil:
		return fmt.Sprintf("%s replaced %s/%d over=%v", x.Node, d.Session, d.Life, d.Replaced.Over)
	case d.SyncAsk != nil:
		return fmt.Sprintf("%s ask p%d g%d %v", x.Node, d.SyncAsk.Partition, d.SyncAsk.Asked, d.SyncAsk.Rooms)
	}
	return "? " + d.Kind()
}

// who reads "node session/life user".
func who(spec string) event.Who {
	var w event.Who
	var node, rest string
	_, _ = fmt.Sscanf(spec, "%s %s %s", &node, &rest, &w.User)
	s, life, _ := strings.Cut(rest, "/")
	_, _ = fmt.Sscan(life, &w.Life)
	w.Node, w.Session = event.NodeID(node), event.SessionID(s)
	return w
}

func (s *script) joined(spec string)           { s.p.Joined(s.now, "r", who(spec)) }
func (s *script) left(spec string, clean bool) { s.p.Left(s.now, "r", who(spec), clean) }

func (s *script) nodes(want ...event.NodeID) {
	s.t.Helper()
	got := s.p.Nodes(nil, "r")
	slices.Sort(got)
	if !slices.Equal(got, want) {
		s.t.Fatalf("routed to %v, want %v", got, want)
	}
}

func TestRooms(t *testing.T) {
	for name, steps := range map[string]func(*script){
		"a clean leave is told within 2 s": func(s *script) {
			s.joined("a s1/1 ann")
			s.joined("b s2/1 bob")
			s.pass(time.Second, "a", "b")
			s.want("a r +ann +bob =2", "b r +ann +bob =2")
			s.left("b s2/1 bob", true)
			s.nodes("a")
			s.pass(2*time.Second, "a", "b")
			s.want("a r -bob =1")
		},
		"at most once a second, and nothing of what came to nothing": func(s *script) {
			s.joined("a s1/1 ann")
			s.pass(time.Second, "a", "b")
			s.want("a r +ann =1")
			s.joined("b s2/1 bob")
			s.left("b s2/1 bob", true)
			s.pass(2*time.Second, "a", "b")
			s.want()
		},
		"an unclean end is held, not routed to, then told": func(s *script) {
			s.joined("a s1/1 ann")
			s.joined("b s2/1 bob")
			s.pass(time.Second, "a", "b")
			s.p.Take()
			s.left("b s2/1 bob", false)
			s.nodes("a")
			s.pass(9*time.Second, "a", "b")
			s.want()
			s.pass(2*time.Second, "a", "b")
			s.want("a r -bob =1")
		},
		"a session that resumes elsewhere never left": func(s *script) {
			s.joined("a s1/1 ann")
			s.joined("b s2/1 bob")
			s.pass(time.Second, "a", "b")
			s.p.Take()
			s.left("b s2/1 bob", false)
			s.pass(5*time.Second, "a", "b")
			s.joined("a s2/2 bob")
			s.left("b s2/1 bob", true) // late, and of the older life
			s.pass(15*time.Second, "a", "b")
			s.want()
			s.nodes("a")
		},
		"a hold that begins anew lasts in full": func(s *script) {
			s.joined("a s1/1 ann")
			s.joined("b s2/1 bob")
			s.left("b s2/1 bob", false)
			s.pass(5*time.Second, "a", "b")
			s.joined("b s2/2 bob")
			s.left("b s2/2 bob", false)
			s.p.Take()
			s.pass(9*time.Second, "a", "b")
			s.want()
			s.pass(2*time.Second, "a", "b")
			s.want("a r -bob =1")
		},
		"a newer life replaces the older, also on the same node": func(s *script) {
			s.joined("a s1/1 ann")
			s.joined("a s1/2 ann")
			s.want("a replaced s1/1 over=false")
			s.joined("b s1/3 ann")
			s.want("a replaced s1/2 over=false")
			s.nodes("b")
			s.joined("a s1/2 ann")
			s.want("a replaced s1/2 over=false")
			s.nodes("b")
		},
		"two sessions of a user are one member": func(s *script) {
			s.joined("a s1/1 ann")
			s.joined("a s2/1 ann")
			s.joined("b s3/1 bob")
			s.left("a s1/1 ann", true)
			s.pass(2*time.Second, "a", "b")
			s.want("a r +ann +bob =2", "b r +ann +bob =2")
		},
		"a large room is told counts, and has to ask when it is small again": func(s *script) {
			for i := range 4 {
				s.joined(fmt.Sprintf("a s%d/1 u%d", i, i))
			}
			s.pass(time.Second, "a", "b")
			s.want("a r large =4")
			n := s.p.rooms["r"].n
			s.left("a s0/1 u0", true)
			s.pass(2*time.Second, "a", "b")
			s.want("a r -u0 =3")
			if got := s.p.rooms["r"].n; got != n+2 {
				t.Errorf("n went from %d to %d, want a jump by 2", n, got)
			}
		},
		"a room that is made anew counts on": func(s *script) {
			s.joined("a s1/1 ann")
			s.pass(time.Second, "a", "b")
			n := s.p.rooms["r"].n
			s.left("a s1/1 ann", true)
			s.joined("a s1/1 ann")
			if got := s.p.rooms["r"].n; got <= n {
				t.Errorf("n went from %d to %d", n, got)
			}
		},
	} {
		t.Run(name, func(t *testing.T) { steps(newScript(t)) })
	}
}

func TestNodes(t *testing.T) {
	for name, steps := range map[string]func(*script){
		"three looks without a node take it off, told within 15 s of the crash": func(s *script) {
			s.joined("a s1/1 ann")
			s.joined("b s2/1 bob")
			s.pass(time.Second, "a", "b")
			s.p.Take()
			s.pass(2*time.Second, "a")
			s.nodes("a", "b")
			s.pass(time.Second, "a")
			s.nodes("a")
			if got := s.p.TakeOff(); !slices.Equal(got, []event.NodeID{"b"}) {
				s.t.Fatalf("off: %v", got)
			}
			s.want()
			s.pass(4*time.Second, "a")
			s.want("a r -bob =1")
			s.joined("b s2/1 bob") // was under way
			s.nodes("a")
		},
		"a failed look begins the count anew": func(s *script) {
			s.joined("b s2/1 bob")
			for range 5 {
				s.pass(2*time.Second, "a")
				s.p.LookFailed()
			}
			s.nodes("b")
		},
		"a lapsed edge moves its rows, and nobody is told": func(s *script) {
			s.joined("a s1/1 ann")
			s.joined("b s2/1 bob")
			s.pass(time.Second, "a", "b")
			s.p.Take()
			s.pass(3*time.Second, "a", "b2")
			s.want("b2 ask p3 g7 []", "b2 ask p3 g7 []")
			s.nodes("a", "b2") // not answered: gets everything
			s.whole("b2", 7, event.RoomSync{Room: "r", Sessions: []event.Who{who("- s2/1 bob")}})
			s.want("b2 r =2") // the last number again
			s.pass(20*time.Second, "a", "b2")
			s.want()
			s.nodes("a", "b2")
		},
		"a node that comes back is asked, and routed to again": func(s *script) {
			s.joined("b s2/1 bob")
			s.pass(4*time.Second, "a")
			s.nodes()
			s.p.Take()
			s.pass(time.Second, "a", "b")
			s.nodes("b")
			s.want("b ask p3 g7 []")
		},
	} {
		t.Run(name, func(t *testing.T) { steps(newScript(t)) })
	}
}

func TestSync(t *testing.T) {
	bob := []event.Who{who("- s2/1 bob")}
	for name, steps := range map[string]func(*script){
		"a part replaces the rooms it names": func(s *script) {
			s.joined("a s1/1 ann")
			s.joined("b s3/1 eve")
			s.p.Synced(s.now, "a", event.SyncNode{Rooms: []event.RoomSync{{Room: "r", Sessions: bob}}})
			s.p.Synced(s.now, "b", event.SyncNode{Rooms: []event.RoomSync{{Room: "r"}}})
			s.nodes("a")
			s.pass(12*time.Second, "a", "b")
			s.want("a r +ann +bob +eve =3", "a r -ann -eve =1")
		},
		"a whole sync ends what no part names, once all are there": func(s *script) {
			s.joined("a s1/1 ann")
			s.p.Opened(s.now, event.SessionRow{Who: who("a s1/1 ann")})
			sync := event.SyncNode{Whole: true, ID: 9, Part: 1, Parts: 2}
			s.p.Synced(s.now, "a", sync)
			s.p.Joined(s.now, "q", who("a s9/1 zoe")) // in between
			s.nodes("a")
			sync.Part = 2
			s.p.Synced(s.now, "a", sync)
			s.nodes()
			if len(s.p.Sessions()) != 0 || s.p.rooms["q"].shares == nil {
				s.t.Fatalf("sessions %v, q %v", s.p.Sessions(), s.p.rooms["q"].shares)
			}
		},
		"a room may go on in the next part": func(s *script) {
			one := event.RoomSync{Room: "r", Sessions: []event.Who{who("- s1/1 ann")}}
			s.p.Synced(s.now, "a", event.SyncNode{Whole: true, ID: 9, Part: 1, Parts: 2, Rooms: []event.RoomSync{one}})
			s.p.Synced(s.now, "a", event.SyncNode{Whole: true, ID: 9, Part: 2, Parts: 2, Rooms: []event.RoomSync{{Room: "r", Sessions: bob}}})
			if got := s.p.rooms["r"].shares[0].rows; got != 2 {
				s.t.Fatalf("%d rows, want 2", got)
			}
		},
		"another hash asks for the list": func(s *script) {
			s.joined("a s2/1 bob")
			same := event.RoomSync{Room: "r", Hash: event.RoomHash(bob)}
			s.p.Synced(s.now, "a", event.SyncNode{Rooms: []event.RoomSync{same}})
			s.want()
			s.p.Synced(s.now, "b", event.SyncNode{Rooms: []event.RoomSync{same}})
			s.want("b ask p3 g7 [r]")
		},
		"after a takeover everybody is asked, and nobody is off before all have answered": func(s *script) {
			s.p = New(s.p.cfg, s.now)
			s.look("a", "b")
			s.joined("a s1/1 ann")
			s.left("a s1/1 ann", false)
			s.p.Tick(s.now)
			s.want("a ask p3 g7 []", "b ask p3 g7 []")
			s.nodes("a", "b")
			s.whole("a", 7, event.RoomSync{Room: "r", Sessions: []event.Who{who("- s4/1 dan")}})
			s.pass(2*time.Second, "a", "b")
			s.want("b ask p3 g7 []")
			s.pass(10*time.Second, "a", "b")
			s.want("b ask p3 g7 []")
			s.whole("b", 7, event.RoomSync{Room: "r", Sessions: bob})
			s.pass(250*time.Millisecond, "a", "b")
			s.want("a r =2", "b r =2") // with a number that jumped: whoever is there asks
		},
		"a node that never answers ends the wait after a while": func(s *script) {
			s.p = New(s.p.cfg, s.now)
			s.pass(31*time.Second, "a", "b")
			if !s.p.rebuilt {
				s.t.Fatal("still waiting")
			}
		},
		"missing events ask everybody": func(s *script) {
			s.p.Missed(s.now)
			s.p.Tick(s.now)
			s.want("a ask p3 g7 []", "b ask p3 g7 []")
		},
	} {
		t.Run(name, func(t *testing.T) { steps(newScript(t)) })
	}
}

func TestUsers(t *testing.T) {
	s := newScript(t)
	open := func(spec string) { s.p.Opened(s.now, event.SessionRow{Who: who(spec), Since: s.now}) }
	dirty := func(want string) {
		t.Helper()
		var got []string
		for _, u := range s.p.TakeDirty(10) {
			for _, x := range u.Sessions {
				got = append(got, fmt.Sprintf("%s@%s/%d", x.Session, x.Node, x.Life))
			}
			got = append(got, string(u.ID))
		}
		if strings.Join(got, " ") != want {
			t.Fatalf("to be written: %q, want %q", strings.Join(got, " "), want)
		}
	}
	open("a s1/1 ann")
	open("a s2/1 ann")
	dirty("s1@a/1 s2@a/1 ann")
	open("b s3/1 ann") // one too many
	s.want("b replaced s3/1 over=true")
	open("b s2/2 ann") // known: a newer life
	s.want("a replaced s2/1 over=false")
	s.p.Closed(s.now, who("a s2/1 ann"), true) // of the older life
	dirty("s1@a/1 s2@b/2 ann")
	s.p.Closed(s.now, who("a s1/1 ann"), false)
	open("b s4/1 ann") // a held session takes no place
	s.want()
	s.pass(11*time.Second, "a", "b")
	dirty("s2@b/2 s4@b/1 ann")
	open("a s5/1 bob")
	dirty("s5@a/1 bob")
	shown := []Session{{SessionRow: event.SessionRow{Who: who("a s0/1 bob")}}, {SessionRow: event.SessionRow{Who: who("a s5/1 bob")}}}
	if known := s.p.Known("bob", shown); len(known) != 1 || known[0].Session != "s5" {
		t.Fatalf("of s0 and s5 %v are known, want s5", known)
	}
	dirty("s5@a/1 bob") // the registry shows one too many
	if known := s.p.Known("bob", shown[1:]); len(known) != 1 {
		t.Fatalf("of s5 %v are known", known)
	}
	s.p.Closed(s.now, who("a s5/1 bob"), true)
	dirty("bob")
	s.pass(8*time.Second, "a") // b dies
	dirty("ann")
	if got := s.p.Stats(); got.Sessions != 0 {
		t.Errorf("%+v", got)
	}
}

func TestMembers(t *testing.T) {
	s := newScript(t)
	for i := range 250 {
		s.joined(fmt.Sprintf("a s%03d/1 u%03d", i, i))
	}
	got := s.p.Members(s.now, "r")
	if got.Count != 250 || len(got.Users) != listed || got.Users[0].User != "u000" || got.Users[listed-1].User != "u199" {
		t.Errorf("count %d, %d users", got.Count, len(got.Users))
	}
	s = newScript(t)
	s.joined("a s1/1 u")
	s.joined("a s2/1 u")
	for sessions := 2; sessions > 0; sessions-- {
		if got := s.p.Members(s.now, "r").Users; len(got) != 1 || got[0].Sessions != sessions {
			t.Errorf("u has %+v, want %d sessions", got, sessions)
		}
		s.p.Left(s.now, "r", event.Who{Node: "a", Session: event.SessionID(fmt.Sprintf("s%d", sessions)), Life: 1, User: "u"}, true)
	}
	if empty := s.p.Members(s.now, "nobody"); empty.Count != 0 || empty.Users == nil || empty.N == 0 {
		t.Errorf("of an empty room: %+v", empty)
	}
}
