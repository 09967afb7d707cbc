package cluster

import (
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
)

// Ports are taken below the range from which systems give local ports to outgoing
// connections: a process that is ended and started again wants its port back, and
// no client's connection may have got it meanwhile.
const (
	lowestPort  = 12000
	highestPort = 32000
)

var taken sync.Map // ports given out by this process

// freePort finds a port that nobody listens on and that it has not given out
// before. Another program may take it before it is used; the start then says so.
func freePort() (string, error) {
	for range 200 {
		port := strconv.Itoa(lowestPort + rand.IntN(highestPort-lowestPort))
		if _, used := taken.LoadOrStore(port, true); used {
			continue
		}
		if l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", port)); err == nil {
			return port, l.Close()
		}
	}
	return "", errors.New("no free port found on 127.0.0.1")
}
