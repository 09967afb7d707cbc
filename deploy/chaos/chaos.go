// Package chaos breaks a running Parley on purpose and checks that it keeps what
// docs/guarantees.md promises. A run starts a cluster of real processes, lets
// virtual users talk through it and write down everything they send and see, has a
// seeded nemesis break one thing after the other, and then holds the histories
// against the logs, invariant by invariant.
//
//	load ──sends──▶ edges … chat … notifier ──▶ load ──history.jsonl──▶ Checker ──▶ Report
//	                  ▲ nemesis: signals, Redis commands, the proxies between services and Redis
//
// The product has no hooks for this: faults are signals to processes by their id,
// commands to Redis, and what [Proxy] does to bytes.
package chaos
