//go:build !race

package socket

const stackBytes = 2 << 10
