package lab

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
)

// Where Debian keeps RabbitMQ's own scripts. Those on the PATH are wrappers that change to the user rabbitmq, and
// are no use to us unless somebody installed RabbitMQ in another way.
const debianBin = "/usr/lib/rabbitmq/bin"

// binDirs is where the lab looks for anything else inside Options.Root, in place of the PATH.
var binDirs = []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"}

// withoutLinks gives the path of a tree without the symbolic links that lead to it. Files of the tree are known by
// paths that begin with the tree's own, and such a link would have others begin in another way.
func withoutLinks(root string) (string, error) {
	if root == "" {
		return "", nil
	}
	path, err := filepath.EvalSymlinks(root)
	if err != nil {
		return "", fmt.Errorf("find the tree with RabbitMQ (make it with lab/tree.sh): %w", err)
	}
	return path, nil
}

// resolveOwnName sees to it that the machine's name has an address for the tools of the tree at root: Erlang's erl_call
// asks for it first, and crashes without an answer. A tree from lab/tree.sh has no hosts file of its own.
func resolveOwnName(ctx context.Context, root string) error {
	name, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("find out this machine's name: %w", err)
	}
	if root == "" {
		if _, err := net.DefaultResolver.LookupHost(ctx, name); err != nil {
			return fmt.Errorf("this machine's name has no address: add \"127.0.0.1 %s\" to /etc/hosts: %w", name, err)
		}
		return nil
	}
	path, want := filepath.Join(root, "etc", "hosts"), "127.0.0.1 localhost\n127.0.0.1 "+name+"\n"
	if got, err := os.ReadFile(path); err == nil && string(got) == want {
		return nil
	}
	// Another lab may be reading it.
	next, err := os.CreateTemp(filepath.Dir(path), "hosts.")
	if err != nil {
		return fmt.Errorf("write the tree's hosts file: %w", err)
	}
	defer os.Remove(next.Name())
	_, err = next.WriteString(want)
	if err := errors.Join(err, next.Chmod(0o644), next.Close()); err != nil {
		return fmt.Errorf("write the tree's hosts file: %w", err)
	}
	if err := os.Rename(next.Name(), path); err != nil {
		return fmt.Errorf("write the tree's hosts file: %w", err)
	}
	return nil
}

// findRabbitMQ gives the directory of RabbitMQ's scripts, as seen from inside root: the usual one, or that on the
// PATH.
func findRabbitMQ(root, usual string) (string, error) {
	if isFile(filepath.Join(root, usual, "rabbitmq-server")) {
		return usual, nil
	}
	if root != "" {
		return "", fmt.Errorf("no RabbitMQ in %s: make the tree with lab/tree.sh", root)
	}
	path, err := exec.LookPath("rabbitmq-server")
	if err != nil {
		return "", errors.New("RabbitMQ is missing: apt-get install rabbitmq-server")
	}
	return filepath.Dir(path), nil
}

// find gives the path of a command as seen from inside root: RabbitMQ's own first.
func find(root, bin, name string) (string, error) {
	if filepath.IsAbs(name) {
		return name, nil
	}
	if p := filepath.Join(bin, name); isFile(filepath.Join(root, p)) {
		return p, nil
	}
	if root == "" {
		p, err := exec.LookPath(name)
		if err != nil {
			return "", fmt.Errorf("find %s: %w", name, err)
		}
		return p, nil
	}
	for _, dir := range binDirs {
		if p := filepath.Join(dir, name); isFile(filepath.Join(root, p)) {
			return p, nil
		}
	}
	return "", fmt.Errorf("find %s in %s: %w", name, root, exec.ErrNotFound)
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// leasePort is the UDP port by which labs tell each other which loopback addresses are taken. Nothing is sent to it.
const leasePort = 24099

// leaseAddresses takes n neighbouring addresses of 127.0.0.0/8 that no other lab on this machine has, until the
// leases are closed. Any address of that network can be bound without setting it up.
func leaseAddresses(ctx context.Context, n int) (addrs []netip.Addr, leases []net.PacketConn, err error) {
	var lc net.ListenConfig
	for range 100 {
		// 127.64.0.0 upward: people use the low ones for their own purposes.
		b, c := byte(64+rand.IntN(128)), byte(rand.IntN(256))
		for i := range n {
			addr := netip.AddrFrom4([4]byte{127, b, c, byte(1 + i)})
			lease, err := lc.ListenPacket(ctx, "udp4", netip.AddrPortFrom(addr, leasePort).String())
			if err != nil {
				break
			}
			addrs, leases = append(addrs, addr), append(leases, lease)
		}
		if len(addrs) == n {
			return addrs, leases, nil
		}
		closeAll(leases)
		addrs, leases = nil, nil
	}
	return nil, nil, fmt.Errorf("find %d free loopback addresses: none after 100 attempts", n)
}

func closeAll(leases []net.PacketConn) {
	for _, l := range leases {
		_ = l.Close()
	}
}

// freePort finds a TCP port on which nothing listens at any of the hosts. It looks below the range from which
// Linux takes the ports of outgoing connections, so that the port is still free when its node starts anew.
func freePort(ctx context.Context, hosts ...string) (int, error) {
	for range 100 {
		port := 20000 + rand.IntN(12000)
		if isFree(ctx, port, hosts) {
			return port, nil
		}
	}
	return 0, fmt.Errorf("find a free port at %v: none after 100 attempts", hosts)
}

func isFree(ctx context.Context, port int, hosts []string) bool {
	var lc net.ListenConfig
	for _, host := range hosts {
		l, err := lc.Listen(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(port)))
		if err != nil {
			return false
		}
		_ = l.Close()
	}
	return true
}
