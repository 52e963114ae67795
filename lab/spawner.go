package lab

import (
	"errors"
	"fmt"
	"os/exec"
	"runtime"
)

var errClosed = errors.New("the lab is closed")

// spawner starts every child of the lab from one OS thread that lives as long as the lab. The kernel ties
// Pdeathsig to that thread, not to our process: a child started from any other thread would be killed whenever Go
// lets that thread go.
type spawner struct {
	work chan func()
	quit chan struct{}
	done chan struct{}
}

func newSpawner() *spawner {
	s := &spawner{work: make(chan func()), quit: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(s.done)
		runtime.LockOSThread() // and never unlock: the thread ends with this goroutine
		for {
			select {
			case f := <-s.work:
				f()
			case <-s.quit:
				return
			}
		}
	}()
	return s
}

// start is cmd.Start on the spawner's thread.
func (s *spawner) start(cmd *exec.Cmd) error {
	result := make(chan error, 1)
	select {
	case s.work <- func() { result <- cmd.Start() }:
	case <-s.quit:
		return errClosed
	}
	if err := <-result; err != nil {
		return fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	return nil
}

// close ends the thread, and with it any child that still runs.
func (s *spawner) close() {
	close(s.quit)
	<-s.done
}
