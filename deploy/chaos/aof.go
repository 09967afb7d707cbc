package chaos

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
)

// cutTail takes the last n commands from an append-only file of Redis, never a part
// of a transaction, and returns how many bytes that were.
func cutTail(path string, n int) (int, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	edges, end, err := aofEdges(f)
	if err != nil {
		return 0, fmt.Errorf("read %s: %w", path, err)
	}
	if len(edges) == 0 {
		return 0, nil
	}
	at := edges[max(len(edges)-n, 0)]
	return int(end - at), f.Truncate(at)
}

// aofEdges are the places where a command or transaction begins, and the end of the
// last one that is whole.
func aofEdges(r io.Reader) (edges []int64, end int64, err error) {
	in := bufio.NewReader(r)
	var at int64
	inside := false
	for {
		name, size, err := aofCommand(in)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return edges, end, nil
		}
		if err != nil {
			return nil, 0, fmt.Errorf("at %d: %w", at, err)
		}
		if !inside && name != "" {
			edges = append(edges, at)
		}
		switch strings.ToUpper(name) {
		case "MULTI":
			inside = true
		case "EXEC":
			inside = false
		}
		at += size
		if !inside {
			end = at
		}
	}
}

// aofCommand reads one command and returns its name and length; the name of a
// comment is empty.
func aofCommand(in *bufio.Reader) (name string, size int64, err error) {
	line := func(mark byte) (int, error) {
		text, err := in.ReadString('\n')
		size += int64(len(text))
		if err != nil {
			return 0, io.ErrUnexpectedEOF
		}
		if text[0] != mark {
			return 0, fmt.Errorf("%q instead of %q", text, mark)
		}
		return strconv.Atoi(strings.TrimSpace(text[1:]))
	}
	if next, err := in.Peek(1); err != nil {
		return "", 0, err
	} else if next[0] == '#' {
		text, err := in.ReadString('\n')
		return "", int64(len(text)), err
	}
	count, err := line('*')
	for i := 0; i < count && err == nil; i++ {
		var length int
		if length, err = line('$'); err != nil {
			break
		}
		raw := make([]byte, length+2)
		if _, err = io.ReadFull(in, raw); err != nil {
			err = io.ErrUnexpectedEOF
		}
		size += int64(len(raw))
		if i == 0 {
			name = string(raw[:length])
		}
	}
	return name, size, err
}
