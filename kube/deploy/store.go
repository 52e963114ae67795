package deploy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/cjworkbench/unstuck/kube/apiserver"
	"github.com/cjworkbench/unstuck/release"
	"github.com/cjworkbench/unstuck/release/plan"
)

const (
	operationKind    = "operation"
	environmentLabel = "unstuck.cjworkbench.org/environment"
)

// Store keeps operations, each in a ConfigMap of its own in our own namespace. It is a release.Store, and keeps nothing
// in memory: any number may be used, by any number of replicas.
type Store struct{ conn *apiserver.Conn }

// NewStore gives the operations that are kept in our own cluster.
func NewStore(conn *apiserver.Conn) *Store {
	conn.Require(func(need apiserver.Need) {
		need(conn.Namespace(), "configmaps", "", "get", "list", "create", "update", "delete")
	})
	return &Store{conn}
}

// Save implements release.Store. With a new operation it drops those that need not be kept any longer.
func (s *Store) Save(ctx context.Context, o plan.Operation) error {
	if err := s.save(ctx, o); err != nil {
		return fmt.Errorf("write operation %s: %w", o.ID, err)
	}
	if o.Version == 1 {
		if err := s.forget(ctx, o.Environment); err != nil {
			s.conn.Log.Warn("cannot remove old operations", "environment", o.Environment, "error", err.Error())
		}
	}
	return nil
}

func (s *Store) save(ctx context.Context, o plan.Operation) error {
	data, err := json.Marshal(o)
	if err != nil {
		return err
	}
	m := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{
			Name: apiserver.ObjectName(operationKind, o.ID), Namespace: s.conn.Namespace(),
			Labels:      operationLabels(o.Environment),
			Annotations: map[string]string{apiserver.NameNote: o.ID},
		},
		Data: map[string]string{apiserver.DocumentKey: string(data)},
	}
	maps := s.conn.CoreV1().ConfigMaps(s.conn.Namespace())
	verb := "create"
	if o.Version > 1 {
		verb = "update"
		var stored plan.Operation
		if stored, m.ResourceVersion, err = s.read(ctx, o.ID); errors.Is(err, release.ErrNotFound) ||
			err == nil && stored.Version != o.Version-1 {
			return release.ErrConflict
		} else if err != nil {
			return err
		}
	}
	if verb == "create" {
		_, err = apiserver.Create(ctx, maps.Create, m)
	} else {
		ctx, cancel := context.WithTimeout(ctx, apiserver.Timeout)
		defer cancel()
		_, err = maps.Update(ctx, m, metav1.UpdateOptions{})
	}
	if apiserver.IsConflict(err) || apierrors.IsNotFound(err) && verb == "update" {
		return release.ErrConflict
	}
	return apiserver.Explain(err, verb, "configmaps", s.conn.Namespace())
}

// operationLabels are those of an environment's operations. A name that is too long for a label is one of the
// environments that are told apart by what stands in the operations.
func operationLabels(environment string) labels.Set {
	return labels.Set{
		apiserver.ManagedBy: "unstuck", apiserver.KindLabel: operationKind,
		environmentLabel: strings.TrimRight(environment[:min(len(environment), 63)], "-"),
	}
}

// Load implements release.Store.
func (s *Store) Load(ctx context.Context, id string) (plan.Operation, error) {
	o, _, err := s.read(ctx, id)
	if err != nil {
		return plan.Operation{}, fmt.Errorf("read operation %s: %w", id, err)
	}
	return o, nil
}

func (s *Store) read(ctx context.Context, id string) (o plan.Operation, version string, err error) {
	m, err := apiserver.Get(ctx, s.conn.CoreV1().ConfigMaps(s.conn.Namespace()).Get,
		apiserver.ObjectName(operationKind, id))
	switch {
	case apierrors.IsNotFound(err):
		return o, "", release.ErrNotFound
	case err != nil:
		return o, "", apiserver.Explain(err, "get", "configmaps", s.conn.Namespace())
	}
	o, err = decodeOperation(*m)
	if err == nil && o.ID != id {
		err = release.ErrNotFound
	}
	return o, m.ResourceVersion, err
}

func decodeOperation(m corev1.ConfigMap) (o plan.Operation, err error) {
	if err = json.Unmarshal([]byte(m.Data[apiserver.DocumentKey]), &o); err != nil {
		return o, fmt.Errorf("ConfigMap %s holds no operation: %w", m.Name, err)
	}
	return o, nil
}

// Operations implements release.Store. One that cannot be read is an error: it might be under way.
func (s *Store) Operations(ctx context.Context, env string) ([]plan.Operation, error) {
	fail := func(err error) ([]plan.Operation, error) {
		return nil, fmt.Errorf("read the operations of %s: %w", env, err)
	}
	options := metav1.ListOptions{LabelSelector: operationLabels(env).String(), Limit: apiserver.DocumentPage}
	var all []plan.Operation
	for {
		page, err := apiserver.List(ctx, s.conn.CoreV1().ConfigMaps(s.conn.Namespace()).List, options)
		if err != nil {
			return fail(apiserver.Explain(err, "list", "configmaps", s.conn.Namespace()))
		}
		for _, m := range page.Items {
			// somebody else's, or a copy
			if name, _, ok := apiserver.Content(m); !ok || m.Name != apiserver.ObjectName(operationKind, name) {
				continue
			}
			o, err := decodeOperation(m)
			if err != nil {
				return fail(err)
			}
			if o.Environment == env {
				all = append(all, o)
			}
		}
		if options.Continue = page.Continue; options.Continue == "" {
			return all, nil
		}
	}
}

// forget removes the operations of an environment that need not be kept.
func (s *Store) forget(ctx context.Context, env string) error {
	all, err := s.Operations(ctx, env)
	if err != nil {
		return err
	}
	for _, id := range plan.Forgettable(all) {
		ctx, cancel := context.WithTimeout(ctx, apiserver.Timeout)
		err := s.conn.CoreV1().ConfigMaps(s.conn.Namespace()).Delete(ctx, apiserver.ObjectName(operationKind, id),
			metav1.DeleteOptions{})
		cancel()
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("remove operation %s: %w", id, apiserver.Explain(err, "delete", "configmaps", s.conn.Namespace()))
		}
	}
	return nil
}
