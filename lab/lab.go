// Package lab runs a real clustered RabbitMQ on this machine, and breaks it on purpose. It serves the demo and the
// tests in place of Kubernetes: a node is a process, and deleting it ends that process and starts another one under
// a new UID, as a StatefulSet would.
//
// Everything listens on loopback addresses of the lab's own, so a lab runs beside other labs and beside a RabbitMQ
// or an epmd that is there already. Close ends all that the lab started; should our process die without calling it,
// the kernel does.
//
// The methods that break a node are in fault*.go. Reset undoes them all.
package lab

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cjworkbench/unstuck/target"
)

// Options says what to start. The zero value gives three nodes of the RabbitMQ that is installed.
type Options struct {
	Name             string        // of the broker; default "lab"
	Dir              string        // where the lab makes its directory; default: where temporary files go; see Root
	Nodes            int           // default 3
	HandshakeTimeout time.Duration // the broker's handshake_timeout; 0: its default, 10 s
	HTTPBackend      bool          // have the nodes ask the lab by HTTP about passwords; see Lab.AuthBackend
	TLS              bool          // open a TLS listener on each node that demands a client certificate; see Lab.TLS
	TLSOnly          bool          // like TLS, without any other listener; see strict.go
	Root             string        // a Debian tree (see tree.sh) whose RabbitMQ to run in a chroot; Dir is its /tmp then
	Log              *slog.Logger  // default: discarded
}

// startTimeout bounds Start when its context does not. Three nodes take about 13 s on two idle cores.
const startTimeout = untilTimeout

// maxNodes is more than any machine of ours could run.
const maxNodes = 9

// Lab is a running broker. Its methods may be called from several goroutines at once.
type Lab struct {
	opts    Options
	log     *slog.Logger
	bin     string // RabbitMQ's scripts, as seen from inside opts.Root
	path    string // the PATH of every child
	release release
	dir     string // the lab's own directory, as we see it; inside() is how the children see it
	lock    *os.File
	cookie  string
	user    string
	pass    string
	tls     TLSFiles
	tokens  *tokens // nil without TLSOnly
	epmd    int     // its port
	spawner *spawner
	leases  []net.PacketConn
	nodes   []*node

	ctx  context.Context // ends when Close begins
	stop context.CancelFunc
	once sync.Once

	mu        sync.Mutex
	closed    bool
	wg        sync.WaitGroup // goroutines and commands; Add only through begin
	deletions []Deletion
	broken    map[fault]time.Time   // since when
	held      map[string][]net.Conn // what fills a node's accept queue, by node
	crowds    map[string][]*Load    // the clients that came with a fault, by node
}

// Start starts the nodes, clusters them, and returns once each lets the probing user in. ctx bounds the start alone;
// the lab runs until Close. When Start fails nothing remains.
func Start(ctx context.Context, opts Options) (*Lab, error) {
	if opts.Name == "" {
		opts.Name = "lab"
	}
	if opts.Dir == "" {
		opts.Dir = os.TempDir()
	}
	if opts.Nodes == 0 {
		opts.Nodes = 3
	}
	if opts.Nodes < 1 || opts.Nodes > maxNodes {
		return nil, fmt.Errorf("start the lab: %d nodes: want 1 to %d", opts.Nodes, maxNodes)
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	l := &Lab{
		opts: opts, log: opts.Log, spawner: newSpawner(),
		cookie: rand.Text(), user: "probe-" + strings.ToLower(rand.Text()[:6]), pass: rand.Text(),
		broken: map[fault]time.Time{}, held: map[string][]net.Conn{}, crowds: map[string][]*Load{},
	}
	l.ctx, l.stop = context.WithCancel(context.WithoutCancel(ctx))
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := l.start(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("start the lab: %w", err), l.Close())
	}
	return l, nil
}

func (l *Lab) start(ctx context.Context) error {
	began := time.Now()
	if err := l.makePlace(ctx); err != nil {
		return err
	}
	if err := l.startEpmd(ctx); err != nil {
		return err
	}
	for _, n := range l.nodes {
		if err := l.begin(); err != nil {
			return err
		}
		go func() {
			defer l.wg.Done()
			n.keep(l.ctx)
		}()
	}
	if err := l.WaitReady(ctx); err != nil {
		return err
	}
	l.log.Info("lab is up", "nodes", len(l.nodes), "dir", l.dir, "took", time.Since(began))
	return nil
}

// makePlace finds RabbitMQ, takes addresses and ports, and writes the nodes' files.
func (l *Lab) makePlace(ctx context.Context) error {
	var err error
	if l.opts.Root, err = withoutLinks(l.opts.Root); err != nil {
		return err
	}
	if l.bin, err = findRabbitMQ(l.opts.Root, debianBin); err != nil {
		return err
	}
	if l.release, err = l.findRelease(); err != nil {
		return err
	}
	if err := resolveOwnName(ctx, l.opts.Root); err != nil {
		return err
	}
	dirs := slices.Clone(binDirs)
	if erl, err := find(l.opts.Root, l.bin, "erl"); err == nil && !slices.Contains(dirs, filepath.Dir(erl)) {
		dirs = append(dirs, filepath.Dir(erl))
	}
	l.path = strings.Join(dirs, ":")

	parent := l.opts.Dir
	if l.opts.Root != "" {
		parent = filepath.Join(l.opts.Root, "tmp")
	}
	if l.dir, l.lock, err = makeDir(parent); err != nil {
		return err
	}
	var addrs []netip.Addr
	if addrs, l.leases, err = leaseAddresses(ctx, l.opts.Nodes); err != nil {
		return err
	}
	l.opts.TLS = l.opts.TLS || l.opts.TLSOnly
	if l.opts.TLS {
		if l.tls, err = makeCertificates(l.dir, addrs, aDay(), aDay()); err != nil {
			return err
		}
	}
	if l.opts.TLSOnly {
		if l.tokens, err = newTokens(l.dir); err != nil {
			return err
		}
	}
	for i, addr := range addrs {
		n, err := l.newNode(ctx, i, addr)
		if err != nil {
			return err
		}
		l.nodes = append(l.nodes, n)
	}
	if l.opts.HTTPBackend {
		if err := l.startBackends(ctx); err != nil {
			return err
		}
	}
	for _, n := range l.nodes {
		if err := n.writeFiles(); err != nil {
			return fmt.Errorf("write the files of %s: %w", n.name, err)
		}
	}
	return nil
}

// startEpmd starts the lab's own Erlang port mapper and waits until it answers. Were there none, the first node
// would start one as a daemon, which outlives everybody.
func (l *Lab) startEpmd(ctx context.Context) error {
	path, err := find(l.opts.Root, l.bin, "epmd")
	if err != nil {
		return err
	}
	hosts := []string{"127.0.0.1"} // epmd listens there whatever -address says
	for _, n := range l.nodes {
		hosts = append(hosts, n.host)
	}
	if l.epmd, err = freePort(ctx, hosts...); err != nil {
		return err
	}
	cmd := l.command(l.ctx, l.dir, l.env(l.dir),
		path, "-port", fmt.Sprint(l.epmd), "-address", strings.Join(hosts[1:], ","))
	if err := l.begin(); err != nil {
		return err
	}
	if err := l.spawner.start(cmd); err != nil {
		l.wg.Done()
		return err
	}
	ended := make(chan struct{})
	go func() {
		defer l.wg.Done()
		defer close(ended)
		if err := cmd.Wait(); l.ctx.Err() == nil {
			l.log.Error("epmd ended", "error", err)
		}
	}()
	// Only our own epmd can answer at an address of ours.
	return l.until(ctx, "epmd to answer", func(ctx context.Context) error {
		select {
		case <-ended:
			return fmt.Errorf("epmd on port %d ended: %w", l.epmd, errHopeless)
		default:
		}
		var d net.Dialer
		conn, err := d.DialContext(ctx, "tcp", net.JoinHostPort(l.nodes[0].host, fmt.Sprint(l.epmd)))
		if err != nil {
			return err
		}
		return conn.Close()
	})
}

// begin registers one more goroutine or command that Close waits for; end it with l.wg.Done.
func (l *Lab) begin() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return errClosed
	}
	l.wg.Add(1)
	return nil
}

// Close ends every process that the lab started, frozen ones and commands under way included, takes back what was
// done to the machine's firewall, and removes the lab's directory. It may be called more than once.
func (l *Lab) Close() error {
	var errs []error
	l.once.Do(func() {
		l.mu.Lock()
		l.closed = true
		l.mu.Unlock()
		l.stop()
		l.wg.Wait()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(l.ctx), time.Minute)
		defer cancel()
		errs = append(errs, l.reconnectAll(ctx))
		l.releaseConns("")
		l.closeBackends()
		if l.dir != "" {
			errs = append(errs, l.sweep(ctx), os.RemoveAll(l.dir))
		}
		if l.lock != nil {
			_ = l.lock.Close()
		}
		l.spawner.close()
		closeAll(l.leases)
	})
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close the lab: %w", err)
	}
	return nil
}

// sweep ends what the nodes left behind: Erlang's helper processes end by themselves soon after their node, unless
// they hang.
func (l *Lab) sweep(ctx context.Context) error {
	return l.until(ctx, "the last processes to end", func(context.Context) error {
		pids, err := processesWith(l.marker())
		if err != nil || len(pids) == 0 {
			return err
		}
		for _, pid := range pids {
			if p, err := os.FindProcess(pid); err == nil {
				_ = p.Kill() // it may have ended meanwhile
			}
		}
		return fmt.Errorf("%d processes remain", len(pids))
	})
}

// marker is the environment entry that all of this lab's processes share, and no others.
func (l *Lab) marker() string { return "UNSTUCK_LAB=" + l.dir }

// inside gives the path of a file of ours, which must be below opts.Root, as the children see it.
func (l *Lab) inside(path string) string {
	return "/" + strings.TrimPrefix(strings.TrimPrefix(path, l.opts.Root), "/")
}

// Credentials gives the user and password that were made for the probes; the vhost is "/".
func (l *Lab) Credentials() (user, password string) { return l.user, l.pass }

// Dir gives the lab's directory. Close removes it with all that is in it; if nobody calls Close because the process was
// killed, the next lab on this machine does.
func (l *Lab) Dir() string { return l.dir }

// Names gives the names of the nodes, in order.
func (l *Lab) Names() []string {
	names := make([]string, len(l.nodes))
	for i, n := range l.nodes {
		names[i] = n.name
	}
	return names
}

// Nodes gives the nodes as they are now, in order.
func (l *Lab) Nodes() []target.Node {
	nodes := make([]target.Node, len(l.nodes))
	for i, n := range l.nodes {
		nodes[i] = n.view()
	}
	return nodes
}

// Node gives one node by name, as it is now.
func (l *Lab) Node(name string) (target.Node, error) {
	n, err := l.node(name)
	if err != nil {
		return target.Node{}, err
	}
	return n.view(), nil
}

func (l *Lab) node(name string) (*node, error) {
	for _, n := range l.nodes {
		if n.name == name {
			return n, nil
		}
	}
	return nil, fmt.Errorf("node %s of %s: %w", name, l.opts.Name, target.ErrGone)
}

// LastLines returns up to count of the last lines that the node logged, with their time of arrival. The ring that
// it reads holds 500.
func (l *Lab) LastLines(ctx context.Context, pn target.Node, count int) ([]target.LogLine, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("read the log of %s: %w", pn.Name, err)
	}
	n, err := l.current(pn)
	if err != nil {
		return nil, fmt.Errorf("read the log of %s: %w", pn.Name, err)
	}
	return n.lines().last(count), nil
}

var (
	_ target.Execer    = (*Lab)(nil)
	_ target.LogReader = (*Lab)(nil)
	_ io.Closer        = (*Lab)(nil)
)
