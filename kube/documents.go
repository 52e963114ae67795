package kube

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"strings"
	"sync"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/cjworkbench/unstuck/target"
)

// How a document is kept in a ConfigMap.
const (
	managedBy    = "app.kubernetes.io/managed-by"
	kindLabel    = "unstuck.cjworkbench.org/kind"
	nameNote     = "unstuck.cjworkbench.org/name" // an annotation: the document's name may not do for a ConfigMap's
	documentKey  = "document"
	documentPage = 20 // how many are read at once; each may have close to a MiB
)

// DocumentStore keeps small documents, each in a ConfigMap of its own in the client's namespace. A document has at most about
// 1 MiB, which is the API server's bound. The zero document, one that was never seen, does not exist.
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
// name and the labels of a document, and none in it, is nil, and the error names it: somebody may have meant something by
// it. It counts as not seen, so that nobody writes over it.
func (s *DocumentStore) All(ctx context.Context, kind string) (map[string][]byte, error) {
	var unread []error
	all, seen := make(map[string][]byte), make(map[document]docVersion)
	s.mu.Lock()
	began := s.now
	s.mu.Unlock()
	options := metav1.ListOptions{
		LabelSelector: labels.SelectorFromSet(labels.Set{managedBy: "unstuck", kindLabel: kind}).String(), Limit: documentPage,
	}
	for {
		page, err := s.page(ctx, options)
		if err != nil {
			return nil, fmt.Errorf("read the %s: %w", kind, explain(err, "list", "configmaps", s.client.namespace))
		}
		for _, m := range page.Items {
			name, data, ok := content(m)
			if bare, ours := strings.CutPrefix(m.Name, objectPrefix(kind)); !ok && ours {
				all[bare] = nil
				unread = append(unread, fmt.Errorf("configmap %s: want the annotation %s and the key %s", m.Name, nameNote, documentKey))
				continue
			}
			if !ok || m.Name != objectName(kind, name) { // somebody else's, or a copy
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

// One gives one document, and whether there is one. What was last seen of others stays as it is, so that whoever writes
// those still learns that somebody else did. A ConfigMap of its name that is not a document, because somebody wrote it
// and left something out, is an error.
func (s *DocumentStore) One(ctx context.Context, kind, name string) (data []byte, there bool, err error) {
	s.mu.Lock()
	began := s.now
	s.mu.Unlock()
	called := objectName(kind, name)
	page, err := s.page(ctx, metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("metadata.name", called).String()})
	if err != nil {
		return nil, false, explain(err, "list", "configmaps", s.client.namespace)
	}
	var version string
	for _, m := range page.Items {
		if m.Name != called {
			continue
		}
		noted, content, ok := content(m)
		if !ok || noted != name || m.Labels[managedBy] != "unstuck" || m.Labels[kindLabel] != kind {
			return nil, true, fmt.Errorf("configmap %s is no document: want the labels %s=unstuck and %s=%s, the annotation %s=%s and the key %s",
				called, managedBy, kindLabel, kind, nameNote, name, documentKey)
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
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return s.client.api.CoreV1().ConfigMaps(s.client.namespace).List(ctx, o)
}

// Put writes a document, over what was last seen of it. It is target.ErrConflict if somebody else has written, made or
// removed it since. After any other error it may have been written or not, and the next Put may be a conflict.
func (s *DocumentStore) Put(ctx context.Context, kind, name string, data []byte) error {
	d := document{kind, name}
	s.mu.Lock()
	version := s.seen[d].version
	s.mu.Unlock()
	m := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
		Name: objectName(kind, name), Namespace: s.client.namespace, ResourceVersion: version,
		Labels: map[string]string{managedBy: "unstuck", kindLabel: kind}, Annotations: map[string]string{nameNote: name},
	}}
	if utf8.Valid(data) {
		m.Data = map[string]string{documentKey: string(data)}
	} else {
		m.BinaryData = map[string][]byte{documentKey: data}
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	maps := s.client.api.CoreV1().ConfigMaps(s.client.namespace)
	verb := "update"
	var written *corev1.ConfigMap
	var err error
	if version == "" {
		verb = "create"
		written, err = maps.Create(ctx, m, metav1.CreateOptions{})
	} else {
		written, err = maps.Update(ctx, m, metav1.UpdateOptions{})
	}
	switch {
	case apierrors.IsConflict(err), apierrors.IsAlreadyExists(err), version != "" && apierrors.IsNotFound(err):
		err = target.ErrConflict
	case err != nil:
		err = explain(err, verb, "configmaps", s.client.namespace)
	default:
		s.mu.Lock()
		defer s.mu.Unlock()
		s.now++
		s.seen[d] = docVersion{written.ResourceVersion, s.now}
		return nil
	}
	return fmt.Errorf("write %s %s: %w", kind, name, err)
}

// Remove removes a document, whoever wrote it last. It is no error if there is none.
func (s *DocumentStore) Remove(ctx context.Context, kind, name string) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	err := s.client.api.CoreV1().ConfigMaps(s.client.namespace).Delete(ctx, objectName(kind, name), metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("remove %s %s: %w", kind, name, explain(err, "delete", "configmaps", s.client.namespace))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now++
	s.seen[document{kind, name}] = docVersion{written: s.now}
	return nil
}

func content(m corev1.ConfigMap) (name string, data []byte, ok bool) {
	name, ok = m.Annotations[nameNote]
	if text, there := m.Data[documentKey]; there {
		return name, []byte(text), ok
	}
	data, there := m.BinaryData[documentKey]
	return name, data, ok && there
}

// plain is what an object's name may look like (RFC 1123), with room for the prefix and the hash.
var plain = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,180}[a-z0-9])?$`)

// objectName gives the name of a document's ConfigMap. Names that will not do are replaced by a hash, never by something
// that another could have too.
func objectName(kind, name string) string {
	if plain.MatchString(name) {
		return objectPrefix(kind) + name
	}
	sum := sha256.Sum256([]byte(name))
	return objectPrefix(kind) + "x." + hex.EncodeToString(sum[:16])
}

func objectPrefix(kind string) string { return "unstuck-" + kind + "-" }
