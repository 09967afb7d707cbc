package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/parley-chat/parley/services/ingress/protocol"
	"github.com/parley-chat/parley/services/ingress/protocol/client"
)

// A program that greets a room and prints what comes, over any number of
// reconnects, deploys and crashes of the servers.
func Example() {
	ctx := context.Background()
	c, err := client.Dial(ctx, client.Config{
		URLs:  []string{"wss://chat.example.org"},
		Token: func(ctx context.Context) (string, error) { return "a JWT of your identity provider", nil },
		Agent: "example",
	})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	room, err := c.Join(ctx, "general", client.JoinOptions{Last: 20})
	if err != nil {
		log.Fatal(err)
	}
	ack, err := room.Send(ctx, map[string]string{"text": "hello"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("written as", ack.Seq)

	for {
		event, err := room.Next(ctx)
		if err != nil {
			log.Fatal(err) // the room is over: errors.Is ErrClosed or ErrLeft, or a *protocol.Error
		}
		switch event.Type {
		case protocol.TypeMessage:
			fmt.Printf("%d %s: %s\n", event.Seq, event.From, event.Body)
		case protocol.TypeGap:
			fmt.Printf("%d to %d are no longer kept\n", event.Gap.From, event.Gap.To)
		case protocol.TypeReset:
			fmt.Printf("what came after %d is void\n", event.Seq)
		}
	}
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
		case errors.Is(err, context.DeadlineExceeded):
			return fmt.Errorf("unknown whether it was written, call again: %w", err)
		}
		return err
	}
	_ = post
}

// A test or a tool speaks the protocol by hand.
func ExampleConnect() {
	ctx := context.Background()
	conn, err := client.Connect(ctx, "ws://127.0.0.1:8080", client.ConnConfig{})
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close(protocol.CloseNormal, "")
	if err := conn.SendText(`{"type":"hello","id":1,"user":"alice"}`); err != nil {
		log.Fatal(err)
	}
	welcome, err := conn.Receive(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(welcome.Session)
}
