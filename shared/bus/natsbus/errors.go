package natsbus

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/parley-chat/parley/shared/bus"
)

// unavailable wraps err with what was done, and with bus.ErrUnavailable if trying again later
// can help.
func unavailable(doing string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, bus.ErrUnavailable) || !isTransient(err):
		return fmt.Errorf("%s: %w", doing, err)
	case isGone(err):
		return fmt.Errorf("%s: %w: JetStream does not answer (is it enabled on the server, and for this account?): %w", doing, bus.ErrUnavailable, err)
	}
	return fmt.Errorf("%s: %w: %w", doing, bus.ErrUnavailable, err)
}

// Error codes of JetStream's API that go with a status of 4xx and can heal, or
// with 5xx and cannot.
const (
	codeNoPeers        jetstream.ErrorCode = 10005 // a node is missing to place a replica on
	codeMaxConsumers   jetstream.ErrorCode = 10026
	codeMaxStreams     jetstream.ErrorCode = 10027
	codeReplicasAlone  jetstream.ErrorCode = 10074 // replicas without a cluster
	codeStreamNotFound jetstream.ErrorCode = 10059
)

// permanent are nats.go's own errors that trying again cannot mend.
var permanent = []error{
	nats.ErrMaxPayload, nats.ErrBadSubject, nats.ErrInvalidConnection,
	jetstream.ErrInvalidKey, jetstream.ErrInvalidBucketName, jetstream.ErrInvalidStreamName, jetstream.ErrInvalidSubject,
	jetstream.ErrInvalidOption, errPermanent,
}

// errPermanent marks errors of this package that trying again cannot mend.
var errPermanent = errors.New("not possible")

func isTransient(err error) bool {
	for _, p := range permanent {
		if errors.Is(err, p) {
			return false
		}
	}
	var reply jetstream.JetStreamError
	if !errors.As(err, &reply) || reply.APIError() == nil {
		return true // not a server's reply: it could not be reached or did not answer in time
	}
	switch api := reply.APIError(); api.ErrorCode {
	case codeNoPeers, codeMaxConsumers, codeMaxStreams, codeStreamNotFound:
		return true
	case codeReplicasAlone:
		return false
	default:
		return api.Code == 408 || api.Code >= 500
	}
}

// isGone tells whether err may mean that the stream is not there. That nobody
// answers also means that JetStream is not up.
func isGone(err error) bool {
	return errors.Is(err, jetstream.ErrNoStreamResponse) || errors.Is(err, nats.ErrNoResponders) ||
		errors.Is(err, jetstream.ErrStreamNotFound) || errors.Is(err, jetstream.ErrBucketNotFound)
}

// cause is the error of a context that was cancelled with one.
func cause(ctx context.Context) error {
	err := context.Cause(ctx)
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}
