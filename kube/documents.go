package kube

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/cjworkbench/unstuck/kube/apiserver"
	"github.com/cjworkbench/unstuck/target"
)

// DocumentStore keeps small documents, each in a ConfigMap of its own in the client's namespace. A document has at most
// about 1 MiB, which is the API server's bound. The zero document, one that was never seen, does not exist.
type DocumentStore struct {
	client *Client

	mu   sync.Mutex
	seen map[document]docVersion
	now  int // counts our writes, so that a list does not undo one that came while it was read
}

// docVersion is what was last seen of a document.
type docVersion struct {
	version string // of the resource; empty: it was not there
	written int    // by ourselves, as DocumentStore.now counts; 0: it was only read
}

type document struct{ kind, name string }

// Documents gives the client's documents. Each store has its own idea of what was last seen: use one.
func (c *Client) Documents() *DocumentStore {
	return &DocumentStore{client: c, seen: make(map[document]docVersion)}
}

// All gives every document of the kind, by name. These are then the ones that were last seen. A ConfigMap that has the
// name and the labels of a document, and none in it, is nil, and the error names it: somebody may have meant something
// by it. It counts as not seen, so that nobody writes over it.
func (s *DocumentStore) All(ctx context.Context, kind string) (map[string][]byte, error) {
	var unread []error
	all, seen := make(map[string][]byte), make(map[document]docVersion)
	s.mu.Lock()
	began := s.now
	s.mu.Unlock()
	options := metav1.ListOptions{
		LabelSelector: labels.SelectorFromSet(labels.Set{apiserver.ManagedBy: "unstuck", apiserver.KindLabel: kind}).String(),
		Limit:         apiserver.DocumentPage,
	}
	for {
		page, err := s.page(ctx, options)
		if err != nil {
			return nil, fmt.Errorf("read the %s: %w", kind, apiserver.Explain(err, "list", "configmaps", s.client.Namespace()))
		}
		for _, m := range page.Items {
			name, data, ok := apiserver.Content(m)
			if bare, ours := strings.CutPrefix(m.Name, apiserver.ObjectPrefix(kind)); !ok && ours {
				all[bare] = nil
				unread = append(unread, fmt.Errorf("configmap %s: want the annotation %s and the key %s", m.Name,
					apiserver.NameNote, apiserver.DocumentKey))
				continue
			}
			if !ok || m.Name != apiserver.ObjectName(kind, name) { // somebody else's, or a copy
				continue
			}
			all[name], seen[document{kind, name}] = data, docVersion{version: m.ResourceVersion}
		}
		if options.Continue = page.Continue; options.Continue == "" {
			break
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for d, was := range s.seen {
		if d.kind == kind && was.written > began {
			seen[d] = was
		}
	}
	maps.DeleteFunc(s.seen, func(d document, _ docVersion) bool { return d.kind == kind })
	maps.Copy(s.seen, seen)
	return all, errors.Join(unread...)
}

// One gives one document, and whether there is one. What was last seen of others stays as it is, so that who writes
// those still learns that somebody else did. A ConfigMap of its name that is not a document, because somebody wrote it
// and left something out, is an error.
func (s *DocumentStore) One(ctx context.Context, kind, name string) (data []byte, there bool, err error) {
	s.mu.Lock()
	began := s.now
	s.mu.Unlock()
	called := apiserver.ObjectName(kind, name)
	page, err := s.page(ctx, metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("metadata.name",
		called).String()})
	if err != nil {
		return nil, false, apiserver.Explain(err, "list", "configmaps", s.client.Namespace())
	}
	var version string
	for _, m := range page.Items {
		if m.Name != called {
			continue
		}
		noted, content, ok := apiserver.Content(m)
		if !ok || noted != name || m.Labels[apiserver.ManagedBy] != "unstuck" || m.Labels[apiserver.KindLabel] != kind {
			return nil, true,
				fmt.Errorf("configmap %s is no document: want the labels %s=unstuck and %s=%s, the annotation %s=%s and the key %s",
					called, apiserver.ManagedBy, apiserver.KindLabel, kind, apiserver.NameNote, name, apiserver.DocumentKey)
		}
		data, there, version = content, true, m.ResourceVersion
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if d := (document{kind, name}); s.seen[d].written <= began {
		s.seen[d] = docVersion{version: version}
	}
	return data, there, nil
}

func (s *DocumentStore) page(ctx context.Context, o metav1.ListOptions) (*corev1.ConfigMapList, error) {
	ctx, cancel := context.WithTimeout(ctx, apiserver.Timeout)
	defer cancel()
	return s.client.CoreV1().ConfigMaps(s.client.Namespace()).List(ctx, o)
}

// Put writes a document, over what was last seen of it. It is target.ErrConflict if somebody else has written, made or
// removed it since. After any other error it may have been written or not, and the next Put may be a conflict.
func (s *DocumentStore) Put(ctx context.Context, kind, name string, data []byte) error {
	d := document{kind, name}
	s.mu.Lock()
	version := s.seen[d].version
	s.mu.Unlock()
	m := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
		Name: apiserver.ObjectName(kind, name), Namespace: s.client.Namespace(), ResourceVersion: version,
		Labels:      map[string]string{apiserver.ManagedBy: "unstuck", apiserver.KindLabel: kind},
		Annotations: map[string]string{apiserver.NameNote: name},
	}}
	if utf8.Valid(data) {
		m.Data = map[string]string{apiserver.DocumentKey: string(data)}
	} else {
		m.BinaryData = map[string][]byte{apiserver.DocumentKey: data}
	}
	maps := s.client.CoreV1().ConfigMaps(s.client.Namespace())
	verb := "update"
	var written *corev1.ConfigMap
	var err error
	if version == "" {
		verb = "create"
		written, err = apiserver.Create(ctx, maps.Create, m)
	} else {
		ctx, cancel := context.WithTimeout(ctx, apiserver.Timeout)
		defer cancel()
		written, err = maps.Update(ctx, m, metav1.UpdateOptions{})
	}
	switch {
	case apiserver.IsConflict(err), version != "" && apierrors.IsNotFound(err):
		err = target.ErrConflict
	case err != nil:
		err = apiserver.Explain(err, verb, "configmaps", s.client.Namespace())
	default:
		s.mu.Lock()
		defer s.mu.Unlock()
		s.now++
		s.seen[d] = docVersion{written.ResourceVersion, s.now}
		return nil
	}
	return fmt.Errorf("write %s %s: %w", kind, name, err)
}

// Remove removes a document, no matter who wrote it last. It is no error if there is none.
func (s *DocumentStore) Remove(ctx context.Context, kind, name string) error {
	ctx, cancel := context.WithTimeout(ctx, apiserver.Timeout)
	defer cancel()
	err := s.client.CoreV1().ConfigMaps(s.client.Namespace()).Delete(ctx, apiserver.ObjectName(kind, name),
		metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("remove %s %s: %w", kind, name,
			apiserver.Explain(err, "delete", "configmaps", s.client.Namespace()))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now++
	s.seen[document{kind, name}] = docVersion{written: s.now}
	return nil
}
