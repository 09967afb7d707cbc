package bench

import (
	"fmt"
	"time"

	"github.com/parley-chat/parley/deploy/loadgen"
)

// growthStep is a point to be measured.
type growthStep struct {
	x        int
	system   System
	scenario loadgen.Scenario
}

// growthDimension is what to measure of a Dimension.
type growthDimension struct {
	name, held string
	perUnit    bool
	steps      []growthStep
}

// growthDimensions are what grows. The smaller load of quick fits a machine that is
// busy otherwise; the ends of the ranges are the same.
func growthDimensions(quick bool) []growthDimension {
	base := loadgen.Scenario{
		Name: "growth", Kind: loadgen.Messages, Body: 128,
		Settle: 5 * time.Second, WarmUp: 2 * time.Second, Measure: 10 * time.Second, Drain: 10 * time.Second,
	}
	deliveries := 20_000.0
	pick := func(quick, full []int) []int { return full }
	if quick {
		base.Settle, base.WarmUp, base.Measure = 2*time.Second, time.Second, 4*time.Second
		deliveries = 5000
		pick = func(quick, full []int) []int { return quick }
	}
	const users = 10_000
	dimension := func(name, held string, values []int, of func(x int) (System, loadgen.Scenario)) growthDimension {
		d := growthDimension{name: name, held: held}
		for _, x := range values {
			system, s := of(x)
			d.steps = append(d.steps, growthStep{x, system, s})
		}
		return d
	}
	of := func(rooms, members int, rate float64) loadgen.Scenario {
		s := base
		s.Rooms, s.Members, s.Rate = rooms, members, rate
		return s
	}
	bodies := dimension("bytes of a body", "100 rooms of 10, 200 messages/s",
		pick([]int{64, 1024, 4096, 16_384}, []int{64, 256, 1024, 4096, 16_384}), func(x int) (System, loadgen.Scenario) {
			s := of(100, 10, 200)
			s.Body = x
			return Parley(2), s
		})
	bodies.perUnit = true
	return []growthDimension{
		dimension("members per room", fmt.Sprintf("%s connections, %s deliveries/s", number(users), number(deliveries)),
			[]int{10, 100, 1000, 10_000}, func(x int) (System, loadgen.Scenario) {
				return Parley(2), of(users/x, x, deliveries/float64(x))
			}),
		dimension("rooms", "one member each, 500 messages/s",
			[]int{10, 100, 1000, 10_000}, func(x int) (System, loadgen.Scenario) {
				return Parley(2), of(x, 1, 500)
			}),
		dimension("connections", "one edge, rooms of 100, 5,000 deliveries/s",
			pick([]int{1000, 4000, 18_000}, []int{1000, 2000, 5000, 10_000, 18_000}), func(x int) (System, loadgen.Scenario) {
				return Parley(1), of(x/100, 100, 50)
			}),
		dimension("edges", "4,000 connections in rooms of 100, 5,000 deliveries/s",
			[]int{1, 2, 4}, func(x int) (System, loadgen.Scenario) {
				return Parley(x), of(40, 100, 50)
			}),
		dimension("partitions", "200 rooms of 10, 500 messages/s",
			pick([]int{1, 4, 8, 32}, []int{1, 2, 4, 8, 16, 32}), func(x int) (System, loadgen.Scenario) {
				return Parley(2).With(fmt.Sprintf("PARLEY_PARTITIONS=%d", x)), of(200, 10, 500)
			}),
		bodies,
	}
}
