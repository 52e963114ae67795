package lab

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"
)

// authServer is what one node asks by HTTP whether a user may log in (rabbitmq_auth_backend_http). Each node has one of
// its own, so that one alone may fail to reach it.
type authServer struct {
	lab *Lab
	url string

	server *http.Server
	wg     sync.WaitGroup // what it serves, and itself

	mu      sync.Mutex
	delay   time.Duration // negative: for ever
	changed chan struct{} // closed when the delay becomes another
}

// AuthBackend is the authentication backend of a node, or of all.
type AuthBackend struct {
	lab   *Lab
	nodes []*node
	err   error
}

// AuthBackend gives the authentication backend as one node reaches it; every node with an empty name. The lab must have
// been started with Options.HTTPBackend. It answers at once, until it is told otherwise. What it does is not undone by
// a new process.
func (l *Lab) AuthBackend(name string) AuthBackend {
	b := AuthBackend{lab: l, nodes: l.nodes}
	if name != "" {
		n, err := l.node(name)
		b.nodes, b.err = []*node{n}, err
	}
	if b.err == nil && !l.opts.HTTPBackend {
		b.err = fmt.Errorf("the lab %s has no HTTP backend", l.opts.Name)
	}
	return b
}

// OK has the backend answer at once, and all that wait for it.
func (b AuthBackend) OK() error {
	return b.set(0, func(name string) { b.lab.cured(backend, name) })
}

// SetDelay has the backend answer that much later. RabbitMQ waits for 15 s, and then asks its own users; the client may
// be gone by then.
func (b AuthBackend) SetDelay(delay time.Duration) error {
	return b.set(max(delay, 0), func(name string) { b.lab.broke(backend, name) })
}

// Hang has the backend accept connections and not answer.
func (b AuthBackend) Hang() error {
	return b.set(-1, func(name string) { b.lab.broke(backend, name) })
}

func (b AuthBackend) set(delay time.Duration, note func(name string)) error {
	if b.err != nil {
		return fmt.Errorf("change an authentication backend: %w", b.err)
	}
	for _, n := range b.nodes {
		note(n.name)
		s := n.backend
		s.mu.Lock()
		s.delay = delay
		close(s.changed)
		s.changed = make(chan struct{})
		s.mu.Unlock()
	}
	return nil
}

// startBackends starts a server for each node, at that node's address.
func (l *Lab) startBackends(ctx context.Context) error {
	for _, n := range l.nodes {
		var lc net.ListenConfig
		socket, err := lc.Listen(ctx, "tcp", net.JoinHostPort(n.host, "0"))
		if err != nil {
			return fmt.Errorf("listen for the authentication backend of %s: %w", n.name, err)
		}
		s := &authServer{lab: l, url: "http://" + socket.Addr().String(), changed: make(chan struct{})}
		s.server = &http.Server{
			Handler: s, ReadHeaderTimeout: 10 * time.Second,
			BaseContext: func(net.Listener) context.Context { return l.ctx },
		}
		n.backend = s
		s.wg.Go(func() { _ = s.server.Serve(socket) }) // until it is closed
	}
	return nil
}

func (l *Lab) closeBackends() {
	for _, n := range l.nodes {
		if n.backend != nil {
			_ = n.backend.server.Close() // of which nobody can make anything
			n.backend.wg.Wait()
		}
	}
}

// ServeHTTP answers a question of
// https://github.com/rabbitmq/rabbitmq-server/tree/main/deps/rabbitmq_auth_backend_http.
func (s *authServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.wg.Add(1)
	defer s.wg.Done()
	began := time.Now()
	answer := "deny"
	// which reads all of the request: only then one hears that nobody waits for it
	if r.URL.Path != "/user" || s.knows(r) {
		answer = "allow"
	}
	if !s.wait(r.Context(), began) {
		return
	}
	_, _ = fmt.Fprint(w, answer) // who asked may be gone
}

func (s *authServer) knows(r *http.Request) bool {
	return r.PostFormValue("username") == s.lab.user && r.PostFormValue("password") == s.lab.pass &&
		!s.lab.isBroken(password, "")
}

// wait waits until the answer is due. It is false if nobody waits for it any more.
func (s *authServer) wait(ctx context.Context, began time.Time) bool {
	for {
		s.mu.Lock()
		delay, changed := s.delay, s.changed
		s.mu.Unlock()
		left := time.Until(began.Add(delay))
		if delay >= 0 && left <= 0 {
			return ctx.Err() == nil
		}
		if delay < 0 {
			left = time.Hour // and then it hangs for another one
		}
		timer := time.NewTimer(left)
		select {
		case <-timer.C:
		case <-changed:
		case <-ctx.Done():
		}
		timer.Stop()
		if ctx.Err() != nil {
			return false
		}
	}
}
