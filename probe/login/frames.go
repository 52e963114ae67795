package login

import (
	"encoding/binary"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/cjworkbench/unstuck/probe"
)

// watched is a connection that reads the incoming AMQP frames as they pass. They show the stage of a login as the
// broker really sent it. The errors of the client library do not: they call a hanging broker a wrong password.
type watched struct {
	net.Conn

	frames *frames
}

func (w *watched) Read(b []byte) (int, error) {
	n, err := w.Conn.Read(b)
	if n > 0 {
		w.frames.saw(b[:n], time.Now())
	}
	if err != nil {
		w.frames.ended(err, time.Now())
	}
	return n, err
}

func (w *watched) Write(b []byte) (int, error) {
	n, err := w.Conn.Write(b)
	if err != nil {
		w.frames.ended(err, time.Now())
	}
	return n, err
}

// SetDeadline does nothing, and neither do the next two: the library would replace our deadline with its own, and
// after tune with one for each heartbeat.
func (w *watched) SetDeadline(time.Time) error { return nil }

// SetReadDeadline does nothing.
func (w *watched) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline does nothing.
func (w *watched) SetWriteDeadline(time.Time) error { return nil }

// A method of AMQP 0-9-1: class and method number.
type method struct{ class, id uint16 }

// The methods that the probe looks for (AMQP 0-9-1 specification, section 1.2; connection.blocked is RabbitMQ's
// own).
var (
	connectionStart   = method{10, 10}
	connectionTune    = method{10, 30}
	connectionOpenOk  = method{10, 41}
	connectionClose   = method{10, 50}
	connectionCloseOk = method{10, 51}
	connectionBlocked = method{10, 60}
	channelClose      = method{20, 40}
	confirmSelectOk   = method{85, 11}
	queueDeclareOk    = method{50, 11}
	basicAck          = method{60, 80}
	basicDeliver      = method{60, 60}
)

// completes says which method ends each stage. Nothing else moves a login on, heartbeats and dripping bytes
// included.
var completes = [len(probe.StageTimes{})]method{
	probe.StageStart: connectionStart, probe.StageTune: connectionTune, probe.StageOpen: connectionOpenOk,
	probe.StageChannel: confirmSelectOk, probe.StageDeclare: queueDeclareOk, probe.StagePublish: basicAck,
	probe.StageConsume: basicDeliver, probe.StageClose: connectionCloseOk,
}

const (
	frameHeaderSize = 7 // type, channel, size
	frameMethod     = 1
	frameHeartbeat  = 8
	// frameMax is the largest frame that we agree to, in bytes.
	frameMax = 1 << 17
	// keptPayload is how much of a method's payload is kept: class, method, a code and a short string.
	keptPayload = 2 + 2 + 2 + 1 + 255
)

// frames follows a login through the frames that the broker sends. It keeps a bounded amount, whatever comes.
type frames struct {
	mu sync.Mutex

	afterOpen probe.Stage // the stage after open: close, or channel for a round trip
	stage     probe.Stage // the awaited stage
	entered   time.Time
	times     probe.StageTimes

	header  [frameHeaderSize]byte
	got     int // bytes of header so far
	left    int // bytes of payload and frame end still to come
	payload [keptPayload]byte
	kept    int

	began   bool      // a byte has come
	foreign string    // what came instead of AMQP 0-9-1
	refusal *refusal  // the broker's own close
	blocked string    // the reason of connection.blocked; "-" where it gave none
	ours    bool      // we have ended the connection
	endedBy error     // how the other side ended the connection, if it was first
	endedAt time.Time // see endedBy
}

// refusal is a connection.close or channel.close from the broker.
type refusal struct {
	channel bool
	code    int
	text    string
}

// enter notes that the stage begins at now. Every earlier stage is complete.
func (f *frames) enter(stage probe.Stage, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.moveTo(stage, now)
}

func (f *frames) moveTo(stage probe.Stage, now time.Time) {
	f.complete(now)
	f.stage, f.entered = stage, now
}

func (f *frames) complete(now time.Time) {
	if f.stage != probe.StageNone {
		f.times[f.stage] = max(now.Sub(f.entered), time.Nanosecond)
	}
}

// at gives the stage that the login is in, and when it entered the stage.
func (f *frames) at() (probe.Stage, time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.stage, f.entered
}

func (f *frames) ended(err error, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.endedBy == nil && !f.ours {
		f.endedBy, f.endedAt = err, now
	}
}

// endedByUs notes that we have ended the connection, so later errors of the connection are our own doing.
func (f *frames) endedByUs() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ours = true
}

// saw takes bytes as they come.
func (f *frames) saw(b []byte, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.began {
		f.began = true
		f.foreign = foreign(b)
	}
	if f.foreign != "" {
		return
	}
	for len(b) > 0 {
		switch {
		case f.got < frameHeaderSize:
			n := copy(f.header[f.got:], b)
			f.got += n
			b = b[n:]
			if f.got == frameHeaderSize {
				size := binary.BigEndian.Uint32(f.header[3:])
				if size > frameMax {
					f.foreign = fmt.Sprintf("a frame of %d bytes", size)
					return
				}
				f.left, f.kept = int(size)+1, 0
			}
		default:
			n := min(len(b), f.left)
			f.kept += copy(f.payload[f.kept:], b[:n])
			f.left -= n
			b = b[n:]
			if f.left == 0 {
				f.got = 0
				f.frame(now)
			}
		}
	}
}

// frame takes a complete frame.
func (f *frames) frame(now time.Time) {
	if f.header[0] != frameMethod || f.kept < 4 {
		return
	}
	p := f.payload[:f.kept]
	m := method{binary.BigEndian.Uint16(p), binary.BigEndian.Uint16(p[2:])}
	switch m {
	case connectionClose, channelClose:
		if f.refusal == nil && len(p) >= 7 {
			f.refusal = &refusal{channel: m == channelClose, code: int(binary.BigEndian.Uint16(p[4:])), text: shortString(p[6:])}
		}
		return
	case connectionBlocked:
		f.blocked = shortString(p[4:])
		if f.blocked == "" {
			f.blocked = "-"
		}
		return
	}
	if m != completes[f.stage] {
		return
	}
	switch f.stage {
	case probe.StageOpen:
		f.moveTo(f.afterOpen, now)
	case probe.StageClose:
		f.complete(now)
	default:
		f.moveTo(f.stage+1, now)
	}
}

// shortString reads an AMQP short string: a length byte, then the text. The end of the payload may have cut the
// text.
func shortString(p []byte) string {
	if len(p) == 0 {
		return ""
	}
	return string(p[1:min(len(p), 1+int(p[0]))])
}

// foreign describes the first bytes of a connection if they do not begin an AMQP 0-9-1 frame.
func foreign(b []byte) string {
	switch {
	case b[0] == frameMethod || b[0] == frameHeartbeat:
		return ""
	case strings.HasPrefix(string(b), "AMQP\x00\x00\x09\x01"):
		return "the header of AMQP 0-9-1, which is what we asked for: something between us altered what we sent, or the " +
			"port " +
			"expects something else first (the PROXY protocol, TLS)"
	case len(b) >= 8 && string(b[:4]) == "AMQP":
		return fmt.Sprintf("another protocol version: AMQP %d, %d-%d-%d", b[4], b[5], b[6], b[7])
	case b[0] == 0x15 || b[0] == 0x16:
		return "TLS: this port wants amqps"
	case strings.HasPrefix(string(b), "HTTP/"):
		return "HTTP"
	}
	return fmt.Sprintf("%q", b[:min(len(b), 16)])
}

// redact removes the password from text, also in the spellings of clean and %q, and also the front of a password at
// the end of text, where text may have been cut. If the password is so short that its place would give it away,
// redact removes the whole text.
func redact(text, password string) string {
	const tooShort = 4
	for _, secret := range spellings(password) {
		switch {
		case secret == "" || !strings.Contains(text, secret):
		case len(secret) < tooShort:
			return "[redacted]"
		default:
			text = strings.ReplaceAll(text, secret, "[redacted]")
		}
	}
	body := strings.TrimRight(text, `"…`)
	for n := len(password) - 1; n >= tooShort; n-- {
		for _, front := range spellings(password[:n]) {
			if cut, found := strings.CutSuffix(body, front); found && len(front) >= tooShort {
				return cut + "[redacted]" + text[len(body):]
			}
		}
	}
	return text
}

// spellings lists the ways in which a secret may appear in a text of ours.
func spellings(secret string) []string {
	quoted := strconv.Quote(secret)
	return []string{secret, clean(secret), quoted[1 : len(quoted)-1]}
}

// clean makes text from a broker fit for a log line: printable, and no longer than a person reads.
func clean(text string) string {
	const longest = 300
	text = strings.Map(func(r rune) rune {
		if r == unicode.ReplacementChar || !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, " "))
	if runes := []rune(text); len(runes) > longest {
		text = string(runes[:longest]) + "…"
	}
	return strings.TrimSpace(text)
}
