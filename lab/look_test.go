package lab

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// What look can see of a node.
const (
	healthy    = "healthy"
	refused    = "connection refused"
	noConnect  = "connecting times out"
	noGreeting = "no greeting"
	noLogin    = "greeting, then silence"
	noDeclare  = "login, then no declare"
	blocked    = "publishing blocked"
	closed     = "closed by the broker"
	badLogin   = "403"
	notAllowed = "530"
	internal   = "541"
)

// plain has the broker refuse a password at once. The library replaces the capabilities in Config.Properties by its
// own, which leave that one out, but only then asks for the password.
type plain struct {
	amqp.PlainAuth
	properties amqp.Table
}

func (p *plain) Response() string {
	p.properties["capabilities"].(amqp.Table)["authentication_failure_close"] = true
	return p.PlainAuth.Response()
}

// counted counts what was read.
type counted struct {
	net.Conn
	read atomic.Int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.read.Add(int64(n))
	return n, err
}

// look logs in to a node, declares a queue and publishes to it, and says how far it came within patience.
func look(t *testing.T, l *Lab, name string, patience time.Duration) string {
	t.Helper()
	n, err := l.Node(name)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var d net.Dialer
	var timeout net.Error
	socket, err := d.DialContext(ctx, "tcp", n.Address)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return refused
	case errors.As(err, &timeout) && timeout.Timeout():
		return noConnect
	case err != nil:
		return err.Error()
	}
	defer socket.Close()
	defer context.AfterFunc(ctx, func() { _ = socket.Close() })()
	user, password := l.Credentials()
	conn := &counted{Conn: socket}
	properties := amqp.Table{"product": "lab test"} // of an empty one the library makes its own
	ac, err := amqp.Open(conn, amqp.Config{
		SASL:       []amqp.Authentication{&plain{amqp.PlainAuth{Username: user, Password: password}, properties}},
		Vhost:      "/",
		Properties: properties,
	})
	var refusal *amqp.Error
	switch {
	case err == nil:
	case ctx.Err() != nil && conn.read.Load() == 0:
		return noGreeting
	case ctx.Err() != nil:
		return noLogin
	case errors.As(err, &refusal) && refusal.Server:
		return map[int]string{403: badLogin, 530: notAllowed, 541: internal}[refusal.Code]
	default:
		return closed
	}
	defer ac.Close()
	return lookFurther(ctx, ac)
}

func lookFurther(ctx context.Context, ac *amqp.Connection) string {
	stopped := ac.NotifyBlocked(make(chan amqp.Blocking, 1))
	ch, err := ac.Channel()
	if err != nil {
		return "no channel"
	}
	q, err := ch.QueueDeclare("", false, true, true, false, nil)
	if err != nil {
		return noDeclare
	}
	if err := ch.Confirm(false); err != nil {
		return "no confirm mode"
	}
	confirm, err := ch.PublishWithDeferredConfirmWithContext(ctx, "", q.Name, false, false, amqp.Publishing{Body: []byte("x")})
	if err != nil {
		return "no publish"
	}
	select {
	case <-stopped:
		return blocked
	case <-confirm.Done():
		return healthy
	case <-ctx.Done():
		return "no confirm"
	}
}
