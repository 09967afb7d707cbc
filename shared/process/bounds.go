package process

import (
	"fmt"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kong"
)

// allowed says in words what a setting's tags allow; empty: anything.
func allowed(v *kong.Value) string {
	switch {
	case v.Enum != "":
		return strings.Join(strings.Split(v.Enum, ","), ", ")
	case v.Tag.Has("match"):
		return v.Tag.Get("match")
	case v.Tag.Has("min") && v.Tag.Has("max"):
		return v.Tag.Get("min") + " to " + v.Tag.Get("max")
	case v.Tag.Has("min"):
		return v.Tag.Get("min") + " or more"
	case v.Tag.Has("max"):
		return "at most " + v.Tag.Get("max")
	}
	return ""
}

// checkBounds holds a value against its tags min, max and match.
func checkBounds(v *kong.Value) error {
	if v.Tag.Has("match") {
		pattern, err := regexp.Compile("^(?:" + v.Tag.Get("match") + ")$")
		if err != nil {
			return fmt.Errorf("tag match: %w", err)
		}
		if text := v.Target.String(); !pattern.MatchString(text) {
			return fmt.Errorf("%q is not allowed: it must match %s", text, v.Tag.Get("match"))
		}
	}
	low, err := outside(v, "min", func(value, bound float64) bool { return value < bound })
	if err != nil {
		return err
	}
	high, err := outside(v, "max", func(value, bound float64) bool { return value > bound })
	if err != nil {
		return err
	}
	if low || high {
		return fmt.Errorf("%v is not allowed: it must be %s", v.Target.Interface(), allowed(v))
	}
	return nil
}

// outside compares a number or duration with the bound in a tag, if it has one.
func outside(v *kong.Value, tag string, beyond func(value, bound float64) bool) (bool, error) {
	if !v.Tag.Has(tag) {
		return false, nil
	}
	text := v.Tag.Get(tag)
	bound, err := strconv.ParseFloat(text, 64)
	if v.Target.Type() == reflect.TypeFor[time.Duration]() {
		var d time.Duration
		d, err = time.ParseDuration(text)
		bound = float64(d)
	}
	if err != nil {
		return false, fmt.Errorf("tag %s: %w", tag, err)
	}
	switch {
	case v.Target.CanInt():
		return beyond(float64(v.Target.Int()), bound), nil
	case v.Target.CanUint():
		return beyond(float64(v.Target.Uint()), bound), nil
	case v.Target.CanFloat():
		return beyond(v.Target.Float(), bound), nil
	}
	return false, fmt.Errorf("tag %s is for numbers and durations, not for %s", tag, v.Target.Type())
}
