// Package login logs in to a node over AMQP, and reads from the frames how far the login came. What it says of a
// silence rests on the broker's own handshake timeout.
package login

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"net"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/cjworkbench/unstuck/probe"
	"github.com/cjworkbench/unstuck/target"
)

// Defaults of Options.
const (
	DefaultTimeout          = 12 * time.Second
	DefaultRoundtripTimeout = 20 * time.Second
	// DefaultHandshakeTimeout is RabbitMQ's own default of handshake_timeout.
	DefaultHandshakeTimeout = 10 * time.Second
)

// closeTimeout bounds the polite close of a connection that has told us everything we wanted to know.
const closeTimeout = 2 * time.Second

// Options say how to log in.
type Options struct {
	Level       probe.Kind // Login, the default, or Roundtrip
	Vhost       string
	Credentials func(context.Context) (target.Credentials, error)
	// External has the client's certificate say who we are (SASL EXTERNAL), and not the credentials.
	External bool
	// TLS gives the configuration for a login to a node; nil: plain AMQP. An empty ServerName stands for the host of
	// the address. An error says nothing about the node. See Trust.
	TLS func(context.Context, target.Node) (*tls.Config, error)

	// Timeout is the deadline of the login. It must be longer than HandshakeTimeout: a live broker ends an
	// unfinished login at its handshake timeout, and only a wedged broker stays silent beyond. Silence until a
	// shorter deadline is Cancelled, and proves nothing. A login that makes late progress has longer (see
	// deadline), but never twice Timeout.
	Timeout          time.Duration
	HandshakeTimeout time.Duration // the broker's own handshake_timeout

	// Handshake, if not nil, gives a node's own handshake timeout if that is known, and otherwise the configured
	// one; see Handshakes. The answer may come while the login waits.
	Handshake func(n target.Node, configured time.Duration) time.Duration

	// Silent, if not nil, is called once for a login in which the broker owes an answer and has been silent for
	// three seconds. That is long before the deadline can tell more, so the caller can look for evidence meanwhile.
	// Silent must not block.
	Silent func(n target.Node)

	Name    string // connection_name, by which operators tell the probe; default "unstuck"
	Version string // our version
	Dial    func(ctx context.Context, network, address string) (net.Conn, error)
}

func (o Options) withDefaults() Options {
	if o.Level == "" {
		o.Level = probe.Login
	}
	if o.Timeout == 0 {
		o.Timeout = DefaultTimeout
		if o.Level == probe.Roundtrip {
			o.Timeout = DefaultRoundtripTimeout
		}
	}
	if o.HandshakeTimeout == 0 {
		o.HandshakeTimeout = DefaultHandshakeTimeout
	}
	if o.Name == "" {
		o.Name = "unstuck"
	}
	if o.Dial == nil {
		o.Dial = (&net.Dialer{KeepAlive: -1}).DialContext
	}
	return o
}

// New gives a probe that logs in to a node up to open-ok. At level Roundtrip the probe goes on until a message
// of its own has come back through a queue of its own.
func New(o Options) func(context.Context, target.Node) probe.Result {
	return o.withDefaults().probe
}

func (o Options) probe(parent context.Context, n target.Node) probe.Result {
	l := &login{Options: o, node: n, parent: parent, started: time.Now(), frames: &frames{afterOpen: probe.StageClose}}
	if o.Level == probe.Roundtrip {
		l.frames.afterOpen = probe.StageChannel
	}
	r := probe.Result{Target: n.Target, Node: n.Name, UID: n.UID, NodeStarted: n.Started, Kind: o.Level}
	if r.Reason, r.Detail = l.prepare(); r.Reason == probe.OK {
		l.started = time.Now()
		r.Reason, r.Detail = l.timed(n.Address)
	}
	r.Detail = redact(r.Detail, l.creds.Password) // a broker may say anything
	r.Started, r.Took, r.NoAnswer = l.started, time.Since(l.started), l.noAnswer
	r.Certificate = l.certificate
	l.frames.mu.Lock()
	r.Stage, r.Stages = l.frames.stage, l.frames.times
	l.frames.mu.Unlock()
	return r
}

// login is one attempt.
type login struct {
	Options

	node      target.Node
	parent    context.Context
	started   time.Time // when the login's clock started
	timer     *time.Timer
	creds     target.Credentials
	secure    *tls.Config // nil: plain
	frames    *frames
	connected time.Time // when TCP was up

	end      sync.Once // ends the socket, at the deadline
	raw      net.Conn
	noAnswer bool // connecting timed out
	noCert   bool // the broker asked for a client certificate, and we have none
	asked    bool // it asked for one, and we have one
	// certificate is that which the node presented, whether we trust it or not; nil: it presented none.
	certificate *probe.Validity

	unread  bool // at the deadline an answer lay in our own kernel
	unacked bool // at the deadline the other side's kernel had not even acknowledged what we sent
}

// prepare reads the credentials and the certificates before the login's clock starts: the time for that says nothing
// about the node.
func (l *login) prepare() (probe.Reason, string) {
	ctx, cancel := context.WithTimeout(l.parent, credentialsTimeout)
	defer cancel()
	var err error
	if l.creds, err = l.Credentials(ctx); err != nil {
		return l.unprepared("credentials", err)
	}
	if l.TLS != nil {
		if l.secure, err = l.TLS(ctx, l.node); err != nil {
			return l.unprepared("TLS", err)
		}
	}
	return probe.OK, ""
}

func (l *login) unprepared(what string, err error) (probe.Reason, string) {
	if l.parent.Err() != nil {
		return probe.Cancelled, "stopped while reading the " + what
	}
	return probe.NotRun, what + ": " + clean(err.Error())
}

// timed attempts the login until its deadline.
func (l *login) timed(address string) (probe.Reason, string) {
	ctx, cancel := context.WithCancel(l.parent)
	defer cancel()
	defer l.watch(cancel)()
	return l.run(ctx, address)
}

// run attempts the login and closes what it opened.
func (l *login) run(ctx context.Context, address string) (probe.Reason, string) {
	l.frames.enter(probe.StageTCP, time.Now())
	var err error
	if l.raw, err = l.dial(ctx, address); err != nil {
		return l.notConnected(ctx, err)
	}
	defer l.hangUp()
	l.connected = time.Now()
	// The library ignores contexts and can wait for ever, also in Close. The socket is ours, and ends when we say.
	defer context.AfterFunc(ctx, l.hangUp)()

	conn := l.raw
	if l.secure != nil {
		l.frames.enter(probe.StageTLS, l.connected)
		if conn, err = l.handshake(ctx, address); err != nil {
			return l.noTLS(ctx, err)
		}
	}
	l.frames.enter(probe.StageStart, time.Now())
	ac, err := amqp.Open(&watched{conn, l.frames}, l.config())
	if err != nil {
		return l.failed(ctx, err)
	}
	if l.Level == probe.Roundtrip {
		if reason, detail := l.roundtrip(ctx, ac); reason != probe.OK {
			if reason.Status() == probe.Faulty {
				l.close(ctx, ac)
			}
			return reason, detail
		}
	}
	if !l.close(ctx, ac) {
		return probe.OK, "but the broker did not answer connection.close"
	}
	return probe.OK, ""
}

// dial connects. The dialler splits the time among the addresses of a name, so it must know the deadline.
func (l *login) dial(ctx context.Context, address string) (net.Conn, error) {
	ctx, cancel := context.WithDeadline(ctx, l.started.Add(l.Timeout))
	defer cancel()
	return l.Dial(ctx, "tcp", address)
}

// hangUp closes the socket, and first notes whether the other side was still there.
func (l *login) hangUp() {
	l.end.Do(func() {
		l.unacked, l.unread = unacknowledged(l.raw)
		l.frames.endedByUs()
		_ = l.raw.Close()
	})
}

func (l *login) handshake(ctx context.Context, address string) (net.Conn, error) {
	cfg := l.secure.Clone()
	if cfg.ServerName == "" {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return nil, fmt.Errorf("server name: %w", err)
		}
		cfg.ServerName = host
	}
	if own := cfg.Certificates; cfg.GetClientCertificate == nil {
		cfg.GetClientCertificate = func(asked *tls.CertificateRequestInfo) (*tls.Certificate, error) {
			l.noCert, l.asked = len(own) == 0, len(own) > 0
			for i := range own { // as crypto/tls does without us
				if asked.SupportsCertificate(&own[i]) == nil {
					return &own[i], nil
				}
			}
			return &tls.Certificate{}, nil
		}
	}
	conn := tls.Client(l.raw, cfg)
	err := conn.HandshakeContext(ctx)
	l.certificate = validity(conn.ConnectionState().PeerCertificates, err)
	return conn, err
}

// config is the library's configuration. Recovery stays nil: a probe that reconnects proves nothing.
func (l *login) config() amqp.Config {
	properties := amqp.Table{
		"product": "Unstuck", "version": l.Version, "platform": "Go", "connection_name": l.Name,
		"information": "logs in to see whether this node accepts logins",
	}
	var mechanism amqp.Authentication = &plain{l.creds, properties}
	if l.External {
		mechanism = &external{properties}
	}
	return amqp.Config{
		SASL: []amqp.Authentication{mechanism}, Vhost: l.Vhost, Properties: properties,
		Heartbeat: 10 * time.Second, FrameSize: frameMax, Locale: "en_US",
	}
}

// close closes the connection politely, because a broker logs a warning about a dropped one. It reports whether the
// broker answered.
func (l *login) close(ctx context.Context, ac *amqp.Connection) bool {
	ctx, cancel := context.WithTimeout(ctx, closeTimeout)
	defer cancel()
	defer context.AfterFunc(ctx, l.hangUp)()
	return ac.Close() == nil
}

// roundtrip sends a message through a queue of its own. Every call returns when hangUp closes the socket under it.
func (l *login) roundtrip(ctx context.Context, ac *amqp.Connection) (probe.Reason, string) {
	blocked := ac.NotifyBlocked(make(chan amqp.Blocking, 1))
	ch, err := ac.Channel()
	if err != nil {
		return l.failed(ctx, err)
	}
	if err := ch.Confirm(false); err != nil {
		return l.failed(ctx, err)
	}
	q, err := ch.QueueDeclare("", false, true, true, false, nil)
	if err != nil {
		return l.failed(ctx, err)
	}
	body := rand.Text()
	confirm, err := ch.PublishWithDeferredConfirmWithContext(ctx, "", q.Name, true, false,
		amqp.Publishing{Body: []byte(body)})
	if err != nil {
		return l.failed(ctx, err)
	}
	select {
	case <-confirm.Done():
	case <-blocked:
		return l.failed(ctx, nil)
	case <-ctx.Done():
		return l.failed(ctx, ctx.Err())
	}
	if !confirm.Acked() {
		if reason, detail := l.failed(ctx, nil); reason != probe.NotRun {
			return reason, detail // the connection ended, and the confirm with it
		}
		return probe.NotAllowed, "the broker refused the message (basic.nack)"
	}
	deliveries, err := ch.ConsumeWithContext(ctx, q.Name, "", true, true, false, false, nil)
	if err != nil {
		return l.failed(ctx, err)
	}
	select {
	case d, ok := <-deliveries:
		if !ok {
			return l.failed(ctx, amqp.ErrClosed)
		}
		if string(d.Body) != body {
			return probe.Protocol, "another message came back than was sent"
		}
	case <-ctx.Done():
		return l.failed(ctx, ctx.Err())
	}
	_, _ = ch.QueueDelete(q.Name, false, false, false) // the queue also goes with the connection
	return probe.OK, ""
}
