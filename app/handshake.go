package app

import (
	"context"
	"log/slog"
	"time"

	"github.com/cjworkbench/unstuck/probe"
	"github.com/cjworkbench/unstuck/target"
)

// askHandshake makes of a maybe_stuck probe one that, after the first look at each container in which the node's tools
// reach it, also asks for its handshake_timeout: two tools at once would take twice the memory there.
func (w *watched) askHandshake(x target.Execer, run probe.Func, configured time.Duration, log *slog.Logger) probe.Func {
	return func(ctx context.Context, n target.Node) probe.Result {
		r := run(ctx, n)
		if r.Status() == probe.Unknown || r.Reason == probe.ToolsUnresponsive {
			return r
		}
		switch own, isNew, err := w.handshakes.Ask(ctx, x, n); {
		case err != nil:
			log.Debug("a node does not tell its handshake_timeout", "node", n.Name, "error", err)
		case isNew && own != configured:
			log.Warn("a node's own handshake_timeout is not the configured one: logins go by the node's", "node", n.Name,
				"own_seconds", own.Seconds(), "configured_seconds", configured.Seconds())
		}
		return r
	}
}
