package chat

import (
	"context"
	"errors"
	"time"

	"github.com/parley-chat/parley/services/chat/internal/store"
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
	pagesAtOnce    = 16   // by one worker
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

// readPages is a page worker: it answers what waits with one read and one publish. Its answers
// come behind live events, in no particular order: entries carry their seq.
func (p *partition) readPages(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case job := <-p.pages:
			limited, cancel := context.WithTimeout(ctx, pageTimeout)
			answers := p.answer(limited, p.waiting(job))
			if err := p.publish(limited, answers...); err != nil {
				p.slog.Debug("pages of history not published", "rooms", len(answers), "first", job.command.Room, "err", err)
			}
			cancel()
		}
	}
}

// waiting is the job and those that wait behind it, as many as are answered at once.
func (p *partition) waiting(job pageJob) []pageJob {
	jobs := []pageJob{job}
	for len(jobs) < pagesAtOnce {
		select {
		case job = <-p.pages:
			jobs = append(jobs, job)
		default:
			return jobs
		}
	}
	return jobs
}

func (p *partition) answer(ctx context.Context, jobs []pageJob) []event.Event {
	var answers []event.Event
	var questions []store.Question
	_, before := p.voice()
	reads := jobs[:0]
	for _, job := range jobs {
		c := job.command
		if c.Trace != nil {
			answers = append(answers, p.trace(ctx, c))
			continue
		}
		ask := *c.Read
		if ask.Have != nil && ask.Have.Epoch != before.epoch {
			ask.Have = nil
		}
		reads, questions = append(reads, job), append(questions, store.Question{Room: c.Room, ReadHistory: ask})
	}
	if len(questions) == 0 {
		return answers
	}
	pages, err := p.s.store.Pages(ctx, p.number, questions...)
	if err != nil && len(reads) > 1 && !errors.Is(err, store.ErrUnavailable) { // one room's log is no other room's trouble
		for _, job := range reads {
			answers = append(answers, p.answer(ctx, []pageJob{job})...)
		}
		return answers
	}
	if err != nil {
		p.slog.Debug("pages of history not read", "rooms", len(questions), "first", questions[0].Room, "err", err)
	}
	_, after := p.voice()
	for i, job := range reads {
		if err == nil && before.epoch == after.epoch {
			pages[i].Epoch = before.epoch
			answers = append(answers, p.page(job, &pages[i]))
		} else {
			answers = append(answers, p.noPage(job))
		}
	}
	return answers
}

func (p *partition) page(job pageJob, page *event.PageRead) event.Event {
	if page.Head < job.head { // the watch finds out why; nobody is shown it
		p.suspectLoss()
		return p.noPage(job)
	}
	p.s.metrics.pages.WithLabelValues(pageResult(page)).Inc()
	e := reply(job.command)
	e.Page = page
	return e
}

func (p *partition) noPage(job pageJob) event.Event {
	p.s.metrics.pages.WithLabelValues("error").Inc()
	return p.refusal(job.command, event.Refusal{Code: codeUnavailable, Message: "the history cannot be read now", RetryAfterMS: pageRetryAfter})
}

func pageResult(p *event.PageRead) string {
	if p.Same {
		return "same"
	}
	return "ok"
}
