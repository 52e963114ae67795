package login

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"time"

	"github.com/cjworkbench/unstuck/probe"
	"github.com/cjworkbench/unstuck/target"
)

// LoadTLS gives the TLS configuration of a client that speaks TLS 1.2 or later. Every argument may be empty. caFile
// is a file of PEM certificates; without it the client trusts the system's authorities. certFile and keyFile are
// the client's own certificate, and come together or not at all. Without serverName the client expects the name
// that it dials.
//
// LoadTLS reads the files once. An error names the file, and never repeats its content.
func LoadTLS(caFile, certFile, keyFile, serverName string) (*tls.Config, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: serverName}
	if caFile != "" {
		pool, err := LoadAuthorities(caFile)
		if err != nil {
			return nil, err
		}
		cfg.RootCAs = pool
	}
	switch {
	case certFile == "" && keyFile == "":
		return cfg, nil
	case certFile == "":
		return nil, fmt.Errorf("client key %s: its certificate is not given", keyFile)
	case keyFile == "":
		return nil, fmt.Errorf("client certificate %s: its key is not given", certFile)
	}
	cert, err := LoadPair(certFile, keyFile)
	if err != nil {
		return nil, err
	}
	cfg.Certificates = []tls.Certificate{cert}
	return cfg, nil
}

// Fixed has each login use the same configuration; nil: none, plain AMQP. It is what Options.TLS asks for.
func Fixed(c *tls.Config) func(context.Context, target.Node) (*tls.Config, error) {
	if c == nil {
		return nil
	}
	return func(context.Context, target.Node) (*tls.Config, error) { return c, nil }
}

// LoadAuthorities reads every certificate in a file of PEM. Errors name the file, and never repeat its content.
func LoadAuthorities(file string) (*x509.CertPool, error) {
	data, err := probe.ReadFile(file, probe.MaxFile)
	if err != nil {
		return nil, fmt.Errorf("read CA certificates: %w", err)
	}
	pool, err := authorities(data)
	if err != nil {
		return nil, fmt.Errorf("CA certificates %s: %w", file, err)
	}
	return pool, nil
}

// authorities reads every certificate in data. Unlike x509.CertPool.AppendCertsFromPEM it does not skip those that it
// cannot read.
func authorities(data []byte) (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	for count := 1; ; count++ {
		var block *pem.Block
		block, data = pem.Decode(data)
		switch {
		case block == nil && count == 1:
			return nil, errors.New("there is no PEM certificate in it")
		case block == nil:
			return pool, nil
		case block.Type != "CERTIFICATE":
			return nil, fmt.Errorf("entry %d is a %s, not a CERTIFICATE", count, block.Type)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("entry %d: %w", count, err)
		}
		pool.AddCert(cert)
	}
}

// LoadPair reads a certificate and its key from files of PEM. Errors name the files, and never repeat their content.
func LoadPair(certFile, keyFile string) (tls.Certificate, error) {
	certPEM, keyPEM, err := readPair(certFile, keyFile)
	if err != nil {
		return tls.Certificate{}, err
	}
	cert, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("client certificate %s with key %s: %w", certFile, keyFile, err)
	}
	return cert, nil
}

func readPair(certFile, keyFile string) (cert, key []byte, err error) {
	if cert, err = probe.ReadFile(certFile, probe.MaxFile); err != nil {
		return nil, nil, fmt.Errorf("read client certificate: %w", err)
	}
	if key, err = probe.ReadFile(keyFile, probe.MaxFile); err != nil {
		return nil, nil, fmt.Errorf("read client key: %w", err)
	}
	return cert, key, nil
}

// validity says how long the certificate holds that the other side presented: of a handshake that went well the first
// of its certificates, and of one in which we did not trust them the first of those. Nil: it presented none.
func validity(presented []*x509.Certificate, err error) *probe.Validity {
	if untrusted, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		presented = untrusted.UnverifiedCertificates
	}
	if len(presented) == 0 {
		return nil
	}
	return &probe.Validity{From: presented[0].NotBefore, Until: presented[0].NotAfter}
}

// outOfDate says that a certificate has expired, or is not valid yet, as the end of a sentence about it; "" if it
// holds.
func outOfDate(c *x509.Certificate, now time.Time) string {
	switch {
	case c == nil:
		return ""
	case now.After(c.NotAfter):
		return "expired at " + c.NotAfter.UTC().Format(time.RFC3339)
	case now.Before(c.NotBefore):
		return "is not valid before " + c.NotBefore.UTC().Format(time.RFC3339)
	}
	return ""
}
