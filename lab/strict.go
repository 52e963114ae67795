package lab

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"time"
)

// A broker with Options.TLSOnly has no listener but one with TLS, which demands a client certificate. It takes three
// ways to say who one is: a password, the certificate itself (SASL EXTERNAL, as the user CertificateUser, whom a test
// has to add) and a token of Lab.Token. Loads and the faults of the network want a plain listener.

// strictPlugins are what such a broker has to start, and strictPluginsNeed what they depend on; where a version needs
// more or others, the nodes see all plugins.
var (
	strictPlugins     = []string{"rabbitmq_auth_mechanism_ssl", "rabbitmq_auth_backend_oauth2"}
	strictPluginsNeed = []string{"rabbit_common", "base64url", "jose", "cowlib"}
)

const tokenKey = "lab"

func strictConf(publicKey string) []string {
	return []string{
		"auth_mechanisms.1 = PLAIN",
		"auth_mechanisms.2 = EXTERNAL",
		"ssl_cert_login_from = common_name",
		"auth_backends.1 = internal",
		"auth_backends.2 = rabbit_auth_backend_oauth2",
		"auth_oauth2.resource_server_id = rabbitmq",
		"auth_oauth2.default_key = " + tokenKey,
		"auth_oauth2.signing_keys." + tokenKey + " = " + publicKey,
	}
}

// tokens signs tokens with a key of which the nodes have the public half.
type tokens struct {
	key    *rsa.PrivateKey
	public string // the file of the public half
}

func newTokens(dir string) (*tokens, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, fmt.Errorf("make a key for tokens: %w", err)
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return nil, fmt.Errorf("encode a key for tokens: %w", err)
	}
	t := &tokens{key: key, public: filepath.Join(dir, "tokens.pem")}
	return t, writePEM(t.public, "PUBLIC KEY", der)
}

// Token gives an OAuth 2 token (a JWT, RFC 7519, signed by RS256) that allows everything in all vhosts until then.
func (l *Lab) Token(until time.Time) (string, error) {
	if l.tokens == nil {
		return "", fmt.Errorf("a token: %w: the lab has no TLSOnly", ErrUnsupported)
	}
	head, err := json.Marshal(map[string]string{"alg": "RS256", "typ": "JWT", "kid": tokenKey})
	if err != nil {
		return "", fmt.Errorf("make a token: %w", err)
	}
	body, err := json.Marshal(map[string]any{
		"sub": "token", "aud": []string{"rabbitmq"}, "exp": until.Unix(),
		"scope": []string{"rabbitmq.configure:*/*", "rabbitmq.write:*/*", "rabbitmq.read:*/*"},
	})
	if err != nil {
		return "", fmt.Errorf("make a token: %w", err)
	}
	signed := base64.RawURLEncoding.EncodeToString(head) + "." + base64.RawURLEncoding.EncodeToString(body)
	sum := sha256.Sum256([]byte(signed))
	signature, err := rsa.SignPKCS1v15(rand.Reader, l.tokens.key, crypto.SHA256, sum[:])
	if err != nil {
		return "", fmt.Errorf("sign a token: %w", err)
	}
	return signed + "." + base64.RawURLEncoding.EncodeToString(signature), nil
}

// RenewTLS replaces the authority, the certificate of the nodes and that of the client by new ones, in the same files,
// and has the nodes read them.
func (l *Lab) RenewTLS(ctx context.Context, nodes, own Validity) error {
	var addrs []netip.Addr
	for _, n := range l.nodes {
		addr, err := netip.ParseAddr(n.host)
		if err != nil {
			return fmt.Errorf("renew the certificates: %w", err)
		}
		addrs = append(addrs, addr)
	}
	if _, err := makeCertificates(l.dir, addrs, nodes, own); err != nil {
		return err
	}
	for _, n := range l.Nodes() {
		exit, err := l.Exec(ctx, n, []string{"rabbitmqctl", "eval", "ssl:clear_pem_cache()."}, io.Discard, io.Discard)
		if err != nil || exit != 0 {
			return fmt.Errorf("have %s read its certificates: exit code %d, %w", n.Name, exit, err)
		}
	}
	return nil
}

// secured gives what to speak AMQP over: the socket itself, or TLS over it where there is nothing else.
func (n *node) secured(socket net.Conn) (net.Conn, error) {
	if !n.lab.opts.TLSOnly {
		return socket, nil
	}
	files := n.lab.tls
	ca, err := os.ReadFile(files.CA)
	if err != nil {
		return nil, fmt.Errorf("read the lab's authority: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca) {
		return nil, fmt.Errorf("read the lab's authority: there is no certificate in %s", files.CA)
	}
	own, err := tls.LoadX509KeyPair(files.Cert, files.Key)
	if err != nil {
		return nil, fmt.Errorf("read the lab's client certificate: %w", err)
	}
	return tls.Client(socket, &tls.Config{
		RootCAs: pool, Certificates: []tls.Certificate{own}, ServerName: files.ServerName, MinVersion: tls.VersionTLS12,
	}), nil
}
