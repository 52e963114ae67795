package lab

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/cjworkbench/unstuck/target"
)

// replace deletes a node and waits until the next one of that name accepts logins.
func replace(ctx context.Context, l *Lab, name string, grace time.Duration) error {
	old, err := l.Node(name)
	if err != nil {
		return err
	}
	if err := l.Delete(ctx, old, grace); err != nil {
		return err
	}
	err = l.until(ctx, name+" to be replaced", func(context.Context) error {
		if n, err := l.Node(name); err != nil || n.UID == old.UID {
			return errors.New("still the old one")
		}
		return nil
	})
	if err != nil {
		return err
	}
	return l.WaitReady(ctx)
}

func TestLabViewShowsNodesAsDifferentPodsOnDifferentHosts(t *testing.T) {
	l := healthyLab(t)
	began := time.Now()
	v, err := l.View(t.Context(), "lab")
	if err != nil {
		t.Fatal(err)
	}
	if v.At.Before(began) || v.Expected != 3 || v.IsLeader != target.Yes || v.Operating != target.No || len(v.Nodes) != 3 {
		t.Errorf("view %+v", v)
	}
	seen := map[string]bool{}
	for i, n := range v.Nodes {
		for _, unique := range []string{n.UID, n.Host, n.Address} {
			if unique == "" || seen[unique] {
				t.Errorf("node %s has %q, as another has, or none", n.Name, unique)
			}
			seen[unique] = true
		}
		want := target.Node{
			Target: "lab", Name: l.Names()[i], UID: n.UID, Address: n.Address, Host: n.Host, Started: n.Started,
			Terminating: target.No, RollingOut: target.No, Owned: target.Yes, Disruptable: target.Yes,
		}
		if diff := cmp.Diff(want, n); diff != "" {
			t.Error(diff)
		}
		if n.Started.IsZero() || n.Started.After(began) {
			t.Errorf("node %s started at %v", n.Name, n.Started)
		}
	}
	if _, err := l.View(t.Context(), "another"); err == nil {
		t.Error("a view of a broker that is not there")
	}
}

func TestLabDeleteReplacesExactlyTheNodeThatWasMeant(t *testing.T) {
	l := healthyLab(t)
	old, err := l.Node("rabbit-2")
	if err != nil {
		t.Fatal(err)
	}
	before := len(l.Deletions())

	stale, absent := old, old
	stale.UID, absent.Name = "stale", "rabbit-9"
	if err := l.Delete(t.Context(), stale, time.Second); !errors.Is(err, target.ErrChanged) {
		t.Errorf("delete under a stale UID: %v", err)
	}
	if err := l.Delete(t.Context(), absent, time.Second); !errors.Is(err, target.ErrGone) {
		t.Errorf("delete of an absent node: %v", err)
	}
	if n, err := l.Node("rabbit-2"); err != nil || n != old || len(l.Deletions()) != before {
		t.Fatalf("a refused deletion did something: %+v, %v, %v", n, err, l.Deletions())
	}

	// Frozen: it ignores SIGTERM, so that the old one can be seen to terminate.
	if err := l.Freeze(t.Context(), old.Name); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if err := l.Delete(t.Context(), old, time.Second); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > 500*time.Millisecond {
		t.Errorf("accepting a deletion took %v", took)
	}
	leaving := old
	leaving.Terminating = target.Yes
	if n, err := l.Node("rabbit-2"); err != nil || n != leaving {
		t.Errorf("being deleted: %+v, %v", n, err)
	}
	if err := l.Delete(t.Context(), old, time.Second); err != nil {
		t.Errorf("delete what is being deleted: %v", err)
	}
	eventually(t, "a new node", time.Minute, func() bool {
		n, err := l.Node("rabbit-2")
		return err == nil && n.UID != old.UID
	})
	if took := time.Since(began); took < time.Second {
		t.Errorf("killed after %v, before its grace of 1s was over", took)
	}
	if err := l.WaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	n, err := l.Node("rabbit-2")
	if err != nil || n.Address != old.Address || !n.Started.After(old.Started) || n.Terminating != target.No {
		t.Errorf("new node %+v, %v; old %+v", n, err, old)
	}
	got := l.Deletions()[before:]
	if len(got) != 1 || got[0].Node != old.Name || got[0].UID != old.UID || got[0].At.Before(began) {
		t.Errorf("deletions %+v", got)
	}
	if err := l.Delete(t.Context(), old, time.Second); !errors.Is(err, target.ErrChanged) {
		t.Errorf("delete the old one once more: %v", err)
	}
}

func TestNodeStartsAProcessThatEndsAnewUnderTheSameUID(t *testing.T) {
	l := healthyLab(t)
	old, err := l.Node("rabbit-0")
	if err != nil {
		t.Fatal(err)
	}
	p, err := l.nodes[0].process()
	if err != nil {
		t.Fatal(err)
	}
	// What runs beside a node ends with it, as in a container.
	beside := make(chan error, 1)
	go func() {
		_, err := l.Exec(context.WithoutCancel(t.Context()), old, []string{"sleep", "600"}, io.Discard, io.Discard)
		beside <- err
	}()
	if err := killGroup(p.pid); err != nil {
		t.Fatal(err)
	}
	if err := <-beside; err == nil {
		t.Error("a command beside the node outlived it")
	}
	eventually(t, "a new process", time.Minute, func() bool {
		n, err := l.Node("rabbit-0")
		return err == nil && n.Started.After(old.Started)
	})
	if err := l.WaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	n, err := l.Node("rabbit-0")
	old.Started = n.Started
	if err != nil || n != old {
		t.Errorf("node %+v, %v; want %+v", n, err, old)
	}
}

func TestLabExecRunsACommandBesideTheNode(t *testing.T) {
	l := healthyLab(t)
	n, err := l.Node("rabbit-1")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		argv []string
		exit int
		out  string
	}{
		{[]string{"rabbitmqctl", "--quiet", "eval", "node()."}, 0, l.nodes[1].erlang()},
		{[]string{"rabbitmq-diagnostics", "--quiet", "-t", "30", "maybe_stuck"}, 0, "suspicious processes"},
		{[]string{"rabbitmq-diagnostics", "nonsense"}, 64, "nonsense"},
		{[]string{"sh", "-c", "echo out; echo err >&2; exit 3"}, 3, "out\nerr\n"},
	} {
		var out strings.Builder
		exit, err := l.Exec(t.Context(), n, c.argv, &out, &out)
		if err != nil || exit != c.exit || !strings.Contains(out.String(), c.out) {
			t.Errorf("%v: exit code %d, %v, %q", c.argv, exit, err, out.String())
		}
	}
	stale := n
	stale.UID = "stale"
	if _, err := l.Exec(t.Context(), stale, []string{"true"}, io.Discard, io.Discard); !errors.Is(err, target.ErrChanged) {
		t.Errorf("in a node that was replaced: %v", err)
	}
	for _, argv := range [][]string{nil, {"no-such-command"}, {"sh", "-c", "kill -9 $$"}} {
		if exit, err := l.Exec(t.Context(), n, argv, io.Discard, io.Discard); err == nil {
			t.Errorf("%v: exit code %d and no error", argv, exit)
		}
	}
}

func TestLabExecKillsTheWholeGroupWhenItsContextEnds(t *testing.T) {
	l := healthyLab(t)
	n, err := l.Node("rabbit-1")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	why := errors.New("enough")
	started := make(signalWriter, 1)
	done := make(chan error, 1)
	go func() {
		_, err := l.Exec(ctx, n, []string{"sh", "-c", "sleep 611 & echo started; wait"}, started, io.Discard)
		done <- err
	}()
	<-started
	cancel(why)
	if err := <-done; !errors.Is(err, why) {
		t.Errorf("error %v", err)
	}
	eventually(t, "the command's own child to be gone", time.Minute, func() bool {
		return !strings.Contains(strings.Join(remains(t, l.dir), "\n"), `sleep\x00611`)
	})
}

func TestLabLoseLogHasALogStandStillThatShowedLogins(t *testing.T) {
	l := healthyLab(t)
	if !l.release.atLeast(3, 9) {
		if err := l.LoseLog(t.Context(), "rabbit-2"); !errors.Is(err, ErrUnsupported) {
			t.Errorf("lose the log of %v: %v", l.release, err)
		}
		return
	}
	n, err := l.Node("rabbit-2")
	if err != nil {
		t.Fatal(err)
	}
	newest := func() target.LogLine {
		lines, err := l.LastLines(t.Context(), n, 1)
		if err != nil || len(lines) != 1 {
			t.Fatal(lines, err)
		}
		return lines[0]
	}
	// Each look logs in; where lines wait to be written a burst of them may be dropped.
	logged := func(since time.Time) func() bool {
		return func() bool {
			got := look(t, l, n.Name, patience)
			line := newest()
			return got == healthy && line.At.After(since) && strings.Contains(line.Text, "AMQP connection")
		}
	}
	eventually(t, "a login in the log", time.Minute, logged(time.Now()))

	if err := l.LoseLog(t.Context(), n.Name); err != nil {
		t.Fatal(err)
	}
	last := newest()
	for range 20 {
		if got := look(t, l, n.Name, patience); got != healthy {
			t.Fatalf("without log: %s", got)
		}
	}
	if now := newest(); now != last {
		t.Errorf("a line came: %v %.80s", now.At, now.Text)
	}
	if err := l.RegainLog(t.Context(), n.Name); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a login in the log again", time.Minute, logged(time.Now()))
}

func TestLabTLSListenerDemandsAClientCertificate(t *testing.T) {
	l := healthyLab(t)
	files := l.TLS()
	pem, err := os.ReadFile(files.CA)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := tls.LoadX509KeyPair(files.Cert, files.Key)
	if err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{RootCAs: x509.NewCertPool(), ServerName: files.ServerName}
	config.RootCAs.AppendCertsFromPEM(pem)
	user, password := l.Credentials()
	url := "amqps://" + user + ":" + password + "@" + l.TLSAddress("rabbit-0") + "/"
	if conn, err := amqp.DialTLS(url, config); err == nil {
		conn.Close()
		t.Error("let in without a certificate")
	}
	config.Certificates = []tls.Certificate{cert}
	conn, err := amqp.DialTLS(url, config)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
}
