package process

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"os"
	"reflect"
	"regexp"
	"strings"
)

// maxSecretFile bounds what is read of a …_FILE; a path mistyped as a device or
// a log must not fill the memory.
const maxSecretFile = 64 << 10

const redacted = "[redacted]"

// Secret is a setting that must not be seen: it prints, logs and marshals as
// "[redacted]". Convert it with string(s) to use it. A field of this type gets
// a second setting, …_FILE, that names a file to read it from.
type Secret string

// String hides the value.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return redacted
}

// GoString hides the value from %#v.
func (s Secret) GoString() string { return s.String() }

// LogValue hides the value from logs.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText hides the value from every encoder.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// URL is an address that may hold a password, which it does not show when
// printed, logged or marshalled. Convert it with string(u) to use it. It can be
// given as a file, too.
type URL string

// String is the address without its passwords.
func (u URL) String() string { return redactURL(string(u)) }

// GoString hides passwords from %#v.
func (u URL) GoString() string { return u.String() }

// LogValue hides passwords from logs.
func (u URL) LogValue() slog.Value { return slog.StringValue(u.String()) }

// MarshalText hides passwords from every encoder.
func (u URL) MarshalText() ([]byte, error) { return []byte(u.String()), nil }

// scheme reports whether the address has the scheme, also with a +suffix as in
// redis+cluster.
func (u URL) scheme(name string) bool {
	s, _, ok := strings.Cut(string(u), "://")
	base, _, _ := strings.Cut(strings.ToLower(s), "+")
	return ok && base == name
}

var secretQuery = regexp.MustCompile(`(?i)([?&][^=&]*(?:pass|secret|token|key)[^=&]*=)[^&#]*`)

// redactURL works on the text, because lists of hosts are not valid for
// net/url. It takes everything before the last @ as user information: that may
// hide a host of a list, never show a password.
func redactURL(u string) string {
	u = secretQuery.ReplaceAllString(u, "${1}"+redacted)
	scheme, rest, ok := strings.Cut(u, "://")
	if !ok {
		scheme, rest = "", u
	} else {
		scheme += "://"
	}
	at := strings.LastIndexByte(rest, '@')
	if at < 0 {
		return scheme + rest
	}
	user, _, hasPassword := strings.Cut(rest[:at], ":")
	if !hasPassword { // a bare name before the @ is a token to NATS
		return scheme + redacted + rest[at:]
	}
	return scheme + user + ":" + redacted + rest[at:]
}

// isSecret reports whether a setting of this type has a …_FILE beside it.
func isSecret(t reflect.Type) bool {
	return t == reflect.TypeFor[Secret]() || t == reflect.TypeFor[URL]()
}

// readSecret returns a file's content without the line break at its end.
func readSecret(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, maxSecretFile+1))
	if err != nil {
		return "", err
	}
	if len(content) > maxSecretFile {
		return "", fmt.Errorf("%s is longer than %d bytes", path, maxSecretFile)
	}
	content = bytes.TrimRight(content, "\r\n")
	if len(content) == 0 {
		return "", fmt.Errorf("%s is empty", path)
	}
	return string(content), nil
}
