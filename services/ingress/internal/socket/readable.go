package socket

import "golang.org/x/sys/unix"

// readable tells whether a read would not have to wait: there is something, the peer has hung up, or
// there is an error to be read.
func readable(fd uintptr) bool {
	for {
		var b [1]byte
		_, _, err := unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK)
		if err != unix.EINTR {
			return err != unix.EAGAIN
		}
	}
}
