package httpapi

import (
	"cmp"
	"math"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"time"
)

// Rate bounds how often somebody may ask.
type Rate struct {
	PerSecond float64
	Burst     int // how many at once, after a rest
}

// The default rates. A person with a page open and a shell beside it stays far below; a client gone wild does not.
var (
	defaultRate = Rate{PerSecond: 10, Burst: 40}
	badToken    = Rate{PerSecond: 0.2, Burst: 10} // sign-ins that fail, with one token from one address
	badAddress  = Rate{PerSecond: 5, Burst: 100}  // and with any token from it
)

// How many tokens of strangers are looked up at once, of all and of one address. It takes a request to the API server,
// of which there is an allowance (kubernetes.qps, 50 a second by default): so a known caller waits for strangers for
// a third of a second at most. Who finds no place is told at once to come again; there is no line to stand in.
const (
	maxLookups     = 16
	maxLookupsEach = 4
	lookupTimeout  = 20 * time.Second // more than the API server is given
)

// maxQuestionsEach is how many questions about what one caller may do wait at once for that allowance. Ten pages that
// are open ask ten; others wait for the twenty of somebody without rights for less than half a second.
const (
	maxQuestions     = 1000 // about all callers
	maxQuestionsEach = 20
)

// maxBuckets bounds how many callers a limiter tells apart.
const maxBuckets = 10_000

// limiter is a token bucket for each caller.
type limiter struct {
	rate Rate

	mu      sync.Mutex
	buckets map[string]bucket
}

// bucket is what a caller had left at a time. No bucket is a full one.
type bucket struct {
	left float64
	at   time.Time
}

func newLimiter(r, otherwise Rate) *limiter {
	r.PerSecond, r.Burst = cmp.Or(max(r.PerSecond, 0), otherwise.PerSecond), cmp.Or(max(r.Burst, 0), otherwise.Burst)
	return &limiter{rate: r, buckets: make(map[string]bucket)}
}

// take takes one from the caller's bucket. If it is empty, it says how long until there is one again.
func (l *limiter) take(who string) time.Duration { return l.look(who, 1) }

// give gives back what was taken.
func (l *limiter) give(who string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, known := l.buckets[who]; known { // no bucket is a full one
		now := time.Now()
		l.buckets[who] = bucket{min(float64(l.rate.Burst), l.left(who, now)+1), now}
	}
}

// wait says the same without taking.
func (l *limiter) wait(who string) time.Duration { return l.look(who, 0) }

func (l *limiter) look(who string, take float64) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	left := l.left(who, now)
	if left < 1 {
		return time.Duration(math.Ceil((1 - left) / l.rate.PerSecond * float64(time.Second)))
	}
	if take > 0 {
		if _, known := l.buckets[who]; !known && len(l.buckets) >= maxBuckets {
			l.sweep(now)
		}
		l.buckets[who] = bucket{left - take, now}
	}
	return 0
}

func (l *limiter) left(who string, now time.Time) float64 {
	b, known := l.buckets[who]
	if !known {
		return float64(l.rate.Burst)
	}
	return min(float64(l.rate.Burst), b.left+max(0, now.Sub(b.at).Seconds())*l.rate.PerSecond)
}

// sweep makes room for many, because it takes long: full buckets go, and if these are too few, any. Somebody with ten
// thousand addresses gets a new bucket for each of them anyway.
func (l *limiter) sweep(now time.Time) {
	for who := range l.buckets {
		if l.left(who, now) >= float64(l.rate.Burst) {
			delete(l.buckets, who)
		}
	}
	for who := range l.buckets {
		if len(l.buckets) <= maxBuckets*3/4 {
			return
		}
		delete(l.buckets, who)
	}
}

// Slots counts what is under way at once, of which there may be most, and each of one caller or address.
type Slots struct {
	most, each int

	mu  sync.Mutex
	all int
	of  map[string]int
}

// NewSlots makes some of which there are most, and each has so many.
func NewSlots(most, each int) *Slots { return &Slots{most: most, each: each, of: make(map[string]int)} }

// Open takes one; false: there is none left. Give it back with Close.
func (s *Slots) Open(who string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all >= s.most || s.of[who] >= s.each {
		return false
	}
	s.all++
	s.of[who]++
	return true
}

// Close gives one back.
func (s *Slots) Close(who string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all--
	if s.of[who]--; s.of[who] == 0 {
		delete(s.of, who)
	}
}

// TooMany is the Problem of somebody who must wait.
func TooMany(wait time.Duration, format string, args ...any) *Problem {
	p := NewProblem(http.StatusTooManyRequests, format, args...)
	p.RetryAfter = max(1, int(math.Ceil(wait.Seconds())))
	p.Detail += ": wait " + strconv.Itoa(p.RetryAfter) + " s"
	return p
}

// tryAgain is the Problem of somebody for whom there is no place at this moment.
func tryAgain(format string, args ...any) *Problem {
	p := NewProblem(http.StatusServiceUnavailable, format+"; try again", args...)
	p.RetryAfter = 1
	return p
}

// addressOf gives the address that a request came from, as far as it tells callers apart.
func addressOf(r *http.Request) string { return networkOf(r.RemoteAddr) }

// networkOf gives an address without its port, as far as one person has it: who has one IPv6 address has the rest
// of its /64 as well.
func networkOf(remote string) string {
	from, err := netip.ParseAddrPort(remote)
	if err != nil {
		return Short(remote)
	}
	a := plain(from.Addr())
	if a.Is6() {
		if p, err := a.Prefix(64); err == nil {
			return p.String()
		}
	}
	return a.String()
}
