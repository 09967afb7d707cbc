package client_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/parley-chat/parley/services/ingress/protocol"
	"github.com/parley-chat/parley/services/ingress/protocol/client"
)

// enter connects to a server and joins a room there, and ends both.
func enter(ctx context.Context, act func(c *client.Client, room *client.Room)) {
	server := newToy()
	defer server.Close()
	c, err := client.Dial(ctx, client.Config{URLs: []string{server.URL}, User: "alice"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	room, err := c.Join(ctx, "general", client.JoinOptions{})
	if err != nil {
		fmt.Println(err)
		return
	}
	act(c, room)
}

// A program that greets a room and prints what comes, over any number of
// reconnects, deploys and crashes of the servers.
func Example() {
	ctx := context.Background()
	server := newToy() // in real life: wss://chat.example.org
	defer server.Close()

	c, err := client.Dial(ctx, client.Config{URLs: []string{server.URL}, User: "alice", Agent: "example"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	room, err := c.Join(ctx, "general", client.JoinOptions{Last: 20})
	if err != nil {
		fmt.Println(err)
		return
	}
	ack, err := room.Send(ctx, map[string]string{"text": "hello"})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("written as", ack.Seq)

	for {
		event, err := room.Next(ctx)
		if err != nil {
			fmt.Println(err) // the room is over: errors.Is ErrClosed or ErrLeft, or a *protocol.Error
			return
		}
		switch event.Type {
		case protocol.TypeMessage:
			fmt.Printf("%d %s: %s\n", event.Seq, event.From, event.Body)
			return // a real one goes on
		case protocol.TypeGap:
			fmt.Printf("%d to %d are no longer kept\n", event.Gap.From, event.Gap.To)
		case protocol.TypeReset:
			fmt.Printf("what came after %d is void\n", event.Seq)
		}
	}
	// Output:
	// written as 1
	// 1 alice: {"text":"hello"}
}

// Where servers want a token, Token is asked for a fresh one whenever one is
// needed; OnStatus hears how the connection does.
func ExampleDial() {
	ctx := context.Background()
	server := newToy()
	defer server.Close()
	c, err := client.Dial(ctx, client.Config{
		URLs:     []string{server.URL},
		Token:    func(ctx context.Context) (string, error) { return "a JWT of your identity provider", nil },
		OnStatus: func(s client.Status) { fmt.Println(s.State) },
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	c.Close()
	// Output:
	// connecting
	// open
	// closed
}

// A room may be handled by a function instead of a loop around Next.
func ExampleClient_Join() {
	ctx := context.Background()
	enter(ctx, func(c *client.Client, _ *client.Room) {
		heard := make(chan string)
		room, err := c.Join(ctx, "news", client.JoinOptions{OnEvent: func(e protocol.Frame) { heard <- string(e.Body) }})
		if err != nil {
			fmt.Println(err)
			return
		}
		if _, err := room.Send(ctx, "it works"); err != nil {
			fmt.Println(err)
		}
		fmt.Println(room.Name(), <-heard, room.Joined().Floor)
	})
	// Output: news "it works" 1
}

// Errors of the server's carry a published code; the outcome of a send that
// was given up is unknown, so it is tried again under the same cid.
func ExampleRoom_Send() {
	post := func(room *client.Room, order string) error {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		_, err := room.Send(ctx, map[string]string{"order": order}, client.WithCID("order-"+order))
		var refused *protocol.Error
		switch {
		case errors.As(err, &refused) && refused.Code == protocol.Forbidden:
			return fmt.Errorf("not a member: %w", err)
		case errors.Is(err, client.ErrMaybeSent):
			return fmt.Errorf("look whether %s has arrived: %w", order, err)
		case errors.Is(err, context.DeadlineExceeded):
			return fmt.Errorf("unknown whether it was written, call again: %w", err)
		}
		return err
	}
	enter(context.Background(), func(_ *client.Client, room *client.Room) { fmt.Println(post(room, "42")) })
	// Output: <nil>
}

// A program that is started again goes on where it had read to.
func ExampleRoom_Next() {
	ctx := context.Background()
	enter(ctx, func(c *client.Client, room *client.Room) {
		for _, text := range []string{"one", "two"} {
			if _, err := room.Send(ctx, text); err != nil {
				fmt.Println(err)
			}
		}
		event, err := room.Next(ctx)
		fmt.Println(event.Seq, string(event.Body), err)
		fmt.Println("to be kept:", room.Cursor().Seq, "and given to JoinOptions.Since")
	})
	// Output:
	// 1 "one" <nil>
	// to be kept: 1 and given to JoinOptions.Since
}

// Typing and signals are for whoever is there; nothing of them is kept.
func ExampleRoom_Signal() {
	ctx := context.Background()
	enter(ctx, func(_ *client.Client, room *client.Room) {
		fmt.Println(room.Typing(ctx))
		event, _ := room.Next(ctx)
		fmt.Println(event.Type, event.From)
		fmt.Println(room.Signal(ctx, map[string]int{"x": 12, "y": 40}))
		event, _ = room.Next(ctx)
		fmt.Println(event.Type, string(event.Body))
	})
	// Output:
	// <nil>
	// typing alice
	// <nil>
	// signal {"x":12,"y":40}
}

// What waits in a room that is left fails, and its events end.
func ExampleRoom_Leave() {
	ctx := context.Background()
	enter(ctx, func(_ *client.Client, room *client.Room) {
		fmt.Println(room.Leave(ctx))
		_, err := room.Next(ctx)
		fmt.Println(errors.Is(err, client.ErrLeft))
	})
	// Output:
	// <nil>
	// true
}

// The log of a room, backwards from its end, a page at a time.
func ExampleClient_History() {
	ctx := context.Background()
	enter(ctx, func(c *client.Client, room *client.Room) {
		if _, err := room.Send(ctx, "hello"); err != nil {
			fmt.Println(err)
		}
		var before *uint64
		for {
			page, err := c.History(ctx, "general", client.HistoryQuery{Before: before, Limit: 100})
			if err != nil {
				fmt.Println(err)
				return
			}
			for _, e := range page.Entries {
				fmt.Println(e.Seq, e.From, string(e.Body))
			}
			if !page.More {
				return
			}
			before = &page.Entries[0].Seq
		}
	})
	// Output: 1 alice "hello"
}

// Who is in a room, and where else a user is.
func ExampleClient_Presence() {
	ctx := context.Background()
	enter(ctx, func(c *client.Client, _ *client.Room) {
		here, err := c.Presence(ctx, "general")
		fmt.Println(here.Count, here.Users[0].User, err)
		mine, err := c.PresenceUser(ctx, c.Status().User)
		fmt.Println(mine.Count, err)
	})
	// Output:
	// 1 alice <nil>
	// 1 <nil>
}

// A client with Config.Token does this by itself; who gives tokens out in
// another way hands a fresh one in.
func ExampleClient_Auth() {
	ctx := context.Background()
	enter(ctx, func(c *client.Client, _ *client.Room) { fmt.Println(c.Auth(ctx, "a fresh JWT of the same user")) })
	// Output: <nil>
}

// A test or a tool speaks the protocol by hand.
func ExampleConnect() {
	ctx := context.Background()
	server := newToy()
	defer server.Close()
	conn, err := client.Connect(ctx, server.URL, client.ConnConfig{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer conn.Close(protocol.CloseNormal, "")
	if err := conn.SendText(`{"type":"hello","id":1,"user":"alice"}`); err != nil {
		fmt.Println(err)
		return
	}
	welcome, err := conn.Receive(ctx)
	fmt.Println(welcome.Session, err)
	err = conn.Send(protocol.Request{Type: protocol.TypeJoin, ID: 2, Room: "general"})
	joined, _ := conn.Receive(ctx)
	fmt.Println(joined.Type, joined.Room, err)
	// Output:
	// s_1 <nil>
	// joined general <nil>
}
