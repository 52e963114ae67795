package release

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
	"golang.org/x/oauth2/google"
)

const (
	// identityTimeout bounds the exchange of an identity for a registry's token, with all the requests that it takes.
	identityTimeout = 10 * time.Second
	// identityMargin is how long a token that is used must still be good for.
	identityMargin = time.Minute
	// azureTokenLasts is for how long a registry's token of Azure is used again. It is good for three hours.
	azureTokenLasts = time.Hour
	longestToken    = 64 << 10 // bytes
)

// GoogleIdentity gives a source of NewImageRegistry: a docker config with a token for Artifact Registry and Container
// Registry, which is the identity's that the pod has. That is the one that Google's libraries find: a file that
// GOOGLE_APPLICATION_CREDENTIALS names, or the service account that GKE has linked to the pod's. A token is used until
// a minute before its end. Errors hold nothing of what a token service answers.
func GoogleIdentity() func(context.Context) ([]byte, error) {
	var tokens kept
	return func(ctx context.Context) ([]byte, error) {
		return tokens.get(ctx, func(ctx context.Context) ([]byte, time.Time, error) {
			source, err := google.DefaultTokenSource(ctx, "https://www.googleapis.com/auth/devstorage.read_only")
			if err != nil {
				return nil, time.Time{}, errors.New("the pod has no identity of Google: GOOGLE_APPLICATION_CREDENTIALS names no " +
					"file that can be used, and there is no metadata server of Google")
			}
			token, err := source.Token()
			if err != nil {
				return nil, time.Time{}, fmt.Errorf("get a token of Google for the pod's identity: %w", notGranted(ctx, err))
			}
			config, err := dockerConfig("oauth2accesstoken", token.AccessToken, "gcr.io", "*.gcr.io", "*.pkg.dev")
			return config, token.Expiry, err
		})
	}
}

// AzureIdentity gives a source of NewImageRegistry: a docker config with a token for each of the registries, host names
// of the form NAME.azurecr.io, which is the identity's that Azure's workload identity has given the pod: its webhook
// sets AZURE_CLIENT_ID, AZURE_TENANT_ID, AZURE_AUTHORITY_HOST and AZURE_FEDERATED_TOKEN_FILE. The pod's token is
// exchanged for one of Entra ID (RFC 7523), and that for one of the registry
// (https://github.com/Azure/acr/blob/main/docs/AAD-OAuth.md). Errors hold nothing of what either answers.
// What is no registry of Azure gets none.
func AzureIdentity(registries ...string) func(context.Context) ([]byte, error) {
	return azureIdentity("https", slices.DeleteFunc(slices.Clone(registries), func(host string) bool {
		return !acrHost.MatchString(host)
	})...)
}

// acrHost is a registry of Azure, in the public cloud and in those of China and of the US government.
var acrHost = regexp.MustCompile(`^[a-z0-9]+\.azurecr\.(io|cn|us)$`)

var errNoRegistry = errors.New("none of the environment's images is in a registry of that cloud")

func azureIdentity(scheme string, registries ...string) func(context.Context) ([]byte, error) {
	var tokens kept
	return func(ctx context.Context) ([]byte, error) {
		if len(registries) == 0 {
			return nil, errNoRegistry
		}
		return tokens.get(ctx, func(ctx context.Context) ([]byte, time.Time, error) {
			access, err := entraToken(ctx)
			if err != nil {
				return nil, time.Time{}, err
			}
			auths := make(map[string]dockerAuth, len(registries))
			for _, host := range registries {
				token, err := exchange(ctx, scheme+"://"+host+"/oauth2/exchange", host, access)
				if err != nil {
					return nil, time.Time{}, fmt.Errorf("exchange the pod's identity of Azure for a token of %s: %w", host,
						notGranted(ctx, err))
				}
				auths[host] = dockerAuth{"00000000-0000-0000-0000-000000000000", token} // no user, but a token
			}
			config, err := json.Marshal(map[string]any{"auths": auths})
			return config, time.Now().Add(azureTokenLasts), err
		})
	}
}

// entraToken exchanges the token that Kubernetes has given the pod for one of Entra ID.
func entraToken(ctx context.Context) (string, error) {
	const file = "AZURE_FEDERATED_TOKEN_FILE"
	var missing []string
	for _, v := range []string{"AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_AUTHORITY_HOST", file} {
		if os.Getenv(v) == "" {
			missing = append(missing, v)
		}
	}
	if len(missing) > 0 {
		return "", fmt.Errorf("the pod has no identity of Azure: %s not set; is it labelled azure.workload.identity/use?",
			strings.Join(missing, ", "))
	}
	assertion, err := os.ReadFile(os.Getenv(file))
	if err != nil {
		return "", fmt.Errorf("read the pod's token, which %s names: %w", file, err)
	}
	authority := strings.TrimSuffix(os.Getenv("AZURE_AUTHORITY_HOST"), "/")
	config := clientcredentials.Config{
		ClientID:  os.Getenv("AZURE_CLIENT_ID"),
		TokenURL:  authority + "/" + os.Getenv("AZURE_TENANT_ID") + "/oauth2/v2.0/token",
		Scopes:    []string{"https://containerregistry.azure.net/.default"},
		AuthStyle: oauth2.AuthStyleInParams,
		EndpointParams: map[string][]string{
			"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"},
			"client_assertion":      {strings.TrimSpace(string(assertion))},
		},
	}
	token, err := config.Token(ctx)
	if err != nil {
		return "", fmt.Errorf("get a token of Azure for the identity %s: %w", config.ClientID, notGranted(ctx, err))
	}
	return token.AccessToken, nil
}

// kept keeps what was last exchanged, so that not each question needs another.
type kept struct {
	mu    sync.Mutex
	value []byte
	until time.Time
}

func (k *kept) get(
	ctx context.Context, exchange func(context.Context) ([]byte, time.Time, error),
) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, identityTimeout)
	defer cancel()
	k.mu.Lock()
	defer k.mu.Unlock()
	if time.Until(k.until) > identityMargin {
		return k.value, nil
	}
	type answer struct {
		value []byte
		until time.Time
		err   error
	}
	answers := make(chan answer, 1)
	go func() { // the libraries do not heed the context everywhere
		value, until, err := exchange(context.WithValue(ctx, oauth2.HTTPClient, identityClient(ctx)))
		answers <- answer{value, until, err}
	}()
	select {
	case a := <-answers:
		if a.err == nil {
			k.value, k.until = a.value, a.until
		}
		return a.value, a.err
	case <-ctx.Done():
		return nil, fmt.Errorf("exchange the pod's identity for a token: nobody answers: %w", context.Cause(ctx))
	}
}

// identityClient follows no redirect: it would take what proves the identity along. Its requests end with ctx.
func identityClient(ctx context.Context) *http.Client {
	return &http.Client{
		Transport: within{ctx}, Timeout: identityTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// within ends requests with a context other than their own.
type within struct{ ctx context.Context }

func (w within) RoundTrip(r *http.Request) (*http.Response, error) {
	return http.DefaultTransport.RoundTrip(r.WithContext(w.ctx))
}

// notGranted says why there is no token in our own words: what is answered may hold what was sent.
func notGranted(ctx context.Context, err error) error {
	if answer, ok := errors.AsType[*oauth2.RetrieveError](err); ok && answer.Response != nil {
		code := answer.Response.StatusCode
		return fmt.Errorf("it answers %d %s", code, http.StatusText(code))
	}
	return plainly(ctx, err)
}

type dockerAuth struct {
	Username string `json:"username"`
	Password string `json:"password"`
}

// dockerConfig is a docker config that has the same credentials for each of the registries.
func dockerConfig(username, password string, registries ...string) ([]byte, error) {
	auths := make(map[string]dockerAuth, len(registries))
	for _, r := range registries {
		auths[r] = dockerAuth{username, password}
	}
	return json.Marshal(map[string]any{"auths": auths})
}

// RegistryHosts gives the hosts of the registries that the images are in, sorted. What is no image has none.
func RegistryHosts(images ...string) (hosts []string) {
	for _, image := range images {
		if ref, err := name.ParseReference(image, name.WeakValidation); err == nil {
			hosts = append(hosts, ref.Context().RegistryStr())
		}
	}
	slices.Sort(hosts)
	return slices.Compact(hosts)
}

// exchange has a registry of Azure give a token for one of Entra ID.
func exchange(ctx context.Context, address, host, access string) (string, error) {
	form := url.Values{"grant_type": {"access_token"}, "service": {host}, "access_token": {access}}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, address, strings.NewReader(form.Encode()))
	if err != nil {
		return "", err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	response, err := identityClient(ctx).Do(r)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return "", &oauth2.RetrieveError{Response: response}
	}
	var answer struct {
		Token string `json:"refresh_token"`
	}
	err = json.NewDecoder(io.LimitReader(response.Body, longestToken)).Decode(&answer)
	if err != nil || answer.Token == "" {
		return "", errors.New("no token is in its answer")
	}
	return answer.Token, nil
}
