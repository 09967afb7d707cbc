//go:build race

package socket

// The race detector has functions take more of a stack.
const stackBytes = 4 << 10
