package app

import (
	"context"
	"time"

	"github.com/cjworkbench/unstuck/config"
	"github.com/cjworkbench/unstuck/notify"
	"github.com/cjworkbench/unstuck/remediate/store"
	"github.com/cjworkbench/unstuck/target"
)

// telling is a store that tells of each incident that was saved in it.
type telling struct {
	*store.Store

	saved func(store.Incident)
	doubt func()
}

// SaveIncident writes c, and tells of it once it is written: what a receiver hears of is written down.
func (s telling) SaveIncident(ctx context.Context, c store.Incident) error {
	err := s.Store.SaveIncident(ctx, c)
	if err == nil {
		s.saved(c)
	} else {
		s.doubt() // it may be written all the same
	}
	return err
}

// keepRecords has the App keep its records in s, and its receivers be told of what is saved there. What they were told
// stands in the documents, which nobody else may write.
func (a *App) keepRecords(
	c *config.Config, s *store.Store, documents store.Documents, isLeader func() (target.Answer, time.Time),
) {
	a.store = s
	if len(c.Notify) == 0 {
		return
	}
	for _, r := range c.Notify {
		a.metrics.WatchReceiver(r.Name)
	}
	n := notify.New(notify.Options{
		Receivers: c.Notify, Incidents: s.Incidents, Documents: documents, IsLeader: isLeader, Meter: a.metrics,
		Log: a.log, UserAgent: userAgent(),
	})
	a.store = telling{s, n.Saved, n.Doubt}
	a.beside = append(a.beside, n.Run)
}
