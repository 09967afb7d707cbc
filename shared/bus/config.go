package bus

import (
	"fmt"
	"log/slog"
	"regexp"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Config says how a Bus works. Timings and bounds that are zero have their defaults.
type Config struct {
	Partitions int                   // P, 1 … 1000; settled with the broker at the first start, another value refuses to run
	Name       string                // of this process, unique (service name + random tag): it holds leases and is a member of the groups
	Logger     *slog.Logger          // nil: nothing is logged
	Registry   prometheus.Registerer // nil: no metrics

	HighWater      int64         // unread bytes that a topic may hold; 64 MiB
	LeaseTTL       time.Duration // how long leases and announcements outlive their holder; 6 s
	GatherMax      time.Duration // how long a busy topic gathers before it publishes; 1 ms
	BatchEvents    int           // events in one bus message, at most; 256
	BatchBytes     int           // encoded bytes in one bus message, at most (a bigger event goes alone); 64 KiB
	BufferBytes    int           // what may wait before the broker, per writer and topic; 8 MiB
	Repeat         time.Duration // how often a quiet repeating writer repeats its last number; 3 s
	PublishTimeout time.Duration // how long a publish is tried; 5 s
	RetryLimit     int           // how often a failing batch is tried again before it is dead-lettered; 10
	StopTimeout    time.Duration // how long a graceful end waits for the batch in hand before its context ends; 5 s
}

// nameForm is what topics, groups, sets, members and processes may be called.
var nameForm = regexp.MustCompile(`^[A-Za-z0-9_.-]+$`)

func checkName(what, name string) error {
	if !nameForm.MatchString(name) {
		return fmt.Errorf("%s %q: a name has only letters, digits and _ . -", what, name)
	}
	return nil
}

func (c Config) withDefaults() (Config, error) {
	if c.Partitions < 1 || c.Partitions > 1000 {
		return c, fmt.Errorf("bus: PARLEY_PARTITIONS is %d: want 1 to 1000", c.Partitions)
	}
	if err := checkName("bus: process", c.Name); err != nil {
		return c, err
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	standard(&c.HighWater, 64<<20)
	standard(&c.LeaseTTL, LeaseTTL)
	standard(&c.GatherMax, time.Millisecond)
	standard(&c.BatchEvents, 256)
	standard(&c.BatchBytes, 64<<10)
	standard(&c.BufferBytes, 8<<20)
	standard(&c.Repeat, 3*time.Second)
	standard(&c.PublishTimeout, 5*time.Second)
	standard(&c.RetryLimit, 10)
	standard(&c.StopTimeout, 5*time.Second)
	return c, nil
}

func standard[N int | int64 | time.Duration](field *N, value N) {
	if *field <= 0 {
		*field = value
	}
}
