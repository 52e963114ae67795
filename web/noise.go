package web

import (
	"context"
	"net/http"
	"sync/atomic"
)

// The rates at which attempts are recorded of which nothing could come: of somebody who was not recognised, or who asks
// too often. Of all others each is. Whoever wants to fill our log, or to hide in it, needs no token to send requests.
var (
	noiseEach = Rate{PerSecond: 0.2, Burst: 20} // of one address, or one caller
	noiseAll  = Rate{PerSecond: 2, Burst: 200}
)

// noise bounds what is recorded of such attempts.
type noise struct {
	each, all *limiter
	left      atomic.Int64 // out since the last one that was recorded
}

func newNoise() *noise {
	return &noise{each: newLimiter(noiseEach, noiseEach), all: newLimiter(noiseAll, noiseAll)}
}

// record tells the audit of an attempt, or counts it.
func (o Options) record(ctx context.Context, r *http.Request, a Attempt) {
	if a.By == "" || a.Status == http.StatusTooManyRequests {
		who := a.Authority + "/" + a.By
		if a.By == "" {
			who = addressOf(r)
		}
		if o.noise.each.take(who) > 0 || o.noise.all.take("") > 0 {
			o.noise.left.Add(1)
			return
		}
	}
	a.LeftOut = o.noise.left.Swap(0)
	a = a.masked()
	o.recent.keep(a)
	o.Audit.Attempted(ctx, a)
}
