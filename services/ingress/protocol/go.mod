module github.com/parley-chat/parley/services/ingress/protocol

go 1.26.0

require (
	github.com/gorilla/websocket v1.5.3
	go.uber.org/goleak v1.3.0
	pgregory.net/rapid v1.3.0
)
