package parley

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/parley-chat/parley/shared/bus"
	"github.com/parley-chat/parley/shared/event"
	"github.com/parley-chat/parley/shared/topic"
)

// part is one event with what it is filtered by.
type part struct {
	kind, room, user string
	value            any
}

// decode reads a message by the topic that it is, or was, on.
func decode(name string, s bus.Stored) (parts []part, err error) {
	switch {
	case strings.HasPrefix(name, topic.Commands().Name+"-"):
		var all []event.Command
		all, err = bus.Unpack[event.Command](s)
		for _, c := range all {
			parts = append(parts, part{c.Kind(), string(c.Room), string(c.User), c})
		}
	case strings.HasPrefix(name, topic.Events().Name+"-"):
		var all []event.Event
		all, err = bus.Unpack[event.Event](s)
		for _, e := range all {
			parts = append(parts, part{e.Kind(), string(e.Room), string(e.User), e})
		}
	case strings.HasPrefix(name, "deliveries-"):
		var all []event.Delivery
		all, err = bus.Unpack[event.Delivery](s)
		for _, d := range all {
			parts = append(parts, part{d.Kind(), string(d.Room), string(d.From), d})
		}
	default:
		err = fmt.Errorf("nobody knows what is on %s", name)
	}
	for i := range parts {
		if parts[i].kind == "" {
			parts[i].kind = "unknown"
		}
	}
	return parts, err
}

// json is the event, without what people wrote unless asked for.
func (p part) json(bodies bool) json.RawMessage {
	raw, err := json.Marshal(p.value)
	if err != nil {
		return nil
	}
	if bodies {
		return raw
	}
	var tree any
	if json.Unmarshal(raw, &tree) != nil {
		return nil
	}
	hide(tree)
	raw, _ = json.Marshal(tree)
	return raw
}

// hide replaces every body by its length.
func hide(tree any) {
	switch v := tree.(type) {
	case map[string]any:
		for k, inner := range v {
			if k == "body" {
				raw, _ := json.Marshal(inner)
				v[k] = fmt.Sprintf("%d bytes", len(raw))
				continue
			}
			hide(inner)
		}
	case []any:
		for _, inner := range v {
			hide(inner)
		}
	}
}
