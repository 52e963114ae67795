package login

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/cjworkbench/unstuck/probe"
)

// stalled is how late a deadline may fire before we blame ourselves: a process that did not run for so long cannot
// say that a broker was silent.
const stalled = time.Second

var awaits = map[probe.Stage]probe.Reason{
	probe.StageTLS: probe.AwaitStart, probe.StageStart: probe.AwaitStart, probe.StageTune: probe.AwaitTune,
	probe.StageOpen: probe.AwaitOpen, probe.StageChannel: probe.AwaitChannel, probe.StageDeclare: probe.AwaitDeclare,
	probe.StagePublish: probe.AwaitConfirm, probe.StageConsume: probe.AwaitDelivery,
}

// notConnected judges a login that did not connect.
func (l *login) notConnected(ctx context.Context, err error) (probe.Reason, string) {
	dns, noName := errors.AsType[*net.DNSError](err)
	timeout, ok := errors.AsType[net.Error](err)
	switch {
	case l.parent.Err() != nil:
		return probe.Cancelled, "stopped while connecting"
	case errors.Is(err, errRefused):
		return probe.Refused, "connection refused"
	case errors.Is(err, errReset):
		return probe.ClosedEarly, "connection reset while connecting"
	case noName:
		return probe.Unreachable, "no such name: " + clean(dns.Error())
	case errors.Is(err, errNoHost), errors.Is(err, errNoNetwork), errors.Is(err, errHostDown):
		return probe.Unreachable, clean(err.Error())
	case ctx.Err() != nil, errors.Is(err, context.DeadlineExceeded), ok && timeout.Timeout():
		if late := time.Since(l.started) - l.Timeout; late > stalled {
			return probe.Cancelled, didNotRun(late)
		}
		l.noAnswer = true
		return probe.Unreachable, fmt.Sprintf("connecting timed out after %s", spell(time.Since(l.started)))
	}
	return probe.NotRun, "connecting: " + clean(err.Error())
}

func didNotRun(late time.Duration) string {
	return fmt.Sprintf("our own process did not run for %s: that says nothing about the node", spell(late))
}

// noTLS judges a failed TLS handshake.
func (l *login) noTLS(ctx context.Context, err error) (probe.Reason, string) {
	switch {
	case ctx.Err() != nil:
		return l.silent()
	case gone(err) && l.ownOutOfDate() != "":
		return l.ownFault()
	case gone(err):
		return l.closed(err, time.Now())
	}
	return l.badTLS(err)
}

// badTLS judges an error of TLS. That the broker refuses a certificate of ours that is out of date is our own fault,
// and says nothing about the node.
func (l *login) badTLS(err error) (probe.Reason, string) {
	if refusedByThem(err) && len(l.secure.Certificates) > 0 {
		if why := outOfDate(l.secure.Certificates[0].Leaf, time.Now()); why != "" {
			return probe.NotRun, "TLS: our client certificate " + why + ": " + clean(err.Error())
		}
	}
	return probe.TLS, clean(err.Error())
}

// ownOutOfDate says that the broker asked for a client certificate and ours is out of date; "" if not.
func (l *login) ownOutOfDate() string {
	if !l.asked {
		return ""
	}
	return outOfDate(l.secure.Certificates[0].Leaf, time.Now())
}

// ownFault judges a connection that was closed without an alert of TLS by a side that was shown a certificate of ours
// that is out of date: a balancer or a mesh before the node may do so, and the node need not know of it.
func (l *login) ownFault() (probe.Reason, string) {
	return probe.NotRun, "TLS: closed by the other side: our client certificate " + l.ownOutOfDate()
}

// refusedByThem says whether err is the other side's alert.
func refusedByThem(err error) bool {
	remote, ok := errors.AsType[*net.OpError](err)
	return ok && remote.Op == "remote error"
}

// failed judges a failure after TCP and TLS. What the broker sent counts first, our own clock second, and the
// library's error last.
func (l *login) failed(ctx context.Context, err error) (probe.Reason, string) {
	f := l.frames
	f.mu.Lock()
	foreign, refusal, blocked, endedBy, endedAt, stage := f.foreign, f.refusal, f.blocked, f.endedBy, f.endedAt, f.stage
	f.mu.Unlock()
	switch {
	case foreign != "":
		return probe.Protocol, "the answer was " + clean(foreign)
	case refusal != nil:
		return refusal.reason(stage), clean(fmt.Sprintf("%d %s", refusal.code, refusal.text))
	case blocked == "-":
		return probe.Blocked, "connection.blocked"
	case blocked != "":
		return probe.Blocked, "connection.blocked: " + clean(blocked)
	case gone(endedBy) && l.noCert && stage == probe.StageStart: // TLS 1.3: the handshake is over before we are refused
		return probe.TLS, "closed by the other side, which had asked for a client certificate: we have none"
	case gone(endedBy) && stage == probe.StageStart && l.ownOutOfDate() != "":
		return l.ownFault()
	case gone(endedBy):
		return l.closed(endedBy, endedAt)
	case ctx.Err() != nil:
		return l.silent()
	case errors.Is(err, amqp.ErrSASL):
		mechanism := "PLAIN"
		if l.External {
			mechanism = "EXTERNAL"
		}
		return probe.NotAllowed, "the broker does not offer the login mechanism " + mechanism
	case err == nil:
		return probe.NotRun, "no reason was given"
	}
	// TLS 1.3 refuses a client's certificate this late.
	if refusedByThem(endedBy) && l.secure != nil {
		return l.badTLS(endedBy)
	}
	// The library has ended the connection because it did not accept something. Its error does not say what: before
	// tune it says wrong password, after tune no such vhost.
	if _, ok := errors.AsType[*amqp.Error](err); ok {
		return probe.Protocol, "the broker sent something that is not AMQP 0-9-1"
	}
	return probe.NotRun, clean(err.Error())
}

// silent judges a login that ran into our deadline, or that we stopped.
func (l *login) silent() (probe.Reason, string) {
	now := time.Now()
	l.hangUp()
	stage, entered := l.frames.at()
	handshake := l.ownHandshake(stage)
	late, waited := now.Sub(l.deadline(l.started, stage, entered, handshake)), now.Sub(entered)
	reason, ok := awaits[stage]
	switch {
	case l.parent.Err() != nil:
		return probe.Cancelled, "stopped while waiting in stage " + stage.String()
	case late > stalled:
		return probe.Cancelled, didNotRun(late)
	case l.unread:
		return probe.Cancelled, "an answer lay unread: our own process did not run"
	case l.unacked:
		return probe.Unreachable, "what we sent was not even acknowledged: the network or the host, not the broker"
	case waited < enough(handshake):
		return probe.Cancelled, fmt.Sprintf("silent in stage %s for %s, but only beyond %s would that tell", stage,
			spell(waited), enough(handshake)) + l.differs(handshake)
	case !ok:
		return probe.Cancelled, "ran out of time in stage " + stage.String()
	}
	return reason, fmt.Sprintf("no answer in stage %s, %s after connecting", stage,
		spell(now.Sub(l.connected))) + l.differs(handshake)
}

// closed judges a connection that the other side ended without a word. A broker that does so at its handshake
// timeout is alive, and slow.
func (l *login) closed(err error, at time.Time) (probe.Reason, string) {
	l.frames.mu.Lock()
	stage := l.frames.stage
	l.frames.mu.Unlock()
	after := at.Sub(l.connected)
	detail := fmt.Sprintf("closed by the other side in stage %s, %s after connecting: %s", stage, spell(after),
		clean(err.Error()))
	if size := len(l.creds.Username) + len(l.creds.Password); stage == probe.StageTune && size > largeCredentials {
		detail += fmt.Sprintf("; our credentials have %d bytes, and RabbitMQ takes no first frame of more than 4096 (8192 "+
			"from 4.1 on)", size)
	}
	if handshake := l.ownHandshake(stage); stage <= probe.StageOpen && after >= handshake-handshake/10 {
		return probe.Slow, detail + "; that is the broker's handshake timeout, or a proxy between us" + l.differs(handshake)
	}
	return probe.ClosedEarly, detail
}

// spell writes a duration in milliseconds, with a tenth below ten: an immediate refusal must not read "after 0s".
func spell(d time.Duration) string {
	if d < 10*time.Millisecond {
		return fmt.Sprintf("%.1fms", d.Seconds()*1e3)
	}
	return d.Round(time.Millisecond).String()
}

// gone says whether err means that the other side has ended the connection.
func gone(err error) bool {
	for _, end := range []error{io.EOF, io.ErrUnexpectedEOF, io.ErrClosedPipe, errReset, errAborted} {
		if errors.Is(err, end) {
			return true
		}
	}
	return false
}

// reason judges the broker's own close by its code, and by its words if the code does not tell.
func (r refusal) reason(stage probe.Stage) probe.Reason {
	switch {
	case vhostIsDown.MatchString(r.text):
		return probe.VhostDown
	case r.code == amqp.InternalError && noMetadata.MatchString(r.text):
		return probe.NoMetadata
	case r.code == amqp.InternalError && stage == probe.StageOpen: // a reader that crashes there says nothing at all
		return probe.VhostDown
	case r.code == amqp.InternalError:
		return probe.InternalError
	case r.code == amqp.AccessRefused && !r.channel:
		return probe.AccessRefused
	case r.code == amqp.NotAllowed, r.channel:
		return probe.NotAllowed
	}
	return probe.ClosedEarly // it may come from a proxy, too
}

// What brokers say, in rabbit_reader (is_vhost_alive) and rabbit_vhost, and with Khepri in rabbit_queue_type and
// rabbit_amqqueue_process.
var (
	vhostIsDown = regexp.MustCompile(`(?i)\bvhost\b.*\bis down\b`)
	noMetadata  = regexp.MustCompile(`(?i)metadata store|khepri|no majority`)
)

// largeCredentials is the size of user name and password that nearly fills the first frame that a broker accepts.
const largeCredentials = 3000
