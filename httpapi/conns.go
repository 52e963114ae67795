package httpapi

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// The bounds of the connections of a listener. One costs some 20 KiB while it is idle and 50 KiB while it sends a
// request, so both listeners together stay below 64 MiB, a quarter of what the chart gives the daemon. A person with a
// page open has six, and a hundred streams may be open, so there is room for everybody who has something to do here.
const (
	maxConns     = 512
	maxConnsEach = 128 // of one address, which may be that of a proxy of which the configuration does not know
	maxAsked     = maxConns
	tellConns    = time.Minute
)

// conns is a listener whose connections are bounded. Where one is too many, the oldest makes way on which nobody who is
// known is being answered: of its own address if that has too many, or else of the address that has the most. So
// a client that holds connections and says nothing keeps nobody out, and one that opens many loses its own.
type conns struct {
	net.Listener

	log        *slog.Logger
	most, each int
	proxies    Proxies

	asked atomic.Int32 // requests of strangers that are under way

	mu   sync.Mutex
	all  int
	of   map[string][]*conn // by address, the oldest first
	told time.Time          // when the log was told last that there are too many
}

func newConns(l net.Listener, proxies Proxies, log *slog.Logger) *conns {
	return &conns{
		Listener: l, log: log, most: maxConns, each: maxConnsEach, proxies: proxies, of: make(map[string][]*conn),
	}
}

// Accept implements net.Listener.
func (l *conns) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err // as it is: net/http goes by its type
		}
		admitted, leaves := l.admit(c)
		if leaves != nil {
			_ = leaves.Close()
		}
		if admitted != nil {
			return admitted, nil
		}
	}
}

// admit takes a connection, if there is room or another can make way, and gives the one that is to be closed.
func (l *conns) admit(c net.Conn) (admitted, leaves net.Conn) {
	remote := c.RemoteAddr().String()
	address, proxy := networkOf(remote), l.proxies.trusts(remote)
	l.mu.Lock()
	defer l.mu.Unlock()
	if tooMany := !proxy && len(l.of[address]) >= l.each; tooMany || l.all >= l.most {
		l.tell(address)
		among := address
		if !tooMany {
			among = l.heaviest()
		}
		i := slices.IndexFunc(l.of[among], (*conn).idle)
		if i < 0 {
			return nil, c
		}
		leaving := l.of[among][i]
		l.drop(leaving)
		leaves = leaving.Conn
	}
	n := &conn{Conn: c, of: l, address: address, proxy: proxy}
	l.all++
	l.of[address] = append(l.of[address], n)
	return n, leaves
}

// heaviest gives the address that has the most connections, of those with one that can make way. A proxy's are many
// people's, so they count for nothing.
func (l *conns) heaviest() (address string) {
	most := -1
	for a, of := range l.of {
		weight := len(of)
		if of[0].proxy {
			weight = 0
		}
		if weight > most && slices.ContainsFunc(of, (*conn).idle) {
			address, most = a, weight
		}
	}
	return address
}

// shed closes the connection with the most requests of strangers under way: one of HTTP/2 can have many, so bounding
// connections does not bound these. One with a single request stays: there are no more of those than connections.
func (l *conns) shed() {
	l.mu.Lock()
	defer l.mu.Unlock()
	var most *conn
	for _, of := range l.of {
		for _, c := range of {
			if n := c.asked.Load(); n > 1 && (most == nil || n > most.asked.Load()) {
				most = c
			}
		}
	}
	if most != nil {
		l.drop(most)
		_ = most.Conn.Close()
	}
}

// tell has the log say, now and then, that there are too many connections.
func (l *conns) tell(address string) {
	if now := time.Now(); now.Sub(l.told) > tellConns {
		l.told = now
		l.log.Warn("too many connections: the oldest of those make way on which nobody who is known is answered",
			"from", address, "of_that_address", len(l.of[address]), "all", l.all)
	}
}

// drop forgets a connection, at most once.
func (l *conns) drop(c *conn) {
	i := slices.Index(l.of[c.address], c)
	if i < 0 {
		return
	}
	l.all--
	if l.of[c.address] = slices.Delete(l.of[c.address], i, i+1); len(l.of[c.address]) == 0 {
		delete(l.of, c.address)
	}
}

// conn is one of them.
type conn struct {
	net.Conn

	of      *conns
	address string
	proxy   bool         // trusted
	busy    atomic.Int32 // requests under way that keep it from making way
	asked   atomic.Int32 // and those of strangers
}

// ask counts a request of a stranger's, which begins or ends.
func (c *conn) ask(n int32) {
	c.asked.Add(n)
	if c.of.asked.Add(n) > maxAsked && n > 0 {
		c.of.shed()
	}
}

// idle says whether the connection can make way.
func (c *conn) idle() bool { return c.busy.Load() == 0 }

// Close implements net.Conn.
func (c *conn) Close() error {
	c.of.mu.Lock()
	c.of.drop(c)
	c.of.mu.Unlock()
	return c.Conn.Close()
}

// CloseWrite lets net/http end a connection so that the client gets to read the last answer.
func (c *conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

type (
	connKey struct{}
	holdKey struct{}
)

// withConn is an http.Server's ConnContext: it lets a request find its connection.
func withConn(ctx context.Context, c net.Conn) context.Context {
	if secure, ok := c.(*tls.Conn); ok {
		c = secure.NetConn()
	}
	return context.WithValue(ctx, connKey{}, c)
}

// hold is a request's claim on its connection.
type hold struct {
	conn *conn
	held atomic.Bool
}

// holding gives each request such a claim, which ends with it.
func holding(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, ok := r.Context().Value(connKey{}).(*conn)
		if !ok {
			next.ServeHTTP(w, r)
			return
		}
		h := &hold{conn: c}
		c.ask(1) // until it is known who sent it
		defer func() {
			if h.held.Load() {
				c.busy.Add(-1)
			} else {
				c.ask(-1)
			}
		}()
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), holdKey{}, h)))
	})
}

// keepConn has a request's connection make way for no other while the request is under way: it is known who sent it.
func keepConn(ctx context.Context) {
	if h, ok := ctx.Value(holdKey{}).(*hold); ok && h.held.CompareAndSwap(false, true) {
		h.conn.busy.Add(1)
		h.conn.ask(-1)
	}
}
