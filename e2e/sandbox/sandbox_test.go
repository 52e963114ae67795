package sandbox

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// asParent in the environment has this test's own program start a sandbox, in the directory that it names, and wait to
// be killed. As the first process of its namespaces it is a sandbox's.
const asParent = "UNSTUCK_SANDBOX_PARENT"

func TestMain(m *testing.M) {
	switch dir := os.Getenv(asParent); {
	case os.Getpid() == 1:
		fmt.Fprintln(os.Stderr, Init(os.Args[1]))
		os.Exit(1)
	case dir != "":
		_, err := Start(context.Background(), dir, program(), true, Spec{Hostname: "box", Address: "10.88.255.1"})
		fmt.Println("started:", err)
		select {}
	}
	os.Exit(m.Run())
}

func program() string {
	path, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return path
}

// directory gives a place for a sandbox; the test's own name may make a path too long for a socket.
func directory(t *testing.T) string {
	t.Helper()
	parent, err := os.MkdirTemp("", "sandbox")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(parent); err != nil {
			t.Error(err)
		}
	})
	dir := filepath.Join(parent, "box")
	if err := Claim(dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

func start(t *testing.T, dir string, processes ...Process) *Sandbox {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s, err := Start(ctx, dir, program(), true, Spec{
		Hostname: "box", Address: "10.88.255.1", Sysctls: map[string]string{"ipv4/ip_forward": "1"}, Processes: processes,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func sleeper(dir string) Process {
	return Process{Name: "sleeper", Argv: []string{"sleep", "3600"}, Log: filepath.Join(dir, "sleeper.log")}
}

func TestSandboxIsSeenNowhereOutsideOfIt(t *testing.T) {
	before := observe(t)
	dir := directory(t)
	s := start(t, dir, sleeper(dir))
	out, err := s.Run(t.Context(), "", "sh", "-c",
		"hostname; ip -4 -oneline address show; cat /proc/sys/net/ipv4/ip_forward; ls /run; mount -t tmpfs none /mnt && echo mounted")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"box\n", "10.88.255.1/32", "\n1\n", "mounted"} {
		if !strings.Contains(out, want) {
			t.Errorf("inside of it there is no %q:\n%s", want, out)
		}
	}
	if strings.Contains(out, "eth0") {
		t.Errorf("it has this machine's network:\n%s", out)
	}
	if now := observe(t); now != before {
		t.Errorf("this machine has changed:\n%s\nbefore:\n%s", now, before)
	}
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("its directory is still there: %v", err)
	}
	for _, left := range cgroups(t, dir) {
		t.Errorf("its cgroup is still there: %s", left)
	}
}

// observe describes what of this machine a sandbox could change by mistake.
func observe(t *testing.T) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "sh", "-c",
		"hostname; ip address show; ip route show; cat /proc/sys/net/ipv4/ip_forward /proc/self/mounts").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return string(out)
}

func cgroups(t *testing.T, dir string) []string {
	t.Helper()
	roots, err := hierarchies()
	if err != nil {
		t.Fatal(err)
	}
	var there []string
	for _, root := range roots {
		if path := filepath.Join(root, CgroupName(dir)); exists(path) {
			there = append(there, path)
		}
	}
	return there
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func TestSandboxRunGivesACommandItsOwnOutputExitCodeAndInput(t *testing.T) {
	dir := directory(t)
	s := start(t, dir)
	long := strings.Repeat("more than a pipe holds\n", 10000)
	if out, err := s.Run(t.Context(), long, "cat"); err != nil || out != long {
		t.Errorf("got %d bytes back of %d, %v", len(out), len(long), err)
	}
	out, err := s.Run(t.Context(), "", "sh", "-c", "echo good; echo bad >&2; exit 3")
	if out != "good\n" || err == nil || !strings.Contains(err.Error(), "exit code 3: bad") {
		t.Errorf("got %q, %v", out, err)
	}
	if _, err := s.Run(t.Context(), "", "no-such-program"); err == nil {
		t.Error("a program that does not exist was run")
	}
}

func TestSandboxStartsAProcessThatEndsAgainUnlessItWasStopped(t *testing.T) {
	dir := directory(t)
	bystander := Process{Name: "bystander", Log: filepath.Join(dir, "bystander.log"), Argv: []string{"tail", "-f", "/dev/null"}}
	s := start(t, dir, sleeper(dir), bystander)
	pidOf := func(program string) string {
		out, _ := s.Run(t.Context(), "", "pidof", program) // exit code 1: there is none
		return strings.TrimSpace(out)
	}
	pid := func() string { return pidOf("sleep") }
	waitFor(t, "the other process", func() bool { return pidOf("tail") != "" })
	other := pidOf("tail")
	first := pid()
	if first == "" {
		t.Fatal("it does not run")
	}
	if _, err := s.Run(t.Context(), "", "kill", first); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "another process", func() bool { now := pid(); return now != "" && now != first })
	if err := s.StopProcess(t.Context(), "sleeper"); err != nil {
		t.Fatal(err)
	}
	if left := pid(); left != "" {
		t.Errorf("stopped, it still runs as %s", left)
	}
	if err := s.StartProcess(t.Context(), "sleeper"); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the process to start again", func() bool { return pid() != "" })
	if err := s.StopProcess(t.Context(), "nobody"); err == nil {
		t.Error("a process that does not exist was stopped")
	}
	if now := pidOf("tail"); now != other || other == "" {
		t.Errorf("another process was %q and is %q", other, now)
	}
}

func waitFor(t *testing.T, what string, ask func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(20 * time.Second)
	for !ask() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

func TestSandboxIsReachedByDialAndForwardAndByNothingElse(t *testing.T) {
	dir := directory(t)
	server := Process{
		Name: "server", Log: filepath.Join(dir, "server.log"),
		Argv: []string{"bash", "-c", "exec python3 -m http.server --bind 10.88.255.1 8000 --directory " + dir},
	}
	s := start(t, dir, server)
	if err := os.WriteFile(filepath.Join(dir, "hello"), []byte("from inside"), 0o600); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the server", func() bool {
		conn, err := s.Dial(t.Context(), "10.88.255.1:8000")
		if err != nil {
			return false
		}
		defer conn.Close()
		_, _ = conn.Write([]byte("GET /hello HTTP/1.0\r\n\r\n"))
		got, err := io.ReadAll(conn)
		return err == nil && strings.HasSuffix(string(got), "from inside")
	})
	address, err := s.Forward(t.Context(), "127.0.0.1:0", "10.88.255.1:8000")
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), "curl", "-sS", "http://"+address+"/hello").CombinedOutput()
	if err != nil || string(out) != "from inside" {
		t.Errorf("by the forwarded address: %q, %v", out, err)
	}
	if _, err := s.Dial(t.Context(), "10.88.255.1:9"); err == nil {
		t.Error("a port where nobody listens was reached")
	}
}

func TestSandboxEndsWithItsParentAndIsRemovedByItsDirectoryAlone(t *testing.T) {
	dir := directory(t)
	parent := exec.CommandContext(t.Context(), program())
	parent.Env = append(os.Environ(), asParent+"="+dir)
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || line != "started: <nil>\n" {
		t.Fatalf("the parent says %q, %v", line, err)
	}
	st, err := readState(dir)
	if err != nil || !st.runs() {
		t.Fatalf("it does not run: %+v, %v", st, err)
	}
	if err := parent.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = parent.Wait() // it was killed
	waitFor(t, "the sandbox to end", func() bool { return !st.runs() })
	if _, err := Open(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it is opened all the same: %v", err)
	}
	if len(cgroups(t, dir)) == 0 {
		t.Error("there are no cgroups, so this proves nothing")
	}
	if err := Remove(dir); err != nil {
		t.Fatal(err)
	}
	if left := cgroups(t, dir); len(left) > 0 || exists(dir) {
		t.Errorf("left behind: %v, directory %v", left, exists(dir))
	}
	if err := Remove(dir); err != nil {
		t.Errorf("remove what is not there: %v", err)
	}
}

func TestRemoveTouchesNeitherAnothersProcessNorAnothersDirectory(t *testing.T) {
	dir := directory(t)
	other := exec.CommandContext(t.Context(), "sleep", "3600")
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	st := state{PID: other.Process.Pid, Start: "1", Cgroup: CgroupName(dir)} // a process of that number, but a later one
	if err := writeJSON(filepath.Join(dir, stateFile), st); err != nil {
		t.Fatal(err)
	}
	if err := Remove(dir); err != nil {
		t.Fatal(err)
	}
	if err := other.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	_ = other.Wait() // it was ended
	if status := other.ProcessState.Sys().(syscall.WaitStatus); status.Signal() != syscall.SIGTERM {
		t.Errorf("another's process was ended by %v before we could", status.Signal())
	}
	mine := t.TempDir()
	if err := Remove(mine); err == nil || !exists(mine) {
		t.Errorf("another's directory was removed: %v", err)
	}
}

//promise:48
func TestOpenTakesNoCopyOfADirectoryForTheSandbox(t *testing.T) {
	dir := directory(t)
	s := start(t, dir, sleeper(dir))
	copied, link := filepath.Join(t.TempDir(), "copy"), filepath.Join(t.TempDir(), "link")
	if err := os.Mkdir(copied, 0o755); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(filepath.Join(dir, stateFile))
	if err == nil {
		err = os.WriteFile(filepath.Join(copied, stateFile), raw, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(copied); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the copy is taken for the sandbox: %v", err)
	}
	if err := Remove(copied); err != nil {
		t.Error(err)
	}
	if _, err := s.Run(t.Context(), "", "true"); err != nil {
		t.Errorf("with its copy the sandbox was removed: %v", err)
	}
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(link); err != nil {
		t.Errorf("by another path it is not found: %v", err)
	}
}
