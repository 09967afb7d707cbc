package socket

import (
	"encoding/binary"
	"unicode/utf8"

	"github.com/parley-chat/parley/services/ingress/protocol"
)

// Opcodes of RFC 6455 §5.2; those of frames that are sent have the FIN bit.
const (
	opText  = 0x81
	opClose = 0x88
	opPing  = 0x89
	opPong  = 0x8a

	finBit   = 0x80
	maskBit  = 0x80 // of the second byte
	reserved = 0x70
	opMask   = 0x0f

	opMore    = 0x0 // what follows is without FIN: continues a message
	opBinary  = 0x2
	opControl = 0x8 // the first of those of control frames
)

// headRoom is the longest header of a frame that a server sends.
const headRoom = 10

// controlBytes is the longest payload of a control frame.
const controlBytes = 125

var (
	errBroken   = &violation{1002, "broken frame"}
	errTooLarge = &violation{protocol.CloseTooLarge, "message too large"}
)

// farewell is the peer's close frame.
type farewell struct{ code protocol.CloseCode }

func (f *farewell) Error() string { return "the peer said goodbye" }

// header is that of a frame that a client sent.
type header struct {
	op     byte // without FIN
	fin    bool
	size   int // of the header
	length uint64
	mask   [4]byte
}

func (h *header) control() bool { return h.op >= opControl }

// parseHeader reads the header at the front of what was read. false: it is not all there. The rules are
// those of RFC 6455 §5 for a server without extensions; errBroken where one is broken.
func parseHeader(in []byte) (h header, ok bool, err error) {
	if len(in) < 2 {
		return h, false, nil
	}
	h = header{op: in[0] & opMask, fin: in[0]&finBit != 0, size: 2, length: uint64(in[1] & 0x7f)}
	switch {
	case in[0]&reserved != 0, in[1]&maskBit == 0, h.op > opBinary && h.op < opControl, h.op > opPong&opMask:
		return h, false, errBroken
	case h.control() && (!h.fin || h.length > controlBytes):
		return h, false, errBroken
	}
	switch h.length {
	case 126:
		h.size += 2
	case 127:
		h.size += 8
	}
	h.size += len(h.mask)
	if len(in) < h.size {
		return h, false, nil
	}
	switch h.length {
	case 126:
		h.length = uint64(binary.BigEndian.Uint16(in[2:]))
	case 127:
		h.length = binary.BigEndian.Uint64(in[2:])
	}
	copy(h.mask[:], in[h.size-len(h.mask):])
	if h.length>>63 != 0 {
		return h, false, errBroken
	}
	return h, true, nil
}

// unmask undoes a client's mask in place.
func unmask(payload []byte, mask [4]byte) {
	word := binary.LittleEndian.Uint32(mask[:])
	wide := uint64(word)<<32 | uint64(word)
	for len(payload) >= 8 {
		binary.LittleEndian.PutUint64(payload, binary.LittleEndian.Uint64(payload)^wide)
		payload = payload[8:]
	}
	for i := range payload {
		payload[i] ^= mask[i&3]
	}
}

// parseFarewell reads what a close frame says.
func parseFarewell(payload []byte) error {
	if len(payload) == 0 {
		return &farewell{protocol.CloseNoStatus}
	}
	if len(payload) == 1 || !utf8.Valid(payload[2:]) {
		return errBroken
	}
	switch code := protocol.CloseCode(binary.BigEndian.Uint16(payload)); {
	case code >= 1000 && code <= 1003, code >= 1007 && code <= 1014, code >= 3000 && code <= 4999:
		return &farewell{code}
	}
	return errBroken
}

// appendFrame appends a control frame; payload has at most controlBytes.
func appendFrame(buf []byte, op byte, payload []byte) []byte {
	return append(append(buf, op, byte(len(payload))), payload...)
}

// closeFrameAt turns the payload after buf[start:start+headRoom] into a text
// frame without a trailing line feed; an empty one is taken away.
func closeFrameAt(buf []byte, start int) []byte {
	payload := buf[start+headRoom:]
	if n := len(payload); n > 0 && payload[n-1] == '\n' {
		payload = payload[:n-1]
	}
	if len(payload) == 0 {
		return buf[:start]
	}
	var room [headRoom]byte
	h := append(room[:0], opText)
	switch n := len(payload); {
	case n < 126:
		h = append(h, byte(n))
	case n <= 0xffff:
		h = binary.BigEndian.AppendUint16(append(h, 126), uint16(n))
	default:
		h = binary.BigEndian.AppendUint64(append(h, 127), uint64(n))
	}
	copy(buf[start:], h)
	copy(buf[start+len(h):], payload)
	return buf[:start+len(h)+len(payload)]
}
