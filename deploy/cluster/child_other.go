//go:build !linux

package cluster

import "syscall"

// childAttributes keeps the terminal's Ctrl-C from the children: who starts them
// ends them, in order.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}
