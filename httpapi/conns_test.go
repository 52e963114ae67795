package httpapi

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"testing"

	"github.com/cjworkbench/unstuck/httpapi/apitest"
)

// fakeConn is a connection from an address, and says whether it is closed.
type fakeConn struct {
	net.Conn

	from   string
	closed bool
}

func (c *fakeConn) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.ParseIP(c.from), Port: 1} }

func (c *fakeConn) Close() error {
	c.closed = true
	return nil
}

// offer offers connections from an address, and gives them with what was taken of them.
func offer(l *conns, from string, n int) (all []*fakeConn, taken []*conn) {
	for range n {
		c := &fakeConn{from: from}
		all = append(all, c)
		admitted, leaves := l.admit(c)
		if leaves != nil {
			_ = leaves.Close()
		}
		if own, ok := admitted.(*conn); ok {
			taken = append(taken, own)
		}
	}
	return all, taken
}

func closedOf(all []*fakeConn) (n int) {
	for _, c := range all {
		if c.closed {
			n++
		}
	}
	return n
}

func TestConnsHaveTheOldestOfAnAddressMakeWayThatHasTooMany(t *testing.T) {
	l := newConns(nil, nil, slog.New(slog.DiscardHandler))
	other, _ := offer(l, "10.0.0.9", 1)
	many, taken := offer(l, "10.0.0.1", maxConnsEach)
	if len(taken) != maxConnsEach || closedOf(many) != 0 {
		t.Fatalf("%d taken, %d closed", len(taken), closedOf(many))
	}
	taken[0].busy.Add(1)
	more, takenToo := offer(l, "10.0.0.1", 3)
	if len(takenToo) != 3 || closedOf(more) != 0 || closedOf(many) != 3 || many[0].closed || !many[1].closed || closedOf(other) != 0 {
		t.Errorf("%d taken, %d of the first closed, and %d of another address", len(takenToo), closedOf(many), closedOf(other))
	}
	for _, c := range append(taken, takenToo...) {
		c.busy.Add(1)
	}
	last, none := offer(l, "10.0.0.1", 1)
	if len(none) != 0 || !last[0].closed {
		t.Error("one more was taken where none can make way")
	}
	if same, _ := offer(l, "::ffff:10.0.0.1", 1); !same[0].closed {
		t.Error("the same address in other words has another bound")
	}
	if _, elsewhere := offer(l, "10.0.0.2", 1); len(elsewhere) != 1 {
		t.Error("another address is refused")
	}
}

func TestConnsHaveTheAddressMakeWayThatHasMost(t *testing.T) {
	l := newConns(nil, nil, slog.New(slog.DiscardHandler))
	few, _ := offer(l, "10.0.1.1", 2)
	_, busy := offer(l, "10.0.1.2", maxConnsEach)
	for _, c := range busy {
		c.busy.Add(1)
	}
	most, _ := offer(l, "10.0.1.3", maxConnsEach-1)
	var rest []*fakeConn
	for i := 0; l.all < maxConns; i++ {
		some, _ := offer(l, fmt.Sprintf("10.0.2.%d", i), min(50, maxConns-l.all))
		rest = append(rest, some...)
	}
	if late, taken := offer(l, "10.0.3.1", 5); len(taken) != 5 || closedOf(late) != 0 {
		t.Errorf("%d of 5 taken", len(taken))
	}
	if closedOf(most) != 5 || closedOf(few) != 0 || closedOf(rest) != 0 || l.all != maxConns {
		t.Errorf("%d closed of who has most, %d and %d of others; %d are open", closedOf(most), closedOf(few), closedOf(rest), l.all)
	}
}

func TestConnsOfATrustedProxyAreBoundedByTheListenerAlone(t *testing.T) {
	l := newConns(nil, Proxies{netip.MustParsePrefix("10.9.0.0/16")}, slog.New(slog.DiscardHandler))
	others, _ := offer(l, "10.0.0.1", 2)
	proxys, taken := offer(l, "10.9.0.1", maxConns-2)
	if len(taken) != maxConns-2 || closedOf(proxys)+closedOf(others) != 0 {
		t.Fatalf("%d taken, %d closed", len(taken), closedOf(proxys))
	}
	if _, taken := offer(l, "10.0.0.2", 1); len(taken) != 1 || closedOf(others) != 1 || closedOf(proxys) != 0 {
		t.Errorf("%d of a stranger's and %d of the proxy's connections made way", closedOf(others), closedOf(proxys))
	}
	for _, from := range []string{"10.0.0.1", "10.0.0.2"} {
		for _, c := range l.of[from] {
			c.busy.Add(1)
		}
	}
	if _, taken := offer(l, "10.0.0.2", 1); len(taken) != 1 || closedOf(proxys) != 1 {
		t.Errorf("%d taken, and %d of the proxy's made way where nobody else's can", len(taken), closedOf(proxys))
	}
}

func TestConnsForgetWhatIsClosed(t *testing.T) {
	l := newConns(nil, nil, slog.New(slog.DiscardHandler))
	for range 3 {
		_, taken := offer(l, "10.0.0.1", maxConnsEach)
		for _, c := range taken {
			_, _ = c.Close(), c.Close()
		}
	}
	if l.all != 0 || len(l.of) != 0 {
		t.Errorf("%d are open, of %d addresses", l.all, len(l.of))
	}
}

func TestServeBoundsWhatOneConnectionOfHTTP2Carries(t *testing.T) {
	s := newServer(t.Context(), Server{Handler: http.NotFoundHandler(), TLS: &tls.Config{MinVersion: tls.VersionTLS13}}, slog.New(slog.DiscardHandler))
	if c := s.HTTP2; c == nil || c.MaxConcurrentStreams != maxStreamsOfConn || c.MaxReceiveBufferPerConnection != maxUnreadOfConn || c.MaxReadFrameSize != maxFrame {
		t.Errorf("%+v", c)
	}
}

func TestConnsShedTheOneWithMostRequestsOfStrangers(t *testing.T) {
	l := newConns(nil, nil, slog.New(slog.DiscardHandler))
	const each = maxStreamsOfConn - 1
	all, attack := offer(l, "10.0.0.1", maxAsked/each+2)
	one, few := offer(l, "10.0.0.2", 1)
	busy, known := offer(l, "10.0.0.3", 1)
	let, entered := make(chan struct{}), make(chan struct{})
	var group sync.WaitGroup
	request := func(c *conn, isKnown bool) {
		h := holding(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			if isKnown {
				keepConn(r.Context())
			}
			entered <- struct{}{}
			<-let
		}))
		group.Go(func() {
			h.ServeHTTP(nil, apitest.Request("", "GET", "/", "").WithContext(withConn(context.Background(), c)))
		})
		<-entered
	}
	request(few[0], false)
	for range 2 * maxStreamsOfConn {
		request(known[0], true)
	}
	for _, c := range attack {
		for range each {
			request(c, false)
		}
	}
	if n := closedOf(all); n == 0 || one[0].closed || busy[0].closed {
		t.Errorf("%d of %d connections with %d requests each were closed; of one request: %t, of who is known: %t",
			n, len(all), each, one[0].closed, busy[0].closed)
	}
	close(let)
	group.Wait()
	if n := l.asked.Load(); n != 0 || few[0].asked.Load() != 0 || known[0].asked.Load() != 0 {
		t.Errorf("when all is over, %d requests are under way", n)
	}
}

func TestKeepConnHoldsAConnectionUntilTheLastRequestOnItEnds(t *testing.T) {
	c := &conn{of: newConns(nil, nil, slog.New(slog.DiscardHandler)), Conn: &fakeConn{}}
	during := func(known bool, f func()) {
		h := holding(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			if known {
				keepConn(r.Context())
				keepConn(r.Context())
			}
			f()
		}))
		r := apitest.Request("", "GET", "/", "")
		h.ServeHTTP(nil, r.WithContext(withConn(context.Background(), tls.Server(c, nil))))
	}
	during(false, func() {
		if !c.idle() {
			t.Error("a stranger's request holds its connection")
		}
	})
	during(true, func() {
		during(true, func() {})
		if c.idle() {
			t.Error("the first of two requests does not hold the connection")
		}
	})
	if !c.idle() {
		t.Error("nothing is under way, and the connection is held")
	}
}

func TestGateKeepsTheConnectionOfWhoIsKnownAndOfNobodyElse(t *testing.T) {
	c := &conn{of: newConns(nil, nil, slog.New(slog.DiscardHandler)), Conn: &fakeConn{}}
	gate := New(Options{Identity: apitest.Callers(), Access: apitest.Callers()})
	for who, kept := range map[string]bool{"ada": true, "bob": true, "eve": false, "flaky": false, "": false} {
		holding(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			_, err := gate.Authenticate(r)
			if c.idle() == kept || (err == nil) != kept {
				t.Errorf("%q: %v, and the connection is idle: %t", who, err, c.idle())
			}
		})).ServeHTTP(nil, apitest.Request(who, "GET", "/", "").WithContext(withConn(context.Background(), c)))
	}
}
