package apitest

import (
	"bufio"
	"io"
	"net"
	"testing"
)

// Pipes is a listener on net.Pipe, which works within a synctest bubble.
type Pipes struct {
	Fail error // of Accept, at once

	conns  chan net.Conn
	Closed chan struct{}
}

// NewPipes makes one.
func NewPipes() *Pipes { return &Pipes{conns: make(chan net.Conn), Closed: make(chan struct{})} }

// Accept implements net.Listener.
func (p *Pipes) Accept() (net.Conn, error) {
	if p.Fail != nil {
		return nil, p.Fail
	}
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.Closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (p *Pipes) Close() error {
	close(p.Closed)
	return nil
}

// Addr implements net.Listener.
func (p *Pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipes", Net: "pipe"} }

// Dial connects to the server and gives what it sends.
func (p *Pipes) Dial(t *testing.T) (net.Conn, *bufio.Reader) {
	t.Helper()
	ours, theirs := net.Pipe()
	p.conns <- theirs
	t.Cleanup(func() { _ = ours.Close() })
	return ours, bufio.NewReader(ours)
}

// Send sends a text as it is.
func Send(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Errorf("send: %v", err)
	}
}

// BodyOf reads all of a body.
func BodyOf(t *testing.T, body io.Reader) string {
	t.Helper()
	data, err := io.ReadAll(body)
	if err != nil {
		t.Error(err)
	}
	return string(data)
}
