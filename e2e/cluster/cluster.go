// Package cluster runs a real Kubernetes cluster of one host on this machine: API server, controllers, scheduler,
// kubelet, containerd, kube-proxy and CoreDNS, in a sandbox of their own. On it run real RabbitMQ clusters, which the
// functions in fault*.go break on purpose.
//
// Its pods reach each other, the API server and services by name; nobody reaches anything outside of it. From this
// machine the API server is reached at a loopback address (Kubeconfig), and pods by Dial and Forward.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"

	"github.com/cjworkbench/unstuck/e2e/artifact"
	"github.com/cjworkbench/unstuck/e2e/sandbox"
)

// Options says what to start.
type Options struct {
	Root     string    // the project's root, an absolute path
	Dir      string    // for the cluster's files, an absolute path; what a cluster left there is removed first
	Attached bool      // end when this process does, and remove no cluster that runs; else it runs until Remove
	RabbitMQ []string  // the versions of RabbitMQ whose images to have; default: all
	Progress io.Writer // what is being done, in lines; default: nowhere
}

// Cluster is a running cluster. Its methods may be called from several goroutines at once.
type Cluster struct {
	Kubernetes kubernetes.Interface // as an administrator
	Config     *rest.Config         // for more clients, as the same; copy it before changing it

	dir     string
	sandbox *sandbox.Sandbox
	dynamic dynamic.Interface
	mapper  *restmapper.DeferredDiscoveryRESTMapper
}

// timeouts. What is not there by then will not come; the usual times are a tenth of it.
const (
	startTimeout = 3 * time.Minute
	pollEvery    = 200 * time.Millisecond
)

// parts are what a cluster is started from.
type parts struct {
	bin, init string   // the directory of the programs, and the first process
	images    []string // as tar files
}

// Make builds what is not built yet of all that Start and PrepareUnstuck need, and starts nothing. It takes a quarter
// of an hour the first time.
func Make(ctx context.Context, opts Options) error {
	opts = opts.withDefaults()
	if _, err := makeParts(ctx, opts); err != nil {
		return err
	}
	_, err := (&artifact.Maker{Root: opts.Root, Progress: opts.Progress}).Helm(ctx)
	return err
}

func (o Options) withDefaults() Options {
	if o.Progress == nil {
		o.Progress = io.Discard
	}
	if o.RabbitMQ == nil {
		o.RabbitMQ = artifact.RabbitMQVersions()
	}
	return o
}

func makeParts(ctx context.Context, opts Options) (p parts, err error) {
	if missing := artifact.Missing(); len(missing) > 0 {
		return p, errors.New(strings.Join(missing, "; "))
	}
	maker := &artifact.Maker{Root: opts.Root, Progress: opts.Progress}
	if p.bin, err = maker.Programs(ctx); err != nil {
		return p, err
	}
	if p.init, err = maker.Own(ctx, "init"); err != nil {
		return p, err
	}
	p.images, err = makeImages(ctx, maker, opts.RabbitMQ)
	return p, err
}

// Start builds what is not built yet and starts a cluster without any broker. It takes a quarter of an hour the first
// time, and some 15 s later. ctx bounds the start alone. If Start fails no process remains; the logs do, in opts.Dir.
func Start(ctx context.Context, opts Options) (*Cluster, error) {
	opts = opts.withDefaults()
	parts, err := makeParts(ctx, opts)
	if err != nil {
		return nil, fmt.Errorf("start a cluster: %w", err)
	}
	if _, err := sandbox.Open(opts.Dir); err == nil && opts.Attached { // had its owner died, it would not run
		return nil, fmt.Errorf("start a cluster: somebody else's runs in %s", opts.Dir)
	}
	if err := sandbox.Remove(opts.Dir); err != nil {
		return nil, fmt.Errorf("remove the cluster that was there: %w", err)
	}
	if err := sandbox.Claim(opts.Dir); err != nil {
		return nil, err
	}
	began := time.Now()
	fmt.Fprintln(opts.Progress, "start the cluster ...")
	c, err := launch(ctx, opts, parts)
	if err != nil {
		return nil, fmt.Errorf("start a cluster: %w (its logs are in %s)", err, filepath.Join(opts.Dir, logDir))
	}
	fmt.Fprintf(opts.Progress, "start the cluster: done in %v\n", time.Since(began).Round(100*time.Millisecond))
	return c, nil
}

func makeImages(ctx context.Context, maker *artifact.Maker, versions []string) ([]string, error) {
	tool, err := maker.Tool(ctx)
	if err != nil {
		return nil, err
	}
	images := []string{tool}
	for _, v := range versions {
		image, err := maker.RabbitMQ(ctx, v)
		if err != nil {
			return nil, err
		}
		images = append(images, image)
	}
	return images, nil
}

func launch(ctx context.Context, opts Options, p parts) (*Cluster, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	l := layout{dir: opts.Dir, bin: p.bin}
	spec, err := l.write()
	if err != nil {
		return nil, err
	}
	s, err := sandbox.Start(ctx, opts.Dir, p.init, opts.Attached, spec)
	if err != nil {
		return nil, err
	}
	c := &Cluster{dir: opts.Dir, sandbox: s}
	// Without a route nothing gets as far as kube-proxy's rules, from here that is: pods have one.
	if _, err := s.Run(ctx, "", "ip", "route", "add", services, "dev", "lo", "src", hostIP); err != nil {
		return nil, errors.Join(err, s.End())
	}
	if err := c.settle(ctx, l, p.images); err != nil {
		return nil, errors.Join(err, s.End())
	}
	return c, nil
}

// settle waits until the cluster takes pods. The images are read while the API server starts.
func (c *Cluster) settle(ctx context.Context, l layout, images []string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	imported := make(chan error, 1)
	go func() {
		err := c.importImages(ctx, l, images)
		if err != nil {
			cancel()
		}
		imported <- err
	}()
	err := func() error {
		address, err := c.sandbox.Forward(ctx, "127.0.0.1:0", net.JoinHostPort(hostIP, apiPort))
		if err != nil {
			return err
		}
		if err := l.writeKubeconfig(c.Kubeconfig(), "https://"+address, "admin"); err != nil {
			return err
		}
		if err := c.connect(); err != nil {
			return err
		}
		if err := c.WaitAPI(ctx); err != nil {
			return err
		}
		if err := c.Apply(ctx, bootstrap); err != nil {
			return err
		}
		return c.waitHost(ctx)
	}()
	return errors.Join(<-imported, err)
}

// importImages has containerd unpack the images, once it answers.
func (c *Cluster) importImages(ctx context.Context, l layout, images []string) error {
	err := until(ctx, "containerd to answer", func(ctx context.Context) error {
		_, err := c.sandbox.Run(ctx, "", l.program("ctr"), "version")
		return err
	})
	if err != nil {
		return err
	}
	for _, image := range images {
		if err := c.ImportImage(ctx, image); err != nil {
			return err
		}
	}
	return nil
}

// ImportImage adds an image to the host, from a tar file such as `docker save` writes. Pods name it by the name that it
// has there, with imagePullPolicy Never.
func (c *Cluster) ImportImage(ctx context.Context, path string) error {
	ctr := filepath.Join(c.dir, "bin", "ctr")
	if _, err := c.sandbox.Run(ctx, "", ctr, "--namespace", "k8s.io", "images", "import", path); err != nil {
		return fmt.Errorf("import the image %s: %w", filepath.Base(path), err)
	}
	return nil
}

// Open gives the cluster that runs with its files in dir. The error is fs.ErrNotExist if none does.
func Open(dir string) (*Cluster, error) {
	s, err := sandbox.Open(dir)
	if err != nil {
		return nil, err
	}
	c := &Cluster{dir: dir, sandbox: s}
	return c, c.connect()
}

func (c *Cluster) connect() error {
	// client-go logs what it also returns, and connections that ended because we are done with them.
	klog.LogToStderr(false)
	klog.SetOutput(io.Discard)
	var err error
	if c.Config, err = clientcmd.BuildConfigFromFlags("", c.Kubeconfig()); err != nil {
		return fmt.Errorf("read %s: %w", c.Kubeconfig(), err)
	}
	c.Config.QPS, c.Config.Burst = 100, 200
	if c.Kubernetes, err = kubernetes.NewForConfig(c.Config); err != nil {
		return err
	}
	if c.dynamic, err = dynamic.NewForConfig(c.Config); err != nil {
		return err
	}
	c.mapper = restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(c.Kubernetes.Discovery()))
	return nil
}

// Stop ends the cluster and removes all that it left on this machine.
func (c *Cluster) Stop() error { return c.sandbox.Stop() }

// Remove ends the cluster whose files are in dir, if it still runs, and removes all that it left, dir included. It
// needs nothing but that directory.
func Remove(dir string) error { return sandbox.Remove(dir) }

// Kubeconfig gives the path of a file with which kubectl, as an administrator, reaches the cluster from this machine.
func (c *Cluster) Kubeconfig() string { return filepath.Join(c.dir, "kubeconfig") }

// Kubectl gives the path of a kubectl of the cluster's own version.
func (c *Cluster) Kubectl() string { return filepath.Join(c.dir, "bin", "kubectl") }

// TestDir is where the tests keep their cluster, so that `cluster down` can remove what a killed test left.
func TestDir(root string) string { return filepath.Join(root, ".cache", "cluster-test") }

// Dial connects to a TCP address inside the cluster: a pod's, a service's, or the host's.
func (c *Cluster) Dial(ctx context.Context, address string) (net.Conn, error) {
	return c.sandbox.Dial(ctx, address)
}

// Forward listens on an address of this machine and connects who comes to the address inside the cluster, for as
// long as the cluster lives. With port 0 the kernel chooses one; the address that it became is returned.
func (c *Cluster) Forward(ctx context.Context, listen, address string) (string, error) {
	return c.sandbox.Forward(ctx, listen, address)
}

// StopAPIServer kills the API server. What runs goes on; nobody can ask or change anything.
func (c *Cluster) StopAPIServer(ctx context.Context) error {
	return c.sandbox.StopProcess(ctx, "kube-apiserver")
}

// StartAPIServer starts it again and returns once it answers.
func (c *Cluster) StartAPIServer(ctx context.Context) error {
	if err := c.sandbox.StartProcess(ctx, "kube-apiserver"); err != nil {
		return err
	}
	return c.WaitAPI(ctx)
}

// WaitAPI waits until the API server is ready.
func (c *Cluster) WaitAPI(ctx context.Context) error {
	return until(ctx, "the API server to be ready", func(ctx context.Context) error {
		_, err := c.Kubernetes.Discovery().RESTClient().Get().AbsPath("/readyz").DoRaw(ctx)
		return err
	})
}

// until asks again and again whether something is so, until it is, or ctx ends: then the error says what it was and
// why it is not.
func until(ctx context.Context, what string, ask func(context.Context) error) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		err := ask(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w: %w", what, context.Cause(ctx), err)
		}
	}
}
