package lab

import (
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/cjworkbench/unstuck/probe"
)

func TestAuthBackendIsAskedByItsNode(t *testing.T) {
	opts := single(t)
	opts.Nodes, opts.HTTPBackend = 2, true
	l, err := Start(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	sees := func(one, other string) {
		t.Helper()
		if got := look(t, l, "rabbit-1", patience); got != one {
			t.Errorf("rabbit-1: %s, want %s", got, one)
		}
		if got := look(t, l, "rabbit-0", patience); got != other {
			t.Errorf("rabbit-0: %s, want %s", got, other)
		}
	}
	do := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	sees(healthy, healthy)
	do(l.AuthBackend("rabbit-1").Hang())
	sees(noLogin, healthy)
	waitsForTheBackend(t, l)
	do(l.Restart(t.Context(), "rabbit-0"))
	do(l.RestartContainer(t.Context(), "rabbit-1")) // which cures nothing
	eventually(t, "it hangs again", time.Minute, func() bool { return look(t, l, "rabbit-1", patience) == noLogin })
	do(l.AuthBackend("").SetDelay(500 * time.Millisecond))
	if d := took(t, l, "rabbit-0"); d < 500*time.Millisecond {
		t.Errorf("with a slow backend it took %v", d)
	}
	do(l.AuthBackend("").Hang())
	sees(noLogin, noLogin)
	do(l.Reset(t.Context()))
	sees(healthy, healthy)
	do(l.ChangePassword(t.Context()))
	sees(badLogin, badLogin)
	do(l.RestorePassword(t.Context()))

	// Who asks knows a user by the right password alone.
	for password, want := range map[string]string{l.pass: "allow", "another": "deny"} {
		res, err := http.PostForm(l.nodes[0].backend.url+"/user", url.Values{"username": {l.user}, "password": {password}})
		if err != nil {
			t.Fatal(err)
		}
		answer := make([]byte, 5)
		n, _ := res.Body.Read(answer)
		if err := res.Body.Close(); err != nil || string(answer[:n]) != want {
			t.Errorf("answer %q, %v; want %q", answer[:n], err, want)
		}
	}
	do(l.AuthBackend("").Hang())
	if got := look(t, l, "rabbit-0", patience); got != noLogin {
		t.Errorf("while it closes: %s", got)
	}
	do(l.Close())
	if left := remains(t, l.dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if err := healthyLab(t).AuthBackend("").Hang(); err == nil {
		t.Error("a lab without backend hangs")
	}
}

// waitsForTheBackend wants maybe_stuck to show who waits for the backend, while clients try to log in.
func waitsForTheBackend(t *testing.T, l *Lab) {
	t.Helper()
	d, err := l.gather("rabbit-1", 3)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	for range 3 {
		if maybeStuck(t, l, "rabbit-1").Waiting[probe.AwaitsBackend] > 0 {
			return
		}
	}
	t.Error("nobody waits for the backend")
}
