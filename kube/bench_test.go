package kube

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cjworkbench/unstuck/kube/kubetest"
)

// thePods gives 5,000 pods as an API server gives them, of which 300 are a broker's.
func thePods(yield func(*corev1.Pod) bool) {
	for i := range 5000 {
		p := rabbit(i, func(p *corev1.Pod) {
			p.Annotations = map[string]string{"kubectl.kubernetes.io/last-applied-configuration": strings.Repeat("x", 4000)}
			p.ManagedFields = []metav1.ManagedFieldsEntry{{FieldsV1: metav1.NewFieldsV1(strings.Repeat("x", 4000))}}
			for e := range 30 {
				p.Spec.Containers[0].Env = append(p.Spec.Containers[0].Env, corev1.EnvVar{Name: fmt.Sprintf("NAME_%d", e), Value: "value"})
			}
		})
		if i >= 300 {
			p.Labels["app"] = "other"
		}
		if !yield(p) {
			return
		}
	}
}

func TestFeedHoldsOnlyTheTargetsPodsAndLittleOfThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := kubetest.NewCluster(t, broker()[0])
		for p := range thePods {
			c.Put(p)
		}
		_, p := ready(t, c, brokerTarget())
		if n := len(p.feed.items); n != 300 {
			t.Errorf("%d pods are held, want the 300 that are selected", n)
		}
	})
	trim := trimPod("rabbitmq")
	kept := make([]pod, 0, 300)
	before := allocated()
	for p := range thePods {
		if p.Labels["app"] == "rabbit" {
			kept = append(kept, trim(p))
		}
	}
	if each := (allocated() - before) / 300; each > 2048 {
		t.Errorf("%d bytes are held of each pod, want at most 2048", each)
	}
	runtime.KeepAlive(kept)
}

func allocated() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// BenchmarkPodsView is one look at a broker of 300 nodes.
func BenchmarkPodsView(b *testing.B) {
	client := clientOf(kubetest.NewCluster(b))
	p := watchOne(b, client, brokerTarget())
	for pod := range thePods {
		if pod.Labels["app"] == "rabbit" {
			p.feed.items[pod.Name] = trimPod("rabbitmq")(pod)
		}
	}
	p.space.sets.items["rabbit"] = trimStatefulSet(rabbitSet())
	p.space.budgets.items["rabbit"] = trimBudget(rabbitBudget())
	for _, f := range []interface{ pretend() }{p.feed, p.space.sets, p.space.budgets, p.space.locks} {
		f.pretend()
	}
	b.ReportAllocs()
	for b.Loop() {
		client.campaign.pretend()
		if v, err := p.View(b.Context(), p.Name); err != nil || len(v.Nodes) != 300 {
			b.Fatal(len(v.Nodes), err)
		}
	}
}

// pretend has a feed believe that its watch is open.
func (f *feed[T]) pretend() { f.listed, f.open = true, 1 }

// pretend has the campaign believe that it has just been answered.
func (k *campaign) pretend() { k.answered = time.Now() }
