package crowd

import (
	"fmt"
	"maps"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// longest is the longest latency that is told apart, in µs.
const longest = int64(120 * time.Second / time.Microsecond)

// Histogram is latencies in µs, from 1 µs to 2 min. It encodes itself for other
// processes. Not safe for concurrent use.
type Histogram struct{ *hdrhistogram.Histogram }

func newHistogram(digits int) Histogram {
	return Histogram{hdrhistogram.New(1, longest, digits)}
}

func (h Histogram) record(ns int64) {
	_ = h.RecordValue(min(max(ns/1000, 1), longest)) // in bounds, so it fits
}

// GobEncode implements gob.GobEncoder.
func (h Histogram) GobEncode() ([]byte, error) {
	if h.Histogram == nil {
		return []byte{}, nil
	}
	return h.Encode(hdrhistogram.V2CompressedEncodingCookieBase)
}

// GobDecode implements gob.GobDecoder.
func (h *Histogram) GobDecode(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	decoded, err := hdrhistogram.Decode(b)
	if err != nil {
		return fmt.Errorf("decode a histogram: %w", err)
	}
	h.Histogram = decoded
	return nil
}

func (h *Histogram) add(o Histogram) {
	switch {
	case o.Histogram == nil:
	case h.Histogram == nil:
		h.Histogram = o.Histogram
	default:
		h.Merge(o.Histogram)
	}
}

// Slice is one second of a drive. Latencies count in the second in which the
// message was due, numbers in the one in which something happened.
type Slice struct {
	Sent, Acked, Refused, Delivered int64
	Ack, Delivery                   Histogram
}

// Seen is how far a message has come: to so many connections, at last at Unix ns.
type Seen struct {
	Count int
	At    int64
}

// Tally is what a drive measured. Sent, Acked, Refused, Delivered and the
// latencies are of the messages due from From to To, whenever it happened; the
// …Within are what happened in that time, whatever it belongs to.
type Tally struct {
	Sent, Acked, Refused, Delivered, Pages int64
	Short                                  int64 // pages with fewer entries than asked for

	SentWithin, AckedWithin, RefusedWithin, DeliveredWithin, PagesWithin int64

	Skipped, Repeated int64 // entries that a connection missed, or had before
	Closed            int64 // connections the server closed, since the drive's start
	Reasons           map[string]int64

	Ack, Delivery Histogram // a page counts as an ack
	Refusal       Histogram // until a refusal came
	Lag           Histogram // from when a message was due to when it was sent
	Turn          Histogram // how long an event loop was away from its sockets
	Busy          float64   // the busiest loop's share of the time not spent waiting
	Slices        []Slice
	Last          map[int64]Seen // by due, if the drive asked for it
}

// Add adds another share's tally.
func (t *Tally) Add(o Tally) {
	t.Sent += o.Sent
	t.Acked += o.Acked
	t.Refused += o.Refused
	t.Delivered += o.Delivered
	t.Pages += o.Pages
	t.Short += o.Short
	t.SentWithin += o.SentWithin
	t.AckedWithin += o.AckedWithin
	t.RefusedWithin += o.RefusedWithin
	t.DeliveredWithin += o.DeliveredWithin
	t.PagesWithin += o.PagesWithin
	t.Skipped += o.Skipped
	t.Repeated += o.Repeated
	t.Closed += o.Closed
	if t.Reasons == nil {
		t.Reasons = map[string]int64{}
	}
	for reason, n := range o.Reasons {
		t.Reasons[reason] += n
	}
	t.Ack.add(o.Ack)
	t.Delivery.add(o.Delivery)
	t.Refusal.add(o.Refusal)
	t.Lag.add(o.Lag)
	t.Turn.add(o.Turn)
	t.Busy = max(t.Busy, o.Busy)
	for i, s := range o.Slices {
		if i == len(t.Slices) {
			t.Slices = append(t.Slices, Slice{})
		}
		t.Slices[i].add(s)
	}
	t.addLast(o.Last)
}

func (t *Tally) addLast(o map[int64]Seen) {
	if t.Last == nil {
		t.Last = maps.Clone(o)
		return
	}
	for due, s := range o {
		was := t.Last[due]
		t.Last[due] = Seen{Count: was.Count + s.Count, At: max(was.At, s.At)}
	}
}

func (s *Slice) add(o Slice) {
	s.Sent += o.Sent
	s.Acked += o.Acked
	s.Refused += o.Refused
	s.Delivered += o.Delivered
	s.Ack.add(o.Ack)
	s.Delivery.add(o.Delivery)
}

// LastLatency is the latency of the last of want deliveries of each message; of
// those that have not reached all, none.
func (t *Tally) LastLatency(want int) Histogram {
	h := newHistogram(3)
	for due, s := range t.Last {
		if s.Count >= want {
			h.record(s.At - due)
		}
	}
	return h
}
