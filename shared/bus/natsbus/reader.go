package natsbus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// batchSize is how many messages one request asks for: so many wait here at most.
	batchSize = 64
	// requestLife is how long a request waits on the server, which says all heartbeat that
	// it is there.
	requestLife = 30 * time.Second
	heartbeat   = time.Second
	// silence is how long nothing at all may come while a request waits.
	silence = 3 * heartbeat
	// consumerLife is how long the server keeps a consumer from which nobody asks: longer
	// than a batch takes to be handled. Those that end in order are deleted.
	consumerLife = 5 * time.Minute
)

// reader reads a stream from a sequence on through a consumer of its own, which the
// server keeps in memory and does not wait for acknowledgements of. What got lost on
// the way (a connection that broke, a consumer that went) is never skipped: it ends the reader.
type reader struct {
	conn     *nats.Conn
	stream   string
	consumer string
	incoming chan *nats.Msg
	inbox    *nats.Subscription
	request  []byte
	open     int    // messages that the request at the server is still good for
	count    uint64 // of messages delivered
	quiet    *time.Timer
}

var errSilence = errors.New("the server has stopped sending")

func newReader(ctx context.Context, conn *nats.Conn, js jetstream.JetStream, stream string, start uint64) (*reader, error) {
	consumer, err := js.CreateConsumer(ctx, stream, jetstream.ConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: start,
		AckPolicy: jetstream.AckNonePolicy, ReplayPolicy: jetstream.ReplayInstantPolicy,
		InactiveThreshold: consumerLife, MemoryStorage: true, Replicas: 1,
	})
	if err != nil {
		return nil, err
	}
	r := &reader{
		conn: conn, stream: stream, consumer: consumer.CachedInfo().Name,
		// A request brings its messages, a heartbeat a second, and its end.
		incoming: make(chan *nats.Msg, batchSize+2*int(requestLife/heartbeat)),
		quiet:    time.NewTimer(silence),
	}
	r.request, err = json.Marshal(map[string]any{
		"batch": batchSize, "expires": requestLife.Nanoseconds(), "idle_heartbeat": heartbeat.Nanoseconds(),
	})
	if err != nil {
		return nil, err
	}
	if r.inbox, err = conn.ChanSubscribe(conn.NewInbox(), r.incoming); err != nil {
		return nil, err
	}
	return r, nil
}

// next waits for the next message and tells its sequence in the stream.
func (r *reader) next(ctx context.Context) (data []byte, seq uint64, err error) {
	for {
		if r.open == 0 {
			if err := r.conn.PublishRequest(r.api("MSG.NEXT"), r.inbox.Subject, r.request); err != nil {
				return nil, 0, err
			}
			r.open = batchSize
		}
		var msg *nats.Msg
		select {
		case msg = <-r.incoming:
		default:
			if msg, err = r.wait(ctx); err != nil {
				return nil, 0, err
			}
		}
		if status := msg.Header.Get("Status"); status != "" && len(msg.Data) == 0 {
			if err := r.onStatus(status, msg.Header.Get("Description")); err != nil {
				return nil, 0, err
			}
			continue
		}
		r.open--
		seq, err = r.check(msg)
		return msg.Data, seq, err
	}
}

func (r *reader) wait(ctx context.Context) (*nats.Msg, error) {
	r.quiet.Reset(silence)
	select {
	case msg := <-r.incoming:
		return msg, nil
	case <-r.quiet.C:
		return nil, errSilence
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// onStatus reads what the server says about the request.
func (r *reader) onStatus(status, description string) error {
	switch status {
	case "100": // heartbeat
		return nil
	case "408": // the request's time is over
		r.open = 0
		return nil
	}
	return fmt.Errorf("the server ended reading: %s %s", status, description)
}

// check makes sure that no message got lost between the server and here.
func (r *reader) check(msg *nats.Msg) (seq uint64, err error) {
	meta, err := msg.Metadata()
	if err != nil {
		return 0, fmt.Errorf("a message that no stream has sent: %w", err)
	}
	r.count++
	if meta.Sequence.Consumer != r.count {
		return 0, fmt.Errorf("message %d was lost on the way from the server, %d has come", r.count, meta.Sequence.Consumer)
	}
	return meta.Sequence.Stream, nil
}

// close lets the server forget the consumer; it does not wait for that.
func (r *reader) close() {
	r.quiet.Stop()
	_ = r.conn.PublishRequest(r.api("DELETE"), r.conn.NewInbox(), nil)
}

func (r *reader) api(what string) string {
	return "$JS.API.CONSUMER." + what + "." + r.stream + "." + r.consumer
}
