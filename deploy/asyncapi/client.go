package asyncapi

import (
	"reflect"
	"slices"
	"strconv"

	"github.com/parley-chat/parley/services/ingress/protocol"
)

// request is a frame from the client.
type request struct {
	name, about      string
	required, others []string // besides type and id
	reply            string   // type of the frame that answers it; empty: none
}

// requests are all that a client may ask.
func requests() []request {
	return []request{
		{protocol.TypeHello, "The first frame, within 5 s; token, or in dev auth user; of an operator, admin. With rooms it resumes.", nil, []string{"token", "user", "admin", "resume", "rooms", "agent"}, protocol.TypeWelcome},
		{protocol.TypeAuth, "A fresh token for the same user, in place.", []string{"token"}, nil, protocol.TypeOK},
		{protocol.TypeJoin, "Subscribe to a room: from its head, since a cursor, or with its last entries.", []string{"room"}, []string{"since", "last"}, protocol.TypeJoined},
		{protocol.TypeLeave, "End a subscription.", []string{"room"}, nil, protocol.TypeOK},
		{protocol.TypeSend, "Post a message. The same cid again is the same message.", []string{"room", "body"}, []string{"cid", "since"}, protocol.TypeOK},
		{protocol.TypeHistory, "A page of entries before or after a seq; of the newest without either.", []string{"room"}, []string{"before", "after", "limit"}, protocol.TypePage},
		{protocol.TypePresence, "Who is in a room, or where a user is.", nil, []string{"room", "user"}, protocol.TypePresence},
		{protocol.TypeTyping, "I am typing; volatile.", []string{"room"}, nil, protocol.TypeOK},
		{protocol.TypeSignal, "Something volatile for whoever is in the room.", []string{"room", "body"}, nil, protocol.TypeOK},
		{protocol.TypePong, "Answers ping.", nil, nil, ""},
	}
}

// frame is one from the server, and the type that it is encoded from.
type frame struct {
	key, name, about string
	shape            reflect.Type // nil: it has nothing but its type
}

// frames are all that a server says. presence is two: with id a reply, else an event.
func frames() []frame {
	return []frame{
		{"", protocol.TypeWelcome, "The connection is open; joined or error follows for each of hello's rooms.", reflect.TypeFor[protocol.Welcome]()},
		{"", protocol.TypeJoined, "The subscription; entries follow from after + 1.", reflect.TypeFor[protocol.Joined]()},
		{"", protocol.TypeOK, "Done.", reflect.TypeFor[protocol.OK]()},
		{"", protocol.TypePage, "Entries of history, ascending.", reflect.TypeFor[protocol.Page]()},
		{"", protocol.TypeMessage, "An entry of the room's log.", reflect.TypeFor[protocol.Message]()},
		{"", protocol.TypeReset, "The log goes by a new epoch: what is held after seq is void.", reflect.TypeFor[protocol.Reset]()},
		{"", protocol.TypeGap, "These entries are no longer kept.", reflect.TypeFor[protocol.Gap]()},
		{"typingEvent", protocol.TypeTyping, "Somebody is typing; volatile.", reflect.TypeFor[protocol.Typing]()},
		{"signalEvent", protocol.TypeSignal, "Volatile.", reflect.TypeFor[protocol.Signal]()},
		{"presenceReply", protocol.TypePresence, "Answers presence.", reflect.TypeFor[protocol.Presence]()},
		{"presenceEvent", protocol.TypePresence, "Who came and went, or in a large room how many there are; at most once a second.", reflect.TypeFor[protocol.PresenceEvent]()},
		{"", protocol.TypeStatus, "Measures of processes, for operators in ~status; volatile.", reflect.TypeFor[protocol.Status]()},
		{"", protocol.TypePing, "Answer with pong.", nil},
		{"", protocol.TypeMigrate, "Open a new connection and resume there.", reflect.TypeFor[protocol.Migrate]()},
		{"", protocol.TypeError, "The request was not done.", reflect.TypeFor[protocol.Error]()},
	}
}

// errorCodes are the values of error's code; true: it comes with retry_after_ms.
func errorCodes() []protocol.Code {
	return []protocol.Code{protocol.BadRequest, protocol.Unauthorized, protocol.Forbidden, protocol.NotFound, protocol.Conflict,
		protocol.TooLarge, protocol.Limit, protocol.RateLimited, protocol.Unavailable, protocol.Internal}
}

// closeCodes are those that a server sends.
func closeCodes() []protocol.CloseCode {
	return []protocol.CloseCode{protocol.CloseNormal, protocol.CloseGoingAway, protocol.CloseBinary, protocol.CloseNotUTF8, protocol.ClosePolicy,
		protocol.CloseTooLarge, protocol.CloseRestart, protocol.CloseTryLater, protocol.CloseNoHello, protocol.CloseSlow, protocol.CloseNoLife,
		protocol.CloseUnauth, protocol.CloseExpired, protocol.CloseProtocol, protocol.CloseBanned, protocol.CloseSuperseded}
}

// clientDocument is docs/asyncapi/client.yaml.
func clientDocument(doc func(string) string) object {
	s := &schemas{byName: map[string]object{}, doc: doc}
	messages, sent, received, operations := object{}, object{}, object{}, object{}
	for _, r := range requests() {
		messages = append(messages, field{r.name, r.message(s)})
		sent = append(sent, field{r.name, ref("#/components/messages/" + r.name)})
		operation := object{{"action", "receive"}, {"channel", ref("#/channels/connection")}, {"summary", r.about},
			{"messages", []object{ref("#/channels/connection/messages/" + r.name)}}}
		if r.reply != "" {
			operation = append(operation, field{"reply", object{{"channel", ref("#/channels/connection")},
				{"messages", []object{ref("#/channels/connection/messages/" + replyKey(r.reply)), ref("#/channels/connection/messages/error")}}}})
		}
		operations = append(operations, field{r.name, operation})
	}
	for _, f := range frames() {
		messages = append(messages, field{f.id(), f.message(s)})
		received = append(received, field{f.id(), ref("#/components/messages/" + f.id())})
		operations = append(operations, field{"say." + f.id(), object{{"action", "send"}, {"channel", ref("#/channels/connection")}, {"summary", f.about},
			{"messages", []object{ref("#/channels/connection/messages/" + f.id())}}}})
	}
	return object{
		{"asyncapi", version},
		{"info", object{{"title", "Parley for clients"}, {"version", "1"},
			{"description", "JSON text frames over WebSocket; a frame holds one object, or several separated by line feeds. " +
				"docs/protocol.md says what they mean. Unknown fields are ignored. Made from the types in services/ingress/protocol."},
			{"license", object{{"name", "Apache-2.0"}}}}},
		{"defaultContentType", "application/json"},
		{"servers", object{{"edge", object{{"host", "127.0.0.1:8080"}, {"protocol", "ws"}, {"description", "Any edge, or the balancer in front of them."}}}}},
		{"channels", object{{"connection", object{{"address", protocol.Path}, {"messages", slices.Concat(sent, received)},
			{"bindings", object{{"ws", object{{"method", "GET"}, {"headers", object{{"type", "object"}, {"properties", object{
				{"Sec-WebSocket-Protocol", object{{"type", "string"}, {"const", protocol.Subprotocol}}}}}}}}}}},
			{"x-close-codes", closes()}}}}},
		{"operations", operations},
		{"components", object{{"messages", messages}, {"schemas", s.sorted()}}},
	}
}

// replyKey is the message key of a reply's type.
func replyKey(name string) string {
	if name == protocol.TypePresence {
		return "presenceReply"
	}
	return name
}

func (f frame) id() string {
	if f.key != "" {
		return f.key
	}
	return f.name
}

func (r request) message(s *schemas) object {
	keep := func(name string) bool {
		return name == "id" || slices.Contains(r.required, name) || slices.Contains(r.others, name)
	}
	properties, _ := s.properties(reflect.TypeFor[protocol.Request](), keep)
	payload := object{{"type", "object"}, {"properties", append(object{typeField(r.name)}, properties...)}, {"required", append([]string{"type"}, r.required...)}}
	return object{{"name", r.name}, {"summary", r.about}, {"payload", payload}}
}

func (f frame) message(s *schemas) object {
	properties, required := object{typeField(f.name)}, []string{"type"}
	if f.shape != nil {
		more, needed := s.properties(f.shape, func(string) bool { return true })
		properties, required = append(properties, more...), append(required, needed...)
	}
	if f.name == protocol.TypeError {
		for i := range properties {
			if properties[i].name == "code" {
				properties[i].value = object{{"type", "string"}, {"enum", errorCodes()}}
			}
		}
	}
	payload := object{{"type", "object"}, {"properties", properties}, {"required", required}}
	return object{{"name", f.name}, {"summary", f.about}, {"payload", payload}}
}

func typeField(name string) field {
	return field{"type", object{{"type", "string"}, {"const", name}}}
}

// closes is what each close code means, and what the client does then.
func closes() (all object) {
	for _, code := range closeCodes() {
		all = append(all, field{strconv.Itoa(int(code)), object{{"meaning", code.String()}, {"action", protocol.CloseAction(code).String()}}})
	}
	return all
}
