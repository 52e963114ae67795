package store

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/cjworkbench/unstuck/target"
)

// epoch is a Monday, at noon.
var epoch = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// shared has the documents that several write.
type shared struct {
	mu   sync.Mutex
	docs map[string]paper // by kind and name
}

// paper is a document and how often it was written.
type paper struct {
	data    []byte
	version int
}

func newShared() *shared { return &shared{docs: make(map[string]paper)} }

func (s *shared) writer() *writer { return &writer{shared: s, seen: make(map[string]int)} }

// touch is somebody else's writing.
func (s *shared) touch(kind, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.docs[kind+"/"+name]
	p.version++
	s.docs[kind+"/"+name] = p
}

// writer is one of those who write. Each has its own idea of what was last seen, and meantime comes between its reading and
// its writing.
type writer struct {
	*shared

	seen     map[string]int // the version of each document that it knows
	reads    int            // how often it read all of a kind
	meantime func()
}

func (w *writer) All(_ context.Context, kind string) (map[string][]byte, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.reads++
	all := map[string][]byte{}
	for key, p := range w.docs {
		if name, ok := strings.CutPrefix(key, kind+"/"); ok {
			all[name], w.seen[key] = p.data, p.version
		}
	}
	return all, nil
}

func (w *writer) One(_ context.Context, kind, name string) (data []byte, there bool, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p, there := w.docs[kind+"/"+name]
	w.seen[kind+"/"+name] = p.version
	return p.data, there, nil
}

func (w *writer) Put(_ context.Context, kind, name string, data []byte) error {
	if w.meantime != nil {
		w.meantime()
	}
	key := kind + "/" + name
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.docs[key].version != w.seen[key] {
		return fmt.Errorf("put %s: %w", key, target.ErrConflict)
	}
	w.seen[key]++
	w.docs[key] = paper{data, w.seen[key]}
	return nil
}

func (w *writer) Remove(_ context.Context, kind, name string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.docs, kind+"/"+name)
	return nil
}
