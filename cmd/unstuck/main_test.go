package main

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// crashVariable tells a process of this test that it is the one to crash.
const crashVariable = "UNSTUCK_TEST_CRASH"

func TestCrashBySignalIsNotTakenForAStuckNode(t *testing.T) {
	if os.Getenv(crashVariable) != "" {
		crashBySignal()
		done := make(chan struct{})
		go func() { // where nobody recovers it
			defer close(done)
			panic("on purpose")
		}()
		<-done
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), crashVariable+"=1")
	cmd.Dir = t.TempDir()
	out, err := cmd.CombinedOutput()
	exit, ended := errors.AsType[*exec.ExitError](err)
	if !ended || !strings.Contains(string(out), "panic: on purpose") {
		t.Fatalf("it did not crash: %v\n%s", err, out)
	}
	status, _ := exit.Sys().(syscall.WaitStatus)
	if !status.Signaled() || status.Signal() != syscall.SIGABRT || status.CoreDump() {
		t.Errorf("it ended by %v, core %v: want SIGABRT, without a core", exit, status.CoreDump())
	}
	if left, err := os.ReadDir(cmd.Dir); err != nil || len(left) > 0 {
		t.Errorf("it left %v behind: %v", left, err)
	}
}
