package chaos

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// handedOver is how long after a partition has another owner a read of the one
// before may still arrive, because it was on its way.
const handedOver = 500 * time.Millisecond

// readers follows, in what Redis says of the commands that it gets, who takes the
// leases and who reads the partitions. Whoever reads on without the lease of its own
// free will has let the lease go too soon. Not safe for concurrent use.
type readers struct {
	owner  func(address string) string // the service that has this connection; empty: unknown
	asked  string                      // who sent the command that the present script is of
	leases map[string]held             // by topic, such as "commands-03"
	late   map[string]string           // topics that were read by one that had given them up: how
}

type held struct {
	by    string
	since float64 // of the server's clock, in seconds
}

func newReaders(owner func(string) string) *readers {
	return &readers{owner: owner, leases: map[string]held{}, late: map[string]string{}}
}

// line takes one line of MONITOR:
//
//	+1732261324.123456 [0 127.0.0.1:5123] "xread" … "streams" "parley:{p03}:commands-03" "17-0"
//	+1732261324.123460 [0 lua] "SET" "parley:{p03}:lease:commands.chat-03" "17 holder" …
func (r *readers) line(text string) {
	stamp, rest, ok := strings.Cut(strings.TrimPrefix(text, "+"), " [")
	at, err := strconv.ParseFloat(stamp, 64)
	from, words, found := strings.Cut(rest, `] "`)
	if !ok || err != nil || !found {
		return
	}
	_, from, _ = strings.Cut(from, " ") // the number of the database
	args := strings.Split(strings.TrimSuffix(strings.TrimSpace(words), `"`), `" "`)
	if from != "lua" {
		r.asked = from
	}
	switch command := strings.ToLower(args[0]); {
	case command == "set" && from == "lua" && len(args) > 1:
		if topic := leaseTopic(args[1]); topic != "" {
			r.leases[topic] = held{r.owner(r.asked), at}
		}
	case command == "xread":
		i := slices.IndexFunc(args, func(a string) bool { return strings.EqualFold(a, "streams") })
		if i >= 0 && i+1 < len(args) {
			r.read(args[i+1], r.owner(from), at)
		}
	}
}

func (r *readers) read(key, by string, at float64) {
	topic := key[strings.LastIndexByte(key, ':')+1:]
	lease, known := r.leases[topic]
	if !known || by == "" || lease.by == "" {
		return
	}
	if late := at - lease.since; by != lease.by && late > handedOver.Seconds() {
		r.late[topic] = fmt.Sprintf("%s read %s %.1f s after %s had taken it", by, topic, late, lease.by)
	}
}

// leaseTopic is the topic that a lease is for: of "parley:{p03}:lease:commands.chat-03"
// it is "commands-03"; empty where it is no lease of a partition.
func leaseTopic(key string) string {
	_, name, ok := strings.Cut(key, ":lease:")
	topic, group, shared := strings.Cut(name, ".")
	i := strings.LastIndexByte(group, '-')
	if !ok || !shared || i < 0 {
		return ""
	}
	return topic + group[i:]
}

// watchReaders follows the readers until the returned function is called, which tells
// how many topics were read by one that had given them up, and how one was.
func (w *world) watchReaders(ctx context.Context) (end func() (int, string), err error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", w.redis.Options().Addr)
	if err != nil {
		return nil, fmt.Errorf("watch what Redis is asked: %w", err)
	}
	if _, err := conn.Write([]byte("MONITOR\r\n")); err != nil {
		return nil, fmt.Errorf("watch what Redis is asked: %w", err)
	}
	r := newReaders(w.ownerOf)
	var reading sync.WaitGroup
	reading.Go(func() {
		lines := bufio.NewScanner(conn)
		lines.Buffer(make([]byte, 1<<16), 1<<24)
		for lines.Scan() {
			r.line(lines.Text())
		}
	})
	return func() (int, string) {
		_ = conn.Close()
		reading.Wait()
		for _, how := range r.late {
			return len(r.late), ", as " + how
		}
		return 0, ""
	}, nil
}

// ownerOf is the service whose proxy had the connection from this address to the broker
// last; empty: none.
func (w *world) ownerOf(address string) string {
	service, _ := w.callers.Load(address)
	name, _ := service.(string)
	return name
}
