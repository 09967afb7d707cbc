package chaos

import (
	"bufio"
	"fmt"
	"net"
	"testing"
)

func TestReaders(t *testing.T) {
	const take = `+%.6f [0 127.0.0.1:%d] "evalsha" "5f" "2" "parley:{p03}:lease:commands.chat-03" "x" "me" "6000" "0"`
	const lua = `+%.6f [0 lua] "SET" "parley:{p03}:lease:commands.chat-03" "17 me" "PX" "6000" "NX"`
	const read = `+%.6f [0 127.0.0.1:%d] "xread" "count" "64" "block" "1500" "streams" "parley:{p03}:commands-03" "17-0"`
	owner := func(address string) string {
		return map[string]string{"127.0.0.1:1": "chat-1", "127.0.0.1:11": "chat-1", "127.0.0.1:2": "chat-2"}[address]
	}
	taken := func(at float64, by int) []string {
		return []string{fmt.Sprintf(take, at, by), fmt.Sprintf(lua, at)}
	}
	reads := func(at float64, by int) []string { return []string{fmt.Sprintf(read, at, by)} }
	for name, c := range map[string]struct {
		lines [][]string
		late  int
	}{
		"handed over":                {[][]string{taken(1, 1), reads(2, 11), taken(3, 2), reads(4, 2)}, 0},
		"and back":                   {[][]string{taken(1, 1), taken(3, 2), reads(4, 2), taken(5, 1), reads(6, 1)}, 0},
		"on its way":                 {[][]string{taken(1, 1), taken(3, 2), reads(3.3, 1)}, 0},
		"read on":                    {[][]string{taken(1, 1), taken(3, 2), reads(3.8, 11)}, 1},
		"read on, both":              {[][]string{taken(1, 1), taken(3, 2), reads(3.8, 2), reads(3.9, 1), reads(4, 1)}, 1},
		"somebody else":              {[][]string{taken(1, 1), reads(9, 3)}, 0},
		"nobody knows who had it":    {[][]string{reads(9, 1)}, 0},
		"lines that make no sense":   {[][]string{{"+OK", "", "+1", `+1 [0 `, `+1.0 [0 127.0.0.1:1] "xread" "streams"`}}, 0},
		"another lease, not a key's": {[][]string{{`+1.0 [0 lua] "SET" "parley:lease:x" "17 me"`}, reads(9, 1)}, 0},
	} {
		r := newReaders(owner)
		for _, lines := range c.lines {
			for _, l := range lines {
				r.line(l)
			}
		}
		if len(r.late) != c.late {
			t.Errorf("%s: %v", name, r.late)
		}
	}
}

func TestAnAddressIsWhoseConnectionHadItLast(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	w := &world{proxies: map[string][]*Proxy{}}
	through := func(service string) (asTheBrokerSees string) {
		t.Helper()
		front, err := w.via(service, l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		conn, err := net.Dial("tcp", front)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintln(conn, "hello")
		broker, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer broker.Close()
		if _, err := bufio.NewReader(broker).ReadString('\n'); err != nil {
			t.Fatal(err)
		}
		return broker.RemoteAddr().String()
	}
	one, other := through("chat-1"), through("notifier-1")
	if a, b := w.ownerOf(one), w.ownerOf(other); a != "chat-1" || b != "notifier-1" {
		t.Errorf("%q and %q", a, b)
	}
	w.proxies["notifier-1"][0].opened(one) // the system gives the port away again
	if a, b := w.ownerOf(one), w.ownerOf("127.0.0.1:1"); a != "notifier-1" || b != "" {
		t.Errorf("%q and %q", a, b)
	}
	for _, ps := range w.proxies {
		for _, p := range ps {
			if err := p.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}
