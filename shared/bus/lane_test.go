package bus

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
)

// slowBroker takes a while for each publish, and keeps the batches' sizes and times.
type slowBroker struct {
	Backend
	takes time.Duration
	fails int // this many first

	mu      sync.Mutex
	begun   time.Time
	sizes   []string
	numbers []string
	at      []time.Duration
}

func (s *slowBroker) Publisher() message.Publisher { return s }
func (s *slowBroker) Close() error                 { return nil }

func (s *slowBroker) Depth(context.Context, string, string) (Depth, error) { return Depth{}, nil }

func (s *slowBroker) Publish(_ string, messages ...*message.Message) error {
	s.mu.Lock()
	at := time.Since(s.begun)
	s.mu.Unlock()
	time.Sleep(s.takes)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fails > 0 {
		s.fails--
		return ErrUnavailable
	}
	for _, msg := range messages {
		s.sizes = append(s.sizes, msg.Metadata[metaCount])
		s.numbers = append(s.numbers, msg.Metadata[metaNumber])
		s.at = append(s.at, at)
	}
	return nil
}

func withWriter(t *testing.T, s *slowBroker, repeat bool, do func(*Writer, Topic[int])) {
	bubble(t, func(t *testing.T) {
		b, err := New(s, Config{Partitions: 1, Name: "x"})
		if err != nil {
			t.Fatal(err)
		}
		s.begun = time.Now()
		do(b.Writer("edge", 0, repeat), Topic[int]{Name: "t"})
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestQuietTopicPublishesAtOnce(t *testing.T) {
	s := &slowBroker{takes: 100 * time.Microsecond}
	withWriter(t, s, false, func(w *Writer, topic Topic[int]) {
		for range 3 {
			if err := Publish(context.Background(), w, topic, 1); err != nil {
				t.Fatal(err)
			}
		}
	})
	if want := []time.Duration{0, 100 * time.Microsecond, 200 * time.Microsecond}; !slices.Equal(s.at, want) {
		t.Errorf("published at %v, want %v", s.at, want)
	}
}

func TestBusyTopicGathers(t *testing.T) {
	s := &slowBroker{takes: 100 * time.Microsecond}
	withWriter(t, s, false, func(w *Writer, topic Topic[int]) {
		for range 5 {
			if err := Enqueue(w, topic, nil, 1); err != nil {
				t.Fatal(err)
			}
			time.Sleep(50 * time.Microsecond)
		}
		time.Sleep(10 * time.Millisecond)
		for i := range 301 {
			if i == 1 {
				synctest.Wait() // the first is on its way
			}
			if err := Enqueue(w, topic, nil, 1); err != nil {
				t.Fatal(err)
			}
		}
	})
	// The first goes at once; the others came from 50 µs on while it was on its way and
	// after, and wait until the oldest of them is 1 ms old. What is full goes at once.
	if want := []string{"1", "4", "1", "256", "44"}; !slices.Equal(s.sizes, want) {
		t.Errorf("batches of %v, want %v", s.sizes, want)
	}
	if want := 1050 * time.Microsecond; s.at[1] != want {
		t.Errorf("gathered until %v, want %v", s.at[1], want)
	}
}

func TestRetriesAreOneNumber(t *testing.T) {
	s := &slowBroker{fails: 3}
	withWriter(t, s, false, func(w *Writer, topic Topic[int]) {
		for range 2 {
			if err := Publish(context.Background(), w, topic, 1); err != nil {
				t.Fatal(err)
			}
		}
	})
	if want := []string{"1", "2"}; !slices.Equal(s.numbers, want) {
		t.Errorf("numbers %v, want %v", s.numbers, want)
	}
}

func TestFailedPublishLeavesItsNumber(t *testing.T) {
	s := &slowBroker{fails: 1000}
	withWriter(t, s, true, func(w *Writer, topic Topic[int]) {
		began := time.Now()
		if err := Publish(context.Background(), w, topic, 1); !errors.Is(err, ErrUnavailable) {
			t.Errorf("Publish: %v", err)
		}
		if d := time.Since(began); d != 5*time.Second {
			t.Errorf("gave up after %s", d)
		}
		s.mu.Lock()
		s.fails = 0
		s.mu.Unlock()
		if err := Publish(context.Background(), w, topic, 1); err != nil {
			t.Error(err)
		}
		time.Sleep(7 * time.Second)
		w.Forget(topic.Name)
		time.Sleep(7 * time.Second)
	})
	if want := []string{"2", "2", "2"}; !slices.Equal(s.numbers, want) || s.sizes[1] != "0" {
		t.Errorf("numbers %v, sizes %v; want 2 and two repeats of it", s.numbers, s.sizes)
	}
}
