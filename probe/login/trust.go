package login

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"sync"
	"time"

	"github.com/cjworkbench/unstuck/probe"
	"github.com/cjworkbench/unstuck/target"
)

// trustAge is how old what was read of certificates may be when a login uses it. So a renewed certificate needs no
// restart, and not each of thousands of logins reads the files.
const trustAge = 10 * time.Second

// TrustOptions say where a broker's TLS comes from. Errors of the functions name what could not be read, and never
// repeat what is in it.
type TrustOptions struct {
	CA     func(context.Context) (pem []byte, err error)       // nil: the system's authorities
	CAName string                                              // what CA reads, for errors: "CA certificates /ca.pem"
	Pair   func(context.Context) (cert, key []byte, err error) // of the client, in PEM; nil: none
	// PairName is what Pair reads, for errors.
	PairName string
	// ServerName gives the name to expect in the certificate of a node; nil or "": the host of the node's address.
	ServerName func(target.Node) string
	// Again, if not nil, is told that TLS with what was read last has failed.
	Again func()
}

// CAFile has the authorities come from a file of PEM.
func (o *TrustOptions) CAFile(file string) {
	o.CAName = "CA certificates " + file
	o.CA = func(context.Context) ([]byte, error) {
		data, err := probe.ReadFile(file, probe.MaxFile)
		if err != nil {
			return nil, fmt.Errorf("read CA certificates: %w", err)
		}
		return data, nil
	}
}

// PairFiles have the client's certificate and its key come from files of PEM.
func (o *TrustOptions) PairFiles(certFile, keyFile string) {
	o.PairName = "client certificate " + certFile + " with key " + keyFile
	o.Pair = func(context.Context) (cert, key []byte, err error) { return readPair(certFile, keyFile) }
}

// Trust is a broker's TLS: it reads certificates again when they are renewed. What was read last serves on while
// something newer cannot be read or does not fit together, as while a renewal is half done. Safe for concurrent use.
type Trust struct {
	TrustOptions

	mu      sync.Mutex
	of      [sha256.Size]byte // a hash of what config was made of
	config  *tls.Config       // nil: there never was one
	latest  error
	checked time.Time // when they were last read, or could not be
}

// NewTrust gives the TLS that o describes. It reads nothing yet.
func NewTrust(o TrustOptions) *Trust { return &Trust{TrustOptions: o} }

// Config gives the TLS configuration for a login to n: what Options.TLS asks for. The error is what is wrong with the
// certificates that we were given, and says nothing about the node.
func (t *Trust) Config(ctx context.Context, n target.Node) (*tls.Config, error) {
	base, err := t.base(ctx)
	if err != nil {
		return nil, err
	}
	c := base.Clone()
	if t.ServerName != nil {
		c.ServerName = t.ServerName(n)
	}
	return c, nil
}

// Err is what was wrong with the certificates when they were last read, though those from before may serve on, or that
// the client's is out of date; nil if nothing is.
func (t *Trust) Err() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.latest == nil && t.config != nil && len(t.config.Certificates) > 0 {
		if why := outOfDate(t.config.Certificates[0].Leaf, time.Now()); why != "" {
			return fmt.Errorf("%s: it %s", t.PairName, why)
		}
	}
	return t.latest
}

// Refused says that TLS with these certificates failed, so that they are read again before the next login.
func (t *Trust) Refused() {
	t.mu.Lock()
	t.checked = time.Time{}
	t.mu.Unlock()
	if t.Again != nil {
		t.Again()
	}
}

func (t *Trust) base(ctx context.Context) (*tls.Config, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if age := time.Since(t.checked); t.config != nil && !t.checked.IsZero() && age < trustAge {
		return t.config, nil
	}
	err := t.read(ctx)
	if ctx.Err() == nil { // that we stop is no fault of theirs
		t.latest, t.checked = err, time.Now()
	}
	if t.config == nil {
		return nil, err
	}
	return t.config, nil
}

// read reads everything, and makes a configuration of it if it is other than before and fits together.
func (t *Trust) read(ctx context.Context) error {
	var ca, cert, key []byte
	var err error
	if t.CA != nil {
		if ca, err = t.CA(ctx); err != nil {
			return err
		}
	}
	if t.Pair != nil {
		if cert, key, err = t.Pair(ctx); err != nil {
			return err
		}
	}
	of := sha256.Sum256(fmt.Appendf(nil, "%x %x %x", sha256.Sum256(ca), sha256.Sum256(cert), sha256.Sum256(key)))
	if t.config != nil && of == t.of {
		return nil
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if t.CA != nil {
		if config.RootCAs, err = authorities(ca); err != nil {
			return fmt.Errorf("%s: %w", t.CAName, err)
		}
	}
	if t.Pair != nil {
		pair, err := tls.X509KeyPair(cert, key)
		if err != nil {
			return fmt.Errorf("%s: %w", t.PairName, err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	t.config, t.of = config, of
	return nil
}
