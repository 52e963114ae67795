// Package kube supplies the nodes of brokers and the pods of applications from a Kubernetes cluster: what is known of
// them, commands and logs in their containers, and their guarded deletion. It also elects the replica that may act,
// reads credentials, keeps our documents, and tells people by Events what was done.
//
// It and what is below it are the only importers of client-go. Whatever it cannot tell it leaves at the zero value,
// which closes a guard: knowledge that may be old is never given as new, and what leads to a deletion is read afresh
// right before it.
package kube

import (
	"cmp"
	"context"
	"errors"
	"sync"

	"github.com/cjworkbench/unstuck/kube/apiserver"
)

// Options say what of our own is in the cluster.
type Options struct {
	Lease    string // the name of the Lease that says which replica leads; unstuck if empty
	External bool   // nothing is: it is another cluster than our own
}

// Client knows what is in one cluster. Run keeps that up to date.
type Client struct {
	*apiserver.Conn

	campaign *campaign
	events   *events
	commands commands

	external bool // nothing of our own state is in this cluster

	feeds  *feeds
	mu     sync.Mutex
	spaces map[string]*space // by namespace: those in which something is watched
	pods   []*Pods
}

var errRunning = errors.New("the client has been run before")

// New makes a client of a connection.
func New(conn *apiserver.Conn, o Options) *Client {
	c := &Client{
		Conn: conn, external: o.External, spaces: make(map[string]*space), feeds: newFeeds(),
		campaign: newCampaign(conn.API, conn.Namespace(), cmp.Or(o.Lease, "unstuck"), conn.Log),
		events:   newEvents(conn.API, conn.Log),
		commands: commands{running: make(map[string]*command)},
	}
	c.Require(c.needs)
	return c
}

// Run keeps what is known of all that is watched up to date, and writes Events, until ctx ends. Then it writes the
// Events that still wait, and leaves the commands that still run to themselves. What is to be watched may change
// meanwhile: see Watch and Pods.Stop.
func (c *Client) Run(ctx context.Context) error {
	if err := c.feeds.begin(ctx); err != nil {
		return err
	}
	var group sync.WaitGroup
	group.Go(func() { c.events.run(ctx) })
	group.Go(func() { <-ctx.Done(); c.Commands.Stop(c.commands.end) })
	<-ctx.Done()
	c.feeds.end()
	group.Wait()
	return nil
}
