package httpapi

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"
)

// The limits of every server. Answers are small and quick: who takes longer is not a client that we want.
const (
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 10 * time.Second
	writeTimeout      = 30 * time.Second
	idleTimeout       = time.Minute
	maxHeaderBytes    = 16 << 10
	shutdownTimeout   = 5 * time.Second

	// One connection of HTTP/2 carries several requests: the streams of ten open pages, and what a browser asks beside
	// them. Of bodies it keeps 64 KiB, the least that net/http allows, and not 1 MiB.
	maxStreamsOfConn = 16
	maxUnreadOfConn  = 64 << 10
	maxFrame         = 16 << 10
)

// Server is a listener and what it serves.
type Server struct {
	Name     string // for errors and the log
	Listener net.Listener
	Handler  http.Handler
	TLS      *tls.Config // nil: plain HTTP
	Proxies  Proxies     // of which each may have as many connections as there may be
}

// Serve serves all of servers until ctx ends, or one of them fails, which it returns. Requests under way then have
// five seconds to end. It bounds the connections of each, closes the listeners, and returns when all is over.
func Serve(ctx context.Context, log *slog.Logger, servers ...Server) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, s := range servers {
		srv := newServer(ctx, s, log)
		group.Go(func() error {
			serve := srv.Serve
			if s.TLS != nil {
				serve = func(l net.Listener) error { return srv.ServeTLS(l, "", "") }
			}
			if err := serve(newConns(s.Listener, s.Proxies, log.With("server", s.Name))); !errors.Is(err, http.ErrServerClosed) {
				return fmt.Errorf("serve %s on %s: %w", s.Name, s.Listener.Addr(), err)
			}
			return nil
		})
		group.Go(func() error {
			<-ctx.Done()
			shutdown(context.WithoutCancel(ctx), srv, log.With("server", s.Name))
			return nil
		})
	}
	return group.Wait()
}

// newServer makes the server of s. Its requests do not end with ctx, but can see that the server is to end.
func newServer(ctx context.Context, s Server, log *slog.Logger) *http.Server {
	base := context.WithValue(context.WithoutCancel(ctx), stoppingKey{}, ctx.Done())
	return &http.Server{
		BaseContext:       func(net.Listener) context.Context { return base },
		ConnContext:       withConn,
		TLSConfig:         s.TLS,
		Handler:           holding(s.Handler),
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: maxStreamsOfConn, MaxReceiveBufferPerConnection: maxUnreadOfConn, MaxReadFrameSize: maxFrame,
		},
		ErrorLog: slog.NewLogLogger(log.With("server", s.Name).Handler(), slog.LevelDebug),
	}
}

// shutdown ends srv: politely, and if that takes too long by force.
func shutdown(ctx context.Context, srv *http.Server, log *slog.Logger) {
	ctx, cancel := context.WithTimeout(ctx, shutdownTimeout)
	defer cancel()
	if err := srv.Shutdown(ctx); err != nil {
		log.Warn("requests cut off at shutdown", "error", err)
		_ = srv.Close()
	}
}
