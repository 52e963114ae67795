package httpapi_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/cjworkbench/unstuck/httpapi"
	"github.com/cjworkbench/unstuck/httpapi/apitest"
)

// dialFrom connects from an address of loopback.
func dialFrom(t *testing.T, from, to string) net.Conn {
	t.Helper()
	c, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}).DialContext(t.Context(), "tcp", to)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// readFrom has somebody who is known read, over a connection of their own.
func readFrom(t *testing.T, from, to string) (status int, err error) {
	t.Helper()
	c := dialFrom(t, from, to)
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, "GET /api/v1/targets HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer token-of-ada\r\n\r\n"); err != nil {
		return 0, err
	}
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return 0, err
	}
	return r.StatusCode, r.Body.Close()
}

func TestServeAnswersTheKnownWhileStrangersHoldMoreConnectionsThanThereMayBe(t *testing.T) {
	s := newSite()
	op := apitest.Running()
	s.releases.Put(op)
	address := listening(t, s)
	stream := dialFrom(t, "127.0.0.2", address)
	if _, err := io.WriteString(stream, "GET /api/v1/operations/"+op.ID+"/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer token-of-ada\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	events := bufio.NewReader(stream)
	if r, err := http.ReadResponse(events, nil); err != nil || r.StatusCode != 200 {
		t.Fatalf("%v, %v", r, err)
	}
	held := map[string]string{
		"nothing": "", "half a head": "GET / HTTP/1.1\r\nX-A: " + strings.Repeat("a", 8000),
		"half a form": "POST /status/sign-in HTTP/1.1\r\nHost: x\r\nContent-Length: 65000\r\n\r\ntoken=a",
		"idle":        "GET /api/v1/openapi.json HTTP/1.1\r\nHost: x\r\n\r\n",
	}
	for _, text := range held {
		for i := range httpapi.MaxConns/4 + 50 {
			c := dialFrom(t, fmt.Sprintf("127.0.0.%d", 2+i%8), address)
			if _, err := io.WriteString(c, text); err != nil {
				t.Logf("a stranger: %v", err) // they make way for each other
			}
		}
	}
	for _, from := range []string{"127.0.0.1", "127.0.0.2", "127.0.0.9"} {
		if status, err := readFrom(t, from, address); err != nil || status != 200 {
			t.Errorf("ada from %s: %d, %v", from, status, err)
		}
	}
	op.Version++
	s.releases.Put(op)
	if err := stream.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	for seen := 0; seen < 2; { // the operation as it was, and as it is now
		line, err := events.ReadString('\n')
		if err != nil {
			t.Fatalf("the stream of who is known was closed: %v", err)
		}
		if strings.HasPrefix(line, "event: operation") {
			seen++
		}
	}
}
