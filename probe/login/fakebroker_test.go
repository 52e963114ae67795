package login

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// fakeBroker is an AMQP 0-9-1 broker that does as little as a login and a round trip need, and misbehaves on
// demand. Each connection has one goroutine. It serves real sockets (newFakeBroker) and, for synctest, pipes
// (newPipeBroker and its Dial).
type fakeBroker struct {
	Addr string // host:port, where it listens

	// What clients did so far. The broker counts before it answers, so a client that has the answer has been
	// counted.
	Accepted atomic.Int64 // connections
	Logins   atomic.Int64 // connection.open
	Closed   atomic.Int64 // connection.close: polite ends

	script   atomic.Pointer[script]
	tls      atomic.Pointer[tls.Config] // nil: plain
	listener net.Listener
	done     chan struct{} // closed by Close
	conns    sync.WaitGroup

	mu      sync.Mutex
	open    map[net.Conn]struct{} // nil after Close
	startOK []byte                // arguments of the last connection.start-ok
}

// script says which answers differ from those of a healthy broker. Any other answer is the usual one.
type script map[answer]act

// answer is a moment at which the broker would say something.
type answer uint8

const (
	onAccept answer = iota // nothing is said yet: before TLS, and before the client's header is read
	onStart
	onTune
	onOpenOK
	onChannelOpenOK
	onDeclareOK
	onSelectOK
	onAck
	onConsumeOK
	onDeliver
	onCancelOK
	onDeleteOK
	onChannelCloseOK
	onCloseOK
)

// newFakeBroker listens on a free port of 127.0.0.1 until the test ends.
func newFakeBroker(tb testing.TB, s script) *fakeBroker {
	tb.Helper()
	b, err := listenFakeBroker("127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	b.setScript(s)
	tb.Cleanup(b.Close)
	return b
}

// newPipeBroker gives a broker that only its Dial reaches, without sockets: for synctest, inside the bubble. A pipe
// holds no bytes, so a client's write waits until the broker reads.
func newPipeBroker(tb testing.TB, s script) *fakeBroker {
	b := &fakeBroker{Addr: "pipe", done: make(chan struct{}), open: map[net.Conn]struct{}{}}
	b.setScript(s)
	tb.Cleanup(b.Close)
	return b
}

func listenFakeBroker(address string) (*fakeBroker, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	b := &fakeBroker{Addr: l.Addr().String(), listener: l, done: make(chan struct{}), open: map[net.Conn]struct{}{}}
	b.conns.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			b.start(conn)
		}
	})
	return b, nil
}

// setScript changes the answers to connections that come from now on.
func (b *fakeBroker) setScript(s script) { b.script.Store(&s) }

// setTLS makes connections that come from now on speak TLS.
func (b *fakeBroker) setTLS(c *tls.Config) { b.tls.Store(c) }

// Dial connects to a pipe broker. The address does not matter.
func (b *fakeBroker) Dial(context.Context, string, string) (net.Conn, error) {
	client, server := net.Pipe()
	if !b.start(server) {
		return nil, fmt.Errorf("dial %s: connection refused", b.Addr)
	}
	return client, nil
}

// Close ends every connection, wherever its script is, and waits for the goroutines.
func (b *fakeBroker) Close() {
	b.mu.Lock()
	open := b.open
	b.open = nil
	b.mu.Unlock()
	if open == nil {
		return
	}
	close(b.done)
	if b.listener != nil {
		b.listener.Close()
	}
	for conn := range open {
		conn.Close()
	}
	b.conns.Wait()
}

// StartOK gives the arguments of the last connection.start-ok as they came: client properties, mechanism, response,
// locale.
func (b *fakeBroker) StartOK() []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	return bytes.Clone(b.startOK)
}

// start serves conn in a goroutine of its own. It gives false if the broker is closed.
func (b *fakeBroker) start(conn net.Conn) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.open == nil {
		conn.Close()
		return false
	}
	b.open[conn] = struct{}{}
	b.Accepted.Add(1)
	b.conns.Go(func() {
		b.serve(conn)
		conn.Close()
		b.mu.Lock()
		delete(b.open, conn)
		b.mu.Unlock()
	})
	return true
}

var fakeReaders = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, 1024) }}

// fakeConn is the broker's end of one connection. It knows as much of a channel as a prober needs: one queue, one
// consumer.
type fakeConn struct {
	net.Conn          // TLS, if the broker has it
	raw      net.Conn // the socket or the pipe
	broker   *fakeBroker
	script   script
	r        *bufio.Reader
	frame    []byte // payload of the last frame, overwritten by the next

	confirming bool
	published  uint64 // messages so far
	delivered  uint64
	consumer   string   // its tag; "": nobody consumes
	header     []byte   // of the message that is coming in
	body       []byte   // what came of it
	missing    uint64   // what is still to come of it
	queue      [][]byte // messages that wait for a consumer: header, body, header, body
}

// serve answers one connection until it ends. The client must notice whatever goes wrong.
func (b *fakeBroker) serve(conn net.Conn) {
	c := &fakeConn{Conn: conn, raw: conn, broker: b, script: *b.script.Load()}
	if f := c.script[onAccept]; f != nil && f(c, nil) != nil {
		return
	}
	if config := b.tls.Load(); config != nil {
		t := tls.Server(conn, config)
		if t.Handshake() != nil {
			return
		}
		c.Conn = t
	}
	c.r = fakeReaders.Get().(*bufio.Reader)
	c.r.Reset(c.Conn)
	defer func() {
		c.r.Reset(nil)
		fakeReaders.Put(c.r)
	}()

	const header = "AMQP\x00\x00\x09\x01"
	got, err := c.r.Peek(len(header))
	if err != nil {
		return
	}
	if string(got) != header {
		io.WriteString(c.Conn, header) // as a real broker does, before it closes
		return
	}
	c.r.Discard(len(header))
	err = c.answer(onStart, fakeStart)
	for err == nil {
		err = c.next()
	}
}

// answer sends reply, or does what the script says instead.
func (c *fakeConn) answer(a answer, reply []byte) error {
	if f := c.script[a]; f != nil {
		return f(c, reply)
	}
	_, err := c.Write(reply)
	return err
}

// next reads one frame and answers it.
func (c *fakeConn) next() error {
	kind, channel, payload, err := c.readFrame()
	if err != nil {
		return err
	}
	switch kind {
	case 1:
		if len(payload) < 4 {
			return errors.New("method frame without a method")
		}
		return c.method(channel, binary.BigEndian.Uint32(payload), payload[4:])
	case 2:
		if len(payload) < 12 {
			return errors.New("short content header")
		}
		c.header, c.body = bytes.Clone(payload), nil
		c.missing = binary.BigEndian.Uint64(payload[4:])
	case 3:
		c.body = append(c.body, payload...)
		c.missing -= min(c.missing, uint64(len(payload)))
	default:
		return nil // a heartbeat
	}
	if c.missing > 0 {
		return nil
	}
	return c.publish(channel)
}

// readFrame returns the type, channel and payload of the next frame.
func (c *fakeConn) readFrame() (byte, uint16, []byte, error) {
	var head [7]byte
	if _, err := io.ReadFull(c.r, head[:]); err != nil {
		return 0, 0, nil, err
	}
	size := int(binary.BigEndian.Uint32(head[3:])) + 1
	if size > 1<<20 {
		return 0, 0, nil, fmt.Errorf("frame of %d bytes", size)
	}
	if cap(c.frame) < size {
		c.frame = make([]byte, size)
	}
	c.frame = c.frame[:size]
	if _, err := io.ReadFull(c.r, c.frame); err != nil {
		return 0, 0, nil, err
	}
	if c.frame[size-1] != frameEnd {
		return 0, 0, nil, errors.New("frame without its end")
	}
	return head[0], binary.BigEndian.Uint16(head[1:]), c.frame[:size-1], nil
}

// method answers one method. The names and numbers are those of the AMQP 0-9-1 specification.
func (c *fakeConn) method(channel uint16, id uint32, args []byte) error {
	switch id {
	case methodStartOK:
		c.broker.mu.Lock()
		c.broker.startOK = append(c.broker.startOK[:0], args...)
		c.broker.mu.Unlock()
		return c.answer(onTune, fakeTune)
	case methodTuneOK:
		return nil
	case methodOpen:
		c.broker.Logins.Add(1)
		return c.answer(onOpenOK, fakeOpenOK)
	case methodClose:
		c.broker.Closed.Add(1)
		if err := c.answer(onCloseOK, fakeCloseOK); err != nil {
			return err
		}
		return io.EOF // the broker closes its end first
	case methodChannelOpen:
		return c.answer(onChannelOpenOK, methodFrame(channel, methodChannelOpenOK, long("")))
	case methodChannelClose:
		return c.answer(onChannelCloseOK, methodFrame(channel, methodChannelCloseOK))
	case methodDeclare:
		name := shortAt(args, 2)
		if name == "" {
			name = "amq.gen-fake"
		}
		return c.answer(onDeclareOK, methodFrame(channel, methodDeclareOK, short(name), make([]byte, 8)))
	case methodDelete:
		return c.answer(onDeleteOK, methodFrame(channel, methodDeleteOK, make([]byte, 4)))
	case methodSelect:
		c.confirming = true
		return c.answer(onSelectOK, methodFrame(channel, methodSelectOK))
	case methodConsume:
		if c.consumer = shortAt(args, 3+len(shortAt(args, 2))); c.consumer == "" {
			c.consumer = "amq.ctag-fake"
		}
		if err := c.answer(onConsumeOK, methodFrame(channel, methodConsumeOK, short(c.consumer))); err != nil {
			return err
		}
		return c.deliver(channel)
	case methodCancel:
		c.consumer = ""
		return c.answer(onCancelOK, methodFrame(channel, methodCancelOK, short(shortAt(args, 0))))
	case methodCloseOK:
		return io.EOF
	default:
		return nil // basic.publish, whose content follows, and basic.ack
	}
}

// publish takes in a message that has arrived whole.
func (c *fakeConn) publish(channel uint16) error {
	c.published++
	c.queue = append(c.queue, c.header, c.body)
	c.header, c.body = nil, nil
	if c.confirming {
		if err := c.answer(onAck, methodFrame(channel, methodAck, number(8, c.published), []byte{0})); err != nil {
			return err
		}
	}
	return c.deliver(channel)
}

// deliver hands out what waits in the queue, if there is a consumer.
func (c *fakeConn) deliver(channel uint16) error {
	if c.consumer == "" {
		return nil
	}
	for len(c.queue) > 0 {
		header, body := c.queue[0], c.queue[1]
		c.queue = c.queue[2:]
		c.delivered++
		reply := methodFrame(channel, methodDeliver, short(c.consumer), number(8, c.delivered),
			[]byte{0}, short(""), short("amq.gen-fake"))
		reply = append(reply, fakeFrame(2, channel, header)...)
		if len(body) > 0 {
			reply = append(reply, fakeFrame(3, channel, body)...)
		}
		if err := c.answer(onDeliver, reply); err != nil {
			return err
		}
	}
	return nil
}

// wait lets d pass, unless the broker is closed first.
func (c *fakeConn) wait(d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-c.broker.done:
		return net.ErrClosed
	}
}
