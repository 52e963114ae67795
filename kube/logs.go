package kube

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"github.com/cjworkbench/unstuck/kube/apiserver"
	"github.com/cjworkbench/unstuck/target"
)

// LastLines reads up to count of the last lines of the log of n's container, oldest first, each with the time at which
// the container runtime took it. Of long lines the beginning is kept.
func (p *Pods) LastLines(ctx context.Context, n target.Node, count int) ([]target.LogLine, error) {
	fail := func(err error) ([]target.LogLine, error) {
		return nil, fmt.Errorf("read the log of pod %s: %w", n.Name, apiserver.Explain(err, "get", "pods/log", p.Namespace))
	}
	if count < 1 {
		return nil, nil
	}
	pod, err := p.current(n)
	if err != nil {
		return fail(err)
	}
	// Not LimitBytes: it is counted from the first of these lines, so the last would be missing.
	lines := int64(count)
	body, err := p.client.CoreV1().Pods(p.Namespace).GetLogs(pod.name, &corev1.PodLogOptions{
		Container: pod.container, TailLines: &lines, Timestamps: true,
	}).Stream(ctx)
	if err != nil {
		return fail(err)
	}
	defer body.Close()
	last, err := apiserver.Tail(body, count)
	if err != nil {
		return fail(err)
	}
	if _, err := p.current(n); err != nil { // the log goes by the pod's name, and may be its successor's
		return fail(err)
	}
	return last, nil
}
