package release

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/cjworkbench/unstuck/release/plan"
)

// theRegistry is a real registry in which acme/frontend:commitA is published; guard stands before it.
func theRegistry(t *testing.T, guard func(http.Handler) http.Handler) (host string) {
	t.Helper()
	store := registry.New(registry.Logger(slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)))
	push := httptest.NewServer(store)
	t.Cleanup(push.Close)
	ref, err := name.ParseReference(strings.TrimPrefix(push.URL, "http://") + "/acme/frontend:" + commitA)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, empty.Image, remote.WithContext(t.Context())); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(guard(store))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

func open(h http.Handler) http.Handler { return h }

// withPassword asks for ada's password, and, to be mean, says in its refusal what it was sent.
func withPassword(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != "ada" || password != "hunter2" {
			w.Header().Set("WWW-Authenticate", `Basic realm="here"`)
			w.WriteHeader(http.StatusUnauthorized)
			fmt.Fprintf(w, `{"errors":[{"code":"UNAUTHORIZED","message":"not %s:%s, %s"}]}`, user, password, r.Header.Get("Authorization"))
			return
		}
		h.ServeHTTP(w, r)
	})
}

func config(text string) func(context.Context) ([]byte, error) {
	return func(context.Context) ([]byte, error) { return []byte(text), nil }
}

func auth(user, password string) string {
	return base64.StdEncoding.EncodeToString([]byte(user + ":" + password))
}

func TestImageRegistrySaysWhetherAnImageIsPublished(t *testing.T) {
	host := theRegistry(t, open)
	published, missing := host+"/acme/frontend:"+commitA, []string{host + "/acme/frontend:" + commitB, host + "/acme/fetcher:" + commitA}
	got, err := NewImageRegistry(nil).Unpublished(t.Context(), []string{missing[0], published, missing[1]})
	if !slices.Equal(got, missing) || err != nil {
		t.Errorf("%v, %v, want %v", got, err, missing)
	}
	got, err = NewImageRegistry(nil).Unpublished(t.Context(), []string{published, "127.0.0.1:1/acme/cron:" + commitA, missing[0]})
	if !slices.Equal(got, missing[:1]) || err == nil || !strings.Contains(err.Error(), "ask the registry for 127.0.0.1:1/acme/cron") {
		t.Errorf("of one it cannot be told: %v, %v, want %v", got, err, missing[:1])
	}
}

// https://github.com/carvel-dev/imgpkg/issues/131, https://github.com/crossplane/crossplane/issues/3223
func TestImageRegistryAsksByGetWhereHeadIsRefused(t *testing.T) {
	for _, code := range []int{400, 401, 403, 404, 405, 501} {
		host := theRegistry(t, func(h http.Handler) http.Handler {
			return withPassword(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodHead {
					w.WriteHeader(code)
					return
				}
				h.ServeHTTP(w, r)
			}))
		})
		r := NewImageRegistry(nil, config(`{"`+host+`/acme":{"username":"eve","password":"x"},"`+host+`":{"username":"ada","password":"hunter2"}}`))
		missing := host + "/acme/frontend:" + commitB
		got, err := r.Unpublished(t.Context(), []string{host + "/acme/frontend:" + commitA, missing})
		if !slices.Equal(got, []string{missing}) || err != nil {
			t.Errorf("HEAD answers %d: %v, %v, want %s alone", code, got, err, missing)
		}
	}
}

func TestImageRegistryAsksNoMoreWhereItAsksTooOften(t *testing.T) {
	asked := 0
	host := theRegistry(t, func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.Contains(r.URL.Path, "/manifests/") {
				asked++
				w.WriteHeader(http.StatusTooManyRequests)
				return
			}
			h.ServeHTTP(w, r)
		})
	})
	got, err := NewImageRegistry(nil).Unpublished(t.Context(), []string{host + "/acme/frontend:" + commitA})
	if len(got) > 0 || err == nil || !strings.Contains(err.Error(), "it answers 429 Too Many Requests") || asked != 1 {
		t.Errorf("%v, %v, asked %d times, want 429 and once", got, err, asked)
	}
}

func TestImageRegistryKnowsIndexesAndDigests(t *testing.T) {
	host := theRegistry(t, open)
	ref, err := name.ParseReference(host + "/acme/many:" + commitA)
	if err != nil {
		t.Fatal(err)
	}
	index := mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: empty.Image, Descriptor: v1.Descriptor{
		Platform: &v1.Platform{OS: "linux", Architecture: "s390x"}, // not ours
	}})
	if err := remote.WriteIndex(ref, index, remote.WithContext(t.Context())); err != nil {
		t.Fatal(err)
	}
	digest, err := index.Digest()
	if err != nil {
		t.Fatal(err)
	}
	// A tag beside a digest says nothing: the digest is what is pulled.
	published := []string{ref.String(), ref.Context().Digest(digest.String()).String(), host + "/acme/many:" + commitB + "@" + digest.String()}
	missing := []string{host + "/acme/many:" + commitA + "@sha256:" + strings.Repeat("0", 64)}
	got, err := NewImageRegistry(nil).Unpublished(t.Context(), append(published, missing...))
	if !slices.Equal(got, missing) || err != nil {
		t.Errorf("%v, %v, want %v", got, err, missing)
	}
}

func TestImageRegistryReadsTheCredentialsOnceForAllImages(t *testing.T) {
	host := theRegistry(t, withPassword)
	reads := 0
	r := NewImageRegistry(nil, func(context.Context) ([]byte, error) {
		reads++
		return []byte(`{"` + host + `":{"username":"ada","password":"hunter2"}}`), nil
	})
	image := host + "/acme/frontend:" + commitA
	if got, err := r.Unpublished(t.Context(), []string{image, image, image}); len(got) > 0 || err != nil || reads != 1 {
		t.Errorf("%v, %v, %d reads", got, err, reads)
	}
}

func TestRegistriesAskForAnEnvironmentWithItsOwnCredentialsAlone(t *testing.T) {
	host := theRegistry(t, withPassword)
	good := NewImageRegistry(nil, config(`{"auths":{"`+host+`":{"username":"ada","password":"hunter2"}}}`))
	all := Registries{"production": good, "staging": NewImageRegistry(nil)}
	for env, want := range map[string]string{"production": "", "staging": "it answers 401", "elsewhere": "is not known"} {
		missing, err := all.Unpublished(t.Context(), plan.Environment{Name: env}, []string{host + "/acme/frontend:" + commitA})
		if len(missing) > 0 || (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, %v", env, missing, err)
		}
	}
}

func TestImageRegistryGivesARegistryItsOwnPassword(t *testing.T) {
	host := theRegistry(t, withPassword)
	for _, tc := range []struct {
		name, config string
	}{
		{"a name and a password", `{"auths":{"` + host + `":{"username":"ada","password":"hunter2","email":"x"}}}`},
		{"both in one", `{"auths":{"` + host + `":{"auth":"` + auth("ada", "hunter2") + `"}}}`},
		{"without padding", `{"auths":{"` + host + `":{"auth":"` + strings.TrimRight(auth("ada", "hunter2"), "=") + `"}}}`},
		{"with a line break", `{"auths":{"` + host + `":{"auth":"` + auth("ada", "hunter2") + `\n"}}}`},
		{"by its address", `{"auths":{"http://` + host + `/v2/":{"auth":"` + auth("ada", "hunter2") + `"}}}`},
		{"the older form", `{"` + host + `":{"auth":"` + auth("ada", "hunter2") + `"}}`},
		{"for the repository", `{"auths":{"` + host + `/acme":{"auth":"` + auth("ada", "hunter2") + `"},"` + host + `":{"auth":"` + auth("eve", "x") + `"}}}`},
		{"the first is refused", `{"auths":{"` + host + `/acme/frontend":{"auth":"` + auth("eve", "x") + `"},"` + host + `":{"auth":"` + auth("ada", "hunter2") + `"}}}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := NewImageRegistry(nil, config(tc.config))
			for commit, want := range map[string]bool{commitA: true, commitB: false} {
				if missing, err := r.Unpublished(t.Context(), []string{host + "/acme/frontend:" + commit}); (len(missing) == 0) != want || err != nil {
					t.Errorf("%.1s: %v, %v", commit, missing, err)
				}
			}
		})
	}
}

func TestImageRegistryNamesTheImageAndNoSecretIfItCannotTell(t *testing.T) {
	host := theRegistry(t, withPassword)
	status := func(code int) string {
		return theRegistry(t, func(http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) })
		})
	}
	mute := theRegistry(t, func(http.Handler) http.Handler {
		return http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	})
	redirecting := theRegistry(t, func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://127.0.0.1:1/?signature=hunter3", http.StatusFound)
		})
	})
	unread := func(context.Context) ([]byte, error) { return nil, errors.New("not allowed: secrets get") }
	for _, tc := range []struct {
		name, host string
		source     func(context.Context) ([]byte, error)
		want       string
	}{
		{"no password", host, config(`{"auths":{}}`), "it answers 401 Unauthorized"},
		{"another's password", host, config(`{"auths":{"` + host + `":{"username":"eve","password":"hunter3"}}}`), "it answers 401 Unauthorized"},
		{"a password that cannot be read", host, config(`{"auths":{"` + host + `":{"auth":"hunter3"}}}`), "the auth of " + host + " is not a name and a password"},
		{"no docker config", host, config(`"hunter3`), "that is not a docker config"},
		{"nor JSON of another kind", host, config(`{"auths":{"x":{"auth":["hunter3"]}}}`), "that is not a docker config"},
		{"a Secret that is not there", host, unread, "read the registry's credentials: not allowed: secrets get"},
		{"no registry", status(http.StatusNotFound), config(`{}`), "it answers 404 Not Found"},
		{"it is broken", status(http.StatusBadGateway), config(`{}`), "it answers 502 Bad Gateway"},
		{"nobody there", "127.0.0.1:1", config(`{}`), "127.0.0.1:1 cannot be reached"},
		{"it never answers", mute, config(`{}`), "it does not answer: context canceled"},
		{"it sends us elsewhere", redirecting, config(`{}`), "cannot be asked"},
		{"no name", "HERE", config(`{}`), "that is not an image's name"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ctx := t.Context()
			if tc.host == mute {
				var stop context.CancelFunc
				ctx, stop = context.WithCancel(ctx)
				stop()
			}
			image := tc.host + "/acme/frontend:" + commitA
			_, err := NewImageRegistry(nil, tc.source).Unpublished(ctx, []string{image})
			if err == nil || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), image) {
				t.Fatalf("%v, want %q and the image", err, tc.want)
			}
			for _, secret := range []string{"hunter", "ada", "eve", auth("eve", "hunter3"), "signature"} {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("%v: it says %q", err, secret)
				}
			}
		})
	}
}

func TestImageRegistryReadsASourceBesideOneThatCannotBeRead(t *testing.T) {
	host := theRegistry(t, withPassword)
	broken := func(context.Context) ([]byte, error) { return nil, errors.New("broken") }
	r := NewImageRegistry(nil, broken, config(`{"`+host+`":{"username":"ada","password":"hunter2"}}`))
	if missing, err := r.Unpublished(t.Context(), []string{host + "/acme/frontend:" + commitA}); len(missing) > 0 || err != nil {
		t.Errorf("%v, %v", missing, err)
	}
}

func TestGuardedSendsNoPasswordUnencryptedToAnotherMachine(t *testing.T) {
	asked := 0
	r := NewImageRegistry([]string{"10.0.0.2:5000"})
	g, ok := r.transport.(guarded)
	if !ok {
		t.Fatalf("%T", r.transport)
	}
	g.RoundTripper = roundTrip(func(*http.Request) (*http.Response, error) { asked++; return nil, errors.New("nobody there") })
	for address, want := range map[string]int{
		"http://10.0.0.1:5000/v2/": 0, "http://10.0.0.2:5000/v2/": 1, "https://10.0.0.1:5000/v2/": 1, "http://127.0.0.1:5000/v2/": 1,
		"http://[::1]:5000/v2/": 1, "http://localhost:5000/": 1, "http://registry.local/v2/": 0,
	} {
		asked = 0
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := g.RoundTrip(req)
		if err == nil {
			response.Body.Close()
		}
		if asked != want {
			t.Errorf("%s: sent %d times, want %d", address, asked, want)
		}
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestFitsKeepsCredentialsToTheImagesThatTheyAreMeantFor(t *testing.T) {
	for _, tc := range []struct {
		where, host, repository string
		want                    bool
	}{
		{"gcr.io", "gcr.io", "acme/frontend", true},
		{"https://gcr.io", "gcr.io", "acme/frontend", true},
		{"https://gcr.io/v1/", "gcr.io", "acme/frontend", true},
		{"gcr.io/acme", "gcr.io", "acme/frontend", true},
		{"gcr.io/acme/frontend", "gcr.io", "acme/frontend", true},
		{"gcr.io/ac", "gcr.io", "acme/frontend", false},
		{"gcr.io/other", "gcr.io", "acme/frontend", false},
		{"eu.gcr.io", "gcr.io", "acme/frontend", false},
		{"*.gcr.io", "eu.gcr.io", "acme/frontend", true},
		{"*.gcr.io", "gcr.io", "acme/frontend", false},
		{"*.io", "eu.gcr.io", "acme/frontend", false},
		{"gcr.io:5000", "gcr.io", "acme/frontend", false},
		{"docker.io", "index.docker.io", "library/redis", true},
		{"https://index.docker.io/v1/", "index.docker.io", "library/redis", true},
		{"", "gcr.io", "acme/frontend", false},
		{"[", "gcr", "acme/frontend", false},
	} {
		if got := fits(tc.where, tc.host, tc.repository); got != tc.want {
			t.Errorf("%q for %s/%s: %t", tc.where, tc.host, tc.repository, got)
		}
	}
}

func TestReadDockerConfig(t *testing.T) {
	all, err := readDockerConfig([]byte(`{"auths":{"a":{"auth":"` + auth("ada", "a:b") + `"},"b":{"identitytoken":"t"},"c":{"registrytoken":"r"}},"credsStore":"desktop"}`))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]authn.AuthConfig{"a": {Username: "ada", Password: "a:b"}, "b": {IdentityToken: "t"}, "c": {RegistryToken: "r"}}
	if diff := cmp.Diff(want, all); diff != "" {
		t.Errorf("%v (-want +got):\n%s", slices.Sorted(maps.Keys(all)), diff)
	}
}
