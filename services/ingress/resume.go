package ingress

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"strconv"
	"strings"
	"time"

	"github.com/parley-chat/parley/shared/event"
)

// ticket is what a client gets to keep its session's name: a secret, how many
// hellos were made with it, and when the first was. Written secret.count.since.
type ticket struct {
	secret string
	count  uint64
	since  int64 // Unix ms
}

const (
	secretBytes = 18 // 144 bits
	lifeTime    = 42 // bits of a life that are a time in Unix ms: good until 2109
	maxCount    = 1<<(64-lifeTime) - 1
)

// newTicket begins a session.
func newTicket(now time.Time) ticket {
	secret := make([]byte, secretBytes)
	_, _ = rand.Read(secret) // never fails (package crypto/rand)
	return ticket{secret: base64.RawURLEncoding.EncodeToString(secret), since: now.UnixMilli()}
}

// parseTicket reads what String wrote. Anything else begins a new session.
func parseTicket(s string) (t ticket, ok bool) {
	secret, rest, _ := strings.Cut(s, ".")
	count, since, _ := strings.Cut(rest, ".")
	raw, err := base64.RawURLEncoding.DecodeString(secret)
	if err != nil || len(raw) != secretBytes {
		return t, false
	}
	t.secret = secret
	if t.count, err = strconv.ParseUint(count, 10, 64); err != nil || t.count >= maxCount {
		return t, false
	}
	if t.since, err = strconv.ParseInt(since, 36, 64); err != nil || t.since <= 0 || t.since >= 1<<lifeTime {
		return t, false
	}
	return t, true
}

func (t ticket) String() string {
	return t.secret + "." + strconv.FormatUint(t.count, 10) + "." + strconv.FormatInt(t.since, 36)
}

// next is the ticket of the hello that is made with this one, and its life: the
// count orders hellos that came one after the other whatever edges' clocks say, the
// time those made with the same ticket.
func (t ticket) next(now time.Time) (ticket, event.Life) {
	t.count++
	return t, event.Life(t.count<<lifeTime | uint64(now.UnixMilli())&(1<<lifeTime-1))
}

// session is the name that everybody may know. The user is part of it, so that a
// secret that got about is of no use to another.
func (t ticket) session(user event.UserID) event.SessionID {
	sum := sha256.Sum256([]byte(t.secret + "\x00" + string(user)))
	return event.SessionID("s_" + base64.RawURLEncoding.EncodeToString(sum[:15]))
}
