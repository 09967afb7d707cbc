// Package crowd is many virtual users in one process: non-blocking sockets on a few
// event loops (epoll, Linux only), no goroutine and no timer per connection. It
// connects them, drops them, has them send at a rate or as fast as they are
// answered, and counts and times what comes. A crowd may be one share of a larger
// one whose other shares live in other processes: all compute the same schedule,
// and each sends what falls to its own connections.
package crowd

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"time"
)

// MaxConnections is how many sockets one process holds at most: hard limits of
// 20,000 descriptors are common.
const MaxConnections = 18_000

// Config is a crowd: Rooms rooms of Members members, spread over the servers.
type Config struct {
	URLs    []string // http://host:port of the servers
	Dialect string   // see [dialect.ByName]
	Prefix  string   // of the rooms' and users' names
	Rooms   int
	Members int
	Writer  bool // each room has one member more: it sends, and stays when the others are dropped
	Every   int  // only each so-manieth room has its members; 0 or 1: all rooms
	Body    int  // bytes of a message's body

	Share, Shares int // this crowd is number Share (from 0) of Shares; Shares 0: the only one
	Loops         int // event loops; 0: 1
	Sources       int // loopback addresses to connect from, 127.0.0.1 and up; 0: one
}

// Room is the name of room number i, from 0.
func (c *Config) Room(i int) string { return c.Prefix + "r" + strconv.Itoa(i) }

// perRoom is the connections of one room.
func (c *Config) perRoom() int {
	if c.Writer {
		return c.Members + 1
	}
	return c.Members
}

// Connections is how many the whole crowd has, over all shares.
func (c *Config) Connections() int {
	every := max(c.Every, 1)
	return (c.Rooms + every - 1) / every * c.perRoom()
}

// Validate fills in what is 0 and refuses what cannot work.
func (c *Config) Validate() error {
	c.Shares, c.Loops, c.Sources, c.Every = max(c.Shares, 1), max(c.Loops, 1), max(c.Sources, 1), max(c.Every, 1)
	switch {
	case len(c.URLs) == 0:
		return errors.New("no server to connect to")
	case c.Rooms < 1 || c.Members < 1:
		return fmt.Errorf("%d rooms of %d members: at least one of each is needed", c.Rooms, c.Members)
	case c.Share < 0 || c.Share >= c.Shares:
		return fmt.Errorf("share %d of %d: shares count from 0", c.Share, c.Shares)
	case c.Sources > 200:
		return fmt.Errorf("%d source addresses, at most 200", c.Sources)
	case c.Body < 0 || c.Body > 1<<20:
		return fmt.Errorf("a body of %d bytes: 0 to 1 MiB is possible", c.Body)
	}
	return nil
}

// server is where to connect.
type server struct {
	host     string // as in the URL
	address  [4]byte
	port     int
	loopback bool
}

// servers resolves the URLs, once for all connections.
func servers(urls []string) ([]server, error) {
	var out []server
	for _, text := range urls {
		u, err := url.Parse(text)
		if err != nil || u.Scheme != "http" || u.Host == "" {
			return nil, fmt.Errorf("%q is no server: want http://host:port", text)
		}
		host := u.Host
		if u.Port() == "" {
			host = net.JoinHostPort(host, "80")
		}
		tcp, err := net.ResolveTCPAddr("tcp4", host)
		if err != nil {
			return nil, fmt.Errorf("server %s: %w", text, err)
		}
		address := netip.AddrFrom4([4]byte(tcp.IP.To4()))
		out = append(out, server{host: u.Host, address: address.As4(), port: tcp.Port, loopback: address.IsLoopback()})
	}
	return out, nil
}

// Kind is what a [Drive] does.
type Kind string

// What a crowd can do.
const (
	Sends   Kind = "sends"
	Pages   Kind = "pages"   // asks for the newest 50 entries of all rooms in turn, of those with members by one of them
	Silence Kind = "silence" // counts what comes
)

// PageEntries is how many entries Pages asks for.
const PageEntries = 50

// Drive is one period of load. Rate or Window: an open loop sends at the rate
// whatever the answers do, a closed one keeps Window requests unanswered.
type Drive struct {
	Kind   Kind
	Rate   float64 // a second, over all shares
	Window int     // over all shares, when Rate is 0
	Count  int64   // stop after so many over all shares; 0: at To
	Start  int64   // Unix ns at which the first is due
	From   int64   // Unix ns: what is due from then on
	To     int64   // until then is counted
	// Last has the latency of each message's last delivery told, too.
	Last bool
}

// Arrival is how connecting went.
type Arrival struct {
	Connected int
	Retried   int           // attempts that failed and were made again
	Took      time.Duration // until the last was joined, and had all it had missed
}

// Status is a crowd's counts so far, of all drives.
type Status struct {
	Open, Joined                     int64
	Sent, Acked, Refused, Unanswered int64
	Delivered, Pages, Closed         int64
}

// Add adds another share's counts.
func (s *Status) Add(o Status) {
	s.Open += o.Open
	s.Joined += o.Joined
	s.Sent += o.Sent
	s.Acked += o.Acked
	s.Refused += o.Refused
	s.Unanswered += o.Unanswered
	s.Delivered += o.Delivered
	s.Pages += o.Pages
	s.Closed += o.Closed
}
