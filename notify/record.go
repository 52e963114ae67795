package notify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/cjworkbench/unstuck/remediate/store"
	"github.com/cjworkbench/unstuck/target"
)

// keptTold is of how many incidents a record knows what was told. There are never so many incidents in the store.
const keptTold = 500

// record is what a receiver was told, so that the next leader goes on from there.
type record struct {
	// Since is when the receiver was first known. What happened before is none of its business.
	Since time.Time         `json:"since"`
	Told  map[string][]Kind `json:"told"` // by incident
}

// has says whether the receiver was told of e.
func (r record) has(e Event) bool { return slices.Contains(r.Told[e.Incident.ID], e.Kind) }

// add takes note that it was.
func (r record) add(incident string, kinds ...Kind) {
	for _, k := range kinds {
		if !slices.Contains(r.Told[incident], k) {
			r.Told[incident] = append(r.Told[incident], k)
		}
	}
	if len(r.Told) > keptTold { // their names begin with the time
		for _, old := range slices.Sorted(maps.Keys(r.Told))[:len(r.Told)-keptTold] {
			delete(r.Told, old)
		}
	}
}

// load reads the record of a receiver; one that has none yet begins now, and that is written down.
func load(ctx context.Context, documents store.Documents, receiver string, now time.Time) (record, error) {
	r := record{}
	data, there, err := documents.One(ctx, store.KindNotified, receiver)
	if err == nil && there {
		err = json.Unmarshal(data, &r)
	}
	if err != nil {
		return r, fmt.Errorf("read what it was told: %w", err)
	}
	if r.Told == nil {
		r.Told = make(map[string][]Kind)
	}
	if r.Since.IsZero() {
		r.Since = now
		return r, r.save(ctx, documents, receiver)
	}
	return r, nil
}

// save writes the record. Where somebody else has written meanwhile, what they told counts too.
func (r record) save(ctx context.Context, documents store.Documents, receiver string) error {
	err := r.put(ctx, documents, receiver)
	if !errors.Is(err, target.ErrConflict) {
		return err
	}
	data, there, err := documents.One(ctx, store.KindNotified, receiver)
	var theirs record
	if err == nil && there {
		err = json.Unmarshal(data, &theirs)
	}
	if err != nil {
		return fmt.Errorf("read what it was told: %w", err)
	}
	for incident, kinds := range theirs.Told {
		r.add(incident, kinds...)
	}
	return r.put(ctx, documents, receiver)
}

func (r record) put(ctx context.Context, documents store.Documents, receiver string) error {
	data, err := json.MarshalIndent(r, "", " ")
	if err == nil {
		err = documents.Put(ctx, store.KindNotified, receiver, append(data, '\n'))
	}
	if err != nil {
		return fmt.Errorf("write down what it was told: %w", err)
	}
	return nil
}
