package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// How the clients of a load behave.
const (
	clientHeartbeat  = 5 * time.Second  // a node that is silent for three of these is given up
	clientSetup      = 10 * time.Second // for a login, and for whatever comes before a client is at work
	clientStall      = 15 * time.Second // without any confirm: connect anew
	minClientBackoff = 500 * time.Millisecond
	maxClientBackoff = 5 * time.Second
	mostUnconfirmed  = 50
)

// client keeps one connection of a load.
type client struct {
	load *Load
	home int // the node that it is first connected to: an index
	work func(context.Context, *session) error
	kick chan struct{} // ends a wait

	pinned bool // it never tries another node

	mu    sync.Mutex
	at    int  // the node that it is connected to, or tries next
	ready bool // it has all that it needs
	hang  func()
}

// session is one connection of a client.
type session struct {
	conn    *amqp.Connection
	blocked chan amqp.Blocking
	closed  chan *amqp.Error
	hangUp  func()      // closes the socket
	timer   *time.Timer // does so if the client is not at work in time
	client  *client
}

func (c *client) where() (at int, ready bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at, c.ready
}

// goHome is true if the client is at work at home; otherwise it goes there.
func (c *client) goHome() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.at == c.home {
		if !c.ready {
			c.wake()
		}
		return c.ready
	}
	c.at, c.ready = c.home, false
	if c.hang != nil {
		c.hang()
	}
	c.wake()
	return false
}

func (c *client) wake() {
	select {
	case c.kick <- struct{}{}:
	default:
	}
}

// keep connects again and again until the load ends.
func (c *client) keep() {
	ctx, backoff := c.load.ctx, minClientBackoff
	for ctx.Err() == nil {
		at, _ := c.where()
		worked, err := c.once(ctx, at)
		if ctx.Err() != nil {
			return
		}
		c.load.reconnects.Add(1)
		c.load.lab.log.Debug("a client of the load lost its connection", "node", c.load.lab.nodes[at].name, "error", err)
		if worked {
			backoff = minClientBackoff
		}
		if c.leave(at) {
			continue // it was told to go elsewhere
		}
		timer := time.NewTimer(backoff)
		select {
		case <-ctx.Done():
		case <-c.kick:
		case <-timer.C:
		}
		timer.Stop()
		backoff = min(2*backoff, maxClientBackoff)
	}
}

// leave turns to the next node. It is true if another was chosen meanwhile.
func (c *client) leave(at int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ready, c.hang = false, nil
	if c.at != at {
		return true
	}
	if !c.pinned {
		c.at = (at + 1) % len(c.load.lab.nodes)
	}
	return false
}

// once opens a connection and works on it until it ends, and says whether the client came to work at all.
func (c *client) once(ctx context.Context, at int) (worked bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	l := c.load.lab
	d := net.Dialer{Timeout: clientSetup}
	socket, err := d.DialContext(ctx, "tcp", l.nodes[at].address())
	if err != nil {
		return false, fmt.Errorf("connect: %w", err)
	}
	defer socket.Close()
	// The library knows no contexts, and may wait for ever: closing the socket ends whatever it does.
	defer context.AfterFunc(ctx, func() { _ = socket.Close() })()
	c.mu.Lock()
	c.hang = cancel
	c.mu.Unlock()
	timer := time.AfterFunc(clientSetup, func() { _ = socket.Close() })
	defer timer.Stop()
	conn, err := amqp.Open(alert{socket}, amqp.Config{
		SASL:       []amqp.Authentication{&amqp.PlainAuth{Username: l.user, Password: l.pass}},
		Vhost:      "/",
		Heartbeat:  clientHeartbeat,
		Properties: amqp.Table{"connection_name": "unstuck lab load", "product": "unstuck"},
	})
	if err != nil {
		return false, fmt.Errorf("log in: %w", err)
	}
	s := &session{
		conn: conn, client: c, timer: timer, hangUp: func() { _ = socket.Close() },
		blocked: conn.NotifyBlocked(make(chan amqp.Blocking, 16)), closed: conn.NotifyClose(make(chan *amqp.Error, 1)),
	}
	err = c.work(ctx, s)
	_, worked = c.where()
	return worked, err
}

// alert is a socket that fails when nothing comes for three heartbeats. The library means to see to that, but clears
// its deadline after the login and sets no other before the next frame: a connection that idles would wait for a frozen
// node for ever.
type alert struct{ net.Conn }

func (a alert) Read(p []byte) (int, error) {
	if err := a.Conn.SetReadDeadline(time.Now().Add(3 * clientHeartbeat)); err != nil {
		return 0, err
	}
	return a.Conn.Read(p)
}

// SetReadDeadline is what the library must not do.
func (a alert) SetReadDeadline(time.Time) error { return nil }

// SetDeadline is likewise.
func (a alert) SetDeadline(time.Time) error { return nil }

// begin notes that the client is at work.
func (s *session) begin() error {
	if !s.timer.Stop() {
		return errors.New("too late")
	}
	s.client.mu.Lock()
	defer s.client.mu.Unlock()
	s.client.ready = true
	return nil
}

// ended is the error with which a connection ended.
func ended(err *amqp.Error) error {
	if err == nil {
		return errors.New("the connection ended")
	}
	return err
}

func idle(ctx context.Context, s *session) error {
	if err := s.begin(); err != nil {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-s.closed:
			return ended(err)
		case _, open := <-s.blocked: // which does not concern it, but somebody has to read that
			if !open {
				return ended(<-s.closed)
			}
		}
	}
}

// consumer reads and acknowledges what comes from a queue.
func (d *Load) consumer(q LoadQueue) func(context.Context, *session) error {
	return func(ctx context.Context, s *session) error {
		ch, err := s.conn.Channel()
		if err != nil {
			return fmt.Errorf("open a channel: %w", err)
		}
		if err := ch.Qos(mostUnconfirmed, 0, false); err != nil {
			return fmt.Errorf("set the prefetch: %w", err)
		}
		messages, err := ch.ConsumeWithContext(ctx, q.Name, "", false, false, false, false, nil)
		if err != nil {
			return fmt.Errorf("consume from %s: %w", q.Name, err)
		}
		if err := s.begin(); err != nil {
			return err
		}
		for {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case _, open := <-s.blocked:
				if !open {
					return ended(<-s.closed)
				}
			case m, ok := <-messages:
				if !ok {
					return fmt.Errorf("the consumer of %s was cancelled", q.Name)
				}
				if err := m.Ack(false); err != nil {
					return fmt.Errorf("acknowledge: %w", err)
				}
				d.consumed.Add(1)
			}
		}
	}
}

// publisher publishes to a queue, a message per interval, and waits for confirms before it has too many unconfirmed.
func (d *Load) publisher(q LoadQueue, interval time.Duration) func(context.Context, *session) error {
	return func(ctx context.Context, s *session) error {
		ch, err := s.conn.Channel()
		if err != nil {
			return fmt.Errorf("open a channel: %w", err)
		}
		if err := ch.Confirm(false); err != nil {
			return fmt.Errorf("ask for confirms: %w", err)
		}
		p := publishing{
			load: d, queue: q.Name, channel: ch, blocked: s.blocked,
			confirms: ch.NotifyPublish(make(chan amqp.Confirmation, 2*mostUnconfirmed)),
			gone:     ch.NotifyClose(make(chan *amqp.Error, 1)),
		}
		if err := s.begin(); err != nil {
			return err
		}
		return p.run(ctx, interval)
	}
}

// publishing is the work of one publisher on one connection.
type publishing struct {
	load     *Load
	queue    string
	channel  *amqp.Channel
	blocked  <-chan amqp.Blocking
	confirms <-chan amqp.Confirmation
	gone     <-chan *amqp.Error

	stopped     bool // by an alarm
	unconfirmed int
	progress    time.Time // when the last confirm came, or the first of the unconfirmed was sent
}

func (p *publishing) run(ctx context.Context, interval time.Duration) error {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-p.gone:
			return ended(err)
		case b, open := <-p.blocked:
			if !open {
				return ended(<-p.gone)
			}
			p.stopped, p.progress = b.Active, time.Now()
		case _, ok := <-p.confirms:
			if ok {
				p.unconfirmed--
				p.progress = time.Now()
				p.load.confirmed.Add(1)
			}
		case <-tick.C:
			if err := p.publish(ctx); err != nil {
				return err
			}
		}
	}
}

func (p *publishing) publish(ctx context.Context) error {
	if p.stopped {
		return nil
	}
	if p.unconfirmed > 0 && time.Since(p.progress) > clientStall {
		return fmt.Errorf("%d messages to %s unconfirmed for %v", p.unconfirmed, p.queue, clientStall)
	}
	if p.unconfirmed >= mostUnconfirmed {
		return nil
	}
	if p.unconfirmed == 0 {
		p.progress = time.Now()
	}
	err := p.channel.PublishWithContext(ctx, "", p.queue, false, false, amqp.Publishing{
		DeliveryMode: amqp.Persistent, Body: []byte("a message of the load"),
	})
	if err != nil {
		return fmt.Errorf("publish to %s: %w", p.queue, err)
	}
	p.unconfirmed++
	p.load.published.Add(1)
	return nil
}
