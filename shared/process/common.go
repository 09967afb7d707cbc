package process

import (
	"fmt"
	"os"
	"strings"
	"time"
)

// defaultRedis is the engine that is used when nothing else is said.
const defaultRedis = "redis://127.0.0.1:6379/0"

// Config is a pointer to a struct that embeds Common.
type Config interface{ common() *Common }

// Common is the part of the settings that all programs have. A program's
// struct embeds it beside the settings of its own:
//
//	var cfg struct {
//		process.Common
//		chat.Config `embed:""`
//	}
//
// A field's flag is its name in kebab case (or its `name` tag), its environment
// variable the same in capitals behind PARLEY_, its key in the file the flag's
// name. The tags help, default and enum mean what they mean to kong; min and
// max bound a number or a duration, match is a regular expression for the whole
// of a string. Types Secret and URL can be given as a file, too.
type Common struct {
	Admin       string        `default:"127.0.0.1:9100" help:"Operators' listener: health, metrics, pprof. 'off' for none."`
	AdminToken  Secret        `help:"Token for pprof and whatever changes something, when asked from another machine, and for the status board."`
	Bus         URL           `default:"redis://127.0.0.1:6379/0" help:"The bus: redis://, rediss://, redis+sentinel://a,b/master, redis+cluster://a,b, nats://a,b, tls://a,b, or memory:// in the standalone program."`
	Store       URL           `help:"Where rooms are kept; empty: the bus where that is Redis or memory, else redis://127.0.0.1:6379/0."`
	Prefix      string        `default:"parley" match:"[a-z0-9-]+" help:"Stands in front of every key and topic on the broker."`
	Node        string        `default:"${hostname}" match:"[a-zA-Z0-9_.-]{1,64}" help:"Name of this process in logs and topics."`
	Partitions  int           `default:"8" min:"1" max:"1000" help:"Number of partitions; fixed when the store is first used."`
	StatusEvery time.Duration `default:"1s" min:"0s" max:"5s" help:"How often this process says its measures for status boards; 0: never."`
	LogLevel    string        `default:"info" enum:"debug,info,warn,error" help:"Least severe level that is logged."`
	LogFormat   string        `default:"json" enum:"json,text" help:"Format of the log."`
}

func (c *Common) common() *Common { return c }

// complete fills in what follows from other settings and refuses combinations
// that cannot work.
func (c *Common) complete(memory bool) error {
	if c.Store == "" {
		c.Store = defaultRedis
		if c.Bus.scheme("memory") || c.Bus.scheme("redis") || c.Bus.scheme("rediss") {
			c.Store = c.Bus
		}
	}
	for i, url := range []URL{c.Bus, c.Store} {
		name := []string{"PARLEY_BUS", "PARLEY_STORE"}[i]
		if !strings.Contains(string(url), "://") {
			return BadSetting(name, "%q is not of the form scheme://host", url)
		}
		if url.scheme("memory") && !memory {
			return BadSetting(name, "memory:// reaches nobody outside this process, so only the standalone program can use it; give a redis:// or nats:// address, such as %s", defaultRedis)
		}
	}
	if c.Store.scheme("memory") && !c.Bus.scheme("memory") {
		return BadSetting("PARLEY_STORE", "a memory store forgets what a lasting bus (%s) still holds; give the address of a Redis", c.Bus)
	}
	return nil
}

// hostname is the default of PARLEY_NODE: the machine's name in the alphabet
// that a node's name may have.
func hostname() string {
	name, _ := os.Hostname()
	name = strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', strings.ContainsRune("_.-", r):
			return r
		}
		return '-'
	}, name)
	if name == "" {
		return "node"
	}
	return name[:min(len(name), 64)]
}

// ConfigError says that a setting is wrong; the process ends with ExitConfig.
type ConfigError struct{ Err error }

// Error names the setting and what is allowed.
func (e *ConfigError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *ConfigError) Unwrap() error { return e.Err }

// BadSetting makes a ConfigError. setting is the environment variable's name;
// the rest says what is wrong with the value and what is allowed.
func BadSetting(setting, format string, args ...any) error {
	return &ConfigError{Err: fmt.Errorf(describe(setting)+": "+format, args...)}
}
