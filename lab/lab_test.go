package lab

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

var (
	root  = flag.String("root", os.Getenv("UNSTUCK_RABBITMQ_ROOT"), "run against the RabbitMQ in this tree (see tree.sh) in place of the installed one")
	child = flag.String("child", "", "only start a lab of one node in this directory, print ready, and wait to be killed")
)

// The broker's handshake timeout in these tests, and how long they wait for something that must not come: a little
// less, or the broker would close the connection first.
const (
	handshake = 3 * time.Second
	patience  = 1500 * time.Millisecond
)

// shared is the lab of three nodes that most tests break and reset.
var shared = sync.OnceValues(func() (*Lab, error) {
	return Start(context.Background(), Options{HandshakeTimeout: handshake, TLS: true, Root: *root})
})

func TestMain(m *testing.M) {
	flag.Parse()
	if *root != "" && !filepath.IsAbs(*root) { // the tests run in the package's directory
		path, err := filepath.Abs(filepath.Join("..", *root))
		if err != nil {
			panic(err)
		}
		*root = path
	}
	if *child != "" {
		os.Exit(beChild())
	}
	code := m.Run()
	if l, err := shared(); err == nil {
		if err := l.Close(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// healthyLab gives the shared lab with all its nodes healthy, and leaves it so.
func healthyLab(t *testing.T) *Lab {
	t.Helper()
	l, err := shared()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Reset(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return l
}

// remains lists what is left of a lab: its processes, and its directory.
func remains(t *testing.T, dir string) []string {
	t.Helper()
	var found []string
	environs, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range environs {
		if env, err := os.ReadFile(file); err == nil && strings.Contains(string(env), dir) {
			cmdline, _ := os.ReadFile(filepath.Join(filepath.Dir(file), "cmdline"))
			found = append(found, fmt.Sprintf("%s %.60q", file, cmdline))
		}
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		found = append(found, dir)
	}
	return found
}

// eventually waits until f is true, looking often.
func eventually(t *testing.T, what string, within time.Duration, f func() bool) {
	t.Helper()
	deadline := time.NewTimer(within)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !f() {
		select {
		case <-deadline.C:
			t.Fatalf("not within %v: %s", within, what)
		case <-tick.C:
		}
	}
}
