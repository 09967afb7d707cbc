package wire

import (
	"bytes"
	"errors"
	"fmt"
	"net/textproto"
)

// The nonce is the example of RFC 6455, section 1.3, and so is its answer: that
// it is new for each connection protects caches, and there is none here.
const (
	nonce  = "dGhlIHNhbXBsZSBub25jZQ=="
	accept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
)

// maxResponse is the longest answer to a handshake, in bytes.
const maxResponse = 16 << 10

// RefusedError is a handshake that the server answered, but not with 101.
type RefusedError struct {
	Status string // "503 Service Unavailable"
}

func (e *RefusedError) Error() string { return "the handshake was refused: " + e.Status }

// AppendHandshake appends the request that opens a WebSocket at the path (with its
// query) of host, a host:port.
func AppendHandshake(dst []byte, host, path string) []byte {
	return fmt.Appendf(dst, "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Key: %s\r\nSec-WebSocket-Version: 13\r\n\r\n", path, host, nonce)
}

// Accepted looks at the answer to a handshake and says how many bytes it takes;
// 0 when it is not complete yet. Frames may follow it.
func Accepted(b []byte) (int, error) {
	end := bytes.Index(b, []byte("\r\n\r\n"))
	if end < 0 {
		if len(b) > maxResponse {
			return 0, errors.New("the answer to the handshake has no end")
		}
		return 0, nil
	}
	status, headers, _ := bytes.Cut(b[:end], []byte("\r\n"))
	version, rest, _ := bytes.Cut(status, []byte(" "))
	if !bytes.HasPrefix(version, []byte("HTTP/1.")) {
		return 0, fmt.Errorf("%.40q is no answer to a handshake", status)
	}
	if !bytes.HasPrefix(rest, []byte("101")) {
		return 0, &RefusedError{Status: string(rest)}
	}
	for line := range bytes.SplitSeq(headers, []byte("\r\n")) {
		name, value, _ := bytes.Cut(line, []byte(":"))
		if textproto.CanonicalMIMEHeaderKey(string(name)) == "Sec-Websocket-Accept" && string(bytes.TrimSpace(value)) == accept {
			return end + 4, nil
		}
	}
	return 0, errors.New("the answer to the handshake lacks the right Sec-WebSocket-Accept")
}
