package store

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cjworkbench/unstuck/probe"
)

// maxDocument bounds a document, in bytes: a ConfigMap holds 1 MiB.
const maxDocument = 900 << 10

// fit gives c's document. An incident that is too large loses first what a person would miss least.
func fit(c Incident) ([]byte, error) {
	data, err := document(c)
	if err != nil || len(data) <= maxDocument {
		return data, err
	}
	whole := len(data)
	c.Missing = slices.Clone(c.Missing)
	for _, s := range shortenings {
		s.cut(&c)
		c.Missing = append(c.Missing, s.loses)
		if data, err = document(c); err != nil || len(data) <= maxDocument {
			return data, err
		}
	}
	return nil, fmt.Errorf("it is %d bytes, %d are allowed, and it cannot be made so short", whole, maxDocument)
}

// shortening makes an incident shorter. It changes nothing that the incident shares with others.
type shortening struct {
	loses string // what the incident says of it
	cut   func(*Incident)
}

var shortenings = []shortening{
	{"cut for its size: the ends of long lines and texts", func(c *Incident) {
		c.Logs = slices.Clone(c.Logs)
		for i := range c.Logs {
			c.Logs[i].Text = Shorten(c.Logs[i].Text, 1000)
		}
		c.Missing = slices.Clone(c.Missing[:min(len(c.Missing), 20)])
		for i := range c.Missing {
			c.Missing[i] = Shorten(c.Missing[i], 1000)
		}
		c.Results = slices.Clone(c.Results)
		for i := range c.Results {
			c.Results[i].Detail = Shorten(c.Results[i].Detail, 1000)
		}
		c.Cluster, c.LockHolder, c.Peer = Shorten(c.Cluster, 16<<10), Shorten(c.LockHolder, 1000), Shorten(c.Peer, 1000)
	}},
	{"cut for its size: stacks, of all but the latest look at the processes", func(c *Incident) {
		latest := true
		for i := range slices.Backward(c.Results) {
			p := c.Results[i].Processes
			if p == nil {
				continue
			}
			short := *p
			short.Top = cutStacks(p.Top, latest)
			c.Results[i].Processes, latest = &short, false
		}
	}},
	{
		"cut for its size: all but the latest 10 results, the last 10 lines and the middle of the timeline",
		func(c *Incident) {
			c.Results = c.Results[max(0, len(c.Results)-10):]
			c.Logs = c.Logs[max(0, len(c.Logs)-10):]
			c.Events = slices.Clone(c.Events)
			if n := len(c.Events); n > 60 {
				c.Events = slices.Delete(c.Events, 30, n-30)
			}
			for i := range c.Events {
				c.Events[i].Text = Shorten(c.Events[i].Text, 1000)
			}
		},
	},
}

// cutStacks keeps the most frequent stacks of the latest look, and none of the others.
func cutStacks(top []probe.Stack, latest bool) []probe.Stack {
	if !latest {
		return nil
	}
	top = slices.Clone(top[:min(len(top), 5)])
	for i := range top {
		frames := slices.Clone(top[i].Frames[:min(len(top[i].Frames), 30)])
		for j := range frames {
			frames[j] = Shorten(frames[j], 200)
		}
		top[i].Frames = frames
	}
	return top
}

// Shorten cuts a text to so many bytes, and shows that it did.
func Shorten(s string, longest int) string {
	if len(s) > longest {
		return strings.ToValidUTF8(s[:longest], "") + "…"
	}
	return s
}
