package store

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/parley-chat/parley/shared/event"
)

// faulty is an engine whose next append or raise loses its reply, before or after
// it was executed, or is executed only later.
type faulty struct {
	engine
	onAppend, onRaise, onLook fault
	late                      func() // the execution that was put off
}

type fault int

const (
	none    fault = iota
	unsent        // never executed; nobody is told
	unheard       // executed; the reply is lost
	delayed       // executed when late is called
)

var errLine = fmt.Errorf("%w: %w: the line broke", ErrUnavailable, errUnknown)

func (f *faulty) append(ctx context.Context, partition int, was, to guard, batch []Write) (verdict, error) {
	mode := f.onAppend
	f.onAppend = none
	switch mode {
	case unsent:
		return refused, errLine
	case unheard:
		_, _ = f.engine.append(ctx, partition, was, to, batch)
		return refused, errLine
	case delayed:
		f.late = func() { _, _ = f.engine.append(context.Background(), partition, was, to, batch) }
		return refused, errLine
	}
	return f.engine.append(ctx, partition, was, to, batch)
}

func (f *faulty) raise(ctx context.Context, partition int, was string, to guard, r record) (bool, error) {
	mode := f.onRaise
	f.onRaise = none
	switch mode {
	case unsent:
		return false, errLine
	case unheard:
		_, _ = f.engine.raise(ctx, partition, was, to, r)
		return false, errLine
	}
	return f.engine.raise(ctx, partition, was, to, r)
}

func (f *faulty) look(ctx context.Context, partition int) (sight, error) {
	if f.onLook != none {
		return sight{}, errLine
	}
	return f.engine.look(ctx, partition)
}

func TestLostReplies(t *testing.T) {
	for _, mode := range []fault{unsent, unheard, delayed} {
		t.Run(fmt.Sprint(mode), func(t *testing.T) {
			places(t, func(t *testing.T, p place) {
				f := &faulty{engine: p.engine}
				s := &Store{f}
				l := open(t, s, 1)
				mustAppend(t, l, write("a", 1, 2))
				epoch, generation := l.Epoch(), l.Generation()

				f.onAppend = mode
				mustAppend(t, l, write("a", 3, 4)) // the guard tells what became of it
				if f.late != nil {
					f.late()
				}
				mustAppend(t, l, write("a", 5, 5))
				if got := head(t, s, "a").Head; got != 5 || l.Epoch() != epoch || l.Generation() != generation {
					t.Fatalf("head %d, epoch %s, generation %d; want 5, %s, %d", got, l.Epoch(), l.Generation(), epoch, generation)
				}
			})
		})
	}
}

// The reply is lost and the store stays away: what is decided next must not be
// taken for the batch that may still come.
func TestOutcomeNeverLearnt(t *testing.T) {
	for _, mode := range []fault{unsent, unheard, delayed} {
		for _, raise := range []fault{none, unsent, unheard} {
			t.Run(fmt.Sprint(mode, raise), func(t *testing.T) {
				places(t, func(t *testing.T, p place) {
					f := &faulty{engine: p.engine}
					s := &Store{f}
					l := open(t, s, 1)
					mustAppend(t, l, write("a", 1, 2))
					epoch, generation := l.Epoch(), l.Generation()

					f.onAppend, f.onLook = mode, unsent
					wantErr(t, l.Append(t.Context(), []Write{write("a", 3, 4)}), ErrUnavailable)
					wantErr(t, l.Check(t.Context()), ErrUnavailable)
					f.onLook = none
					if raise != none {
						f.onRaise = raise
						wantErr(t, l.Append(t.Context(), []Write{write("a", 3, 3)}), ErrUnavailable)
					}
					if err := l.Check(t.Context()); err != nil {
						t.Fatal(err)
					}
					if f.late != nil {
						f.late() // must be refused: the generation rose
					}
					at := head(t, s, "a").Head
					if want := map[fault]uint64{unsent: 2, unheard: 4, delayed: 2}[mode]; at != want {
						t.Fatalf("head %d, want %d", at, want)
					}
					mustAppend(t, l, write("a", at+1, at+1))
					if l.Epoch() != epoch || l.Generation() <= generation {
						t.Fatalf("epoch %s, generation %d; want %s and above %d", l.Epoch(), l.Generation(), epoch, generation)
					}
				})
			})
		}
	}
}

func TestRenewWithLostReply(t *testing.T) {
	for _, mode := range []fault{unsent, unheard} {
		places(t, func(t *testing.T, p place) {
			f := &faulty{engine: p.engine}
			l := open(t, &Store{f}, 1)
			mustAppend(t, l, write("a", 1, 2))
			p.flush()
			wantErr(t, l.Check(t.Context()), ErrLost)
			f.onRaise = mode
			wantErr(t, l.Renew(t.Context()), ErrUnavailable)
			wantErr(t, l.Append(t.Context(), []Write{write("a", 1, 1)}), ErrLost)
			if err := l.Renew(t.Context()); err != nil {
				t.Fatal(err)
			}
			mustAppend(t, l, write("a", 1, 1))
		})
	}
}

// A new owner between two batches of the old one, at every step.
func TestCrashBetweenSteps(t *testing.T) {
	places(t, func(t *testing.T, p place) {
		s := &Store{p.engine}
		var epoch event.Epoch
		want := uint64(0)
		for lease := uint64(1); lease < 12; lease++ {
			l := open(t, s, lease)
			if epoch != "" && l.Epoch() != epoch {
				t.Fatalf("owner %d has epoch %s, want %s", lease, l.Epoch(), epoch)
			}
			epoch = l.Epoch()
			for range lease % 3 {
				mustAppend(t, l, write("a", want+1, want+2))
				want += 2
			}
			if got := head(t, s, "a").Head; got != want {
				t.Fatalf("head %d, want %d", got, want)
			}
		}
	})
}

func TestOpenSaysWhatIsAllowed(t *testing.T) {
	_, err := Open("mysql://x:secret@y", "parley", Fast, nil)
	if err == nil || strings.Contains(err.Error(), "secret") || !strings.Contains(err.Error(), "PARLEY_STORE") || !strings.Contains(err.Error(), "redis://") {
		t.Fatal(err)
	}
}
