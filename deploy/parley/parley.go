// Package parley is the operators' command line: it looks into the broker, the
// store and the traffic of a running Parley from outside, without being part of it,
// and does the few things that people do by hand. Each command prints text for
// people, or with --json values for programs: one document, or one line per item
// where it goes on for ever.
package parley

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/alecthomas/kong"
)

// Exit codes of Run.
const (
	ExitOK      = 0
	ExitFailure = 1 // it could not be done, or doctor found something that is wrong
	ExitUsage   = 2 // what was asked for makes no sense; nothing was done
)

// errFound has Run end with ExitFailure without a line of its own: the output says
// what is wrong.
var errFound = errors.New("something is wrong")

// cli is all that may be asked for.
type cli struct {
	Target `embed:""`
	JSON   bool `help:"Print values for programs."`

	Doctor      doctor      `cmd:"" help:"Check brokers, leases and lag, and say what to change."`
	Topology    topology    `cmd:"" help:"Show edges, partitions, who owns them and what is unread."`
	Tail        tail        `cmd:"" help:"Show what travels on the bus, decoded, until Ctrl-C."`
	Trace       trace       `cmd:"" help:"Show where one message went."`
	DeadLetters deadLetters `cmd:"" help:"List, replay or drop what could not be consumed."`
	Token       token       `cmd:"" help:"Make a JWT that says who a user is."`
	Bench       bench       `cmd:"" help:"Load edges with virtual users and measure."`
	BenchWorker benchWorker `cmd:"" hidden:""`
}

// Target says which Parley is meant; the settings are those of the services.
type Target struct {
	Bus     string        `env:"PARLEY_BUS" default:"redis://127.0.0.1:6379/0" help:"The bus."`
	Store   string        `env:"PARLEY_STORE" help:"Where rooms are kept; empty: the bus where that is Redis, else redis://127.0.0.1:6379/0."`
	Prefix  string        `env:"PARLEY_PREFIX" default:"parley" help:"In front of every key and topic on the broker."`
	Timeout time.Duration `default:"5s" help:"For each answer that is waited for."`
}

// Run does what the arguments ask for and returns the exit code. Results go to
// stdout; progress, and one line for what went wrong, to stderr.
func Run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var c cli
	shown := -1 // set by kong when it has shown help
	parser, err := kong.New(&c, kong.Name("parley"), kong.Description("Looks into a running Parley."),
		kong.Writers(stdout, stderr), kong.Exit(func(code int) { shown = code }),
		kong.BindTo(ctx, (*context.Context)(nil)))
	if err != nil {
		fmt.Fprintln(stderr, "parley:", err)
		return ExitFailure
	}
	parsed, err := parser.Parse(args)
	if shown >= 0 {
		return shown
	}
	if err != nil {
		fmt.Fprintf(stderr, "parley: %v; --help lists what is allowed\n", err)
		return ExitUsage
	}
	err = parsed.Run(&c.Target, &output{stdout: stdout, stderr: stderr, json: c.JSON})
	var usage *usageError
	switch {
	case err == nil, errors.Is(err, context.Canceled) && ctx.Err() != nil:
		return ExitOK
	case errors.Is(err, errFound):
		return ExitFailure
	case errors.As(err, &usage):
		fmt.Fprintln(stderr, "parley:", err)
		return ExitUsage
	}
	fmt.Fprintln(stderr, "parley:", err)
	return ExitFailure
}

// usageError says what was asked for wrongly, and what is allowed.
type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }

func misused(format string, args ...any) error { return &usageError{fmt.Sprintf(format, args...)} }
