package deploy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cjworkbench/unstuck/release"
	"github.com/cjworkbench/unstuck/release/plan"
)

const (
	podsPoll = 5 * time.Second // between two looks for new pods; there may be many who follow
	logPoll  = 2 * time.Second // after a log has ended, before it is read again
)

// FollowServiceLog gives to send what ServiceLog gives, and then what comes: lines as they are written, and news of
// pods that come and go. It ends with ctx, or with the error of send, or if it cannot begin.
func (cs *Clusters) FollowServiceLog(ctx context.Context, env plan.Environment, q release.LogQuery,
	send func(release.ServiceLog) error,
) error {
	s, err := cs.servicePods(env, q.Service)
	if err != nil {
		return err
	}
	l := logReader{s, q}
	pods, err := l.list(ctx)
	if err != nil {
		return err
	}
	first, places, err := l.last(ctx, pods)
	if err != nil {
		return err
	}
	if err := send(first); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	f := logFollower{
		logReader: l, arrivals: make(chan held), followed: make(map[containerRef]*followed), seen: uidsOf(pods),
	}
	defer f.running.Wait()
	defer stop()
	told := make(map[containerRef]release.PodLog)
	for _, p := range first.Pods {
		told[containerRef{pod: p.Pod, container: p.Container}] = p
	}
	for ref, at := range places {
		f.begin(ctx, ref, at, told[containerRef{pod: ref.pod, container: ref.container}])
	}
	f.running.Go(func() { f.look(ctx) })
	return f.merge(ctx, send)
}

// logFollower follows the log of a service: the log of each pod in a goroutine, all of which give what they read to one
// that puts it in order.
type logFollower struct {
	logReader

	running  sync.WaitGroup
	arrivals chan held
	followed map[containerRef]*followed // only begin and look use it, one after the other
	seen     map[types.UID]bool         // the pods at the last look; only look uses it
}

// followed is a pod whose log is followed.
type followed struct {
	over chan struct{} // closed when no more lines will come than there are
	why  string        // is written before over is closed
}

// end says that no more lines will come.
func (p *followed) end(why string) {
	select {
	case <-p.over:
	default:
		p.why = why
		close(p.over)
	}
}

// begin follows a log, from where it has been read; told is what was told of it.
func (f *logFollower) begin(ctx context.Context, ref logRef, at place, told release.PodLog) {
	p := &followed{over: make(chan struct{})}
	f.followed[ref.containerRef] = p
	if told.State == release.LogEnded {
		p.end(ref.ended)
		return
	}
	if ref.ended != "" {
		p.end(ref.ended)
	}
	f.running.Go(func() { f.follow(ctx, ref.containerRef, p, at, told) })
}

// look looks for pods that come and go until ctx ends. While the API server cannot be asked, those that are known are
// followed on.
func (f *logFollower) look(ctx context.Context) {
	for pause(ctx, podsPoll) {
		pods, err := f.list(ctx)
		if err != nil && !errors.Is(err, release.ErrNotFound) {
			f.client.Log.Debug("cannot look for new pods", "service", f.service, "namespace", f.namespace, "error", err.Error())
			continue
		}
		refs, _ := f.refs(pods) // that none has the container is told of those that had it: they are gone
		there := make(map[containerRef]bool)
		for _, ref := range refs {
			there[ref.containerRef] = true
			switch p := f.followed[ref.containerRef]; {
			case p == nil && ref.ended != "" && f.seen[ref.uid]: // there is room for it only now, and it says nothing new
			case p == nil:
				f.begin(ctx, ref, place{}, release.PodLog{})
			case ref.ended != "":
				p.end(ref.ended)
			}
		}
		f.seen = uidsOf(pods)
		for ref, p := range f.followed {
			if there[ref] {
				continue
			}
			why := "it is gone"
			if i := slices.IndexFunc(pods, func(p ownPod) bool { return p.UID == ref.uid }); i >= 0 {
				why = cmp.Or(whyOver(pods[i]), fmt.Sprintf("others come first: the logs of %d pods are read", mostLogPods))
			}
			p.end(why)
			delete(f.followed, ref)
		}
	}
}

func uidsOf(pods []ownPod) map[types.UID]bool {
	all := make(map[types.UID]bool)
	for _, p := range pods {
		all[p.UID] = true
	}
	return all
}

// follow reads the log of a container until ctx ends, or the pod is over and all is read. A log ends with each run of
// the container, and when a connection breaks.
func (f *logFollower) follow(ctx context.Context, ref containerRef, p *followed, at place, told release.PodLog) {
	tell := func(state release.PodLogState, why string) {
		news := release.PodLog{Pod: ref.pod, Container: ref.container, State: state, Why: why}
		if news != told && f.give(ctx, held{at: at.at, news: &news}) {
			told = news
		}
	}
	for {
		over := false
		select {
		case <-p.over:
			over = true
		default:
		}
		err := f.stream(ctx, ref, over, &at, func() { tell(release.LogRead, "") })
		switch {
		case ctx.Err() != nil:
			return
		case over:
			tell(release.LogEnded, p.why)
			return
		case err != nil && !apierrors.IsNotFound(err): // look will find out that it is gone
			tell(release.LogUnread, reasonOf(err))
		}
		wait := time.NewTimer(logPoll)
		select {
		case <-ctx.Done():
		case <-p.over:
		case <-wait.C:
		}
		wait.Stop()
	}
}

func (f *logFollower) stream(ctx context.Context, ref containerRef, over bool, at *place, opened func()) error {
	body, err := f.open(ctx, ref, &corev1.PodLogOptions{Follow: !over}, *at)
	if err != nil {
		return err
	}
	defer body.Close()
	return at.read(body, over, func(line release.LogLine) bool {
		opened()
		line.Pod = ref.pod
		return f.give(ctx, held{at: line.At, line: line})
	})
}

// give gives something to merge; false: nobody wants it any more.
func (f *logFollower) give(ctx context.Context, h held) bool {
	select {
	case f.arrivals <- h:
		return true
	case <-ctx.Done():
		return false
	}
}

// merge sends what arrives, in order. While it is sent nothing more is taken in: a client that is slow makes the logs
// wait, and not our memory grow.
func (f *logFollower) merge(ctx context.Context, send func(release.ServiceLog) error) error {
	var m merger
	wake := time.NewTimer(0)
	defer wake.Stop()
	for {
		select {
		case <-ctx.Done():
			return fmt.Errorf("follow the log of service %s: %w", f.service, context.Cause(ctx))
		case h := <-f.arrivals:
			m.put(h, time.Now())
		case <-wake.C:
		}
		for _, batch := range batches(&m, time.Now()) {
			if err := send(batch); err != nil {
				return err
			}
		}
		if wait, waits := m.due(time.Now()); waits {
			wake.Reset(wait)
		}
	}
}

// batches gives what goes now, as few parts as keep lines and news in their order: the news of a part come first.
func batches(m *merger, now time.Time) []release.ServiceLog {
	var all []release.ServiceLog
	for h := m.next(now); h != nil; h = m.next(now) {
		last := len(all) - 1
		if last < 0 || (h.news != nil && len(all[last].Lines) > 0) {
			all, last = append(all, release.ServiceLog{}), last+1
		}
		if h.news != nil {
			all[last].Pods = append(all[last].Pods, *h.news)
		} else {
			all[last].Lines = append(all[last].Lines, h.line)
		}
	}
	return all
}
