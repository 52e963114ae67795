package kube

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cjworkbench/unstuck/kube/apiserver"
	"github.com/cjworkbench/unstuck/kube/kubetest"
	"github.com/cjworkbench/unstuck/remediate/decide"
	"github.com/cjworkbench/unstuck/remediate/store"
)

const pausesMap = "unstuck-pauses-pauses"

// Each replica has a document store for the pauses alone, and one on which its loops read everything again and again.
func TestDocumentStoreKeepsAllPausesThatReplicasWriteAtOnce(t *testing.T) {
	c := kubetest.NewCluster(t)
	until := time.Now().Add(time.Hour)
	var writers, readers sync.WaitGroup
	done := make(chan struct{})
	for replica := range 2 {
		client := clientOf(c)
		pauses, reader := store.NewPauses(client.Documents()), store.New(client.Documents())
		readers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if _, err := reader.Pauses(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
		writers.Go(func() {
			for i := range 10 {
				err := fmt.Errorf("not tried")
				for try := 0; err != nil && try < 20; try++ { // a person would try again, too
					_, err = pauses.Pause(t.Context(), decide.Pause{By: fmt.Sprint(replica, "-", i), Until: until})
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	writers.Wait()
	close(done)
	readers.Wait()
	if all, err := store.NewPauses(clientOf(c).Documents()).Pauses(t.Context()); err != nil || len(all) != 20 {
		t.Errorf("%d pauses are kept: %v", len(all), err)
	}
}

func TestDocumentStoreNamesMalformedPausesAndLeavesThemAlone(t *testing.T) {
	good := corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "unstuck", Name: pausesMap, Labels: map[string]string{apiserver.ManagedBy: "unstuck", apiserver.KindLabel: "pauses"},
			Annotations: map[string]string{apiserver.NameNote: "pauses"},
		},
		Data: map[string]string{apiserver.DocumentKey: `[{"target":"orders","by":"me","reason":"r"}]`},
	}
	for name, spoil := range map[string]func(*corev1.ConfigMap){
		"another key":        func(m *corev1.ConfigMap) { m.Data = map[string]string{"documents": m.Data[apiserver.DocumentKey]} },
		"no annotation":      func(m *corev1.ConfigMap) { m.Annotations = nil },
		"no list":            func(m *corev1.ConfigMap) { m.Data[apiserver.DocumentKey] = "orders" },
		"without its labels": func(m *corev1.ConfigMap) { m.Labels = nil },
		"in place of another": func(m *corev1.ConfigMap) {
			m.Annotations[apiserver.NameNote] = "pause"
			m.Name = "unstuck-pauses-pause"
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := good.DeepCopy()
			spoil(m)
			c := kubetest.NewCluster(t, m)
			client := clientOf(c)
			_, err := store.New(client.Documents()).Pauses(t.Context())
			if unseen := name == "without its labels"; !unseen && (err == nil || !strings.Contains(err.Error(), "pauses")) {
				t.Errorf("the loop reads it: %v", err)
			}
			if _, err := store.NewPauses(client.Documents()).Pause(t.Context(), decide.Pause{By: "ada", Until: time.Now().Add(time.Hour)}); err == nil {
				t.Error("it was written over")
			}
			kept, err := c.CoreV1().ConfigMaps("unstuck").Get(t.Context(), m.Name, metav1.GetOptions{})
			if err != nil || kept.Data[apiserver.DocumentKey] != m.Data[apiserver.DocumentKey] {
				t.Errorf("it has become %v: %v", kept.Data, err)
			}
		})
	}
}
