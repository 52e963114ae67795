package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cjworkbench/unstuck/remediate/decide"
	"github.com/cjworkbench/unstuck/target"
)

const (
	// maxPauses is how many pauses are kept at most: more than any number of people have use for.
	maxPauses = 100
	// pauseTries is how often the pauses are read and written again when somebody else has written them in between.
	pauseTries = 5
)

// errTooMany is why a pause is refused.
var errTooMany = fmt.Errorf("there are %d pauses, and no more are kept: end some first", maxPauses)

// Pauses changes the pauses among documents, for people who do so at the same time: what one has changed the other
// changes further, and nothing is lost. It is safe for concurrent use.
type Pauses struct {
	writing   chan struct{} // has room for one: who changes them
	documents Documents
}

// NewPauses makes one on documents. Where several processes write, nobody else may use those documents: what was seen
// of them last is what Pauses has read.
func NewPauses(documents Documents) *Pauses {
	return &Pauses{writing: make(chan struct{}, 1), documents: documents}
}

// Pauses gives those that are kept, those that have ended among them.
func (p *Pauses) Pauses(ctx context.Context) ([]decide.Pause, error) {
	var pauses []decide.Pause
	err := p.alone(ctx, func() (err error) {
		pauses, err = readPauses(ctx, p.documents)
		return err
	})
	return pauses, err
}

// Pause adds a pause, in place of any that its maker has for the same broker. It gives the pause with its ID.
func (p *Pauses) Pause(ctx context.Context, added decide.Pause) (decide.Pause, error) {
	added.ID = PauseID(added)
	return added, p.change(ctx, func(pauses []decide.Pause) ([]decide.Pause, error) {
		pauses = slices.DeleteFunc(pauses, func(q decide.Pause) bool { return q.Target == added.Target && q.By == added.By })
		if len(pauses) >= maxPauses {
			return nil, errTooMany
		}
		return append(pauses, added), nil
	})
}

// Resume ends the pauses of broker; of "", those that hold for every broker. It says how many there were.
func (p *Pauses) Resume(ctx context.Context, targetName string) (ended int, err error) {
	err = p.change(ctx, func(pauses []decide.Pause) ([]decide.Pause, error) {
		others := slices.DeleteFunc(slices.Clone(pauses), func(q decide.Pause) bool { return q.Target == targetName })
		ended = len(pauses) - len(others)
		return others, nil
	})
	return ended, err
}

// End ends the pause of that ID. It says how many there were: none, or one.
func (p *Pauses) End(ctx context.Context, id string) (ended int, err error) {
	err = p.change(ctx, func(pauses []decide.Pause) ([]decide.Pause, error) {
		others := slices.DeleteFunc(slices.Clone(pauses), func(q decide.Pause) bool { return q.ID == id })
		ended = len(pauses) - len(others)
		return others, nil
	})
	return ended, err
}

// PauseID gives the ID of a pause that has none yet. It follows from what the pause says, so that a pause that a person
// wrote has the same one however often it is read.
func PauseID(p decide.Pause) string {
	said := strings.Join([]string{p.Target, p.By, p.Until.UTC().Format(time.RFC3339Nano), p.Reason}, "\n")
	sum := sha256.Sum256([]byte(said))
	return "pause-" + hex.EncodeToString(sum[:5])
}

// change has f make new pauses of those that have not ended, and writes them: again from the start if somebody else was
// faster. What cannot be read is not written over: it may be somebody's pause.
func (p *Pauses) change(ctx context.Context, f func([]decide.Pause) ([]decide.Pause, error)) error {
	return p.alone(ctx, func() error {
		var err error
		for range pauseTries {
			var pauses []decide.Pause
			if pauses, err = readPauses(ctx, p.documents); err != nil {
				return fmt.Errorf("change the pauses: %w", err)
			}
			now := time.Now()
			// One without an end, which is written by a person, holds until it is removed.
			pauses = slices.DeleteFunc(pauses, func(q decide.Pause) bool { return !q.Until.IsZero() && !q.Until.After(now) })
			if pauses, err = f(pauses); err != nil {
				return err
			}
			if err = writePauses(ctx, p.documents, pauses); !errors.Is(err, target.ErrConflict) {
				return err
			}
		}
		return err
	})
}

// alone calls f while nobody else changes the pauses.
func (p *Pauses) alone(ctx context.Context, f func() error) error {
	select {
	case p.writing <- struct{}{}:
		defer func() { <-p.writing }()
		return f()
	case <-ctx.Done():
		return fmt.Errorf("wait for another change of the pauses: %w", ctx.Err())
	}
}

// readPauses gives the pauses on documents; none if there is no document. Whatever else is there in its place is an
// error: somebody may have meant a pause by it.
func readPauses(ctx context.Context, documents Documents) ([]decide.Pause, error) {
	docs, err := documents.All(ctx, kindPauses)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", kindPauses, err)
	}
	for name := range docs {
		if name != kindPauses {
			return nil, fmt.Errorf("read %s/%s: want no other document than %s/%s", kindPauses, name, kindPauses, kindPauses)
		}
	}
	data, there := docs[kindPauses]
	if !there {
		return nil, nil
	}
	var pauses []decide.Pause
	if err := json.Unmarshal(data, &pauses); err != nil {
		return nil, fmt.Errorf("read %s/%s: %w", kindPauses, kindPauses, err)
	}
	if pauses == nil {
		return nil, fmt.Errorf("read %s/%s: %w", kindPauses, kindPauses, errors.New("want a list"))
	}
	identify(pauses)
	return pauses, nil
}

// identify gives each pause an ID that none before it has: a person may write one without, or copy that of another.
func identify(pauses []decide.Pause) {
	taken := make(map[string]bool, len(pauses))
	for i, p := range pauses {
		if p.ID == "" || taken[p.ID] {
			pauses[i].ID = PauseID(p)
		}
		for n := 2; taken[pauses[i].ID]; n++ { // the very same pause twice
			pauses[i].ID = fmt.Sprintf("%s-%d", PauseID(p), n)
		}
		taken[pauses[i].ID] = true
	}
}

func writePauses(ctx context.Context, documents Documents, pauses []decide.Pause) error {
	if pauses == nil {
		pauses = []decide.Pause{}
	}
	data, err := document(pauses)
	if err == nil && len(data) > maxDocument {
		err = fmt.Errorf("they are %d bytes, %d are allowed", len(data), maxDocument)
	}
	if err == nil {
		err = documents.Put(ctx, kindPauses, kindPauses, data)
	}
	if err != nil {
		return fmt.Errorf("write %s/%s: %w", kindPauses, kindPauses, err)
	}
	return nil
}
