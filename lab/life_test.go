package lab

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cjworkbench/unstuck/target"
)

// single is what most tests here start: one node takes a third of the time.
func single(t *testing.T) Options {
	return Options{Nodes: 1, Dir: t.TempDir(), Root: *root, HandshakeTimeout: handshake}
}

func TestLabRunsBesideAnotherAndCloseLeavesNothing(t *testing.T) {
	first := healthyLab(t)
	var log syncBuffer
	opts := single(t)
	opts.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	l, err := Start(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, name := range first.Names() {
		if got := look(t, first, name, patience); got != healthy {
			t.Errorf("%s of the first lab: %s", name, got)
		}
	}

	// Close has to cope with all of these.
	n := l.Nodes()[0]
	if err := l.ChangePassword(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := l.CutOff(t.Context(), n.Name); err != nil {
		t.Fatal(err)
	}
	started := make(signalWriter, 1)
	command := make(chan error, 1)
	go func() {
		_, err := l.Exec(t.Context(), n, []string{"sh", "-c", "echo started; sleep 600"}, started, io.Discard)
		command <- err
	}()
	<-started
	if err := l.Freeze(t.Context(), n.Name); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(l.Dir(), "somebody's"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-command; err == nil {
		t.Error("a command outlived the lab")
	}
	if left := remains(t, l.dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if rules, err := exec.Command("iptables", "--list-rules").Output(); err != nil || bytes.Contains(rules, []byte(l.nodes[0].host)) {
		t.Errorf("firewall: %v, %s", err, rules)
	}
	_, password := l.Credentials()
	for _, secret := range []string{password, l.cookie} {
		if strings.Contains(log.String(), secret) {
			t.Error("a secret was logged")
		}
	}
	closedLabRefuses(t, l, n)
	for _, name := range first.Names() {
		if got := look(t, first, name, patience); got != healthy {
			t.Errorf("%s of the first lab after the second was closed: %s", name, got)
		}
	}
}

func closedLabRefuses(t *testing.T, l *Lab, n target.Node) {
	if err := l.Close(); err != nil {
		t.Errorf("close once more: %v", err)
	}
	if err := l.Delete(t.Context(), n, 0); !errors.Is(err, errClosed) {
		t.Errorf("delete: %v", err)
	}
	if _, err := l.Exec(t.Context(), n, []string{"true"}, io.Discard, io.Discard); err == nil {
		t.Error("a command ran in a closed lab")
	}
	if err := l.WaitReady(t.Context()); !errors.Is(err, errClosed) {
		t.Errorf("wait: %v", err)
	}
}

// beChild is what this test's binary does when it is started to be killed.
func beChild() int {
	l, err := Start(context.Background(), Options{Nodes: 1, Dir: *child, Root: *root})
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println("ready", l.dir)
	select {} // nobody calls Close
}

func TestLabLeavesNoProcessEvenIfOursIsKilled(t *testing.T) {
	opts := single(t)
	cmd := exec.Command(os.Args[0], "-child="+opts.Dir, "-root="+*root)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	var dir string
	line, err := bufio.NewReader(out).ReadString('\n')
	if _, scan := fmt.Sscanf(line, "ready %s", &dir); err != nil || scan != nil {
		t.Fatalf("child said %q, %v", line, err)
	}
	if left := remains(t, dir); len(left) < 3 { // the node, epmd, the directory
		t.Fatalf("the child runs only %v", left)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Error("the child ended well")
	}
	eventually(t, "no process is left", time.Minute, func() bool { return len(remains(t, dir)) == 1 })

	// Nobody could remove the directory then: the next lab does.
	made, lock, err := makeDir(filepath.Dir(dir))
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(made)
	defer lock.Close()
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("directory of a killed lab: %v", err)
	}
	if removeStale(filepath.Dir(dir)); !isFile(filepath.Join(made, lockName)) {
		t.Error("the directory of a lab that runs was removed")
	}
}

func TestStartLeavesNothingIfItIsCancelledHalfWay(t *testing.T) {
	opts := single(t)
	parent := opts.Dir
	if *root != "" {
		parent = filepath.Join(*root, "tmp")
	}
	old, err := filepath.Glob(filepath.Join(parent, dirPrefix+"*"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() {
		l, err := Start(ctx, opts)
		if err == nil {
			err = errors.Join(errors.New("it started"), l.Close())
		}
		done <- err
	}()
	var dir string
	eventually(t, "the node's process runs", time.Minute, func() bool {
		dirs, _ := filepath.Glob(filepath.Join(parent, dirPrefix+"*"))
		for _, d := range dirs {
			if !strings.Contains(strings.Join(old, " "), d) {
				dir = d
			}
		}
		return dir != "" && strings.Contains(strings.Join(remains(t, dir), "\n"), "beam.smp")
	})
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if left := remains(t, dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestStartSaysWhatToInstallWhenRabbitMQIsMissing(t *testing.T) {
	empty := t.TempDir()
	if _, err := Start(t.Context(), Options{Root: empty}); err == nil || !strings.Contains(err.Error(), "tree.sh") {
		t.Errorf("in an empty tree: %v", err)
	}
	if _, err := Start(t.Context(), Options{Nodes: 10}); err == nil {
		t.Error("ten nodes")
	}
	t.Setenv("PATH", empty)
	if _, err := findRabbitMQ("", filepath.Join(empty, "bin")); err == nil || !strings.Contains(err.Error(), "apt-get install rabbitmq-server") {
		t.Errorf("on a machine without it: %v", err)
	}
}

func TestLabResetUndoesSeveralFaultsAtOnce(t *testing.T) {
	l := healthyLab(t)
	for name, set := range map[string]func(context.Context, string) error{
		"rabbit-0": func(ctx context.Context, name string) error { return l.SlowLogin(ctx, name, time.Hour) },
		"rabbit-1": l.Freeze, "rabbit-2": l.CutOff,
	} {
		if err := set(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Reset(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, name := range l.Names() {
		if got := look(t, l, name, patience); got != healthy {
			t.Errorf("%s: %s", name, got)
		}
	}
}

func TestRingKeepsTheLastLinesInOrder(t *testing.T) {
	var r ring
	if got := r.last(5); len(got) != 0 {
		t.Errorf("empty: %v", got)
	}
	for i := range ringSize + 10 {
		r.add(target.LogLine{Text: fmt.Sprint(i)})
	}
	if got := r.last(2); len(got) != 2 || got[0].Text != "508" || got[1].Text != "509" {
		t.Errorf("last two: %v", got)
	}
	if got := r.last(10_000); len(got) != ringSize || got[0].Text != "10" {
		t.Errorf("all: %d, first %v", len(got), got[0])
	}
	if got := r.last(-1); len(got) != 0 {
		t.Errorf("less than none: %v", got)
	}
}

func TestLeaseAddressesGivesLabsDifferentOnes(t *testing.T) {
	seen := map[string]bool{}
	for range 50 {
		addrs, leases, err := leaseAddresses(t.Context(), 3)
		if err != nil {
			t.Fatal(err)
		}
		defer closeAll(leases)
		for _, a := range addrs {
			if !a.IsLoopback() || seen[a.String()] {
				t.Errorf("address %s is taken, or not loopback", a)
			}
			seen[a.String()] = true
		}
	}
}

// signalWriter says that something was written.
type signalWriter chan struct{}

func (w signalWriter) Write(p []byte) (int, error) {
	select {
	case w <- struct{}{}:
	default:
	}
	return len(p), nil
}

// syncBuffer is a buffer that several goroutines may write to.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
