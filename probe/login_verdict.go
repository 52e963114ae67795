package probe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// stalled is by how much a deadline may fire late before we blame ourselves: a process that did not run for so long
// cannot say that a broker was silent.
const stalled = time.Second

var awaits = map[Stage]Reason{
	StageTLS: AwaitStart, StageStart: AwaitStart, StageTune: AwaitTune, StageOpen: AwaitOpen, StageChannel: AwaitChannel,
	StageDeclare: AwaitDeclare, StagePublish: AwaitConfirm, StageConsume: AwaitDelivery,
}

// notConnected judges a connection that did not come about.
func (l *login) notConnected(ctx context.Context, err error) (Reason, string) {
	dns, noName := errors.AsType[*net.DNSError](err)
	timeout, ok := errors.AsType[net.Error](err)
	switch {
	case l.parent.Err() != nil:
		return Cancelled, "stopped while connecting"
	case errors.Is(err, syscall.ECONNREFUSED):
		return Refused, "connection refused"
	case errors.Is(err, syscall.ECONNRESET):
		return ClosedEarly, "connection reset while connecting"
	case noName:
		return Unreachable, "no such name: " + clean(dns.Error())
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTDOWN):
		return Unreachable, clean(err.Error())
	case ctx.Err() != nil, ok && timeout.Timeout():
		if late := overdue(ctx); late > stalled {
			return Cancelled, didNotRun(late)
		}
		l.noAnswer = true
		return Unreachable, fmt.Sprintf("connecting timed out after %s", spell(time.Since(l.started)))
	}
	return NotRun, "connecting: " + clean(err.Error())
}

// overdue is how long ago our deadline was, negative if it is still to come.
func overdue(ctx context.Context) time.Duration {
	deadline, _ := ctx.Deadline()
	return time.Since(deadline)
}

func didNotRun(late time.Duration) string {
	return fmt.Sprintf("our own process did not run for %s: that says nothing about the node", spell(late))
}

// noTLS judges a TLS handshake that failed.
func (l *login) noTLS(ctx context.Context, err error) (Reason, string) {
	switch {
	case ctx.Err() != nil:
		return l.silent(ctx)
	case gone(err):
		return l.closed(err, time.Now())
	}
	return TLS, clean(err.Error())
}

// failed judges what came after TCP and TLS. What the broker sent goes before our own clock, and that before what the
// library says.
func (l *login) failed(ctx context.Context, err error) (Reason, string) {
	f := l.frames
	f.mu.Lock()
	foreign, refusal, blocked, endedBy, endedAt, stage := f.foreign, f.refusal, f.blocked, f.endedBy, f.endedAt, f.stage
	f.mu.Unlock()
	switch {
	case foreign != "":
		return Protocol, "the answer was " + clean(foreign)
	case refusal != nil:
		return refusal.reason(), clean(fmt.Sprintf("%d %s", refusal.code, refusal.text))
	case blocked == "-":
		return Blocked, "connection.blocked"
	case blocked != "":
		return Blocked, "connection.blocked: " + clean(blocked)
	case gone(endedBy) && l.noCert && stage == StageStart: // TLS 1.3: the handshake is over before we are refused
		return TLS, "closed by the other side, which had asked for a client certificate: we have none"
	case gone(endedBy):
		return l.closed(endedBy, endedAt)
	case ctx.Err() != nil:
		return l.silent(ctx)
	case errors.Is(err, amqp.ErrSASL):
		return NotAllowed, "the broker does not offer the login mechanism PLAIN"
	case err == nil:
		return NotRun, "no reason was given"
	}
	if remote, ok := errors.AsType[*net.OpError](endedBy); ok && remote.Op == "remote error" { // TLS 1.3 refuses a client's certificate this late
		return TLS, clean(endedBy.Error())
	}
	// The library has ended the connection, over something that it did not take. Of what that was its error tells
	// nothing: before tune it says wrong password, after it no such vhost.
	if _, ok := errors.AsType[*amqp.Error](err); ok {
		return Protocol, "the broker sent something that is not AMQP 0-9-1"
	}
	return NotRun, clean(err.Error())
}

// silent judges that our deadline has passed, or that we were stopped.
func (l *login) silent(ctx context.Context) (Reason, string) {
	now, late := time.Now(), overdue(ctx)
	l.hangUp()
	f := l.frames
	f.mu.Lock()
	stage, entered := f.stage, f.entered
	f.mu.Unlock()
	waited := now.Sub(entered) // since the last sign of life: the broker's own timer may have begun as late as that
	enough := l.HandshakeTimeout + l.HandshakeTimeout/20
	if stage > StageOpen { // no timer of the broker's ends these
		enough = l.HandshakeTimeout / 2
	}
	reason, ok := awaits[stage]
	switch {
	case l.parent.Err() != nil:
		return Cancelled, "stopped while waiting in stage " + stage.String()
	case late > stalled:
		return Cancelled, didNotRun(late)
	case l.unread:
		return Cancelled, "an answer lay unread: our own process did not run"
	case l.unacked:
		return Unreachable, "what we sent was not even acknowledged: the network or the host, not the broker"
	case waited < enough:
		return Cancelled, fmt.Sprintf("silent in stage %s for %s, but only beyond %s would that tell", stage, spell(waited), enough)
	case !ok:
		return Cancelled, "ran out of time in stage " + stage.String()
	}
	return reason, fmt.Sprintf("no answer in stage %s, %s after connecting", stage, spell(now.Sub(l.connected)))
}

// closed judges a connection that the other side ended without a word. At its handshake timeout that is a broker that
// lives and is slow.
func (l *login) closed(err error, at time.Time) (Reason, string) {
	l.frames.mu.Lock()
	stage := l.frames.stage
	l.frames.mu.Unlock()
	after := at.Sub(l.connected)
	detail := fmt.Sprintf("closed by the other side in stage %s, %s after connecting: %s", stage, spell(after), clean(err.Error()))
	if stage <= StageOpen && after >= l.HandshakeTimeout-l.HandshakeTimeout/10 {
		return Slow, detail
	}
	return ClosedEarly, detail
}

// spell writes a duration in milliseconds, to a tenth below ten: a refusal at once does not come after 0s.
func spell(d time.Duration) string {
	if d < 10*time.Millisecond {
		return fmt.Sprintf("%.1fms", d.Seconds()*1e3)
	}
	return d.Round(time.Millisecond).String()
}

// gone says whether err means that the other side has ended the connection.
func gone(err error) bool {
	for _, end := range []error{io.EOF, io.ErrUnexpectedEOF, io.ErrClosedPipe, syscall.ECONNRESET, syscall.EPIPE} {
		if errors.Is(err, end) {
			return true
		}
	}
	return false
}

// reason judges the broker's own close by its code.
func (r refusal) reason() Reason {
	switch {
	case r.code == amqp.AccessRefused && !r.channel:
		return AccessRefused
	case r.code == amqp.InternalError:
		return VhostDown
	case r.code == amqp.FrameError, r.code == amqp.SyntaxError, r.code == amqp.CommandInvalid, r.code == amqp.UnexpectedFrame:
		return Protocol
	case r.code == amqp.NotAllowed, r.channel:
		return NotAllowed
	}
	return ClosedEarly
}
