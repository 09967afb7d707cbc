package loadgen

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// ticksPerSecond is the unit of /proc/<pid>/stat: USER_HZ, 100 on Linux.
const ticksPerSecond = 100

// cpuTime is user + system time in seconds, by process; where there is no /proc,
// nothing.
func cpuTime(pids map[string]int) map[string]float64 {
	out := map[string]float64{}
	for name, pid := range pids {
		raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			continue
		}
		// The name in parentheses may hold spaces: count the fields behind it.
		fields := bytes.Fields(raw[bytes.LastIndexByte(raw, ')')+1:])
		if len(fields) < 13 {
			continue
		}
		user, _ := strconv.ParseFloat(string(fields[11]), 64)
		system, _ := strconv.ParseFloat(string(fields[12]), 64)
		out[name] = (user + system) / ticksPerSecond
	}
	return out
}

// resident is the resident memory in bytes, by process.
func resident(pids map[string]int) map[string]int64 {
	out := map[string]int64{}
	for name, pid := range pids {
		raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(raw)) {
			if value, ok := strings.CutPrefix(line, "VmRSS:"); ok {
				kb, _ := strconv.ParseInt(strings.Fields(value)[0], 10, 64)
				out[name] = kb << 10
			}
		}
	}
	return out
}
