package lab

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// newAttr puts a child into a process group of its own, and has the kernel kill it when the OS thread that started
// it ends (prctl(2), PR_SET_PDEATHSIG): see spawner. A child in a chroot gets a mount namespace of its own as well.
func newAttr(root string) *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if root != "" {
		attr.Chroot, attr.Unshareflags = root, syscall.CLONE_NEWNS
	}
	return attr
}

func terminate(pid int) error { return send(pid, syscall.SIGTERM) }
func freeze(pid int) error    { return send(pid, syscall.SIGSTOP) }
func thaw(pid int) error      { return send(pid, syscall.SIGCONT) }

// killGroup ends a child and whatever it started that is still in its group, stopped or not.
func killGroup(pid int) error { return send(-pid, syscall.SIGKILL) }

// send sends a signal. That the process has ended already is no error.
func send(pid int, sig syscall.Signal) error {
	if err := syscall.Kill(pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("send %v to process %d: %w", sig, pid, err)
	}
	return nil
}

// processesWith gives the processes in whose environment the entry is. Erlang's helpers (erl_child_setup,
// inet_gethost) leave the group of the node that started them, but keep its environment.
func processesWith(entry string) ([]int, error) {
	files, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var pids []int
	for _, file := range files {
		env, err := os.ReadFile(file)
		if err != nil { // it has ended, or is another user's
			continue
		}
		for e := range bytes.SplitSeq(env, []byte{0}) {
			if string(e) != entry {
				continue
			}
			if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file))); err == nil {
				pids = append(pids, pid)
			}
			break
		}
	}
	return pids, nil
}

// unread gives how many bytes wait in a pipe.
func unread(pipe *os.File) (int, error) {
	conn, err := pipe.SyscallConn()
	if err != nil {
		return 0, fmt.Errorf("look into a pipe: %w", err)
	}
	var n int
	var ioctl error
	if err := conn.Control(func(fd uintptr) { n, ioctl = unix.IoctlGetInt(int(fd), unix.TIOCINQ) }); err != nil {
		return 0, fmt.Errorf("look into a pipe: %w", err)
	}
	if ioctl != nil {
		return 0, fmt.Errorf("look into a pipe: %w", ioctl)
	}
	return n, nil
}

// tryLock takes the lock of a file that ends with the process that has it open. It is false if another has it.
func tryLock(f *os.File) bool { return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil }
