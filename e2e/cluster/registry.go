package cluster

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	_ "embed"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cjworkbench/unstuck/e2e/artifact"
)

// Registry is a registry of images in the cluster, to which images are pushed and which is asked whether they are
// there. Pods need none: what they run is imported.
type Registry struct {
	DockerConfig string // with which one may read it
	CA           string // of its certificate, in PEM

	password  string
	transport *http.Transport
}

// The registry's certificate, and its user.
const (
	registryCert = "registry"
	registryHost = "registry.registry.svc"
	registryUser = "ci"
)

//go:embed registry.yaml
var registryYAML string

// StartRegistry starts the registry, empty, and returns once it answers.
func (c *Cluster) StartRegistry(ctx context.Context) (*Registry, error) {
	r, err := c.startRegistry(ctx)
	if err != nil {
		return nil, fmt.Errorf("start the registry: %w", err)
	}
	return r, nil
}

func (c *Cluster) startRegistry(ctx context.Context) (*Registry, error) {
	pki := func(file string) string { return filepath.Join(c.dir, pkiDir, file) }
	ca, errCA := os.ReadFile(pki("ca.crt"))
	certificate, errCert := os.ReadFile(pki(registryCert + ".crt"))
	key, errKey := os.ReadFile(pki(registryCert + ".key"))
	if err := errors.Join(errCA, errCert, errKey); err != nil {
		return nil, err
	}
	r := &Registry{CA: string(ca), password: rand.Text()}
	var err error
	if r.DockerConfig, err = dockerConfig(artifact.StandinRegistry, registryUser, r.password); err != nil {
		return nil, err
	}
	manifests, err := fill("registry", registryYAML, struct{ Certificate, Key, Password, Image string }{
		string(certificate), string(key), r.password, artifact.ToolImage,
	}, nil)
	if err != nil {
		return nil, err
	}
	if err := c.Apply(ctx, manifests); err != nil {
		return nil, err
	}
	err = until(ctx, "the registry to be ready", func(ctx context.Context) error {
		d, err := c.Kubernetes.AppsV1().Deployments("registry").Get(ctx, "registry", metav1.GetOptions{})
		if err == nil && d.Status.AvailableReplicas == 0 {
			err = errors.New("its pod is not ready")
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	service, err := c.Kubernetes.CoreV1().Services("registry").Get(ctx, "registry", metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	r.transport = &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return c.Dial(ctx, net.JoinHostPort(service.Spec.ClusterIP, "5000"))
		},
	}
	return r, nil
}

// Publish pushes an image of that name. It is empty: whether it is there is all that anybody asks.
func (r *Registry) Publish(ctx context.Context, image string) error {
	tag, err := name.NewTag(image)
	if err == nil {
		err = remote.Write(tag, empty.Image, remote.WithContext(ctx), remote.WithTransport(r.transport),
			remote.WithAuth(authn.FromConfig(authn.AuthConfig{Username: registryUser, Password: r.password})))
	}
	if err != nil {
		return fmt.Errorf("publish %s: %w", image, err)
	}
	return nil
}
