package login

import (
	"crypto/tls"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// fakeRoundtrip logs in with the library alone, and sends a message through a queue.
func fakeRoundtrip(t *testing.T, conn net.Conn) {
	t.Helper()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	ac, err := amqp.Open(conn, amqp.Config{SASL: []amqp.Authentication{&amqp.PlainAuth{Username: "u", Password: "p"}}, Vhost: "/"})
	check(err)
	ch, err := ac.Channel()
	check(err)
	check(ch.Confirm(false))
	q, err := ch.QueueDeclare("", false, true, true, false, nil)
	check(err)
	confirm, err := ch.PublishWithDeferredConfirm("", q.Name, true, false, amqp.Publishing{Body: []byte("hello"), MessageId: "1"})
	check(err)
	if acked, err := confirm.WaitContext(t.Context()); err != nil || !acked {
		t.Fatalf("confirm: %v, %v", acked, err)
	}
	deliveries, err := ch.Consume(q.Name, "me", true, true, false, false, nil)
	check(err)
	if d := <-deliveries; string(d.Body) != "hello" || d.MessageId != "1" {
		t.Fatalf("delivered %q with id %q", d.Body, d.MessageId)
	}
	check(ch.Cancel("me", false))
	_, err = ch.QueueDelete(q.Name, false, false, false)
	check(err)
	check(ch.Close())
	check(ac.Close())
}

func TestFakebrokerSelfServesARealClientOverTCPAndTLS(t *testing.T) {
	certs := newFakeCerts(t)
	plain, secure := newFakeBroker(t, nil), newFakeBroker(t, nil)
	secure.setTLS(&tls.Config{Certificates: []tls.Certificate{certs.Server}})

	conn, err := net.Dial("tcp", plain.Addr)
	if err != nil {
		t.Fatal(err)
	}
	fakeRoundtrip(t, conn)
	tlsConn, err := tls.Dial("tcp", secure.Addr, &tls.Config{RootCAs: certs.Pool})
	if err != nil {
		t.Fatal(err)
	}
	fakeRoundtrip(t, tlsConn)

	for _, b := range []*fakeBroker{plain, secure} {
		if b.Accepted.Load() != 1 || b.Logins.Load() != 1 || b.Closed.Load() != 1 {
			t.Errorf("counted %d connections, %d logins, %d closes; want 1 each", b.Accepted.Load(), b.Logins.Load(), b.Closed.Load())
		}
		if !strings.Contains(string(b.StartOK()), "connection.blocked") {
			t.Errorf("start-ok was %q", b.StartOK())
		}
	}
}

func TestFakebrokerSelfServesARealClientOverAPipe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newPipeBroker(t, nil)
		conn, err := b.Dial(t.Context(), "tcp", b.Addr)
		if err != nil {
			t.Fatal(err)
		}
		fakeRoundtrip(t, conn)
	})
}

func TestFakebrokerSelfMisbehavesAsItsScriptSays(t *testing.T) {
	for name, tt := range map[string]struct {
		act  act
		want string        // what comes instead of connection.start
		end  time.Duration // when the connection ends; 0: not within a minute
	}{
		"hang":           {hang, "", 0},
		"freeze":         {freeze, "", 0},
		"skip":           {skip, "", 0},
		"eof":            {eof, "", time.Nanosecond},
		"reset":          {reset, "", time.Nanosecond},
		"late eof":       {after(10*time.Second, eof), "", 10 * time.Second},
		"slow":           {after(10*time.Second, nil), string(fakeStart), 0},
		"garbage":        {sayAndClose(sayGarbage), string(sayGarbage), time.Nanosecond},
		"HTTP":           {sayAndClose(sayHTTP), string(sayHTTP), time.Nanosecond},
		"half an answer": {sayAndHang(fakeStart[:20]), string(fakeStart[:20]), 0},
		"heartbeats":     {hangBeating(25 * time.Second), string(fakeHeartbeat) + string(fakeHeartbeat), 0},
		"drip":           {drip(20 * time.Second), string(fakeStart[:2]), 0},
		"connection.close": {refuse(403, "no"), string(methodFrame(0, methodClose, []byte{1, 147}, short("no"),
			make([]byte, 4))), 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newPipeBroker(t, script{onStart: tt.act})
				conn, err := b.Dial(t.Context(), "tcp", b.Addr)
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				started := time.Now()
				conn.SetDeadline(started.Add(59 * time.Second))
				if _, err := io.WriteString(conn, "AMQP\x00\x00\x09\x01"); err != nil {
					t.Fatal(err)
				}
				got, err := io.ReadAll(conn)
				if string(got) != tt.want {
					t.Errorf("said %q, want %q", got, tt.want)
				}
				if ended := err == nil; ended != (tt.end > 0) {
					t.Errorf("ended: %v (%v), want %v", ended, err, tt.end > 0)
				}
				if took := time.Since(started); tt.end > time.Second && took != tt.end {
					t.Errorf("ended after %s, want %s", took, tt.end)
				}
			})
		})
	}
}
