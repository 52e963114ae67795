package release

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"golang.org/x/sync/errgroup"

	"github.com/cjworkbench/unstuck/release/plan"
	"github.com/cjworkbench/unstuck/release/text"
)

const (
	askTimeout = 15 * time.Second // of asking for one image, with all the requests that it takes
	askAtOnce  = 8                // images
	maxText    = 200              // bytes of what a registry answers
)

// Registries are the environments' own, by name: what one has the credentials for is not published for another. They
// are a Registry.
type Registries map[string]*ImageRegistry

// Unpublished implements Registry.
func (all Registries) Unpublished(ctx context.Context, env plan.Environment, images []string) ([]string, error) {
	r := all[env.Name]
	if r == nil {
		return nil, fmt.Errorf("ask the registry: with which credentials environment %s does is not known", env.Name)
	}
	return r.Unpublished(ctx, images)
}

// ImageRegistry asks container registries whether images are published, each time anew.
type ImageRegistry struct {
	sources   []func(context.Context) ([]byte, error)
	plain     []string // registries that may be asked without TLS
	transport http.RoundTripper
}

// NewImageRegistry makes a registry. Each of the sources gives a docker config, as the Secrets have it that pods pull
// their images with, of the type kubernetes.io/dockerconfigjson or the older kubernetes.io/dockercfg. They are read
// with each question, since such Secrets change. As the kubelet does, all credentials that fit an image are tried. The
// plain registries, host:port each, are asked by HTTP if HTTPS fails; of the others only those of this machine are.
func NewImageRegistry(plain []string, sources ...func(context.Context) ([]byte, error)) *ImageRegistry {
	dialer := &net.Dialer{Timeout: 5 * time.Second}
	r := &ImageRegistry{sources: sources, plain: plain}
	r.transport = guarded{plain: plain, RoundTripper: &http.Transport{
		Proxy: http.ProxyFromEnvironment, DialContext: dialer.DialContext, ForceAttemptHTTP2: true, MaxIdleConns: 10,
		IdleConnTimeout: 30 * time.Second, TLSHandshakeTimeout: 5 * time.Second, ResponseHeaderTimeout: 10 * time.Second,
	}}
	return r
}

// guarded sends nothing unencrypted to any registry that is not meant to be asked so: the library would fall back
// to it for every private address, and send the password along.
type guarded struct {
	http.RoundTripper

	plain []string
}

func (t guarded) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme != "https" && !slices.Contains(t.plain, r.URL.Host) && !isLoopback(r.URL.Hostname()) {
		return nil, errors.New("it may not be asked without TLS")
	}
	return t.RoundTripper.RoundTrip(r)
}

func isLoopback(host string) bool {
	return host == "localhost" || net.ParseIP(host).IsLoopback()
}

// Unpublished gives those of the images that are not published. Only what the registry says that it does not have is
// not published; that an image may not be looked at, or that the registry cannot be asked, is an error, which names the
// first such image.
func (r *ImageRegistry) Unpublished(ctx context.Context, images []string) (missing []string, err error) {
	keys, unread := r.credentials(ctx)
	published, errs := make([]bool, len(images)), make([]error, len(images))
	var group errgroup.Group
	group.SetLimit(askAtOnce)
	for i, image := range images {
		group.Go(func() error {
			ctx, stop := context.WithTimeout(ctx, askTimeout)
			defer stop()
			published[i], errs[i] = r.published(ctx, image, keys)
			return errs[i]
		})
	}
	if group.Wait() != nil {
		i := slices.IndexFunc(errs, func(err error) bool { return err != nil })
		err = fmt.Errorf("ask the registry for %s: %w", images[i], errs[i])
		if unread != nil {
			err = fmt.Errorf("%w; %w", err, unread)
		}
	}
	for i, image := range images {
		if errs[i] == nil && !published[i] {
			missing = append(missing, image)
		}
	}
	return missing, err
}

func (r *ImageRegistry) published(ctx context.Context, image string, keys []credential) (bool, error) {
	options := []name.Option{name.WeakValidation}
	if host, _, ok := strings.Cut(image, "/"); ok && slices.Contains(r.plain, host) {
		options = append(options, name.Insecure)
	}
	ref, err := name.ParseReference(image, options...)
	if err != nil {
		return false, errors.New("that is not an image's name")
	}
	var first error
	for _, key := range append(keysFor(ref, keys), authn.AuthConfig{}) { // as nobody at last
		published, err := r.ask(ctx, ref, key)
		if err == nil {
			return published, nil
		}
		if first == nil {
			first = plainly(ctx, err)
		}
		if !refused(err) {
			break
		}
	}
	return false, first
}

func (r *ImageRegistry) ask(ctx context.Context, ref name.Reference, key authn.AuthConfig) (bool, error) {
	auth := authn.Anonymous
	if key != (authn.AuthConfig{}) {
		auth = authn.FromConfig(key)
	}
	options := []remote.Option{
		remote.WithContext(ctx), remote.WithTransport(r.transport), remote.WithUserAgent("unstuck"), remote.WithAuth(auth),
		remote.WithRetryBackoff(remote.Backoff{Steps: 1}), // who asks tries again; this one would not heed the context
	}
	_, err := remote.Head(ref, options...)
	if headMayMislead(err) {
		_, err = remote.Get(ref, options...)
	}
	if a := answerOf(err); a != nil && a.StatusCode == http.StatusNotFound && a.Request != nil &&
		strings.Contains(a.Request.URL.Path, "/manifests/") {
		return false, nil
	}
	return err == nil, err
}

// headMayMislead says whether to ask again by GET. Some registries serve no HEAD of a manifest: they answer 404, 403,
// 400, 405 or 501, or leave out headers that the library wants. Who asks too often is to ask no more.
func headMayMislead(err error) bool {
	a := answerOf(err)
	return err != nil && viaNetwork(err) == nil && (a == nil || a.StatusCode != http.StatusTooManyRequests)
}

func answerOf(err error) *transport.Error {
	a, _ := errors.AsType[*transport.Error](err)
	return a
}

func viaNetwork(err error) *url.Error {
	n, _ := errors.AsType[*url.Error](err)
	return n
}

// refused says whether other credentials may help.
func refused(err error) bool {
	a := answerOf(err)
	return a != nil && (a.StatusCode == http.StatusUnauthorized || a.StatusCode == http.StatusForbidden)
}

// plainly says what went wrong in our own words: a registry's may hold anything, our credentials too.
func plainly(ctx context.Context, err error) error {
	if a := answerOf(err); a != nil {
		return fmt.Errorf("it answers %d %s", a.StatusCode, http.StatusText(a.StatusCode))
	}
	if ctx.Err() != nil {
		return fmt.Errorf("it does not answer: %w", context.Cause(ctx))
	}
	if n := viaNetwork(err); n != nil { // its address may be one to which we were redirected, with a key in it
		host := "it"
		if u, err := url.Parse(n.URL); err == nil {
			host = u.Host
		}
		if op, ok := errors.AsType[*net.OpError](n.Err); ok {
			return fmt.Errorf("%s cannot be reached: %w", host, op)
		}
		return fmt.Errorf("%s cannot be asked: %w", host, withoutAddresses(n.Err))
	}
	return errors.New("its answer cannot be understood")
}

var address = regexp.MustCompile(`[a-z]+://[^\s"]+`)

func withoutAddresses(err error) error {
	return errors.New(text.Shorten(address.ReplaceAllString(err.Error(), "(an address)"), maxText))
}

// credential is what a docker config has for some images.
type credential struct {
	where string // which: a registry, or a part of one
	key   authn.AuthConfig
}

// credentials reads all the credentials, and says why one of the sources could not be read.
func (r *ImageRegistry) credentials(ctx context.Context) (all []credential, unread error) {
	for _, source := range r.sources {
		data, err := source(ctx)
		var keys map[string]authn.AuthConfig
		if err == nil {
			keys, err = readDockerConfig(data)
		}
		if err != nil {
			unread = fmt.Errorf("read the registry's credentials: %w", err)
			continue
		}
		for where, key := range keys {
			all = append(all, credential{where, key})
		}
	}
	return all, unread
}

// keysFor gives the credentials that fit an image, the most telling first.
func keysFor(ref name.Reference, all []credential) (keys []authn.AuthConfig) {
	found := slices.DeleteFunc(slices.Clone(all), func(c credential) bool {
		return !fits(c.where, ref.Context().RegistryStr(), ref.Context().RepositoryStr())
	})
	slices.SortStableFunc(found, func(a, b credential) int {
		if n := len(b.where) - len(a.where); n != 0 {
			return n
		}
		return strings.Compare(a.where, b.where)
	})
	for _, m := range found {
		if !slices.Contains(keys, m.key) {
			keys = append(keys, m.key)
		}
	}
	return keys
}

// fits says whether credentials that a docker config has for where are for a repository, by the kubelet's rules
// (k8s.io/kubernetes/pkg/credentialprovider/keyring.go): the host may have globs, each for one of its parts, and a path
// is the beginning of the repository's.
func fits(where, host, repository string) bool {
	_, rest, ok := strings.Cut(where, "://")
	if !ok {
		rest = where
	}
	wantHost, wantPath, _ := strings.Cut(rest, "/")
	wantPath = strings.Trim(wantPath, "/")
	if wantPath == "v1" || wantPath == "v2" { // docker's own way to write a registry
		wantPath = ""
	}
	if wantPath != "" && repository != wantPath && !strings.HasPrefix(repository, wantPath+"/") {
		return false
	}
	if wantHost == "docker.io" || wantHost == "registry-1.docker.io" {
		wantHost = name.DefaultRegistry
	}
	want, got := strings.Split(wantHost, "."), strings.Split(host, ".")
	return len(want) == len(got) && !slices.ContainsFunc(want, func(part string) bool {
		matched, err := path.Match(part, got[0])
		got = got[1:]
		return err != nil || !matched
	})
}
