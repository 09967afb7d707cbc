package dialect

import (
	"bytes"
	"strconv"
)

// parley speaks docs/protocol.md, in dev auth.
type parley struct{}

func (parley) Path(user, room string) string { return "/ws" }
func (parley) Resumes() bool                 { return true }

func (parley) AppendHello(dst []byte, user, room string, at *Cursor) []byte {
	dst = append(dst, `{"type":"hello","id":1,"user":`...)
	dst = strconv.AppendQuote(dst, user)
	if at != nil && at.Epoch != "" {
		dst = append(dst, `,"rooms":{`...)
		dst = append(strconv.AppendQuote(dst, room), `:{"epoch":`...)
		dst = append(strconv.AppendQuote(dst, at.Epoch), `,"seq":`...)
		return append(strconv.AppendUint(dst, at.Seq, 10), `}}}`...)
	}
	dst = append(dst, "}\n"+`{"type":"join","id":2,"room":`...)
	return append(strconv.AppendQuote(dst, room), '}')
}

func (parley) AppendSend(dst []byte, s Send) []byte {
	dst = append(dst, `{"type":"send","id":`...)
	dst = strconv.AppendUint(dst, s.ID, 10)
	dst = strconv.AppendQuote(append(dst, `,"room":`...), s.Room)
	// Whatever is sent twice in one nanosecond has two ids.
	dst = strconv.AppendInt(append(dst, `,"cid":"`...), s.Due, 36)
	dst = strconv.AppendUint(append(dst, '.'), s.ID, 10)
	return append(appendBody(append(dst, `","body":`...), s.Due, s.Body), '}')
}

func (parley) AppendHistory(dst []byte, id uint64, room string, entries int) []byte {
	dst = append(dst, `{"type":"history","id":`...)
	dst = strconv.AppendUint(dst, id, 10)
	dst = strconv.AppendQuote(append(dst, `,"room":`...), room)
	return append(strconv.AppendInt(append(dst, `,"limit":`...), int64(entries), 10), '}')
}

func (parley) Parse(line []byte) Event {
	switch string(word(line, markType)) {
	case "message":
		return Event{Kind: Message, Seq: number(line, markSeq), Due: int64(number(line, markDue))}
	case "ok":
		return Event{Kind: Ack, ID: number(line, markID), Seq: number(line, markSeq)}
	case "joined":
		return Event{Kind: Joined, Seq: number(line, markAfter), Head: number(line, markSeq), Epoch: word(line, markEpoch)}
	case "page":
		return Event{Kind: Page, ID: number(line, markID), Entries: bytes.Count(line, markMID)}
	case "error":
		return Event{Kind: Refusal, ID: number(line, markID), Code: word(line, markCode)}
	}
	return Event{}
}
