package share

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"time"
)

// world is what the simulation runs: an API server that keeps Leases, replicas with clocks of their own that come and go,
// and a network between them that loses and delays. Nothing in it waits: the next event comes at once. Its own time is
// seconds since the beginning.
type world struct {
	*rand.Rand

	times  Times
	shards int
	seats  int
	began  time.Time
	now    float64
	events events
	leases map[string]Lease
	writes int
	away   float64 // until when the API server does not answer

	replicas []*replica
	started  int
	calm     bool // nothing goes wrong any more

	nodes   [][]int   // by shard
	probed  []float64 // by node, when somebody last did who could also be heard
	acting  []acting  // by shard, the latest act
	unled   []float64 // by shard, since when nobody has led it; negative: somebody does
	report  report
	trouble []string
}

// acting is an act upon a shard: somebody deletes one of its nodes, and takes all the time that there is for it.
type acting struct {
	by   *replica
	ends float64
}

type report struct {
	unprobed, unled                       float64 // the longest, in seconds
	led, notLed                           int     // how often a shard was led, and how often not
	acts, handovers, requests, failures   int
	started, killed, left, cut, suspended int
	outages, set, deleted                 int
}

// replica is one process.
type replica struct {
	*Member

	name      string
	rate      float64 // of its clock: so many of its seconds in one
	ahead     int     // how many seconds ahead of ours it has been set
	dead      bool
	cut       float64 // until when it does not reach the API server
	suspended float64 // until when it does not run
	watched   []bool  // by shard
}

func (r *replica) clock(w *world) time.Time {
	return setAhead(w.began.Add(time.Duration(r.rate*w.now*float64(time.Second))), r.ahead)
}

// real gives how long a time by the replica's clock is.
func (r *replica) real(d time.Duration) float64 { return d.Seconds() / r.rate }

type event struct {
	at float64
	n  int
	do func()
}

type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	return e[i].at < e[j].at || e[i].at == e[j].at && e[i].n < e[j].n
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	last := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return last
}

func (w *world) after(seconds float64, do func()) {
	w.started++
	heap.Push(&w.events, event{w.now + seconds, w.started, do})
}

func (w *world) run(until float64) {
	for len(w.events) > 0 && w.events[0].at <= until && len(w.trouble) == 0 {
		e := heap.Pop(&w.events).(event)
		w.now = e.at
		e.do()
	}
	w.now = until
}

func newWorld(seed uint64, t Times, seats, shards, nodes int) *world {
	w := &world{
		Rand: rand.New(rand.NewPCG(seed, seed)), began: time.Now(), times: t, seats: seats, shards: shards, leases: make(map[string]Lease),
		nodes: make([][]int, shards), probed: make([]float64, nodes), acting: make([]acting, shards), unled: make([]float64, shards),
	}
	for n := range nodes {
		shard := ShardOf(fmt.Sprintf("broker-%d", n/3), shards)
		w.nodes[shard] = append(w.nodes[shard], n)
	}
	w.every(1, w.probe)
	w.every(0.25, w.lead)
	return w
}

func (w *world) every(seconds float64, do func()) {
	w.after(seconds, func() { do(); w.every(seconds, do) })
}

// skew is how much faster the fastest clock is than it should be, and how much slower the slowest.
const skew = 0.015

func (w *world) start() *replica {
	w.report.started++
	r := &replica{
		name: fmt.Sprintf("replica-%d", w.report.started), rate: 1 - skew + 2*skew*w.Float64(), ahead: w.IntN(86400),
		watched: make([]bool, w.shards),
	}
	r.Member = NewMember(r.name, w.seats, w.shards, w.times)
	w.replicas = append(w.replicas, r)
	for i := range w.seats {
		w.claim(r, fmt.Sprintf("seat-%d", i), func() Request { return r.NextSeat(i, r.clock(w)) },
			func(q Request, began time.Time, l Lease, o Outcome) { r.NoteSeat(i, q, began, r.clock(w), l, o) })
	}
	for i := range w.shards {
		w.claim(r, fmt.Sprintf("shard-%d", i), func() Request { return r.NextShard(i, r.clock(w)) },
			func(q Request, began time.Time, l Lease, o Outcome) {
				r.NoteShard(i, q, began, r.clock(w), l, o)
				w.act(r, i)
			})
	}
	return r
}

// claim has r ask for a Lease again and again.
func (w *world) claim(r *replica, lease string, next func() Request, note func(Request, time.Time, Lease, Outcome)) {
	var turn func()
	again := func() { w.after(r.real(w.times.Retry)*(1+0.2*w.Float64()), turn) }
	turn = func() {
		q := next()
		if q.Verb == Nothing {
			again()
			return
		}
		began := r.clock(w)
		w.ask(r, lease, q, func(l Lease, o Outcome) {
			note(q, began, l, o)
			again()
		})
	}
	run := turn
	turn = func() { w.running(r, run) }
	w.after(w.Float64(), turn)
}

// running does something once r runs, unless it never does again.
func (w *world) running(r *replica, do func()) {
	switch {
	case r.dead:
	case r.suspended > w.now:
		w.after(r.suspended-w.now, func() { w.running(r, do) })
	default:
		do()
	}
}

// ask sends a request to the API server. The answer comes within Call by r's clock, or none.
func (w *world) ask(r *replica, lease string, q Request, answer func(Lease, Outcome)) {
	w.report.requests++
	timeout := r.real(w.times.Call)
	there, back := 0.3*w.Float64()*w.Float64(), 0.3*w.Float64()*w.Float64()
	if !w.calm {
		switch p := w.Float64(); {
		case p < 0.02: // an error at once
			w.after(there, func() { w.running(r, func() { answer(Lease{}, Unclear) }) })
			w.report.failures++
			return
		case p < 0.03: // lost
			there = 1e9
		case p < 0.04: // the answer is lost
			back = 1e9
		case p < 0.05: // done long after nobody waits for it any more
			there = timeout * (1 + 5*w.Float64())
		case p < 0.10: // slow
			there, back = timeout*w.Float64(), timeout*w.Float64()
		}
	}
	answered := false
	if there < 1e8 {
		w.after(there, func() {
			if r.cut > w.now || w.away > w.now {
				return
			}
			l, o := w.serve(lease, q)
			w.after(back, func() {
				w.running(r, func() {
					if !answered {
						answered = true
						answer(l, o)
					}
				})
			})
		})
	}
	w.after(timeout, func() {
		w.running(r, func() {
			if !answered {
				answered = true
				w.report.failures++
				answer(Lease{}, Unclear)
			}
		})
	})
}

// serve is the API server.
func (w *world) serve(name string, q Request) (Lease, Outcome) {
	l := w.leases[name]
	if q.Verb == Get {
		return l, Done
	}
	if l.Version != q.Over {
		return Lease{}, Overtaken
	}
	w.writes++
	l = Lease{Holder: q.Holder, Version: fmt.Sprint(w.writes)}
	if q.Holder != "" {
		l.Held = q.At.Round(0).Sub(q.Acquired())
	}
	w.leases[name] = l
	return l, Done
}

// probe has each replica probe a fifteenth of the nodes that it watches, so that it probes each every 15 s.
func (w *world) probe() {
	second := int(w.now)
	for _, r := range w.replicas {
		if r.dead || r.suspended > w.now || r.cut > w.now {
			continue
		}
		for shard := range w.shards {
			if !r.Watches(shard) {
				continue
			}
			for _, n := range w.nodes[shard] {
				if n%15 == second%15 {
					w.report.unprobed = max(w.report.unprobed, w.now-w.probed[n])
					w.probed[n] = w.now
				}
			}
		}
	}
}

// lead has each replica act upon all that it may act upon, and sees for how long nobody could.
func (w *world) lead() {
	led := make([]bool, w.shards)
	for _, r := range w.replicas {
		if !r.dead && r.suspended <= w.now {
			for shard := range led {
				led[shard] = w.act(r, shard) || led[shard]
			}
		}
	}
	for shard := range led {
		switch {
		case led[shard]:
			w.unled[shard] = w.now
			w.report.led++
		case w.away > w.now:
			w.unled[shard] += 0.25 // nobody could be
		default:
			w.report.notLed++
			w.report.unled = max(w.report.unled, w.now-w.unled[shard])
		}
	}
}

// act has a replica that runs delete a node of the shard if it may, for as long as that may take. Nobody else may be at it.
func (w *world) act(r *replica, shard int) (may bool) {
	if !r.shards[shard].Ours() {
		return false
	}
	if _, may = r.Leads(shard, r.clock(w)); !may {
		return false
	}
	was := w.acting[shard]
	if was.by != nil && was.by != r {
		w.report.handovers++
		if was.ends > w.now {
			w.trouble = append(w.trouble, fmt.Sprintf("at %.2f s %s acts upon shard %d, and %s does until %.2f s", w.now, r.name, shard, was.by.name, was.ends))
		}
	}
	w.acting[shard] = acting{r, w.now + r.real(w.times.Call)}
	w.report.acts++
	return true
}
