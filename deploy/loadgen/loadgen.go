// Package loadgen is load from virtual users over real sockets, cheap enough to
// share the machine with what it measures. A [Scenario] says who is there and what
// they do, [Run] does it and returns a [Report]. Latencies count from the time at
// which a message was due, not from when it was sent, so that a server or a
// generator that stalls cannot hide it (coordinated omission), and CPU time and
// memory of the processes under load are read from /proc, so that figures are per
// CPU-second. One process holds at most 18,000 sockets; for more it starts workers.
package loadgen

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/parley-chat/parley/deploy/loadgen/crowd"
)

// Target is what is put under load.
type Target struct {
	Name    string   // for reports; empty: "parley"
	URLs    []string // http://host:port of each server that takes connections
	Dialect string   // "parley" or "baseline"; empty: "parley"
	// Processes names the process ids whose CPU time and memory are watched, by
	// name: "ingress-1", "chat-1", "redis". It is asked again after Restart. nil:
	// none, and the report has no figures per CPU-second.
	Processes func() map[string]int
	// Restart ends the services and starts them again with what they stored; nil:
	// what needs that is done without.
	Restart func(context.Context) error
}

// Options are what Run needs.
type Options struct {
	Target   Target
	Scenario Scenario
	// Worker is the command line of a program that calls [Work]; needed for more
	// than one process, that is above 18,000 connections.
	Worker    []string
	Processes int       // to spread the connections over; 0: as few as hold them
	Loops     int       // event loops of each process; 0: 2
	Progress  io.Writer // a terminal, for a progress bar; nil: none
}

// Scenario is who is there and what they do.
type Scenario struct {
	Name, About string
	Kind        Kind
	Rooms       int
	Members     int     // of each room
	Body        int     // bytes of a message's body
	Rate        float64 // messages/s over all rooms, or pages/s; 0: Window decides
	Window      int     // requests unanswered at a time over all rooms, when Rate is 0
	Missed      int     // Resumption: messages in each room while the members are away
	Last        bool    // measure each message's last delivery, too
	Slow        int     // further members who hardly read, in percent of the others
	Opening     int     // connections being made at a time; 0: 512

	Settle  time.Duration // after the last has joined
	WarmUp  time.Duration
	Measure time.Duration
	Drain   time.Duration // at most, for what is under way at the end
}

// Kind is what a scenario measures.
type Kind string

// The kinds of scenarios.
const (
	Messages   Kind = "messages"   // are sent, acknowledged and delivered
	Idle       Kind = "idle"       // connections that only stay; Measure begins after Settle
	Resumption Kind = "resumption" // all dropped at once, and back with what they missed
	History    Kind = "history"    // pages of rooms, half of which have members
)

// Names are the presets, in the order of docs/performance.md.
var Names = []string{"A", "B", "Bslow", "B800", "C", "C1500", "D", "E", "E10", "F", "quiet"}

// Preset is one of the named scenarios; quick has less of everything that only
// makes the figures steadier.
func Preset(name string, quick bool) (Scenario, error) {
	s := Scenario{
		Name: name, Kind: Messages, Body: 128,
		Settle: 2 * time.Second, WarmUp: 5 * time.Second, Measure: 20 * time.Second, Drain: 10 * time.Second,
	}
	switch name {
	case "A":
		s.About = "idle connections in rooms of 100"
		s.Kind, s.Rooms, s.Members = Idle, 100, 100
		s.Settle, s.Measure = time.Minute, 30*time.Second
	case "B":
		s.About, s.Rooms, s.Members, s.Rate = "one room of 1,000, 100 messages/s of 128 bytes", 1, 1000, 100
	case "Bslow":
		s.About, s.Rooms, s.Members, s.Rate, s.Slow = "B, and 50 members more who read 1 KiB a second or nothing", 1, 1000, 100, 5
	case "B800":
		s.About, s.Rooms, s.Members, s.Rate = "one room of 1,000, 800 messages/s of 128 bytes", 1, 1000, 800
	case "C":
		s.About, s.Rooms, s.Members, s.Window = "1,000 rooms of 10, as fast as they are acknowledged", 1000, 10, 512
	case "C1500":
		s.About, s.Rooms, s.Members, s.Rate = "1,000 rooms of 10, 1,500 messages/s", 1000, 10, 1500
	case "D":
		s.About = "10,000 connections in 100 rooms dropped at once, 5 messages a room missed, all resume"
		s.Kind, s.Rooms, s.Members, s.Missed, s.Opening = Resumption, 100, 100, 5, 1024
	case "E":
		s.About, s.Rooms, s.Members, s.Rate, s.Last = "one room of 10,000, 1 message/s", 1, 10_000, 1, true
		s.Measure = 30 * time.Second
	case "E10":
		s.About, s.Rooms, s.Members, s.Rate, s.Last = "one room of 10,000, 10 messages/s", 1, 10_000, 10, true
	case "F":
		s.About = "1,000 pages/s of 50 entries of 1 KiB from 1,000 rooms, half of them warm"
		s.Kind, s.Rooms, s.Members, s.Body, s.Rate = History, 1000, 1, 1024, 1000
	case "quiet":
		s.About, s.Rooms, s.Members, s.Rate = "one room of two, 20 messages/s", 1, 2, 20
		s.Measure = 30 * time.Second
	default:
		return s, fmt.Errorf("no scenario %q: there are %s", name, strings.Join(Names, ", "))
	}
	if quick {
		s.WarmUp, s.Measure = 2*time.Second, 6*time.Second // not Settle: how long memory is given belongs to the figure
	}
	return s, nil
}

func (s *Scenario) crowd(t Target) crowd.Config {
	return crowd.Config{
		URLs: t.URLs, Dialect: cmp.Or(t.Dialect, "parley"), Rooms: s.Rooms, Members: s.Members, Body: s.Body,
		Writer: s.Kind == Resumption, Sources: 8,
		// Names of an earlier run on the same servers must not come again.
		Prefix: "load-" + strconv.FormatInt(time.Now().UnixNano(), 36) + "-",
	}
}

// Run connects the users, does what the scenario says, and disconnects them.
func Run(ctx context.Context, o Options) (r Report, err error) {
	p := newProgress(o.Progress, o.Scenario.Name)
	defer p.done()
	if o.Scenario.Kind == History {
		return runHistory(ctx, o, p)
	}
	s, err := Open(ctx, o)
	if err != nil {
		return r, err
	}
	defer func() { err = closing(err, s) }()
	s.progress = p
	if err := s.Connect(ctx); err != nil {
		return r, err
	}
	switch o.Scenario.Kind {
	case Idle:
		return s.idle(ctx)
	case Resumption:
		return s.resumption(ctx)
	}
	if err := s.pause(ctx, "settling", o.Scenario.Settle); err != nil {
		return r, err
	}
	return s.Load(ctx, s.scenario.load())
}
