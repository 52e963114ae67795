package cli

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cjworkbench/unstuck/kube"
	"github.com/cjworkbench/unstuck/version"
)

// Where a server and a token are found if no flag says so.
const (
	serverVariable = "UNSTUCK_SERVER"
	tokenVariable  = "UNSTUCK_TOKEN"
)

// serverFlags say which server to ask, and as whom.
type serverFlags struct {
	server, tokenFile, caFile      string
	kubeconfig, context, namespace string
	sendToken                      bool

	given func(flag string) bool // on the command line; nil: none
}

func (f *serverFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	f.given = flags.Changed
	flags.StringVar(&f.server, "server", "",
		"`URL` of Unstuck's API (default: $UNSTUCK_SERVER, or else the Unstuck in the cluster)")
	flags.StringVar(&f.tokenFile, "token-file", "",
		"`file` with the token (default: $UNSTUCK_TOKEN, or else the kubeconfig's user's)")
	flags.StringVar(&f.caFile, "ca-file", "",
		"PEM `file` with the authorities to trust (default: the system's); in the cluster: the API has TLS")
	flags.StringVar(&f.kubeconfig, "kubeconfig", "", "kubeconfig `file` of the cluster (default: what kubectl reads)")
	flags.StringVar(&f.context, "context", "", "`name` of a context in the kubeconfig (default: its current one)")
	flags.StringVarP(&f.namespace, "namespace", "n", "unstuck", "`name` of the namespace that Unstuck runs in")
	flags.BoolVar(&f.sendToken, sendTokenFlag, false,
		"send the kubeconfig user's own token to the Unstuck in the cluster without asking")
	_ = cmd.RegisterFlagCompletionFunc("server", cobra.NoFileCompletions)
	_ = cmd.RegisterFlagCompletionFunc("context", cobra.NoFileCompletions)
	_ = cmd.RegisterFlagCompletionFunc("namespace", cobra.NoFileCompletions)
}

// dialer connects to a server, as net.Dialer does.
type dialer = func(ctx context.Context, network, address string) (net.Conn, error)

// connect makes a client of the server that the flags and the environment name, or that is in the cluster. Nothing is
// asked of it yet. What is to be warned of goes to stderr. The kubeconfig user's own token is sent to whom trust trusts
// with it, and to nobody if that is nil.
func (f *serverFlags) connect(ctx context.Context, con console, trust truster, stderr io.Writer) (*client, error) {
	server, err := f.address()
	if err != nil {
		return nil, err
	}
	c := &client{backoff: []time.Duration{500 * time.Millisecond, time.Second, 2 * time.Second}}
	tlsConfig, err := f.tlsConfig()
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{
		Proxy: http.ProxyFromEnvironment, TLSClientConfig: tlsConfig, TLSHandshakeTimeout: 10 * time.Second,
		IdleConnTimeout:        time.Minute,
		MaxResponseHeaderBytes: 64 << 10, DialContext: con.dial,
	}
	if con.dial == nil {
		transport.DialContext = (&net.Dialer{Timeout: 10 * time.Second}).DialContext
	}
	token, err := f.token(server)
	if err != nil {
		return nil, err
	}
	c.token = func(context.Context) (string, error) { return token, nil }
	if server == "" {
		if err := f.enter(ctx, c, transport, con, token == "", trust); err != nil {
			return nil, err
		}
	} else if c.base, err = baseOf(server); err != nil {
		return nil, err
	} else if token != "" && readable(c.base) {
		fmt.Fprintln(stderr, "unstuck: warning: the token goes over the network unencrypted: use https://")
	}
	c.http = &http.Client{
		Transport: transport,
		// the token is for this server alone
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	c.close = transport.CloseIdleConnections
	return c, nil
}

// enter has the client ask the Unstuck in the cluster; with the kubeconfig user's own token, if there is one and trust
// trusts that Unstuck with it. Who has none asks without one: the server says whether that will do.
func (f *serverFlags) enter(ctx context.Context, c *client, transport *http.Transport, con console, own bool,
	trust truster,
) error {
	way, err := con.enter(kube.ForwardOptions{
		Kubeconfig: f.kubeconfig, Context: f.context, Namespace: f.namespace,
		UserAgent: "unstuck/" + version.Current().Version,
	})
	if err != nil {
		return fmt.Errorf("no --server, and none in a cluster: %w", err)
	}
	if own {
		token, err := ownToken(ctx, way, trust)
		switch {
		case err != nil:
			return err
		case token != nil:
			c.token = token
		default:
			c.tokenless = true
		}
	}
	transport.Proxy, transport.DialContext = nil, way.DialContext
	c.base = "http://" + way.Host()
	if f.caFile != "" {
		c.base = "https://" + way.Host()
	}
	return nil
}

// clusterFlags say that the server is in a cluster, in which, and where in it.
var clusterFlags = []string{"context", "kubeconfig", "namespace", sendTokenFlag}

// inCluster gives the first flag of the command line that says which cluster is meant; "": none does.
func (f *serverFlags) inCluster() string {
	if f.given == nil {
		return ""
	}
	i := slices.IndexFunc(clusterFlags, f.given)
	if i < 0 {
		return ""
	}
	return clusterFlags[i]
}

// address gives the address of the server; "": it is the one in the cluster. What stands on the command line counts
// before the environment: to name a cluster and reach a server elsewhere would change what nobody meant.
func (f *serverFlags) address() (string, error) {
	for _, flag := range []struct{ name, value string }{
		{"server", f.server},
		{"token-file", f.tokenFile},
		{"ca-file", f.caFile},
		{"kubeconfig", f.kubeconfig},
		{"context", f.context},
		{"namespace", f.namespace},
	} { // it is empty where a script's variable is not set
		if flag.value == "" && f.given != nil && f.given(flag.name) {
			return "", UsageError("flag --%s: its value is empty: give one, or leave the flag out", flag.name)
		}
	}
	cluster, server, named := f.inCluster(), f.server, "--server"
	switch {
	case f.sendToken && f.tokenFile != "":
		return "", UsageError("flags --token-file and --%s: each says which token is sent: want one of them", sendTokenFlag)
	case cluster != "" && server != "":
		return "", UsageError("flags --server and --%s: each says which Unstuck is meant: want one of them", cluster)
	case cluster == "" && server == "":
		server, named = os.Getenv(serverVariable), "$"+serverVariable
	}
	if f.caFile != "" && strings.HasPrefix(strings.ToLower(server), "http://") {
		return "", UsageError("flag --ca-file: the address of the server (%s) begins with http://, which has no "+
			"certificate: want https://", named)
	}
	return server, nil
}

// baseOf checks the address of a server. Its errors do not repeat it, for there may be a password in it.
func baseOf(server string) (string, error) {
	u, err := url.Parse(server)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "" || u.User != nil ||
		u.RawQuery != "" || u.Fragment != "" {
		return "",
			UsageError("the address of the server is not right: want http://host:port or https://host:port, without a user or "+
				"a query (--server or $%s)", serverVariable)
	}
	return strings.TrimRight(u.Scheme+"://"+u.Host+u.EscapedPath(), "/"), nil
}

// readable says whether others on the way can read what is sent.
func readable(base string) bool {
	u, err := url.Parse(base)
	if err != nil || u.Scheme == "https" || u.Hostname() == "localhost" {
		return false
	}
	ip := net.ParseIP(u.Hostname())
	return ip == nil || !ip.IsLoopback()
}

// token gives the token of the file or the environment; "": neither has one. Where the environment names a server too,
// its token is that server's, and goes to no cluster that the command line names instead. Nor does it where the command
// line says that the kubeconfig user's own is sent. No error repeats it.
func (f *serverFlags) token(server string) (string, error) {
	text, from := os.Getenv(tokenVariable), "$"+tokenVariable
	if server == "" && os.Getenv(serverVariable) != "" || f.sendToken {
		text = ""
	}
	if f.tokenFile != "" {
		data, err := readSmallFile(f.tokenFile)
		if err != nil {
			return "", fmt.Errorf("read the token: %w", err)
		}
		text, from = string(data), f.tokenFile
		if strings.TrimSpace(text) == "" {
			return "", fmt.Errorf("there is no token in %s", from)
		}
	}
	text = strings.TrimSpace(text)
	if strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", fmt.Errorf("there is more than a token in %s: want it alone, on one line", from)
	}
	return text, nil
}

// maxSmallFile is more than any token or bundle of certificates has.
const maxSmallFile = 1 << 20

func readSmallFile(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxSmallFile+1))
	if err == nil && len(data) > maxSmallFile {
		err = errors.New(path + " is too large")
	}
	return data, err
}

func (f *serverFlags) tlsConfig() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if f.caFile == "" {
		return config, nil
	}
	data, err := readSmallFile(f.caFile)
	if err != nil {
		return nil, fmt.Errorf("read the authorities to trust: %w", err)
	}
	config.RootCAs = x509.NewCertPool()
	if !config.RootCAs.AppendCertsFromPEM(data) {
		return nil, fmt.Errorf("there is no certificate in %s", f.caFile)
	}
	return config, nil
}
