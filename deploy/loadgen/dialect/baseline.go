package dialect

import (
	"net/url"
	"strconv"
)

// baseline speaks to the server in loadgen/baseline, whose clients name their
// user and room when they connect.
type baseline struct{}

func (baseline) Path(user, room string) string {
	return "/ws?" + url.Values{"user": {user}, "room": {room}}.Encode()
}

func (baseline) Resumes() bool { return false }

func (baseline) AppendHello(dst []byte, user, room string, at *Cursor) []byte { return dst }

func (baseline) AppendSend(dst []byte, s Send) []byte {
	dst = append(dst, `{"type":"send","id":`...)
	dst = strconv.AppendUint(dst, s.ID, 10)
	return append(appendBody(append(dst, `,"body":`...), s.Due, s.Body), '}')
}

func (baseline) AppendHistory(dst []byte, id uint64, room string, entries int) []byte { return dst }

func (baseline) Parse(line []byte) Event {
	switch string(word(line, markType)) {
	case "message":
		return Event{Kind: Message, Due: int64(number(line, markDue))}
	case "ok":
		return Event{Kind: Ack, ID: number(line, markID)}
	case "joined":
		return Event{Kind: Joined}
	case "error":
		return Event{Kind: Refusal, ID: number(line, markID), Code: word(line, markCode)}
	}
	return Event{}
}
