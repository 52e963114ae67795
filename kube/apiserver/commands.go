package apiserver

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/util/exec"
	"k8s.io/streaming/pkg/httpstream"
)

// StopLimit bounds the wait for the commands that run when we end.
const StopLimit = 5 * time.Second

// Streamer carries out one command. It may ignore its context.
type Streamer interface {
	Stream(ctx context.Context, namespace, pod string, o *corev1.PodExecOptions, stdout, stderr io.Writer) error
}

// Commands carries out commands in pods, and counts those that run.
type Commands struct {
	streamer Streamer

	running sync.WaitGroup // counts from Start on until the stream has ended
	mu      sync.Mutex
	stopped bool
}

// Start carries out a command in a goroutine of its own. When its stream has ended it gives its error, and calls ended,
// if there is one. A stream may outlive its ctx.
func (c *Commands) Start(
	ctx context.Context, namespace, pod string, o *corev1.PodExecOptions, stdout, stderr io.Writer, ended func(),
) (<-chan error, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopped {
		return nil, errors.New("the client has been stopped")
	}
	result := make(chan error, 1)
	c.running.Go(func() {
		if ended != nil {
			defer ended()
		}
		err := c.streamer.Stream(ctx, namespace, pod, o, stdout, stderr)
		// By WebSocket it is a get, by SPDY a create.
		result <- Explain(Explain(err, "get", "pods/exec", namespace), "create", "pods/exec", namespace)
	})
	return result, nil
}

// Stop refuses what would be started from now on, calls cut, which may cut off what runs, and waits until that has
// ended; not for ever, for some never does.
func (c *Commands) Stop(cut func()) {
	c.mu.Lock()
	c.stopped = true
	c.mu.Unlock()
	cut()
	ended := make(chan struct{})
	go func() {
		c.running.Wait()
		close(ended)
	}()
	timer := time.NewTimer(StopLimit)
	defer timer.Stop()
	select {
	case <-ended:
	case <-timer.C:
	}
}

// dialer is a Streamer that talks to the API server: by WebSocket, and by SPDY where that is not understood.
type dialer struct {
	config *rest.Config
	pods   rest.Interface
}

func (d *dialer) Stream(
	ctx context.Context, namespace, pod string, o *corev1.PodExecOptions, stdout, stderr io.Writer,
) error {
	url := d.pods.Post().Resource("pods").Namespace(namespace).Name(pod).SubResource("exec").
		VersionedParams(o, scheme.ParameterCodec).URL()
	socket, err := remotecommand.NewWebSocketExecutor(d.config, "GET", url.String())
	if err != nil {
		return err
	}
	spdy, err := remotecommand.NewSPDYExecutor(d.config, "POST", url)
	if err != nil {
		return err
	}
	// The SPDY executor gives no status, only words: what the first was told is what is worth telling.
	var refusal error
	both, err := remotecommand.NewFallbackExecutor(socket, spdy, func(err error) bool {
		if upgrade, ok := errors.AsType[*httpstream.UpgradeFailureError](err); ok {
			refusal = upgrade.Cause
			return true
		}
		return httpstream.IsHTTPSProxyError(err)
	})
	if err != nil {
		return err
	}
	err = both.StreamWithContext(ctx, remotecommand.StreamOptions{Stdout: stdout, Stderr: stderr})
	_, ran := errors.AsType[exec.CodeExitError](err)
	if _, told := errors.AsType[*apierrors.StatusError](refusal); err != nil && !ran && told {
		return refusal
	}
	return err
}
