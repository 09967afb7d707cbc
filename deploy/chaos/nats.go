package chaos

import (
	"context"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/parley-chat/parley/deploy/cluster"
)

// What the bus calls things on NATS.
const (
	streamPrefix  = "parley="
	subjectPrefix = "parley.topic."
)

// eachTopic goes through the topics of a bus on NATS until one has something to be
// told; a bus on Redis has none.
func (w *world) eachTopic(ctx context.Context, do func(js jetstream.JetStream, topic string, s *jetstream.StreamInfo) (string, error)) (string, error) {
	if !w.cfg.NATS {
		return "", nil
	}
	conn, err := nats.Connect(w.BusURL)
	if err != nil {
		return "", fmt.Errorf("NATS: %w", err)
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		return "", err
	}
	streams := js.ListStreams(ctx)
	var all []*jetstream.StreamInfo
	for s := range streams.Info() {
		all = append(all, s)
	}
	if err := streams.Err(); err != nil {
		return "", fmt.Errorf("streams of NATS: %w", err)
	}
	for _, s := range all {
		topic, ours := strings.CutPrefix(s.Config.Name, streamPrefix)
		if !ours {
			continue
		}
		if found, err := do(js, topic, s); err != nil || found != "" {
			return found, err
		}
	}
	return "", nil
}

// topicsLeft finds topics of edges that are no more, and readers that have not
// acknowledged what they were given.
func (w *world) topicsLeft(ctx context.Context) (string, error) {
	edges := 0
	return w.eachTopic(ctx, func(js jetstream.JetStream, topic string, s *jetstream.StreamInfo) (string, error) {
		if strings.HasPrefix(topic, "deliveries-") {
			if edges++; edges > len(w.Edges) {
				return fmt.Sprintf("more topics of edges than %d edges: %s", len(w.Edges), topic), nil
			}
		}
		stream, err := js.Stream(ctx, s.Config.Name)
		if err != nil {
			return "", fmt.Errorf("stream %s: %w", s.Config.Name, err)
		}
		consumers := stream.ListConsumers(ctx)
		for c := range consumers.Info() {
			if c.NumAckPending > mostPending {
				return fmt.Sprintf("a reader of %s has %d pending messages", topic, c.NumAckPending), nil
			}
		}
		return "", consumers.Err()
	})
}

// lettersOnNATS finds a dead letter.
func (w *world) lettersOnNATS(ctx context.Context) (string, error) {
	return w.eachTopic(ctx, func(js jetstream.JetStream, topic string, s *jetstream.StreamInfo) (string, error) {
		if topic != "dead-letters" || s.State.Msgs == 0 {
			return "", nil
		}
		stream, err := js.Stream(ctx, s.Config.Name)
		if err != nil {
			return "", err
		}
		letter, err := stream.GetMsg(ctx, s.State.LastSeq)
		if err != nil {
			return "", err
		}
		return fmt.Sprintf("a dead letter: %.300q", letter.Data), nil
	})
}

// poisonNATS puts on every topic what no reader can read.
func poisonNATS(ctx context.Context, w *world) (string, after, error) {
	topics := 0
	_, err := w.eachTopic(ctx, func(js jetstream.JetStream, topic string, _ *jetstream.StreamInfo) (string, error) {
		if topic == "dead-letters" || strings.HasPrefix(topic, "probe-") {
			return "", nil
		}
		topics++
		for _, data := range []string{"", "garbage", "\x01\x00garbage", "\xff\xff\xff\xff\xff\xff"} {
			if _, err := js.Publish(ctx, subjectPrefix+topic, []byte(data)); err != nil {
				return "", fmt.Errorf("poison %s: %w", topic, err)
			}
		}
		return "", nil
	})
	if err == nil && topics == 0 {
		err = fmt.Errorf("no topic on NATS begins with %s", streamPrefix)
	}
	return fmt.Sprintf("%d topics", topics), nil, err
}

// natsRestart kills the broker and starts it again with what it had stored.
func natsRestart(ctx context.Context, w *world) (string, after, error) {
	w.NATS.Kill()
	return "NATS", nil, startAll(ctx, []*cluster.Process{w.NATS})
}
