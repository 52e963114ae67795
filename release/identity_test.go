package release

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// theSecret is what no error may hold.
const theSecret = "hunter2"

// noClouds takes away every identity that the machine of the test may have, so that nothing leaves it.
func noClouds(t *testing.T) {
	t.Helper()
	t.Setenv("HOME", t.TempDir())
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	t.Setenv("GCE_METADATA_HOST", "127.0.0.1:1")
	for _, v := range []string{
		"GOOGLE_APPLICATION_CREDENTIALS", "AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_AUTHORITY_HOST", "AZURE_FEDERATED_TOKEN_FILE",
		"AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
		"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_CA_BUNDLE",
	} {
		t.Setenv(v, "") // which has it put back
		if err := os.Unsetenv(v); err != nil {
			t.Fatal(err)
		}
	}
}

// written gives the name of a file with such a text.
func written(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// cloud stands in for the token services of the clouds. A code other than 200 is its answer to the request with that path.
type cloud struct {
	*httptest.Server

	codes map[string]int
	mute  bool
	ended chan struct{}
	asked map[string]int
}

func newCloud(t *testing.T) *cloud {
	c := &cloud{codes: map[string]int{}, asked: map[string]int{}, ended: make(chan struct{})}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		if _, err := io.Copy(io.Discard, r.Body); c.mute && err == nil {
			select {
			case <-r.Context().Done():
			case <-c.ended:
			}
			return
		}
		what := r.URL.Path
		if a := r.Form.Get("Action"); a != "" {
			what = a
		} else if a := r.Header.Get("X-Amz-Target"); a != "" {
			what = a[strings.LastIndex(a, ".")+1:]
		}
		c.asked[what]++
		if code := c.codes[what]; code != 0 {
			w.Header().Set("Location", "http://127.0.0.1:1/")
			w.WriteHeader(code)
			fmt.Fprintf(w, `{"error":"x","error_description":"%s","__type":"AccessDeniedException","message":"%s"}`, theSecret, theSecret)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		switch what {
		case "/google":
			fmt.Fprint(w, `{"access_token":"google-token","expires_in":3600,"token_type":"Bearer"}`)
		case "/tenant/oauth2/v2.0/token":
			if r.Form.Get("client_assertion") != "pod-token" || r.Form.Get("client_id") != "client" {
				w.WriteHeader(http.StatusBadRequest)
			}
			fmt.Fprint(w, `{"access_token":"entra-token","expires_in":3600,"token_type":"Bearer"}`)
		case "/oauth2/exchange":
			fmt.Fprintf(w, `{"refresh_token":"registry-token of %s"}`, r.Form.Get("access_token"))
		case "AssumeRoleWithWebIdentity":
			w.Header().Set("Content-Type", "text/xml")
			fmt.Fprintf(w, `<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>id</AccessKeyId><SecretAccessKey>%s</SecretAccessKey><SessionToken>s</SessionToken><Expiration>%s</Expiration></Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`,
				theSecret, time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
		case "GetAuthorizationToken":
			w.Header().Set("Content-Type", "application/x-amz-json-1.1")
			fmt.Fprintf(w, `{"authorizationData":[{"authorizationToken":%q,"expiresAt":%d}]}`, auth("AWS", "ecr-token"), time.Now().Add(12*time.Hour).Unix())
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	t.Cleanup(func() { close(c.ended); c.Close() })
	return c
}

const ecrRegistry = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"

// identities have the pod have an identity of each cloud, and give what makes of it a docker config.
func identities(t *testing.T, c *cloud) map[string]func(context.Context) ([]byte, error) {
	noClouds(t)
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	private := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	account, err := json.Marshal(map[string]string{
		"type": "service_account", "client_email": "unstuck@acme", "private_key": string(private), "token_uri": c.URL + "/google",
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", written(t, string(account)))
	t.Setenv("AZURE_CLIENT_ID", "client")
	t.Setenv("AZURE_TENANT_ID", "tenant")
	t.Setenv("AZURE_AUTHORITY_HOST", c.URL+"/")
	t.Setenv("AZURE_FEDERATED_TOKEN_FILE", written(t, "pod-token\n"))
	t.Setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/unstuck")
	t.Setenv("AWS_WEB_IDENTITY_TOKEN_FILE", written(t, theSecret))
	t.Setenv("AWS_ENDPOINT_URL_STS", c.URL)
	t.Setenv("AWS_ENDPOINT_URL_ECR", c.URL)
	return map[string]func(context.Context) ([]byte, error){
		"google": GoogleIdentity(),
		"azure":  azureIdentity("http", strings.TrimPrefix(c.URL, "http://")),
		"aws":    AWSIdentity(ecrRegistry, "ghcr.io"),
	}
}

func TestIdentityOfEachCloudIsExchangedForATokenOnce(t *testing.T) {
	c := newCloud(t)
	sources := identities(t, c)
	host := strings.TrimPrefix(c.URL, "http://")
	for name, want := range map[string]map[string]string{
		"google": {"gcr.io": "google-token", "*.gcr.io": "google-token", "*.pkg.dev": "google-token"},
		"azure":  {host: "registry-token of entra-token"},
		"aws":    {ecrRegistry: "ecr-token"},
	} {
		for range 2 {
			data, err := sources[name](t.Context())
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			keys, err := readDockerConfig(data)
			got := make(map[string]string)
			for where, key := range keys {
				got[where] = key.Password
			}
			if diff := cmp.Diff(want, got); diff != "" || err != nil {
				t.Errorf("%s: %v (-want +got):\n%s", name, err, diff)
			}
		}
	}
	want := map[string]int{"/google": 1, "/tenant/oauth2/v2.0/token": 1, "/oauth2/exchange": 1, "AssumeRoleWithWebIdentity": 1, "GetAuthorizationToken": 1}
	if diff := cmp.Diff(want, c.asked); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}

func TestIdentityThatIsMissingOrRefusedIsNamedWithoutASecret(t *testing.T) {
	for name, tc := range map[string]struct {
		cloud string
		spoil func(t *testing.T, c *cloud)
		want  string
	}{
		"google: none":          {"google", func(t *testing.T, _ *cloud) { t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", written(t, theSecret)) }, "the pod has no identity of Google"},
		"google: refused":       {"google", func(_ *testing.T, c *cloud) { c.codes["/google"] = 403 }, "it answers 403 Forbidden"},
		"azure: none":           {"azure", func(t *testing.T, _ *cloud) { t.Setenv("AZURE_CLIENT_ID", ""); t.Setenv("AZURE_TENANT_ID", "") }, "no identity of Azure: AZURE_CLIENT_ID, AZURE_TENANT_ID not set"},
		"azure: no token":       {"azure", func(t *testing.T, _ *cloud) { t.Setenv("AZURE_FEDERATED_TOKEN_FILE", "/nowhere") }, "which AZURE_FEDERATED_TOKEN_FILE names"},
		"azure: refused":        {"azure", func(_ *testing.T, c *cloud) { c.codes["/tenant/oauth2/v2.0/token"] = 401 }, "for the identity client: it answers 401 Unauthorized"},
		"azure: registry":       {"azure", func(_ *testing.T, c *cloud) { c.codes["/oauth2/exchange"] = 401 }, "it answers 401 Unauthorized"},
		"azure: sent elsewhere": {"azure", func(_ *testing.T, c *cloud) { c.codes["/oauth2/exchange"] = 307 }, "it answers 307 Temporary Redirect"},
		"aws: none": {"aws", func(t *testing.T, _ *cloud) {
			t.Setenv("AWS_ROLE_ARN", "")
			t.Setenv("AWS_WEB_IDENTITY_TOKEN_FILE", "")
		}, "the pod has no identity of AWS: neither AWS_ROLE_ARN"},
		"aws: no token":  {"aws", func(t *testing.T, _ *cloud) { t.Setenv("AWS_WEB_IDENTITY_TOKEN_FILE", "/nowhere") }, "AWS_WEB_IDENTITY_TOKEN_FILE names no file that can be read"},
		"aws: refused":   {"aws", func(_ *testing.T, c *cloud) { c.codes["GetAuthorizationToken"] = 400 }, ecrRegistry + ": ecr:GetAuthorizationToken: AWS answers AccessDeniedException"},
		"google: silent": {"google", func(_ *testing.T, c *cloud) { c.mute = true }, " answer"},
		"azure: silent":  {"azure", func(_ *testing.T, c *cloud) { c.mute = true }, " answer"},
		"aws: silent":    {"aws", func(_ *testing.T, c *cloud) { c.mute = true }, "nobody answers"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCloud(t)
			source := identities(t, c)[tc.cloud]
			tc.spoil(t, c)
			ctx := t.Context()
			if c.mute {
				var stop context.CancelFunc
				ctx, stop = context.WithTimeout(ctx, 200*time.Millisecond)
				defer stop()
			}
			data, err := source(ctx)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("%s, %v, want %q", data, err, tc.want)
			}
			for _, secret := range []string{theSecret, "-token", "PRIVATE"} {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("%v: it says %q", err, secret)
				}
			}
		})
	}
}

func TestIdentityIsAskedForAgainAfterItWasRefused(t *testing.T) {
	c := newCloud(t)
	source := identities(t, c)["google"]
	c.codes["/google"] = 403
	if _, err := source(t.Context()); err == nil {
		t.Error("a token, though it was refused")
	}
	delete(c.codes, "/google")
	if _, err := source(t.Context()); err != nil {
		t.Errorf("once it is granted: %v", err)
	}
}

func TestRegistryHostsAreThoseOfImages(t *testing.T) {
	got := RegistryHosts("acme.azurecr.io/web:1", ecrRegistry+"/web", "acme.azurecr.io/b", "a b/c")
	if diff := cmp.Diff([]string{ecrRegistry, "acme.azurecr.io"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// A token of Azure's or Amazon's is for their own registries, and goes to no other.
func TestIdentityIsShownToTheRegistriesOfItsCloudAlone(t *testing.T) {
	c := newCloud(t)
	identities(t, c)
	other := strings.TrimPrefix(c.URL, "http://")
	for name, source := range map[string]func(context.Context) ([]byte, error){
		"azure": AzureIdentity(other, "ghcr.io", "acme.azurecr.io.evil.example", "azurecr.io"),
		"aws":   AWSIdentity(other, "ghcr.io", ecrRegistry+".evil.example"),
	} {
		if data, err := source(t.Context()); !errors.Is(err, errNoRegistry) {
			t.Errorf("%s: %s, %v", name, data, err)
		}
	}
	if len(c.asked) > 0 {
		t.Errorf("asked %v", c.asked)
	}
	for host, want := range map[string]bool{"acme.azurecr.io": true, "acme.azurecr.cn": true, "acme.azurecr.io:443": false, "a.b.azurecr.io": false} {
		if got := acrHost.MatchString(host); got != want {
			t.Errorf("%s is a registry of Azure: %t", host, got)
		}
	}
}
