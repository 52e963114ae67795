package deploy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/util/exec"

	"github.com/cjworkbench/unstuck/kube/apiserver"
	"github.com/cjworkbench/unstuck/release"
	"github.com/cjworkbench/unstuck/release/plan"
)

// PodLog implements release.Logs.
func (cs *Clusters) PodLog(ctx context.Context, env plan.Environment, pod, container string,
	lines int,
) ([]string, error) {
	c, err := cs.at(env)
	if err != nil {
		return nil, err
	}
	last, err := c.podLog(ctx, env.Namespace, pod, container, lines)
	if err != nil {
		return nil, fmt.Errorf("read the log of container %s of pod %s in namespace %s: %w", container, pod, env.Namespace,
			err)
	}
	return last, nil
}

func (c cluster) podLog(ctx context.Context, namespace, pod, container string, lines int) ([]string, error) {
	p, err := apiserver.Get(ctx, c.CoreV1().Pods(namespace).Get, pod)
	if apierrors.IsNotFound(err) {
		return nil, release.ErrNotFound
	}
	if err != nil {
		return nil, apiserver.Explain(err, "get", "pods", namespace)
	}
	ctx, cancel := context.WithTimeout(ctx, 2*apiserver.Timeout)
	defer cancel()
	count := int64(lines)
	body, err := c.CoreV1().Pods(namespace).GetLogs(pod, &corev1.PodLogOptions{
		Container: container, TailLines: &count, Timestamps: true, Previous: waitsAfterCrash(p, container),
	}).Stream(ctx)
	if err != nil {
		return nil, apiserver.Explain(err, "get", "pods/log", namespace)
	}
	defer body.Close()
	last, err := apiserver.Tail(body, lines)
	if err != nil {
		return nil, err
	}
	texts := make([]string, len(last))
	for i, l := range last {
		texts[i] = l.Text
	}
	return texts, nil
}

func waitsAfterCrash(p *corev1.Pod, container string) bool {
	for _, of := range [][]corev1.ContainerStatus{p.Status.InitContainerStatuses, p.Status.ContainerStatuses} {
		for _, s := range of {
			if s.Name == container {
				return s.State.Running == nil && s.State.Terminated == nil && s.LastTerminationState.Terminated != nil
			}
		}
	}
	return false
}

// Exec implements release.Logs. What it prints to its two outputs is merged, by lines, of which the beginning is given.
// When ctx ends the command is left alone, and may run on.
func (cs *Clusters) Exec(
	ctx context.Context, env plan.Environment, pod, container string, command []string, line func(string),
) (int, error) {
	c, err := cs.at(env)
	if err != nil {
		return -1, err
	}
	code, err := c.runCommand(ctx, env.Namespace, pod, container, command, line)
	if err != nil {
		return -1, fmt.Errorf("run a command in container %s of pod %s in namespace %s: %w", container, pod, env.Namespace,
			err)
	}
	return code, nil
}

func (c cluster) runCommand(ctx context.Context, namespace, pod, container string, command []string,
	line func(string),
) (int, error) {
	if len(command) == 0 {
		return -1, errors.New("none given")
	}
	out := &lineOutput{line: line}
	stdout, stderr := &lineWriter{output: out}, &lineWriter{output: out}
	result, err := c.Commands.Start(ctx, namespace, pod, &corev1.PodExecOptions{
		Container: container, Command: command, Stdout: true, Stderr: true,
	}, stdout, stderr, nil)
	if err != nil {
		return -1, err
	}
	select {
	case err = <-result:
	case <-ctx.Done():
		err = fmt.Errorf("left alone, it may still run: %w", context.Cause(ctx))
	}
	out.end(stdout, stderr)
	if code, ok := errors.AsType[exec.CodeExitError](err); ok {
		return code.Code, nil
	}
	if err != nil {
		return -1, err
	}
	return 0, nil
}

// lineOutput gives out the lines of several writers, one at a time, until it is ended.
type lineOutput struct {
	mu    sync.Mutex
	ended bool
	line  func(string)
}

// end gives out what has no end yet, and nothing more after that.
func (o *lineOutput) end(writers ...*lineWriter) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, w := range writers {
		if len(w.rest) > 0 {
			w.give()
		}
	}
	o.ended = true
}

// lineWriter splits what is written to it into lines.
type lineWriter struct {
	output *lineOutput
	rest   []byte // of the line that has no end yet: its beginning
}

var _ io.Writer = (*lineWriter)(nil)

func (w *lineWriter) Write(b []byte) (int, error) {
	w.output.mu.Lock()
	defer w.output.mu.Unlock()
	written := len(b)
	for !w.output.ended && len(b) > 0 {
		part, after, whole := bytes.Cut(b, []byte{'\n'})
		w.rest = append(w.rest, part[:min(len(part), apiserver.LongestLine-len(w.rest))]...)
		if whole {
			w.give()
		}
		b = after
	}
	return written, nil
}

func (w *lineWriter) give() {
	w.output.line(strings.ToValidUTF8(strings.TrimRight(string(w.rest), "\r"), "?"))
	w.rest = w.rest[:0]
}
