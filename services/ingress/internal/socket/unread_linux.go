package socket

import "golang.org/x/sys/unix"

// unacknowledged is how many bytes of what was written the peer's host has not
// acknowledged (SIOCOUTQ, tcp(7)); 0 where that cannot be known.
func (c *Conn) unacknowledged() (n int) {
	if c.raw == nil {
		return 0
	}
	_ = c.raw.Control(func(fd uintptr) { n, _ = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) })
	return n
}
