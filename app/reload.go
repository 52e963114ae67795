package app

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/cjworkbench/unstuck/config"
	"github.com/cjworkbench/unstuck/probe"
)

// reloadEvery is how often the configuration file is looked at. Its contents are compared, for a ConfigMap that is
// mounted changes by a symbolic link to another directory.
const reloadEvery = 10 * time.Second

// reloader puts the configuration file into force as it changes. What is wrong with it changes nothing: the one before
// stays in force.
type reloader struct {
	app   *App
	level *slog.LevelVar
	began *config.Config // what the daemon began with: some of that stays in force until its end

	sum     [sha256.Size]byte // of the file as it was last read
	refused string            // why that is not in force; empty: it is
	pending []string          // the keys that take a restart
}

// reload has the App put the file of c into force as it changes, from its Run on. level is the logger's.
func (a *App) reload(c *config.Config, level *slog.LevelVar) {
	if c.Path == "" {
		return
	}
	r := &reloader{app: a, level: level, began: c}
	a.metrics.ConfigLoaded(time.Now(), false)
	a.beside = append(a.beside, func(ctx context.Context) error {
		r.run(ctx)
		return nil
	})
}

func (r *reloader) run(ctx context.Context) {
	ticker := time.NewTicker(reloadEvery)
	defer ticker.Stop()
	for {
		r.look() // at once: the file may have changed since it was read
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// look reads the file if it has changed; one that is not in force is read each time, for what is wrong may be with
// another file that it names.
func (r *reloader) look() {
	data, err := probe.ReadFile(r.began.Path, probe.MaxFile)
	sum := sha256.Sum256(data)
	if err == nil && sum == r.sum && r.refused == "" {
		return
	}
	first := r.sum == [sha256.Size]byte{}
	if err == nil {
		err = r.load()
	}
	if err != nil {
		r.app.metrics.ConfigRefused()
		if why := err.Error(); why != r.refused {
			r.refused = why
			r.app.log.Error("the configuration file cannot be put into force: what was in force before stays",
				"file", r.began.Path, "error", why)
		}
		return
	}
	again := r.refused != ""
	changed := sum != r.sum && !first
	r.sum, r.refused = sum, ""
	switch {
	case changed:
		r.app.log.Info("the configuration file has changed and is in force", "file", r.began.Path)
	case again:
		r.app.log.Info("the configuration file is in force again", "file", r.began.Path)
	}
}

// load puts the file into force.
func (r *reloader) load() error {
	c, err := config.Load(r.began.Path)
	if err != nil {
		return err
	}
	pending := r.began.NeedsRestart(c)
	if !slices.Contains(pending, "brokers") {
		if err := r.app.apply(fromFile, wanted{c.Brokers, c.Apps}); err != nil {
			return fmt.Errorf("not all of it can be watched, and so nothing of it is: %w", err)
		}
	}
	r.level.Set(c.Log.Level)
	r.app.metrics.ConfigLoaded(time.Now(), len(pending) > 0)
	if !slices.Equal(pending, r.pending) && len(pending) > 0 {
		r.app.log.Warn("the configuration file asks for what takes a restart; the rest of it is in force",
			"keys", strings.Join(pending, ", "))
	}
	r.pending = pending
	return nil
}
