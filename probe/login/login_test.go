package login

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/cjworkbench/unstuck/probe"
	"github.com/cjworkbench/unstuck/target"
)

const testPassword = "s3cret-marker"

func testCredentials(context.Context) (target.Credentials, error) {
	return target.Credentials{Username: "probe", Password: testPassword}, nil
}

func testLogin(o Options) Options {
	o.Credentials, o.Vhost = testCredentials, "/"
	return o
}

// A row of the table of what a login finds.
type loginRow struct {
	name   string
	level  probe.Kind
	script script
	reason probe.Reason
	stage  probe.Stage
	took   [2]time.Duration // at least, at most
	detail string           // a part of it
}

func closeWith(on answer, code uint16, text string) script { return script{on: refuse(code, text)} }

func loginRows() []loginRow {
	now, deadline := [2]time.Duration{0, 10 * time.Millisecond}, [2]time.Duration{12 * time.Second, 12 * time.Second}
	late := [2]time.Duration{20 * time.Second, 20 * time.Second}
	ten := [2]time.Duration{10 * time.Second, 10 * time.Second}
	return []loginRow{
		{"a healthy broker accepts our logins", probe.Login, nil, probe.OK, probe.StageClose, now, ""},
		{"a healthy broker passes a message", probe.Roundtrip, nil, probe.OK, probe.StageClose, now, ""},
		{"no greeting is await_start", probe.Login, script{onStart: hang}, probe.AwaitStart, probe.StageStart, deadline, "no answer in stage start"},
		{"a frozen process is await_start", probe.Login, script{onAccept: freeze}, probe.AwaitStart, probe.StageStart, deadline, ""},
		{"silence after the credentials is await_tune, not a wrong password", probe.Login, script{onTune: hang}, probe.AwaitTune, probe.StageTune, deadline, "no answer in stage tune"},
		{"heartbeats are not progress", probe.Login, script{onTune: hangBeating(time.Second)}, probe.AwaitTune, probe.StageTune, deadline, ""},
		{"a dripping answer is not progress", probe.Login, script{onTune: drip(2 * time.Second)}, probe.AwaitTune, probe.StageTune, deadline, ""},
		{"silence after open is await_open, on time", probe.Login, script{onOpenOK: hang}, probe.AwaitOpen, probe.StageOpen, deadline, ""},
		{"heartbeats after tune do not prolong the deadline", probe.Login, script{onOpenOK: hangBeating(time.Second)}, probe.AwaitOpen, probe.StageOpen, deadline, ""},
		{"no channel is await_channel", probe.Roundtrip, script{onChannelOpenOK: hang}, probe.AwaitChannel, probe.StageChannel, late, ""},
		{"no queue is await_declare", probe.Roundtrip, script{onDeclareOK: hang}, probe.AwaitDeclare, probe.StageDeclare, late, ""},
		{"no confirm is await_confirm", probe.Roundtrip, script{onAck: hang}, probe.AwaitConfirm, probe.StagePublish, late, ""},
		{"no delivery is await_delivery", probe.Roundtrip, script{onDeliver: hang}, probe.AwaitDelivery, probe.StageConsume, late, ""},
		{"a close that is not answered is still a login", probe.Login, script{onCloseOK: hang}, probe.OK, probe.StageClose, [2]time.Duration{closeTimeout, closeTimeout}, "did not answer connection.close"},
		{"a wrong password is access_refused", probe.Login, closeWith(onTune, 403, "ACCESS_REFUSED - Login was refused"), probe.AccessRefused, probe.StageTune, now, "403 ACCESS_REFUSED"},
		{"a missing vhost is not_allowed", probe.Login, closeWith(onOpenOK, 530, "NOT_ALLOWED - vhost x not found"), probe.NotAllowed, probe.StageOpen, now, "vhost x not found"},
		{"a vhost that is down is vhost_down", probe.Login, closeWith(onOpenOK, 541, "INTERNAL_ERROR - vhost '/' is down"), probe.VhostDown, probe.StageOpen, now, "541"},
		{"a vhost that goes down while we log in is vhost_down", probe.Login, closeWith(onOpenOK, 320, "CONNECTION_FORCED - vhost 'v' is down"), probe.VhostDown, probe.StageOpen, now, "320"},
		{"one that goes down in the round trip, too", probe.Roundtrip, closeWith(onAck, 320, "CONNECTION_FORCED - vhost 'v' is down"), probe.VhostDown, probe.StagePublish, now, "320"},
		{"an internal error is not a vhost that is down", probe.Roundtrip, closeWith(onDeclareOK, 541, "INTERNAL_ERROR"), probe.InternalError, probe.StageDeclare, now, "541 INTERNAL_ERROR"},
		{"nor is a node that is down", probe.Roundtrip, closeWith(onDeclareOK, 541, "INTERNAL_ERROR - Cannot declare a queue 'queue 'x' in vhost '/'' on node 'rabbit@b': nodedown"), probe.InternalError, probe.StageDeclare, now, "nodedown"},
		{"an internal error before tune is none of the vhost's", probe.Login, closeWith(onTune, 541, "INTERNAL_ERROR"), probe.InternalError, probe.StageTune, now, "541"},
		{"a channel that ends with an internal error is not refused", probe.Roundtrip, script{onDeclareOK: refuseChannel(541, "INTERNAL_ERROR")}, probe.InternalError, probe.StageDeclare, now, "541"},
		{"metadata that has no majority is no_metadata_quorum", probe.Roundtrip, closeWith(onDeclareOK, 541, "INTERNAL_ERROR - Could not declare queue 'x' in vhost '/' on node 'rabbit@a' because the metadata store operation timed out"), probe.NoMetadata, probe.StageDeclare, now, "metadata store"},
		{"so it is in the words of Khepri, when the vhost is opened", probe.Login, closeWith(onOpenOK, 541, "INTERNAL_ERROR - {khepri,timeout}"), probe.NoMetadata, probe.StageOpen, now, "khepri"},
		{"a proxy that has lost its upstream is closed_early", probe.Login, closeWith(onOpenOK, 503, "UPSTREAM_ERROR"), probe.ClosedEarly, probe.StageOpen, now, "503 UPSTREAM_ERROR"},
		{"a frame that the other side did not take is closed_early", probe.Login, closeWith(onTune, 501, "FRAME_ERROR"), probe.ClosedEarly, probe.StageTune, now, "501"},
		{"a broker that shuts down is closed_early", probe.Login, closeWith(onOpenOK, 320, "CONNECTION_FORCED - shutdown"), probe.ClosedEarly, probe.StageOpen, now, "320"},
		{"no right to declare is not_allowed", probe.Roundtrip, script{onDeclareOK: refuseChannel(403, "ACCESS_REFUSED - configure access")}, probe.NotAllowed, probe.StageDeclare, now, "configure access"},
		{"an alarm is blocked", probe.Roundtrip, script{onAck: block("low on memory")}, probe.Blocked, probe.StagePublish, [2]time.Duration{0, closeTimeout}, "low on memory"},
		{"an alarm that gives no reason is blocked", probe.Roundtrip, script{onAck: block("")}, probe.Blocked, probe.StagePublish, [2]time.Duration{0, closeTimeout}, "connection.blocked"},
		{"the broker's own handshake timeout is slow", probe.Login, script{onTune: after(10*time.Second, eof)}, probe.Slow, probe.StageTune, ten, "or a proxy between us"},
		{"a tune that comes late, and then the handshake timeout, is slow", probe.Login, script{onTune: after(9900*time.Millisecond, nil), onOpenOK: after(200*time.Millisecond, eof)}, probe.Slow, probe.StageOpen, [2]time.Duration{10 * time.Second, 10200 * time.Millisecond}, ""},
		{"an end before that is closed_early", probe.Login, script{onTune: after(3*time.Second, eof)}, probe.ClosedEarly, probe.StageTune, [2]time.Duration{3 * time.Second, 3 * time.Second}, "3s after connecting"},
		{"an end on accepting is closed_early", probe.Login, script{onAccept: eof}, probe.ClosedEarly, probe.StageStart, now, ""},
		{"an end in the round trip is closed_early, whenever it comes", probe.Roundtrip, script{onDeclareOK: after(11*time.Second, eof)}, probe.ClosedEarly, probe.StageDeclare, [2]time.Duration{11 * time.Second, 11 * time.Second}, ""},
		{"another protocol version is protocol", probe.Login, script{onStart: sayAndClose(otherAMQP)}, probe.Protocol, probe.StageStart, now, "AMQP 0, 1-0-0"},
		{"the version that we asked for was altered on its way", probe.Login, script{onStart: sayAndClose([]byte("AMQP\x00\x00\x09\x01"))}, probe.Protocol, probe.StageStart, now, "something between us altered what we sent"},
		{"HTTP is protocol", probe.Login, script{onStart: sayAndClose(sayHTTP)}, probe.Protocol, probe.StageStart, now, "HTTP"},
		{"a TLS alert is protocol", probe.Login, script{onStart: sayAndClose(sayTLSAlert)}, probe.Protocol, probe.StageStart, now, "amqps"},
		{"garbage is protocol", probe.Login, script{onStart: sayAndClose([]byte("220 mail.example ESMTP\r\n"))}, probe.Protocol, probe.StageStart, now, "220 mail"},
		{"the front of our password is not repeated", probe.Login, script{onStart: sayAndClose([]byte("your password: " + testPassword)[8 : 8+7+8])}, probe.Protocol, probe.StageStart, now, `"sword: [redacted]"`},
		{"garbage that goes on hanging is protocol", probe.Login, script{onStart: sayAndHang([]byte("SSH-2.0-x\r\n"))}, probe.Protocol, probe.StageStart, [2]time.Duration{0, 12 * time.Second}, "SSH"},
		{"frames that make no sense are protocol", probe.Login, script{onTune: sayAndHang(sayGarbage)}, probe.Protocol, probe.StageTune, [2]time.Duration{0, 12 * time.Second}, ""},
		{"a frame larger than was agreed is protocol", probe.Login, script{onTune: sayAndHang(sayOversized)}, probe.Protocol, probe.StageTune, [2]time.Duration{0, 12 * time.Second}, ""},
	}
}

//promise:1
func TestLoginTellsEachConditionFromAllOthers(t *testing.T) {
	for _, row := range loginRows() {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newPipeBroker(t, row.script)
				r := New(testLogin(Options{Level: row.level, Dial: b.Dial}))(t.Context(), target.Node{Target: "b", Name: "n", UID: "u"})
				if r.Reason != row.reason || r.Stage != row.stage {
					t.Errorf("got %s in stage %s (%s), want %s in stage %s", r.Reason, r.Stage, r.Detail, row.reason, row.stage)
				}
				if r.Took < row.took[0] || r.Took > row.took[1] {
					t.Errorf("took %s, want %s to %s", r.Took, row.took[0], row.took[1])
				}
				if !strings.Contains(r.Detail, row.detail) {
					t.Errorf("detail is %q, want %q in it", r.Detail, row.detail)
				}
				if r.Target != "b" || r.Node != "n" || r.UID != "u" || r.Kind != row.level {
					t.Errorf("the result is of %s/%s (%s), probe %s", r.Target, r.Node, r.UID, r.Kind)
				}
				b.Close()
				synctest.Wait() // panics if a goroutine of the client is left
			})
		})
	}
}

func TestLoginNamesCredentialsThatFillTheFirstFrame(t *testing.T) {
	for size, named := range map[int]bool{20: false, 6300: true} {
		synctest.Test(t, func(t *testing.T) {
			b := newPipeBroker(t, script{onTune: after(3*time.Second, eof)})
			o := testLogin(Options{Dial: b.Dial})
			o.Credentials = func(context.Context) (target.Credentials, error) {
				return target.Credentials{Password: strings.Repeat("s", size)}, nil
			}
			r := New(o)(t.Context(), target.Node{})
			if got := strings.Contains(r.Detail, fmt.Sprintf("have %d bytes", size)); r.Reason != probe.ClosedEarly || got != named {
				t.Errorf("of %d bytes: %s (%s)", size, r.Reason, r.Detail)
			}
		})
	}
}

//promise:1
func TestLoginGivesNoReasonThatIsNotTried(t *testing.T) {
	tried := map[probe.Reason]bool{}
	for _, row := range loginRows() {
		tried[row.reason] = true
	}
	elsewhere := []probe.Reason{probe.ToolsUnresponsive, probe.ProcessesStuck, probe.Silent, probe.LogSilent, probe.ExecFailed, probe.Full, probe.BackendAwaited, probe.MetadataAwaited, probe.WorkWaits, probe.ProcessesMove, // other probes
		probe.Refused, probe.TLS, probe.Unreachable, probe.Cancelled, probe.NotRun} // the tests below
	for _, r := range elsewhere {
		tried[r] = true
	}
	for _, v := range probe.Verdicts() {
		if !tried[v.Reason] {
			t.Errorf("no row gives %s", v.Reason)
		}
	}
}

//promise:2
func TestLoginProvesNothingBySilenceUntilTooShortADeadline(t *testing.T) {
	for _, timeout := range []time.Duration{2 * time.Second, 5 * time.Second, 10 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			b := newPipeBroker(t, script{onTune: hang})
			r := New(testLogin(Options{Dial: b.Dial, Timeout: timeout}))(t.Context(), target.Node{})
			if r.Reason != probe.Cancelled || r.Status() != probe.Unknown {
				t.Errorf("with a deadline of %s: %s (%s), want cancelled", timeout, r.Reason, r.Detail)
			}
		})
	}
}

func TestLoginDeadlineCountsFromTheLastStageThatWasReached(t *testing.T) {
	const second = time.Second
	late := func(d time.Duration) act { return after(d, nil) }
	hangs := func(f func(context.Context, string, string) (net.Conn, error), d time.Duration) func(context.Context, string, string) (net.Conn, error) {
		return func(ctx context.Context, network, address string) (net.Conn, error) {
			time.Sleep(d)
			return f(ctx, network, address)
		}
	}
	for _, row := range []struct {
		name        string
		script      script
		timeout     time.Duration // 0: the default of 12 s
		credentials time.Duration // how long they take
		connecting  time.Duration // how long that takes
		reason      probe.Reason
		took        time.Duration
	}{
		{"a wedged node that greets after 1.6 s is stuck", script{onStart: late(1600 * time.Millisecond), onTune: hang}, 0, 0, 0, probe.AwaitTune, 12600 * time.Millisecond},
		{"a wedged node that greets after 2 s is stuck", script{onStart: late(2 * second), onTune: hang}, 0, 0, 0, probe.AwaitTune, 13 * second},
		{"so it is with the shortest timeout that the configuration allows", script{onStart: late(600 * time.Millisecond), onTune: hang}, 11 * second, 0, 0, probe.AwaitTune, 11600 * time.Millisecond},
		{"credentials that take long take nothing from the login's time", script{onTune: hang}, 0, 1600 * time.Millisecond, 0, probe.AwaitTune, 12 * second},
		{"nor does a connection that takes long", script{onTune: hang}, 0, 0, 4 * second, probe.AwaitTune, 15 * second},
		{"nor tune that comes late", script{onTune: late(9 * second), onOpenOK: hang}, 0, 0, 0, probe.AwaitOpen, 20 * second},
		{"a node that greets late and then accepts our logins is healthy", script{onStart: late(2 * second), onTune: late(6 * second), onOpenOK: late(6 * second)}, 0, 0, 0, probe.OK, 14 * second},
		{"stages that dawdle do not prolong it beyond twice the timeout", script{onStart: late(9 * second), onTune: late(9 * second), onOpenOK: late(9 * second)}, 0, 0, 0, probe.Cancelled, 24 * second},
		{"a dripping answer does not prolong it", script{onStart: late(2 * second), onTune: drip(second)}, 0, 0, 0, probe.AwaitTune, 13 * second},
		{"heartbeats do not prolong it", script{onStart: late(2 * second), onTune: hangBeating(second)}, 0, 0, 0, probe.AwaitTune, 13 * second},
		{"a node that ends it at its handshake timeout is slow, however late it greets", script{onStart: late(2 * second), onTune: after(8*second, eof)}, 0, 0, 0, probe.Slow, 10 * second},
		{"a timeout that is too short to prove anything is not prolonged", script{onStart: late(2 * second), onTune: hang}, 5 * second, 0, 0, probe.Cancelled, 5 * second},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newPipeBroker(t, row.script)
				o := testLogin(Options{Dial: hangs(b.Dial, row.connecting), Timeout: row.timeout})
				o.Credentials = func(ctx context.Context) (target.Credentials, error) {
					time.Sleep(row.credentials)
					return testCredentials(ctx)
				}
				began := time.Now()
				r := New(o)(t.Context(), target.Node{})
				if r.Reason != row.reason || r.Took != row.took {
					t.Errorf("%s after %s (%s), want %s after %s", r.Reason, r.Took, r.Detail, row.reason, row.took)
				}
				if whole := time.Since(began); whole > o.Longest() {
					t.Errorf("took %s, and %s is the longest", whole, o.Longest())
				}
			})
		})
	}
}

func TestLoginRoundtripIsNotStuckIfItGetsOn(t *testing.T) {
	const second = time.Second
	late := func(d time.Duration) act { return after(d, nil) }
	for _, row := range []struct {
		name   string
		script script
		reason probe.Reason
		took   time.Duration
	}{
		{"declare after 13 s and the confirm 8 s later is a round trip", script{onDeclareOK: late(13 * second), onAck: late(8 * second)}, probe.OK, 21 * second},
		{"each step takes 7 s", script{onChannelOpenOK: late(7 * second), onDeclareOK: late(7 * second), onAck: late(7 * second), onDeliver: late(7 * second)}, probe.OK, 28 * second},
		{"a confirm that never comes after a late declare", script{onDeclareOK: late(13 * second), onAck: hang}, probe.AwaitConfirm, 24 * second},
		{"a delivery that never comes after a late confirm", script{onAck: late(19 * second), onDeliver: hang}, probe.AwaitDelivery, 30 * second},
		{"steps that dawdle do not prolong it beyond twice the timeout", script{onChannelOpenOK: late(18 * second), onDeclareOK: late(10 * second), onAck: late(10 * second), onDeliver: hang}, probe.Cancelled, 40 * second},
		{"heartbeats do not prolong it", script{onDeclareOK: late(13 * second), onAck: hangBeating(second)}, probe.AwaitConfirm, 24 * second},
		{"an alarm that is told of late is an alarm", script{onDeclareOK: late(13 * second), onAck: after(9*second, block("low on memory"))}, probe.Blocked, 24 * second},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newPipeBroker(t, row.script)
				r := New(testLogin(Options{Level: probe.Roundtrip, Dial: b.Dial}))(t.Context(), target.Node{})
				if r.Reason != row.reason || r.Took > row.took || r.Took < row.took-2*time.Second {
					t.Errorf("%s after %s (%s), want %s after %s", r.Reason, r.Took, r.Detail, row.reason, row.took)
				}
			})
		})
	}
}

func TestLoginSaysNothingOfTheNodeWithoutCredentials(t *testing.T) {
	for name, row := range map[string]struct {
		stop   time.Duration
		reason probe.Reason
		took   time.Duration
	}{
		"they never come":        {time.Hour, probe.NotRun, credentialsTimeout},
		"we are told to go":      {time.Second, probe.Cancelled, time.Second},
		"we are told to go late": {credentialsTimeout + time.Second, probe.NotRun, credentialsTimeout},
	} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), row.stop)
			defer cancel()
			r := New(Options{Credentials: func(ctx context.Context) (target.Credentials, error) {
				<-ctx.Done()
				return target.Credentials{}, ctx.Err()
			}})(ctx, target.Node{})
			if r.Reason != row.reason || r.Took != row.took || r.Stage != probe.StageNone {
				t.Errorf("%s: %s after %s in stage %s (%s), want %s after %s", name, r.Reason, r.Took, r.Stage, r.Detail, row.reason, row.took)
			}
		})
	}
}

func TestLoginIsCancelledIfStoppedAtAnyStage(t *testing.T) {
	for _, on := range []answer{onStart, onTune, onOpenOK, onDeclareOK, onAck, onDeliver} {
		synctest.Test(t, func(t *testing.T) {
			b := newPipeBroker(t, script{on: hang})
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			r := New(testLogin(Options{Level: probe.Roundtrip, Dial: b.Dial}))(ctx, target.Node{})
			if r.Reason != probe.Cancelled || r.Took > time.Second {
				t.Errorf("stopped at %d: %s (%s) after %s, want cancelled at once", on, r.Reason, r.Detail, r.Took)
			}
		})
	}
}

func TestLoginTakesADeadlineThatFiresLateForOurOwnFault(t *testing.T) {
	l := &login{Options: testLogin(Options{}).withDefaults(), parent: t.Context(), frames: &frames{}, raw: brokenConn{}}
	l.started = time.Now().Add(-20 * time.Second)
	l.connected = l.started
	l.frames.enter(probe.StageTune, l.connected)
	if reason, detail := l.silent(); reason != probe.Cancelled || !strings.Contains(detail, "our own process did not run") {
		t.Errorf("%s (%s), want cancelled: the deadline fired 8 s late", reason, detail)
	}
}

// brokenConn is a connection that can only be closed.
type brokenConn struct{ net.Conn }

func (brokenConn) Close() error { return nil }

func TestLoginBlamesNoNodeForAnErrorOfOursWhileDialling(t *testing.T) {
	errs := map[probe.Reason]error{
		probe.NotRun:      errors.New("socket: too many open files"),
		probe.Unreachable: &net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", Name: "x", IsNotFound: true}},
	}
	for want, err := range errs {
		dial := func(context.Context, string, string) (net.Conn, error) { return nil, err }
		if r := New(testLogin(Options{Dial: dial}))(t.Context(), target.Node{Address: "x:1"}); r.Reason != want || r.Status() != probe.Unknown {
			t.Errorf("%v is %s (%s), want %s", err, r.Reason, r.Detail, want)
		}
	}
	o := Options{Credentials: func(context.Context) (target.Credentials, error) {
		return target.Credentials{}, errors.New("no such file")
	}}
	if r := New(o)(t.Context(), target.Node{}); r.Reason != probe.NotRun || !strings.Contains(r.Detail, "no such file") {
		t.Errorf("no credentials is %s (%s), want not_run", r.Reason, r.Detail)
	}
}

func TestLoginIsUnreachableIfConnectingTakesUntilTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dial := func(ctx context.Context, _, _ string) (net.Conn, error) { <-ctx.Done(); return nil, ctx.Err() }
		r := New(testLogin(Options{Dial: dial}))(t.Context(), target.Node{})
		if r.Reason != probe.Unreachable || r.Stage != probe.StageTCP || !r.NoAnswer {
			t.Errorf("%s in stage %s, no answer %v: want unreachable in stage tcp, without an answer", r.Reason, r.Stage, r.NoAnswer)
		}
	})
}

// Only a connect that times out may count against the node, with the node's own tools as corroboration.
func TestLoginCountsNothingTheNodeHasNoPartInAsNoAnswer(t *testing.T) {
	for name, err := range map[string]error{
		"no such name":                       &net.DNSError{Err: "no such host", Name: "x", IsNotFound: true},
		"a name server that does not answer": &net.DNSError{Err: "i/o timeout", Name: "x", IsTimeout: true},
		"no route to the host":               os.NewSyscallError("connect", syscall.EHOSTUNREACH),
		"no route to the network":            os.NewSyscallError("connect", syscall.ENETUNREACH),
		"the host is down":                   os.NewSyscallError("connect", syscall.EHOSTDOWN),
	} {
		for when, wait := range map[string]time.Duration{"at once": 0, "at the deadline": time.Hour} {
			synctest.Test(t, func(t *testing.T) {
				dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
					select {
					case <-ctx.Done():
					case <-time.After(wait):
					}
					return nil, &net.OpError{Op: "dial", Err: err}
				}
				if r := New(testLogin(Options{Dial: dial}))(t.Context(), target.Node{}); r.Reason != probe.Unreachable || r.NoAnswer {
					t.Errorf("%s, %s: %s (%s), no answer %v", name, when, r.Reason, r.Detail, r.NoAnswer)
				}
			})
		}
	}
}

func TestLoginBlamesNoNodeForATimeoutThatWeSleptThrough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
			<-ctx.Done()
			time.Sleep(2 * stalled) // nobody ran us
			return nil, ctx.Err()
		}
		r := New(testLogin(Options{Dial: dial}))(t.Context(), target.Node{})
		if r.Reason != probe.Cancelled || r.NoAnswer || !strings.Contains(r.Detail, "our own process did not run") {
			t.Errorf("%s (%s), no answer %v", r.Reason, r.Detail, r.NoAnswer)
		}
	})
}

func TestLoginIsRefusedByAClosedPort(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	if r := New(testLogin(Options{}))(t.Context(), target.Node{Address: address}); r.Reason != probe.Refused || r.Stage != probe.StageTCP {
		t.Errorf("%s in stage %s (%s), want refused in stage tcp", r.Reason, r.Stage, r.Detail)
	}
}

func TestLoginIsClosedEarlyByAReset(t *testing.T) {
	b := newFakeBroker(t, script{onTune: reset})
	if r := New(testLogin(Options{}))(t.Context(), target.Node{Address: b.Addr}); r.Reason != probe.ClosedEarly {
		t.Errorf("%s (%s), want closed_early", r.Reason, r.Detail)
	}
}

func TestLoginTellsWhatIsWrongWithTLS(t *testing.T) {
	certs := newFakeCerts(t)
	client, err := tls.X509KeyPair(certs.ClientCert, certs.ClientKey)
	if err != nil {
		t.Fatal(err)
	}
	serve := func(s script, c *tls.Config) string {
		b := newFakeBroker(t, s)
		b.setTLS(c)
		return b.Addr
	}
	server := &tls.Config{Certificates: []tls.Certificate{certs.Server}}
	asks := &tls.Config{Certificates: []tls.Certificate{certs.Server}, ClientAuth: tls.RequestClientCert}
	mutual := &tls.Config{Certificates: []tls.Certificate{certs.Server}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: certs.Pool}
	rows := []struct {
		name    string
		address string
		client  *tls.Config
		reason  probe.Reason
		stage   probe.Stage
	}{
		{"a good certificate", serve(nil, server), &tls.Config{RootCAs: certs.Pool}, probe.OK, probe.StageClose},
		{"an unknown authority", serve(nil, server), &tls.Config{}, probe.TLS, probe.StageTLS},
		{"another name", serve(nil, server), &tls.Config{RootCAs: certs.Pool, ServerName: "elsewhere"}, probe.TLS, probe.StageTLS},
		{"a name that is given", serve(nil, server), &tls.Config{RootCAs: certs.Pool, ServerName: "localhost"}, probe.OK, probe.StageClose},
		{"no client certificate where one is wanted", serve(nil, mutual), &tls.Config{RootCAs: certs.Pool}, probe.TLS, probe.StageStart},
		{"a client certificate", serve(nil, mutual), &tls.Config{RootCAs: certs.Pool, Certificates: []tls.Certificate{client}}, probe.OK, probe.StageClose},
		{"an end after the broker asked for a certificate that we lack", serve(script{onStart: eof}, asks), &tls.Config{RootCAs: certs.Pool}, probe.TLS, probe.StageStart},
		{"an end after it asked for one that we have", serve(script{onStart: eof}, asks), &tls.Config{RootCAs: certs.Pool, Certificates: []tls.Certificate{client}}, probe.ClosedEarly, probe.StageStart},
		{"TLS on a plain port", newFakeBroker(t, nil).Addr, &tls.Config{RootCAs: certs.Pool}, probe.TLS, probe.StageTLS},
		{"an end in the handshake", serve(script{onAccept: eof}, server), &tls.Config{RootCAs: certs.Pool}, probe.ClosedEarly, probe.StageTLS},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			o := testLogin(Options{TLS: Fixed(row.client), Timeout: 2 * time.Second, HandshakeTimeout: time.Second})
			if r := New(o)(t.Context(), target.Node{Address: row.address}); r.Reason != row.reason || r.Stage != row.stage {
				t.Errorf("%s in stage %s (%s), want %s in stage %s", r.Reason, r.Stage, r.Detail, row.reason, row.stage)
			}
		})
	}
	for _, row := range rows { // whether we trust it or not
		want := certs.Server.Leaf.NotAfter
		r := New(testLogin(Options{TLS: Fixed(row.client), Timeout: 2 * time.Second, HandshakeTimeout: time.Second}))(t.Context(), target.Node{Address: row.address})
		presents := row.name != "TLS on a plain port" && row.name != "an end in the handshake"
		if (r.Certificate != nil) != presents || presents && !r.Certificate.Until.Equal(want) {
			t.Errorf("%s: the certificate holds as %+v, want until %s: %t", row.name, r.Certificate, want, presents)
		}
	}
	t.Run("a frozen process is await_start in stage tls", func(t *testing.T) {
		o := testLogin(Options{TLS: Fixed(&tls.Config{RootCAs: certs.Pool}), Timeout: 300 * time.Millisecond, HandshakeTimeout: 200 * time.Millisecond})
		address := serve(script{onAccept: freeze}, server)
		if r := New(o)(t.Context(), target.Node{Address: address}); r.Reason != probe.AwaitStart || r.Stage != probe.StageTLS {
			t.Errorf("%s in stage %s (%s)", r.Reason, r.Stage, r.Detail)
		}
	})
}

func TestLoginIsKnownToOperatorsAndOffersToBeToldOfARefusal(t *testing.T) {
	b := newFakeBroker(t, nil)
	o := testLogin(Options{Name: "unstuck rabbit-0", Version: "1.2.3"})
	if r := New(o)(t.Context(), target.Node{Address: b.Addr}); r.Reason != probe.OK {
		t.Fatalf("%s (%s)", r.Reason, r.Detail)
	}
	for _, want := range []string{"unstuck rabbit-0", "1.2.3", "Unstuck", "authentication_failure_close", "connection.blocked", "consumer_cancel_notify"} {
		if !strings.Contains(string(b.StartOK()), want) {
			t.Errorf("start-ok lacks %q", want)
		}
	}
	if b.Closed.Load() != 1 {
		t.Error("the connection was not closed politely")
	}
}

//promise:36
func TestLoginPutsThePasswordNowhereInItsResult(t *testing.T) {
	rows := loginRows()
	echo := "you sent " + testPassword
	rows = append(rows,
		loginRow{script: closeWith(onTune, 403, echo)}, loginRow{script: closeWith(onOpenOK, 530, echo)},
		loginRow{level: probe.Roundtrip, script: script{onAck: block(echo)}}, loginRow{script: script{onStart: sayAndClose([]byte(testPassword))}})
	for _, row := range rows {
		synctest.Test(t, func(t *testing.T) {
			b := newPipeBroker(t, row.script)
			r := New(testLogin(Options{Level: row.level, Dial: b.Dial}))(t.Context(), target.Node{})
			data, err := r.MarshalJSON()
			if err != nil {
				t.Fatal(err)
			}
			if all := fmt.Sprintf("%v %+v %#v %s", r, r, r, data); strings.Contains(all, testPassword) {
				t.Errorf("%s: the password is in %s", row.name, all)
			}
		})
	}
	c := target.Credentials{Username: "u", Password: testPassword}
	if all := fmt.Sprintf("%v %+v %#v %s", c, c, &c, c); strings.Contains(all, testPassword) {
		t.Errorf("the password is in %s", all)
	}
}

func TestSpellShowsTenthsOfAMillisecondWhereTheyMatter(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0.0ms", 440 * time.Microsecond: "0.4ms", 9940 * time.Microsecond: "9.9ms", 10400 * time.Microsecond: "10ms",
		12003400 * time.Microsecond: "12.003s",
	} {
		if got := spell(d); got != want {
			t.Errorf("%d ns: %q, want %q", d, got, want)
		}
	}
}

// A container that starts again in the same pod is another node: results from before its start must not count for
// it.
func TestLoginSaysWhichStartOfTheContainerItIsAbout(t *testing.T) {
	n := target.Node{Target: "b", Name: "x", UID: "x-uid", Started: time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)}
	dial := func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("broken") }
	for _, level := range []probe.Kind{probe.Login, probe.Roundtrip} {
		r := New(testLogin(Options{Level: level, Dial: dial}))(t.Context(), n)
		if r.Kind != level || !r.NodeStarted.Equal(n.Started) {
			t.Errorf("%s says %s, want %s: %+v", level, r.NodeStarted, n.Started, r)
		}
	}
}

func TestLoginByCertificateSendsNoPasswordAndSaysIfTheBrokerDoesNotOfferIt(t *testing.T) {
	b := newFakeBroker(t, nil) // which offers PLAIN and AMQPLAIN
	r := New(testLogin(Options{External: true}))(t.Context(), target.Node{Address: b.Addr})
	const want = "the broker does not offer the login mechanism EXTERNAL"
	if r.Reason != probe.NotAllowed || r.Status() != probe.Faulty || r.Detail != want {
		t.Errorf("%s (%s), want not_allowed (%s)", r.Reason, r.Detail, want)
	}
	e := external{amqp.Table{"capabilities": amqp.Table{}}}
	if e.Mechanism() != "EXTERNAL" || e.Response() != "" || e.properties["capabilities"].(amqp.Table)["authentication_failure_close"] != true {
		t.Errorf("%s answers %q, and offers %v", e.Mechanism(), e.Response(), e.properties)
	}
}
