package kube

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/cjworkbench/unstuck/target"
)

const (
	longestLine = 4 << 10  // bytes that are kept of a line
	mostLog     = 64 << 20 // bytes that are read of a log; lines of such length are no log
)

// LastLines reads up to count of the last lines of the log of n's container, oldest first, each with the time at which
// the container runtime took it. Of long lines the beginning is kept.
func (p *Pods) LastLines(ctx context.Context, n target.Node, count int) ([]target.LogLine, error) {
	fail := func(err error) ([]target.LogLine, error) {
		return nil, fmt.Errorf("read the log of pod %s: %w", n.Name, explain(err, "get", "pods/log", p.Namespace))
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
	body, err := p.client.api.CoreV1().Pods(p.Namespace).GetLogs(pod.name, &corev1.PodLogOptions{
		Container: pod.container, TailLines: &lines, Timestamps: true,
	}).Stream(ctx)
	if err != nil {
		return fail(err)
	}
	defer body.Close()
	last, err := tail(body, count)
	if err != nil {
		return fail(err)
	}
	if _, err := p.current(n); err != nil { // the log goes by the pod's name, and may be its successor's
		return fail(err)
	}
	return last, nil
}

// tail gives the last lines of a log whose lines begin with their times.
func tail(r io.Reader, count int) ([]target.LogLine, error) {
	limited := &io.LimitedReader{R: r, N: mostLog}
	in := bufio.NewReaderSize(limited, longestLine)
	var lines []target.LogLine
	for {
		text, more, err := in.ReadLine()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		lines = append(lines, parseLine(string(text)))
		if len(lines) > count {
			lines = lines[1:]
		}
		for more && err == nil { // the rest of a long line
			_, more, err = in.ReadLine()
		}
	}
	if limited.N == 0 {
		return nil, fmt.Errorf("its last %d lines are longer than %d MiB", count, mostLog>>20)
	}
	return lines, nil
}

// parseLine splits off the time in front of a line; a line without one is all text.
func parseLine(line string) target.LogLine {
	stamp, text, _ := strings.Cut(line, " ")
	at, err := time.Parse(time.RFC3339Nano, stamp)
	if err != nil {
		return target.LogLine{Text: line}
	}
	return target.LogLine{At: at, Text: strings.ToValidUTF8(text, "?")}
}
