package deploy

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cjworkbench/unstuck/kube/apiserver"
	"github.com/cjworkbench/unstuck/release"
	"github.com/cjworkbench/unstuck/release/plan"
)

// Why a log is not whole.
var (
	errLogCut   = errors.New("a part of the log is lost: it has been cut off at its beginning")
	errRunLost  = errors.New("a part of the log is lost: that of an earlier run of the container")
	errPodsLost = errors.New("a part of the log is lost: that of a pod that is gone")
)

// FollowJob implements release.Logs.
func (cs *Clusters) FollowJob(ctx context.Context, env plan.Environment, name string, line func(string)) error {
	return cs.FollowJobLines(ctx, env, name, func(l release.JobLine) { line(l.Text) })
}

// FollowJobLines implements release.JobLines.
func (cs *Clusters) FollowJobLines(ctx context.Context, env plan.Environment, name string,
	line func(release.JobLine),
) error {
	c, err := cs.at(env)
	if err != nil {
		return err
	}
	var mu sync.Mutex
	group, ctx := errgroup.WithContext(ctx)
	f := &jobFollower{
		client: c, namespace: env.Namespace, group: group, begun: make(map[containerRef]bool),
		line: func(l release.JobLine) {
			mu.Lock()
			defer mu.Unlock()
			line(l)
		},
	}
	group.Go(func() error { return f.watch(ctx, name) })
	if err := group.Wait(); err != nil {
		return fmt.Errorf("follow the log of job %s in namespace %s: %w", name, env.Namespace, err)
	}
	return nil
}

// containerRef is a container of a very pod.
type containerRef struct {
	pod       string
	uid       types.UID
	container string
}

// jobFollower follows the logs of a Job's containers, each in a goroutine of group.
type jobFollower struct {
	client    cluster
	namespace string
	group     *errgroup.Group
	begun     map[containerRef]bool
	line      func(release.JobLine)
}

// watch begins to follow each container that has started, until the Job has ended and there is none left that has.
func (f *jobFollower) watch(ctx context.Context, name string) error {
	seen := make(map[types.UID]bool)
	for {
		job, pods, err := f.client.job(ctx, f.namespace, name)
		if err != nil {
			return err
		}
		for i := range pods {
			seen[pods[i].UID] = true
			f.begin(ctx, &pods[i])
		}
		if s := outcomeOf(job); s.Done || s.Failed {
			if len(seen) < int(job.Status.Succeeded+job.Status.Failed) {
				return errPodsLost
			}
			return nil
		}
		if !pause(ctx, jobPoll) {
			return context.Cause(ctx)
		}
	}
}

// begin begins to follow those containers of a pod that have started and are not followed yet. Native sidecars are left
// out: what they log, how often they are started and how they end says nothing of the job's work.
func (f *jobFollower) begin(ctx context.Context, p *corev1.Pod) {
	isSidecarsName := func(name string) bool {
		return slices.ContainsFunc(p.Spec.InitContainers, func(c corev1.Container) bool {
			return c.Name == name && isSidecar(c)
		})
	}
	for _, s := range slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses) {
		at := containerRef{p.Name, p.UID, s.Name}
		started := s.State.Running != nil || s.State.Terminated != nil || s.RestartCount > 0
		if started && !f.begun[at] && !isSidecarsName(s.Name) {
			f.begun[at] = true
			f.group.Go(func() error { return f.follow(ctx, at) })
		}
	}
}

// follow reads the log of a container to its end. A stream may end early, so one that ends counts only if the container
// had ended when it began; otherwise the log is read again, from where it ended.
func (f *jobFollower) follow(ctx context.Context, at containerRef) error {
	var read tape
	for {
		ended, err := f.hasEnded(ctx, at)
		if err == nil {
			err = f.stream(ctx, at, ended, &read)
		}
		if err != nil {
			return fmt.Errorf("container %s of pod %s: %w", at.container, at.pod, err)
		}
		if ended {
			return nil
		}
		if !pause(ctx, jobPoll) {
			return context.Cause(ctx)
		}
	}
}

// hasEnded says whether a container has ended for good.
func (f *jobFollower) hasEnded(ctx context.Context, at containerRef) (bool, error) {
	p, err := apiserver.Get(ctx, f.client.CoreV1().Pods(f.namespace).Get, at.pod)
	switch {
	case apierrors.IsNotFound(err), err == nil && p.UID != at.uid:
		return false, errPodsLost
	case err != nil:
		return false, apiserver.Explain(err, "get", "pods", f.namespace)
	}
	for _, s := range slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses) {
		switch {
		case s.Name != at.container:
		case s.RestartCount > 0:
			return false, errRunLost
		case s.State.Terminated != nil:
			return true, nil
		}
	}
	return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed, nil
}

func (f *jobFollower) stream(ctx context.Context, at containerRef, ended bool, read *tape) error {
	body, err := f.client.CoreV1().Pods(f.namespace).GetLogs(at.pod, &corev1.PodLogOptions{
		Container: at.container, Follow: true, Timestamps: true,
	}).Stream(ctx)
	if err != nil {
		return apiserver.Explain(err, "get", "pods/log", f.namespace)
	}
	defer body.Close()
	return read.play(body, ended, func(text string) {
		f.line(release.JobLine{Container: at.pod + "/" + at.container, Text: text})
	})
}

// tape is how far a log has been read. It is read from its start each time, for only its lines' number tells them apart
// for sure.
type tape struct {
	lines int
	first string // with its time, which tells whether it is still the log that it was
}

// play gives the lines that have not been given yet. A last line without an end is one only if the container has ended.
func (t *tape) play(r io.Reader, ended bool, line func(string)) error {
	in := bufio.NewReaderSize(r, apiserver.LongestLine)
	for n := 1; ; n++ {
		text, err := readLine(in)
		if errors.Is(err, io.EOF) && (text == "" || !ended) {
			if n <= t.lines {
				return errLogCut
			}
			return nil
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if n == 1 && t.lines > 0 && t.first != text {
			return errLogCut
		}
		if n > t.lines {
			if t.lines = n; n == 1 {
				t.first = text
			}
			line(apiserver.ParseLine(text).Text)
		}
	}
}

// readLine gives a line without its end; of a long one only its beginning. With io.EOF it has no end.
func readLine(in *bufio.Reader) (string, error) {
	part, err := in.ReadSlice('\n')
	text := strings.TrimRight(string(part), "\r\n")
	for errors.Is(err, bufio.ErrBufferFull) {
		_, err = in.ReadSlice('\n')
	}
	return text, err
}
