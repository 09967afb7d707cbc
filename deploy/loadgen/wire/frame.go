// Package wire is the client's half of RFC 6455 without a connection: it makes and
// takes apart handshakes and frames in byte slices that the caller reads and writes.
// A load generator with tens of thousands of sockets wants nothing more: no
// goroutine, no buffer and no copy per connection. Extensions are never offered.
package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// The opcodes of RFC 6455, section 5.2.
const (
	Continuation = 0x0
	Text         = 0x1
	Binary       = 0x2
	Close        = 0x8
	Ping         = 0x9
	Pong         = 0xA
)

// MaxPayload is the longest frame that is taken for one, in bytes.
const MaxPayload = 16 << 20

// key masks every frame. RFC 6455 wants it unpredictable, to protect proxies from
// scripts in browsers; here it only has to be one, and costs no randomness.
var key = [4]byte{0x5a, 0xc3, 0x3c, 0xa5}

// ErrMasked is returned for a frame of a server that masks, which none may.
var ErrMasked = errors.New("the server's frame is masked")

// Frame is one frame of a server. Payload lies in the slice it was read from.
type Frame struct {
	Fin     bool
	Op      byte
	Payload []byte
}

// Next takes the first frame off b and says how many bytes it took; 0 when the
// frame is not complete yet.
func Next(b []byte) (Frame, int, error) {
	if len(b) < 2 {
		return Frame{}, 0, nil
	}
	if b[0]&0x70 != 0 {
		return Frame{}, 0, fmt.Errorf("the server's frame begins with %#x: no extension was offered", b[0])
	}
	if b[1]&0x80 != 0 {
		return Frame{}, 0, ErrMasked
	}
	size, head := uint64(b[1]&0x7f), 2
	switch size {
	case 126:
		if len(b) < 4 {
			return Frame{}, 0, nil
		}
		size, head = uint64(binary.BigEndian.Uint16(b[2:])), 4
	case 127:
		if len(b) < 10 {
			return Frame{}, 0, nil
		}
		size, head = binary.BigEndian.Uint64(b[2:]), 10
	}
	if size > MaxPayload {
		return Frame{}, 0, fmt.Errorf("the server's frame has %d bytes, at most %d are taken", size, MaxPayload)
	}
	end := head + int(size)
	if len(b) < end {
		return Frame{}, 0, nil
	}
	return Frame{Fin: b[0]&0x80 != 0, Op: b[0] & 0x0f, Payload: b[head:end:end]}, end, nil
}

// Append appends a whole, masked frame to dst.
func Append(dst []byte, op byte, payload []byte) []byte {
	dst = append(dst, 0x80|op)
	switch n := len(payload); {
	case n < 126:
		dst = append(dst, 0x80|byte(n))
	case n < 1<<16:
		dst = binary.BigEndian.AppendUint16(append(dst, 0x80|126), uint16(n))
	default:
		dst = binary.BigEndian.AppendUint64(append(dst, 0x80|127), uint64(n))
	}
	dst = append(dst, key[:]...)
	start := len(dst)
	dst = append(dst, payload...)
	for i := range dst[start:] {
		dst[start+i] ^= key[i&3]
	}
	return dst
}

// CloseCode is the code in a close frame's payload; 1005 where there is none.
func CloseCode(payload []byte) int {
	if len(payload) < 2 {
		return 1005
	}
	return int(binary.BigEndian.Uint16(payload))
}
