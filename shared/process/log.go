package process

import (
	"io"
	"log/slog"
	"strings"
)

// NewLogger returns a logger that writes one line a record to w, as JSON or as
// key=value text. level is debug, info, warn or error; anything else is info.
func NewLogger(w io.Writer, level, format string) *slog.Logger {
	options := &slog.HandlerOptions{Level: slogLevel(level)}
	if format == "text" {
		return slog.New(slog.NewTextHandler(w, options))
	}
	return slog.New(slog.NewJSONHandler(w, options))
}

func slogLevel(name string) slog.Level {
	var level slog.Level // the zero value is info
	if level.UnmarshalText([]byte(strings.ToUpper(name))) != nil {
		return slog.LevelInfo
	}
	return level
}
