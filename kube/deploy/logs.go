package deploy

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cjworkbench/unstuck/kube/apiserver"
	"github.com/cjworkbench/unstuck/release"
	"github.com/cjworkbench/unstuck/release/plan"
	"github.com/cjworkbench/unstuck/release/workload"
)

// The bounds of the log of a service. A hostile pod may log what it likes, as fast as it can.
const (
	mostLogPods    = 30               // whose logs are read at once
	mostLogBytes   = 1 << 20          // of the last lines, together; each has at most apiserver.LongestLine
	logsSideBySide = 4                // how many logs are read at once
	logTimeout     = 10 * time.Second // for the last lines of all
)

// servicePods finds the pods of a service.
type servicePods struct {
	client    cluster
	namespace string
	service   string
	workload  workload.Ref
}

func (cs *Clusters) servicePods(env plan.Environment, service string) (servicePods, error) {
	c, err := cs.at(env)
	if err != nil {
		return servicePods{}, err
	}
	i := slices.IndexFunc(env.Services, func(s plan.Service) bool { return s.Name == service })
	if i < 0 {
		return servicePods{}, &plan.Refusal{
			Code: plan.NotFound, Why: fmt.Sprintf("environment %s has no service %q", env.Name, service),
		}
	}
	return servicePods{client: c, namespace: env.Namespace, service: service, workload: env.Services[i].Ref}, nil
}

// list gives the pods of the service's workload.
func (s servicePods) list(ctx context.Context) ([]ownPod, error) {
	_, pods, err := s.client.podsOf(ctx, s.namespace, s.workload)
	return pods, err
}

// logReader reads the log of a service.
type logReader struct {
	servicePods
	query release.LogQuery
}

// logRef is a container whose log is read.
type logRef struct {
	containerRef
	ended string // why no more lines will come; empty: they may
}

// refs gives the containers to read, by the pods' names. If there are too many, those that run come before those that
// have not started yet, and these before those that have ended.
func (l logReader) refs(pods []ownPod) ([]logRef, error) {
	pods = slices.Clone(pods)
	slices.SortStableFunc(pods, func(a, b ownPod) int {
		return cmp.Or(rank(isOver(a.Pod), isOver(b.Pod)), rank(hasNotStarted(a), hasNotStarted(b)))
	})
	var all []logRef
	var known []string
	for _, p := range pods {
		name := apiserver.ContainerOf(p.Pod, l.query.Container)
		has := false
		for _, c := range slices.Concat(p.Spec.InitContainers, p.Spec.Containers) {
			has = has || c.Name == name
			if !slices.Contains(known, c.Name) {
				known = append(known, c.Name)
			}
		}
		if has && len(all) < mostLogPods {
			all = append(all, logRef{containerRef{pod: p.Name, uid: p.UID, container: name}, whyOver(p)})
		}
	}
	if len(all) == 0 && len(pods) > 0 {
		return nil, &plan.Refusal{
			Code: plan.NotFound, Why: fmt.Sprintf("no pod of service %s has a container %q", l.service, l.query.Container),
			Hint: "ask for " + strings.Join(known, ", "),
		}
	}
	slices.SortFunc(all, func(a, b logRef) int { return cmp.Compare(a.pod, b.pod) })
	return all, nil
}

func hasNotStarted(p ownPod) bool { return p.Status.Phase == corev1.PodPending }

// whyOver says why a pod will log nothing more; empty: it may.
func whyOver(p ownPod) string {
	if !isOver(p.Pod) {
		return ""
	}
	return cmp.Or(p.Status.Reason, string(p.Status.Phase))
}

// ServiceLog gives the last lines of a service's pods. That the log of a pod cannot be read is a part of the answer.
func (cs *Clusters) ServiceLog(ctx context.Context, env plan.Environment,
	q release.LogQuery,
) (release.ServiceLog, error) {
	s, err := cs.servicePods(env, q.Service)
	if err != nil {
		return release.ServiceLog{}, err
	}
	pods, err := s.list(ctx)
	if err != nil {
		return release.ServiceLog{}, err
	}
	all, _, err := logReader{s, q}.last(ctx, pods)
	return all, err
}

// last gives the last lines of all pods, and how far each log has been read.
func (l logReader) last(ctx context.Context, pods []ownPod) (release.ServiceLog, map[logRef]place, error) {
	refs, err := l.refs(pods)
	if err != nil {
		return release.ServiceLog{}, nil, err
	}
	all := release.ServiceLog{Pods: make([]release.PodLog, len(refs)), Lines: []release.LogLine{}}
	places := make([]place, len(refs))
	merged := lastLines{most: l.query.Lines}
	var mu sync.Mutex
	reading, cancel := context.WithTimeout(ctx, logTimeout)
	defer cancel()
	var group errgroup.Group
	group.SetLimit(logsSideBySide)
	for i, ref := range refs {
		group.Go(func() error {
			one, at, err := l.lastOf(reading, ref.containerRef)
			mu.Lock()
			defer mu.Unlock()
			all.Pods[i], places[i] = podLog(ref, err), at
			merged.merge(one)
			return nil
		})
	}
	_ = group.Wait() // what cannot be read is a part of the answer
	if ctx.Err() != nil {
		return release.ServiceLog{}, nil, fmt.Errorf("read the log of service %s: %w", l.service, context.Cause(ctx))
	}
	all.Lines, all.Cut = append(all.Lines, merged.lines...), merged.cut
	read := make(map[logRef]place)
	for i, ref := range refs {
		read[ref] = places[i]
	}
	return all, read, nil
}

// podLog says how it stands with a log that has been read, or not for that error.
func podLog(ref logRef, err error) release.PodLog {
	p := release.PodLog{Pod: ref.pod, Container: ref.container, State: release.LogRead}
	switch {
	case err != nil:
		p.State, p.Why = release.LogUnread, reasonOf(err)
	case ref.ended != "":
		p.State, p.Why = release.LogEnded, ref.ended
	}
	return p
}

// longestReason bounds what is told of an error of the API server's.
const longestReason = 300

func reasonOf(err error) string {
	text := strings.ToValidUTF8(err.Error(), "?")
	if len(text) > longestReason {
		text = strings.ToValidUTF8(text[:longestReason], "") + "…"
	}
	return text
}

// lastOf gives the last lines of one log.
func (l logReader) lastOf(ctx context.Context, ref containerRef) (lastLines, place, error) {
	last, at := lastLines{most: l.query.Lines}, startAfter(l.query.After)
	count := int64(l.query.Lines)
	body, err := l.open(ctx, ref, &corev1.PodLogOptions{TailLines: &count, Previous: l.query.Previous}, at)
	if err != nil {
		return last, at, err
	}
	defer body.Close()
	err = at.read(&io.LimitedReader{R: body, N: apiserver.MostLog}, true, func(line release.LogLine) bool {
		line.Pod = ref.pod
		last.add(line)
		return true
	})
	return last, at, err
}

// open begins to read a log. The lines begin with their times.
func (l logReader) open(ctx context.Context, ref containerRef, o *corev1.PodLogOptions,
	at place,
) (io.ReadCloser, error) {
	o.Container, o.Timestamps = ref.container, true
	if !at.at.IsZero() {
		o.SinceTime = new(metav1.NewTime(at.at)) // in whole seconds; the rest is up to us
	}
	body, err := l.client.CoreV1().Pods(l.namespace).GetLogs(ref.pod, o).Stream(ctx)
	if err != nil {
		return nil, apiserver.Explain(err, "get", "pods/log", l.namespace)
	}
	return body, nil
}

// place is how far a log has been read. A log that is read again begins anew at a whole second, so the lines' times
// tell what has been seen, and their number, where several have the same.
type place struct {
	at   time.Time // of the last line
	same int       // how many lines have been read that are of that time; -1: all of them
}

func startAfter(t time.Time) place { return place{at: t, same: -1} }

// read gives the lines that have not been read yet, until give says no. A last line without an end is one only if r is
// all that there is: otherwise it comes again, and whole. What has no time is no line: the kubelet says in its place
// why there are none.
func (p *place) read(r io.Reader, all bool, give func(release.LogLine) bool) error {
	in := bufio.NewReaderSize(r, apiserver.LongestLine)
	began, same := *p, 0
	for {
		text, err := readLine(in)
		switch {
		case errors.Is(err, io.EOF) && (text == "" || !all):
			return nil
		case err != nil && !errors.Is(err, io.EOF):
			return err
		}
		parsed := apiserver.ParseLine(text)
		switch order := parsed.At.Compare(began.at); {
		case parsed.At.IsZero():
			return errors.New(parsed.Text)
		case order < 0:
			continue
		case order == 0:
			if same++; began.same < 0 || same <= began.same {
				continue
			}
		}
		p.pass(parsed.At)
		if !give(release.LogLine{At: parsed.At.UTC(), Text: parsed.Text}) {
			return nil
		}
	}
}

func (p *place) pass(at time.Time) {
	switch order := at.Compare(p.at); {
	case order > 0:
		p.at, p.same = at, 1
	case order == 0:
		p.same++
	}
}
