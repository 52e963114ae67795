package app

import (
	"context"
	"sync"

	"github.com/cjworkbench/unstuck/target"
)

// credentials remembers whether they could be read when somebody last wanted to log in with them.
type credentials struct {
	read func(context.Context) (target.Credentials, error)

	mu     sync.Mutex
	latest error
}

// get reads them.
func (c *credentials) get(ctx context.Context) (target.Credentials, error) {
	creds, err := c.read(ctx)
	if ctx.Err() == nil { // that we stop is no fault of theirs
		c.mu.Lock()
		defer c.mu.Unlock()
		c.latest = err
	}
	return creds, err
}

// err is why they could not be read; nil if they could.
func (c *credentials) err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.latest
}
