package redisbus

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/parley-chat/parley/shared/bus"
)

// transient are the beginnings of the replies with which a server refuses now
// what it will take later.
var transient = []string{
	"LOADING", "READONLY", "OOM", "MISCONF", "CLUSTERDOWN", "MASTERDOWN", "TRYAGAIN", "NOREPLICAS",
	"MOVED", "ASK", "BUSY ", "UNKILLABLE", "UNBLOCKED", "ERR max number of clients reached",
}

// unavailable wraps err with what was done, and with bus.ErrUnavailable if trying
// again later can help: the server could not be reached (whatever is not a
// server's reply), did not answer in time, or refuses for now.
func unavailable(doing string, err error) error {
	if err == nil {
		return nil
	}
	if isTransient(err) {
		return fmt.Errorf("%s: %w: %w", doing, bus.ErrUnavailable, err)
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// isBroken tells whether the connection to the server was lost or refused, which is
// known at once; another try then costs no time.
func isBroken(err error) bool {
	var reply redis.Error
	var network net.Error
	return !errors.As(err, &reply) && !errors.Is(err, context.DeadlineExceeded) && !(errors.As(err, &network) && network.Timeout())
}

func isTransient(err error) bool {
	var reply redis.Error
	if !errors.As(err, &reply) {
		return true
	}
	text := reply.Error()
	for _, prefix := range transient {
		// A script's error is the command's, behind "ERR " on some servers.
		if strings.HasPrefix(text, prefix) || strings.HasPrefix(text, "ERR "+prefix) {
			return true
		}
	}
	return false
}
