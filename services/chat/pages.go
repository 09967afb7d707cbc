package chat

import (
	"context"
	"time"

	"github.com/parley-chat/parley/shared/event"
)

// pageJob is a request for a page of history, or to trace a message. head is where the room was known
// to be when it was asked; 0: not known.
type pageJob struct {
	command event.Command
	head    uint64
}

const (
	pageTimeout    = 5 * time.Second
	pageRetryAfter = 1000 // ms
)

// queuePage leaves the request to a worker; false when too many wait.
func (p *partition) queuePage(c event.Command) bool {
	job := pageJob{command: c}
	if r := p.rooms.peek(c.Room); r != nil {
		job.head = r.Head
	}
	select {
	case p.pages <- job:
		return true
	default:
		p.s.metrics.pages.WithLabelValues("busy").Inc()
		return false
	}
}

// readPages is a page worker. Its answers come behind live events, in no
// particular order: entries carry their seq.
func (p *partition) readPages(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case job := <-p.pages:
			limited, cancel := context.WithTimeout(ctx, pageTimeout)
			answer := p.readPage(limited, job)
			if err := p.publish(limited, answer); err != nil {
				p.slog.Debug("page of history not published", "room", job.command.Room, "err", err)
			}
			cancel()
		}
	}
}

func (p *partition) readPage(ctx context.Context, job pageJob) event.Event {
	c := job.command
	if c.Trace != nil {
		return p.trace(ctx, c)
	}
	_, before := p.voice()
	ask := *c.Read
	if ask.Have != nil && ask.Have.Epoch != before.epoch {
		ask.Have = nil
	}
	page, err := p.s.store.Page(ctx, p.number, c.Room, ask)
	_, after := p.voice()
	page.Epoch = before.epoch
	switch {
	case err != nil:
		p.slog.Debug("page of history not read", "room", c.Room, "err", err)
	case before.epoch != after.epoch:
	case page.Head < job.head: // the watch finds out why; nobody is shown it
		p.suspectLoss()
	default:
		p.s.metrics.pages.WithLabelValues(pageResult(&page)).Inc()
		e := reply(c)
		e.Page = &page
		return e
	}
	p.s.metrics.pages.WithLabelValues("error").Inc()
	return p.refusal(c, event.Refusal{Code: codeUnavailable, Message: "the history cannot be read now", RetryAfterMS: pageRetryAfter})
}

func pageResult(p *event.PageRead) string {
	if p.Same {
		return "same"
	}
	return "ok"
}
