package asyncapi

import (
	"reflect"
	"strings"

	"github.com/parley-chat/parley/shared/bus"
	"github.com/parley-chat/parley/shared/event"
	"github.com/parley-chat/parley/shared/topic"
)

// family is one kind of what travels on the bus, with its topic.
type family struct {
	name, address, about string
	parameter            object
	shape                reflect.Type
	sender, receiver     string
}

var partitionParameter = object{{"partition", object{{"description", "Two digits or more: FNV-1a64 of the key modulo PARLEY_PARTITIONS."}}}}

// families are in flow order.
func families() []family {
	return []family{
		{"command", topic.Commands().Name + "-{partition}", "What edges ask of chat, keyed by room or user.",
			partitionParameter, reflect.TypeFor[event.Command](), "ingress", topic.Chat},
		{"event", topic.Events().Name + "-{partition}", "What chat says, keyed as the command that caused it.",
			partitionParameter, reflect.TypeFor[event.Event](), topic.Chat, topic.Notifier},
		{"delivery", topic.Deliveries("{node}").Name, "What the notifier says to one life of an edge.",
			object{{"node", object{{"description", "One life of an edge: PARLEY_NODE and a random tag."}}}}, reflect.TypeFor[event.Delivery](), topic.Notifier, "ingress"},
		{"finding", topic.Traces("{trace}").Name, "What the hops know of a message that an operator traces.",
			object{{"trace", object{{"description", "Chosen by who asks."}}}}, reflect.TypeFor[event.Finding](), "every service", topic.Operator},
	}
}

// busDocument is docs/asyncapi/bus.yaml. doc gives the sentence that stands over a
// type in shared/event.
func busDocument(doc func(string) string) object {
	s := &schemas{byName: map[string]object{}, doc: doc}
	channels, operations, messages := object{}, object{}, object{}
	for _, f := range families() {
		var names object
		for _, k := range kinds(f.shape) {
			key := f.name + "." + k.name
			names = append(names, field{k.name, ref("#/components/messages/" + key)})
			messages = append(messages, field{key, f.message(s, k)})
		}
		channels = append(channels, field{f.name, object{
			{"address", f.address}, {"description", f.about}, {"parameters", f.parameter}, {"messages", names},
		}})
		operations = append(operations,
			field{"send." + f.name, object{{"action", "send"}, {"channel", ref("#/channels/" + f.name)}, {"summary", f.sender + " publishes."}}},
			field{"receive." + f.name, object{{"action", "receive"}, {"channel", ref("#/channels/" + f.name)}, {"summary", f.receiver + " reads."}}})
	}
	channels = append(channels, field{"deadLetters", object{{"address", bus.DeadLetters},
		{"description", "What could not be consumed: the payload as it was, with dead_topic, dead_group, dead_reason and dead_at. Nobody reads it but people."}}})
	return object{
		{"asyncapi", version},
		{"info", object{{"title", "Parley on the bus"}, {"version", "1"},
			{"description", "What the services say to each other over the broker. A bus message is a batch: a CBOR array (RFC 8949) of the values below, " +
				"whose fields go by these names. Each value has exactly one part set, which is its kind; readers skip kinds and ignore fields that they do not know. " +
				"Made from the types in shared/event."},
			{"license", object{{"name", "Apache-2.0"}}}}},
		{"defaultContentType", "application/cbor"},
		{"channels", channels},
		{"operations", operations},
		{"components", object{{"messages", messages}, {"schemas", s.sorted()}, {"messageTraits", object{{"batch", batchTrait()}}}}},
	}
}

// kind is one part of a family's struct.
type kind struct {
	name string
	part reflect.Type
}

func kinds(shape reflect.Type) (all []kind) {
	for i := range shape.NumField() {
		if f := shape.Field(i); f.Type.Kind() == reflect.Pointer {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			all = append(all, kind{name, f.Type.Elem()})
		}
	}
	return all
}

// message is a family's value with one part: what all parts share, and that one.
func (f family) message(s *schemas, k kind) object {
	others := map[string]bool{}
	for _, other := range kinds(f.shape) {
		others[other.name] = other.name != k.name
	}
	payload := s.structure(f.shape, func(name string) bool { return !others[name] })
	for i := range payload {
		if required, is := payload[i].value.([]string); is {
			payload[i].value = append(required, k.name)
		}
	}
	message := object{{"name", k.name}}
	if doc := s.doc(k.part.Name()); doc != "" {
		message = append(message, field{"summary", doc})
	}
	return append(message, field{"payload", payload}, field{"traits", []object{ref("#/components/messageTraits/batch")}})
}

// batchTrait is the metadata of every bus message, as shared/bus/header.go writes it.
func batchTrait() object {
	text := func(about string) object { return object{{"type", "string"}, {"description", about}} }
	return object{{"headers", object{{"type", "object"}, {"properties", object{
		{"schema", text("Version of the encoding.")},
		{"scope", text("The role that speaks: an edge's node, chat-03, notifier-03.")},
		{"generation", text("Of the scope's present holder; a higher one overtakes.")},
		{"life", text("Of one writer on one topic: its numbers count from 1.")},
		{"number", text("Counts up by one, so that readers see what is missing.")},
		{"count", text("Of values in the batch; 0: a repeat of the last number.")},
		{"traceparent", text("W3C trace context of the batch's first value.")},
	}}}}}
}
