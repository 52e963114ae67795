// Package store keeps what must survive a restart: incidents, deletions and pauses, as documents in JSON.
package store

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/cjworkbench/unstuck/clock"
	"github.com/cjworkbench/unstuck/remediate/decide"
)

// The kinds of documents. There is one document of the last kind, by the same name.
const (
	kindIncidents = "incidents" // one for each incident, by its ID
	kindDeletions = "deletions" // one for each broker, by its name
	kindPauses    = "pauses"    // written by people, and by Pauses for them

	// KindNotified is that of what each receiver of notifications was told, by its name. Package notify writes them.
	KindNotified = "notified"
)

// Documents keeps small documents, by kind and name. Each is replaced as a whole. Dir is one, in a directory;
// ConfigMaps are another.
type Documents interface {
	// All gives every document of the kind, by name. One that is there and cannot be read is nil, and the error says
	// why; where it is not known which there are, all is nil.
	All(ctx context.Context, kind string) (all map[string][]byte, err error)
	// One gives one document of the kind, and whether there is one. An error says why it cannot be had.
	One(ctx context.Context, kind, name string) (data []byte, there bool, err error)
	// Put writes a document. Where several can write it gives target.ErrConflict, and writes nothing, if somebody else
	// has written the document since it was last given or written here; one that it never gave must not exist.
	Put(ctx context.Context, kind, name string, data []byte) error
	// Remove removes a document. It is no error if there is none.
	Remove(ctx context.Context, kind, name string) error
}

// keptIncidents is how many incidents are kept; the oldest closed ones go first.
const keptIncidents = 200

// Store keeps each incident, and the deletions in each broker, as a document in JSON. It is safe for concurrent use.
type Store struct {
	documents Documents

	// reading is taken by who reads all incidents. They may be tens of MiB, and all loops begin to lead at once.
	reading chan struct{}

	// asking is taken by who reads the pauses, and holds what was last read: all loops ask for them all the time.
	asking chan lastPauses

	mu sync.Mutex
	// index holds what is known of the incidents on the store, so that an incident can be saved without reading all the
	// others.
	index map[string]indexed // nil: they have not been read
}

// lastPauses are those that were read then; the zero value: none were.
type lastPauses struct {
	at     time.Time
	pauses []decide.Pause
}

type indexed struct {
	opened time.Time
	open   bool
}

// New makes a Store on documents.
func New(documents Documents) *Store {
	d := &Store{documents: documents, reading: make(chan struct{}, 1), asking: make(chan lastPauses, 1)}
	d.asking <- lastPauses{}
	return d
}

// SaveIncident writes c, shortened if it is too large, and drops what is too much.
func (d *Store) SaveIncident(ctx context.Context, c Incident) error {
	data, err := fit(c)
	if err != nil {
		return fmt.Errorf("write incident %s: %w", c.ID, err)
	}
	if err := d.documents.Put(ctx, kindIncidents, c.ID, data); err != nil {
		return fmt.Errorf("write incident %s: %w", c.ID, err)
	}
	if !d.note(c) {
		if _, err := d.Incidents(ctx); err != nil {
			return err
		}
	}
	for _, id := range d.tooMany() {
		if err := d.documents.Remove(ctx, kindIncidents, id); err != nil {
			return fmt.Errorf("drop an old incident: %w", err)
		}
		d.mu.Lock()
		delete(d.index, id)
		d.mu.Unlock()
	}
	return nil
}

// note puts c into the index, if there is one.
func (d *Store) note(c Incident) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.index == nil {
		return false
	}
	d.index[c.ID] = indexed{c.Opened, c.Closed.IsZero()}
	return true
}

// tooMany lists the incidents to drop, oldest first.
func (d *Store) tooMany() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	extra := len(d.index) - keptIncidents
	if extra <= 0 {
		return nil
	}
	byAge := slices.SortedFunc(maps.Keys(d.index), func(a, b string) int {
		return d.index[a].opened.Compare(d.index[b].opened)
	})
	closed := slices.DeleteFunc(byAge, func(id string) bool { return d.index[id].open })
	return closed[:min(extra, len(closed))]
}

// Incidents gives the incidents that are kept, newest first. One that cannot be read is there by its ID, with the
// reason why.
func (d *Store) Incidents(ctx context.Context) ([]Incident, error) {
	select {
	case d.reading <- struct{}{}:
		defer func() { <-d.reading }()
	case <-ctx.Done():
		return nil, fmt.Errorf("read the incidents, after others do: %w", ctx.Err())
	}
	docs, err := d.documents.All(ctx, kindIncidents)
	if docs == nil && err != nil {
		return nil, fmt.Errorf("read the incidents: %w", err)
	}
	incidents := make([]Incident, 0, len(docs))
	index := make(map[string]indexed, len(docs))
	for id, data := range docs {
		c, why := readIncident(id, data, err)
		if why != nil {
			c = Incident{ID: id, Outcome: Unreadable, Missing: []string{why.Error()}}
		}
		incidents = append(incidents, c)
		index[id] = indexed{c.Opened, c.Closed.IsZero()} // what cannot be read counts as open: it is not dropped
	}
	slices.SortFunc(incidents, func(a, b Incident) int { return b.Opened.Compare(a.Opened) })
	d.mu.Lock()
	d.index = index
	d.mu.Unlock()
	return incidents, nil
}

// readIncident reads an incident's document; err is why documents that are nil could not be had.
func readIncident(id string, data []byte, err error) (c Incident, _ error) {
	if data != nil || err == nil {
		err = json.Unmarshal(data, &c)
	}
	if err == nil && c.ID != id {
		err = fmt.Errorf("it says that it is %q", Shorten(c.ID, 100))
	}
	if err != nil {
		return c, fmt.Errorf("read %s/%s: %w", kindIncidents, id, err)
	}
	return c, nil
}

// SaveDeletions writes the deletions in broker.
func (d *Store) SaveDeletions(ctx context.Context, targetName string, deletions []decide.Deletion) error {
	data, err := document(deletions)
	if err == nil && len(data) > maxDocument {
		err = fmt.Errorf("they are %d bytes, %d are allowed", len(data), maxDocument)
	}
	if err == nil {
		err = d.documents.Put(ctx, kindDeletions, targetName, data)
	}
	if err != nil {
		return fmt.Errorf("write the deletions in %s: %w", targetName, err)
	}
	return nil
}

// Deletions gives the deletions in broker; none if none were ever saved.
func (d *Store) Deletions(ctx context.Context, targetName string) (deletions []decide.Deletion, err error) {
	err = d.one(ctx, kindDeletions, targetName, &deletions)
	return deletions, err
}

// Pauses gives the pauses that somebody wrote down; none if nobody did.
func (d *Store) Pauses(ctx context.Context) ([]decide.Pause, error) {
	return readPauses(ctx, d.documents)
}

// RecentPauses gives the pauses as they were at some time not longer ago than that: many loops share one read.
func (d *Store) RecentPauses(ctx context.Context, within time.Duration) ([]decide.Pause, error) {
	var last lastPauses
	select {
	case last = <-d.asking:
	case <-ctx.Done():
		return nil, fmt.Errorf("read the pauses, after others do: %w", ctx.Err())
	}
	defer func() { d.asking <- last }()
	if last.at.IsZero() || clock.Elapsed(last.at, time.Now()) > within {
		at := time.Now()
		pauses, err := d.Pauses(ctx)
		if err != nil {
			last = lastPauses{}
			return nil, err
		}
		last = lastPauses{at, pauses}
	}
	return slices.Clone(last.pauses), nil
}

// one reads a single document into v, if it is there. It reads no other: what has been given here counts as seen, and a
// loop must not write over what another loop has seen of its deletions.
func (d *Store) one(ctx context.Context, kind, name string, v any) error {
	data, there, err := d.documents.One(ctx, kind, name)
	if err == nil && there {
		err = json.Unmarshal(data, v)
	}
	if err != nil {
		return fmt.Errorf("read %s/%s: %w", kind, name, err)
	}
	return nil
}

// document writes v as people can read it.
func document(v any) ([]byte, error) {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return nil, err
	}
	return append(data, '\n'), nil
}
