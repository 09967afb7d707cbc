package client_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"sync"

	"github.com/gorilla/websocket"
)

// toy is just enough of a server for the examples: one process, dev auth, every
// room in memory.
type toy struct {
	*httptest.Server
	mu    sync.Mutex
	logs  map[string][]map[string]any
	peers map[*websocket.Conn]map[string]bool // and the rooms each has joined
}

func newToy() *toy {
	s := &toy{logs: map[string][]map[string]any{}, peers: map[*websocket.Conn]map[string]bool{}}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, err := (&websocket.Upgrader{}).Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer ws.Close()
		s.serve(ws)
	}))
	return s
}

func (s *toy) serve(ws *websocket.Conn) {
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.peers, ws)
	}()
	user := ""
	for {
		_, message, err := ws.ReadMessage()
		if err != nil {
			return
		}
		for dec := json.NewDecoder(bytes.NewReader(message)); dec.More(); {
			var f map[string]any
			if dec.Decode(&f) != nil {
				return
			}
			if f["type"] == "hello" {
				user, _ = f["user"].(string)
			}
			s.mu.Lock()
			s.answer(ws, user, f)
			s.mu.Unlock()
		}
	}
}

// answer runs under mu.
func (s *toy) answer(ws *websocket.Conn, user string, f map[string]any) {
	room, _ := f["room"].(string)
	head := len(s.logs[room])
	reply := map[string]any{"type": "ok", "id": f["id"]}
	var event map[string]any
	switch f["type"] {
	case "hello":
		s.peers[ws] = map[string]bool{}
		reply = map[string]any{"type": "welcome", "id": f["id"], "session": "s_1", "user": user, "node": "toy", "ping_ms": 25000}
	case "join":
		s.peers[ws][room] = true
		after := head
		if last, ok := f["last"].(float64); ok {
			after = max(head-int(last), 0)
		}
		_ = ws.WriteJSON(map[string]any{"type": "joined", "id": f["id"], "room": room, "epoch": "e", "seq": head, "after": after, "floor": 1})
		for _, e := range s.logs[room][after:] {
			_ = ws.WriteJSON(e)
		}
		return
	case "leave":
		delete(s.peers[ws], room)
	case "send":
		event = map[string]any{"type": "message", "room": room, "seq": head + 1, "mid": "m", "from": user, "cid": f["cid"], "ts": 1, "body": f["body"]}
		s.logs[room] = append(s.logs[room], event)
		reply["room"], reply["seq"], reply["ts"] = room, head+1, 1
	case "typing", "signal":
		event = map[string]any{"type": f["type"], "room": room, "from": user, "body": f["body"]}
	case "history":
		reply = map[string]any{"type": "page", "id": f["id"], "entries": s.logs[room], "more": false, "floor": 1, "head": head, "epoch": "e"}
	case "presence":
		reply = map[string]any{"type": "presence", "id": f["id"], "users": []any{map[string]any{"user": user, "sessions": 1, "since": 1}}, "count": 1, "n": 1}
	}
	_ = ws.WriteJSON(reply)
	if event == nil {
		return
	}
	for peer, rooms := range s.peers {
		if rooms[room] {
			_ = peer.WriteJSON(event)
		}
	}
}
