package httpapi

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"
)

// How a certificate is kept fresh.
const (
	certificateAge = 10 * time.Second // after which the files are looked at again
	maxCertificate = 1 << 20          // bytes of a file
)

// Certificate is a server's certificate and key, from files that somebody else renews: as soon as they have changed,
// new connections get the new one. While the files are not good, as between the writing of the one and of the other,
// the old one stays.
type Certificate struct {
	certFile, keyFile string
	log               *slog.Logger

	mu        sync.Mutex
	looked    time.Time
	cert, key []byte // of the files that gave the good one
	good      *tls.Certificate
}

// NewCertificate reads the files, both in PEM. It fails if they are not good now.
func NewCertificate(certFile, keyFile string, log *slog.Logger) (*Certificate, error) {
	c := &Certificate{certFile: certFile, keyFile: keyFile, log: log, looked: time.Now()}
	if _, err := c.load(); err != nil {
		return nil, err
	}
	return c, nil
}

// Config gives what a Server needs for TLS.
func (c *Certificate) Config() *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.current(), nil },
	}
}

// Validity says from when to when the certificate holds that callers get now. Those between it and its authority are
// not looked at: they last longer, and chains are served, without harm, that have one which has ended and is not
// needed.
func (c *Certificate) Validity() (from, until time.Time) {
	leaf := c.current().Leaf
	return leaf.NotBefore, leaf.NotAfter
}

// current gives the certificate as of now. The files are looked at when somebody connects, so that nothing needs to
// run in between.
func (c *Certificate) current() *tls.Certificate {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if now.Sub(c.looked).Abs() < certificateAge {
		return c.good
	}
	c.looked = now
	switch changed, err := c.load(); {
	case err != nil:
		c.log.Warn("certificate not renewed: the old one stays", "error", err)
	case changed:
		c.log.Info("certificate renewed", "file", c.certFile, "until", c.good.Leaf.NotAfter)
	}
	return c.good
}

// load reads the files, if they differ from what they last were; or an error, if they do not go together.
func (c *Certificate) load() (changed bool, err error) {
	cert, err := readSmall(c.certFile)
	if err != nil {
		return false, fmt.Errorf("read the certificate: %w", err)
	}
	key, err := readSmall(c.keyFile)
	if err != nil {
		return false, fmt.Errorf("read the certificate's key: %w", err)
	}
	if bytes.Equal(cert, c.cert) && bytes.Equal(key, c.key) {
		return false, nil
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return false, fmt.Errorf("use %s and its key %s: %w", c.certFile, c.keyFile, err)
	}
	c.cert, c.key, c.good = cert, key, &pair
	return true, nil
}

func readSmall(path string) (data []byte, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	data, err = io.ReadAll(io.LimitReader(f, maxCertificate+1))
	if err == nil && len(data) > maxCertificate {
		err = fmt.Errorf("%s is larger than %d bytes", path, maxCertificate)
	}
	return data, err
}
