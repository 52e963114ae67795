package lab

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// The types of queues, as RabbitMQ calls them.
const (
	ClassicQueue = "classic"
	QuorumQueue  = "quorum"
	StreamQueue  = "stream" // RabbitMQ 3.9 and later
)

// LoadQueue is a queue of a load. It has a publisher and a consumer of its own.
type LoadQueue struct {
	Name    string
	Type    string
	Node    string // on which its leader is; of a classic queue, where it is
	Members int    // how many nodes have it
}

// LoadOptions says what a load is. The zero value gives one that is small enough for two cores.
type LoadOptions struct {
	Idle   int         // connections that do nothing but stay; default 30, none if negative
	Rate   float64     // messages per second, over all queues; default 50, none if negative
	Queues []LoadQueue // default: see DefaultQueues
}

// DefaultQueues gives the queues of a load on nodes of these names: on each node a classic queue, the leader of a
// quorum queue on all nodes and of one on that node alone, and once a quorum queue on two nodes and a stream.
func DefaultQueues(nodes []string) []LoadQueue {
	var queues []LoadQueue
	for _, n := range nodes {
		queues = append(queues, LoadQueue{"load-classic-" + n, ClassicQueue, n, 1},
			LoadQueue{"load-one-" + n, QuorumQueue, n, 1})
		if len(nodes) > 1 {
			queues = append(queues, LoadQueue{"load-all-" + n, QuorumQueue, n, len(nodes)})
		}
	}
	if len(nodes) > 2 {
		queues = append(queues, LoadQueue{"load-two", QuorumQueue, nodes[len(nodes)-1], 2})
	}
	return append(queues, LoadQueue{"load-stream", StreamQueue, nodes[len(nodes)/2], len(nodes)})
}

// Load is a broker's users: connections that idle, publishers, and consumers. Each has a connection of its own, the
// first of them to the first node, the next to the next. One that loses it connects to the next node, as client
// libraries do that were given several addresses, and stays there; where that fails it waits, longer each time.
type Load struct {
	lab     *Lab
	queues  []LoadQueue
	leftOut []LoadQueue
	clients []*client

	ctx  context.Context
	stop context.CancelFunc
	wg   sync.WaitGroup
	once sync.Once

	published, confirmed, consumed, reconnects atomic.Int64
}

// LoadStats is what a load has done so far.
type LoadStats struct {
	Published, Confirmed, Consumed int64 // messages
	Reconnects                     int64 // connections that were lost, or could not be opened
	// how many clients have all they need, by the node that they are connected to
	Ready map[string]int
}

// Stats gives what the load has done so far.
func (d *Load) Stats() LoadStats {
	s := LoadStats{
		Published: d.published.Load(), Confirmed: d.confirmed.Load(), Consumed: d.consumed.Load(),
		Reconnects: d.reconnects.Load(), Ready: make(map[string]int),
	}
	for _, c := range d.clients {
		if at, ready := c.where(); ready {
			s.Ready[d.lab.nodes[at].name]++
		}
	}
	return s
}

// Queues gives the queues that the load uses.
func (d *Load) Queues() []LoadQueue { return slices.Clone(d.queues) }

// LeftOut gives the queues that were asked for and that this RabbitMQ cannot have: streams before 3.9.
func (d *Load) LeftOut() []LoadQueue { return slices.Clone(d.leftOut) }

// Load declares queues and starts a load on them, that lasts until its Close or the lab's. It returns once every
// queue is where it was asked for and every client is at work. ctx bounds the start alone.
func (l *Lab) Load(ctx context.Context, o LoadOptions) (*Load, error) {
	if o.Idle == 0 {
		o.Idle = 30
	}
	if o.Rate == 0 {
		o.Rate = 50
	}
	if o.Queues == nil {
		o.Queues = DefaultQueues(l.Names())
	}
	d := &Load{lab: l, queues: slices.Clone(o.Queues)}
	if err := d.check(ctx); err != nil {
		return nil, fmt.Errorf("load the lab: %w", err)
	}
	for i := range max(o.Idle, 0) {
		d.add(i, idle)
	}
	for i, q := range d.queues {
		// Not where the queue is, but on the nodes that follow.
		d.add(i, d.consumer(q))
		if o.Rate > 0 {
			interval := time.Duration(float64(time.Second) * float64(len(d.queues)) / o.Rate)
			d.add(i+1, d.publisher(q, interval))
		}
	}
	if err := d.placeQueues(ctx); err != nil {
		return nil, fmt.Errorf("load the lab: %w", err)
	}
	err := d.begin()
	if err == nil {
		err = d.Settle(ctx)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("load the lab: %w", err), d.Close())
	}
	return d, nil
}

// begin starts the clients.
func (d *Load) begin() error {
	d.ctx, d.stop = context.WithCancel(d.lab.ctx)
	if err := d.lab.begin(); err != nil {
		return err
	}
	for _, c := range d.clients {
		d.wg.Go(c.keep)
	}
	go func() {
		defer d.lab.wg.Done()
		d.wg.Wait() // they end with d.ctx
	}()
	return nil
}

func (d *Load) add(home int, work func(context.Context, *session) error) {
	home %= len(d.lab.nodes)
	d.clients = append(d.clients, &client{load: d, home: home, at: home, work: work, kick: make(chan struct{}, 1)})
}

// Settle makes the load what it was at its start: every queue where it was asked for, declared anew if it is missing
// or has moved, and every client at the node that it was first connected to. It returns once they all are at work.
// The broker must be healthy; that is what Reset leaves.
func (d *Load) Settle(ctx context.Context) error {
	if err := d.placeQueues(ctx); err != nil {
		return err
	}
	return d.lab.until(ctx, "the load to be at work", func(context.Context) error {
		if d.ctx.Err() != nil {
			return fmt.Errorf("%w: the load was closed", errHopeless)
		}
		missing := 0
		for _, c := range d.clients {
			if !c.goHome() {
				missing++
			}
		}
		if missing > 0 {
			return fmt.Errorf("%d of %d clients are not", missing, len(d.clients))
		}
		return nil
	})
}

// Close ends every client of the load. The queues stay, as when applications go away. It may be called more than
// once.
func (d *Load) Close() error {
	d.once.Do(func() {
		d.stop()
		d.wg.Wait()
	})
	return nil
}
