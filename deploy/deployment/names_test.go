package deployment

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// names is a resolver as a container network has one: one name, and the addresses of
// its replicas at the moment.
type names struct {
	addr string // host:port

	mu    sync.Mutex
	addrs []netip.Addr
}

// resolver starts a resolver that answers every name with what set was given last.
func resolver(t *testing.T) *names {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := &names{addr: conn.LocalAddr().String()}
	var serving sync.WaitGroup
	serving.Go(func() {
		buffer := make([]byte, 1500)
		for {
			size, from, err := conn.ReadFrom(buffer)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if answer, err := n.answer(buffer[:size]); err == nil {
				_, _ = conn.WriteTo(answer, from)
			}
		}
	})
	t.Cleanup(func() {
		_ = conn.Close()
		serving.Wait()
	})
	return n
}

// set says which edges there are, by number from 1: edge n is at 127.0.0.(n+1).
func (n *names) set(edges ...int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.addrs = nil
	for _, e := range edges {
		n.addrs = append(n.addrs, netip.AddrFrom4([4]byte{127, 0, 0, byte(e + 1)}))
	}
}

func (n *names) answer(query []byte) ([]byte, error) {
	var parser dnsmessage.Parser
	header, err := parser.Start(query)
	if err != nil {
		return nil, err
	}
	question, err := parser.Question()
	if err != nil {
		return nil, err
	}
	reply := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: header.ID, Response: true, Authoritative: true, RecursionDesired: header.RecursionDesired, RecursionAvailable: true},
		Questions: []dnsmessage.Question{question},
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if question.Type == dnsmessage.TypeA {
		for _, a := range n.addrs {
			reply.Answers = append(reply.Answers, dnsmessage.Resource{
				Header: dnsmessage.ResourceHeader{Name: question.Name, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET, TTL: 1},
				Body:   &dnsmessage.AResource{A: a.As4()},
			})
		}
	}
	return reply.Pack()
}
