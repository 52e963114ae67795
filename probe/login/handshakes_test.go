package login

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cjworkbench/unstuck/probe"
	"github.com/cjworkbench/unstuck/target"
)

// execFunc says what a command would have done.
type execFunc func(ctx context.Context, n target.Node, argv []string, stdout, stderr io.Writer) (int, error)

func (f execFunc) Exec(ctx context.Context, n target.Node, argv []string, stdout, stderr io.Writer) (int, error) {
	return f(ctx, n, argv, stdout, stderr)
}

// answering gives an Execer whose every command prints out, and a count of how often it was asked.
func answering(exit int, out string, err error) (x target.Execer, asked *int) {
	asked = new(int)
	return execFunc(func(_ context.Context, _ target.Node, argv []string, stdout, _ io.Writer) (int, error) {
		*asked++
		if argv[0] != "rabbitmqctl" {
			return 127, nil
		}
		_, _ = io.WriteString(stdout, out)
		return exit, err
	}), asked
}

func TestHandshakesAskANodeOnceAContainerStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h Handshakes
		const configured = 10 * time.Second
		n := target.Node{Name: "rabbit-0", UID: "u", Started: time.Now()}
		x, asked := answering(0, "{ok,30000}\n", nil)
		for range 3 {
			if _, _, err := h.Ask(t.Context(), x, n); err != nil {
				t.Fatal(err)
			}
			time.Sleep(24 * time.Hour)
		}
		if got := h.For(n, configured); *asked != 1 || got != 30*time.Second {
			t.Errorf("asked %d times, and it is %s: want once, and 30s", *asked, got)
		}
		again, peer := n, target.Node{Name: "rabbit-1", UID: "v"}
		again.Started = time.Now()
		for _, n := range []target.Node{again, peer} {
			if got := h.For(n, configured); got != 30*time.Second {
				t.Errorf("%s has not been asked yet, and it is %s: want the longest that any said", n.Name, got)
			}
		}
		broken, tried := answering(69, "", nil)
		for range 2 {
			_, _, _ = h.Ask(t.Context(), broken, again)
			time.Sleep(time.Minute)
		}
		if got := h.For(again, configured); *tried != 1 || got != 30*time.Second {
			t.Errorf("a question without an answer was asked %d times in two minutes, and it is %s", *tried, got)
		}
		time.Sleep(askAgain)
		if got, isNew, err := h.Ask(t.Context(), x, again); got != 30*time.Second || !isNew || err != nil || *asked != 2 {
			t.Errorf("later: %s, %v, %v, asked %d times", got, isNew, err, *asked)
		}
		short, _ := answering(0, "{ok,5000}", nil)
		_, _, _ = h.Ask(t.Context(), short, peer)
		if got := h.For(peer, configured); got != 5*time.Second {
			t.Errorf("it says that it is 5 s, and it is %s", got)
		}
	})
}

func TestHandshakesAskReadsTheAnswer(t *testing.T) {
	for out, want := range map[string]time.Duration{
		"{ok,10000}": 10 * time.Second, "{ok,10000}\r\n": 10 * time.Second, "a warning\n{ok,2000}\n": 2 * time.Second,
		"{ok,infinity}": noHandshakeTimeout, "{ok,99999999}": noHandshakeTimeout, "{ok,1}": time.Second,
		"undefined": 0, "": 0, "{ok,-1}": 0, "{ok,foo}": 0, "{error,10000}": 0, "{ok,999999999999}": 0,
	} {
		var h Handshakes
		x, _ := answering(0, out, nil)
		got, isNew, err := h.Ask(t.Context(), x, target.Node{Name: "n"})
		if got != want || isNew != (want > 0) || (err == nil) != (want > 0) {
			t.Errorf("%q is %s, %v, %v: want %s", out, got, isNew, err, want)
		}
	}
	for _, x := range []target.Execer{first(answering(0, "{ok,10000}", errors.New("forbidden"))), first(answering(1, "{ok,10000}", nil))} {
		var h Handshakes
		if _, isNew, err := h.Ask(t.Context(), x, target.Node{}); isNew || err == nil {
			t.Error("a command that failed gave an answer")
		}
	}
}

func first(x target.Execer, _ *int) target.Execer { return x }

func TestLoginGoesByTheNodesOwnHandshakeTimeout(t *testing.T) {
	const second = time.Second
	late := func(d time.Duration) act { return after(d, nil) }
	for _, row := range []struct {
		name    string
		own     time.Duration
		learned time.Duration // how far into the login it is learned
		timeout time.Duration
		script  script
		reason  probe.Reason
		took    time.Duration
		detail  string
	}{
		{"a node that answers late, as it may, is healthy", 30 * second, 0, 0, script{onTune: late(20 * second)}, probe.OK, 20 * second, ""},
		{"so it is if that is learned while we wait", 30 * second, 10 * second, 0, script{onTune: late(20 * second)}, probe.OK, 20 * second, ""},
		{"silence beyond it is stuck", 30 * second, 0, 0, script{onTune: hang}, probe.AwaitTune, 33 * second, "own handshake_timeout is 30s, not 10s as configured"},
		{"the end at it is slow", 30 * second, 0, 0, script{onTune: after(30*second, eof)}, probe.Slow, 30 * second, "not 10s as configured"},
		{"an end long before it is not", 30 * second, 0, 0, script{onTune: after(10*second, eof)}, probe.ClosedEarly, 10 * second, ""},
		{"the end at a shorter one is slow", 5 * second, 0, 0, script{onTune: after(5*second, eof)}, probe.Slow, 5 * second, "is 5s, not 10s"},
		{"nobody waits for longer than a minute, and then it proves nothing", 10 * time.Minute, 0, 0, script{onTune: hang}, probe.Cancelled, time.Minute, "only beyond 10m30s"},
		{"what is as configured is not mentioned", 10 * second, 0, 0, script{onTune: hang}, probe.AwaitTune, 12 * second, ""},
		{"a timeout that proves nothing is not prolonged", 30 * second, 0, 5 * second, script{onTune: hang}, probe.Cancelled, 5 * second, "only beyond 31.5s"},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newPipeBroker(t, row.script)
				o := testLogin(Options{Dial: b.Dial, Timeout: row.timeout})
				began := time.Now()
				o.Handshake = func(n target.Node, configured time.Duration) time.Duration {
					if n.Name != "n" || time.Since(began) < row.learned {
						return configured
					}
					return row.own
				}
				r := New(o)(t.Context(), target.Node{Name: "n"})
				if r.Reason != row.reason || r.Took != row.took || !strings.Contains(r.Detail, row.detail) {
					t.Errorf("%s after %s (%s), want %s after %s (%s)", r.Reason, r.Took, r.Detail, row.reason, row.took, row.detail)
				}
				if differ := strings.Contains(r.Detail, "as configured"); row.detail == "" && differ {
					t.Errorf("detail %q", r.Detail)
				}
				if r.Took > o.Longest() {
					t.Errorf("took %s, and %s is the longest", r.Took, o.Longest())
				}
			})
		})
	}
}

func TestLoginTellsOnceOfItsSilenceLongBeforeItsDeadline(t *testing.T) {
	const second = time.Second
	for _, row := range []struct {
		name   string
		level  probe.Kind
		script script
		want   time.Duration // 0: never
	}{
		{"a healthy login", probe.Login, nil, 0},
		{"no greeting", probe.Login, script{onStart: hang}, 3 * second},
		{"no tune", probe.Login, script{onTune: hang}, 3 * second},
		{"no tune after a late greeting", probe.Login, script{onStart: after(2*second, nil), onTune: hang}, 5 * second},
		{"no open-ok, with heartbeats", probe.Login, script{onOpenOK: hangBeating(second)}, 3 * second},
		{"one that gets on, slowly", probe.Login, script{onStart: after(2*second, nil), onTune: after(2*second, nil), onOpenOK: after(2*second, nil)}, 0},
		{"one that is silent twice", probe.Login, script{onStart: after(4*second, nil), onTune: after(4*second, nil)}, 3 * second},
		{"a round trip that hangs beyond the login", probe.Roundtrip, script{onDeclareOK: hang}, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			b := newPipeBroker(t, row.script)
			began, told := time.Now(), []time.Duration{}
			o := testLogin(Options{Level: row.level, Dial: b.Dial, Silent: func(n target.Node) {
				if n.Name == "n" {
					told = append(told, time.Since(began))
				}
			}})
			New(o)(t.Context(), target.Node{Name: "n"})
			synctest.Wait()
			if (row.want == 0) != (len(told) == 0) || len(told) > 1 || len(told) == 1 && told[0] != row.want {
				t.Errorf("%s: told after %v, want %v", row.name, told, row.want)
			}
		})
	}
}
