package cluster

import "syscall"

// childAttributes has the kernel end the children when this process is killed,
// and keeps the terminal's Ctrl-C from them: who starts them ends them, in order.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
