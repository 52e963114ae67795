package kube

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"

	"github.com/cjworkbench/unstuck/kube/apiserver"
	"github.com/cjworkbench/unstuck/target"
)

const (
	waitingEvents = 256             // Events that may wait to be written; more are dropped
	flushTimeout  = 3 * time.Second // for those that wait when we end
	longestEvent  = 1000            // characters of a message; the API server takes 1024 bytes
	component     = "unstuck"
)

// Event tells people of something that happened to n, on its pod and on its StatefulSet or Deployment. It never blocks,
// and is best effort: the same again is counted up, and what is too much is dropped. The reason is one word in
// UpperCamelCase.
func (p *Pods) Event(n target.Node, warning bool, reason, message string) {
	p.client.events.add(corev1.ObjectReference{
		APIVersion: "v1", Kind: "Pod", Namespace: p.Namespace, Name: n.Name, UID: types.UID(n.UID),
	}, warning, reason, message)
	now := time.Now()
	pod, found, _, err := p.feed.one(n.Name, now)
	if err != nil || !found {
		return
	}
	if kind, w := p.space.look(now).above(pod).top(); kind != "" {
		p.client.events.add(corev1.ObjectReference{
			APIVersion: "apps/v1", Kind: kind, Namespace: p.Namespace, Name: w.name, UID: types.UID(w.uid),
		}, warning, reason, n.Name+": "+message)
	}
}

// events are those that wait to be written. One goroutine writes them.
type events struct {
	api        apiserver.API
	log        *slog.Logger
	waiting    chan *corev1.Event
	correlator *record.EventCorrelator // belongs to that goroutine
	failing    bool                    // the last could not be written, which has been logged
}

func newEvents(a apiserver.API, log *slog.Logger) *events {
	return &events{
		api: a, log: log, waiting: make(chan *corev1.Event, waitingEvents),
		correlator: record.NewEventCorrelatorWithOptions(record.CorrelatorOptions{SpamKeyFunc: allowance}),
	}
}

// allowance names what may be told so often: client-go lets through 25 Events for each name, and one more every 5
// minutes. By default that is an object; a node that is suspected again and again would use it up, and nothing would
// tell of its deletion. The reasons are few.
func allowance(e *corev1.Event) string {
	return strings.Join([]string{
		e.InvolvedObject.Kind, e.InvolvedObject.Namespace, e.InvolvedObject.Name,
		string(e.InvolvedObject.UID), e.Reason,
	}, "/")
}

func (e *events) add(about corev1.ObjectReference, warning bool, reason, message string) {
	kind := corev1.EventTypeNormal
	if warning {
		kind = corev1.EventTypeWarning
	}
	if len(message) > longestEvent {
		message = strings.ToValidUTF8(message[:longestEvent], "") + "…"
	}
	now := metav1.Now()
	event := &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Name: fmt.Sprintf("%s.%x", about.Name, now.UnixNano()), Namespace: about.Namespace},
		InvolvedObject: about, Reason: reason, Message: message, Type: kind,
		FirstTimestamp: now, LastTimestamp: now, Count: 1,
		Source: corev1.EventSource{Component: component}, ReportingController: component,
	}
	select {
	case e.waiting <- event:
	default:
		e.log.Warn("too many events wait: one is dropped", "reason", reason, "object", about.Name)
	}
}

// run writes Events until ctx ends, and then for a short time those that wait.
func (e *events) run(ctx context.Context) {
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case event := <-e.waiting:
			e.write(ctx, event)
		}
	}
	rest, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTimeout)
	defer cancel()
	for rest.Err() == nil {
		select {
		case event := <-e.waiting:
			e.write(rest, event)
		default:
			return
		}
	}
}

func (e *events) write(ctx context.Context, event *corev1.Event) {
	ctx, cancel := context.WithTimeout(ctx, apiserver.Timeout)
	defer cancel()
	result, err := e.correlator.EventCorrelate(event)
	if err == nil && result.Skip {
		return
	}
	var written *corev1.Event
	verb := "create"
	if err == nil {
		client := e.api.CoreV1().Events(event.Namespace)
		if len(result.Patch) > 0 {
			verb = "patch"
			written, err = client.Patch(ctx, result.Event.Name, types.StrategicMergePatchType, result.Patch,
				metav1.PatchOptions{})
		}
		if len(result.Patch) == 0 || apierrors.IsNotFound(err) { // the API server forgets them after an hour
			verb, result.Event.ResourceVersion = "create", ""
			written, err = client.Create(ctx, result.Event, metav1.CreateOptions{})
		}
	}
	if err != nil {
		if !e.failing {
			e.log.Warn("cannot write an event", "reason", event.Reason, "object", event.InvolvedObject.Name,
				"error", apiserver.Explain(err, verb, "events", event.Namespace).Error())
		}
		e.failing = true
		return
	}
	e.failing = false
	e.correlator.UpdateState(written)
}
