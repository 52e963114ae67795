package login

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"

	"github.com/cjworkbench/unstuck/probe"
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
		pool, err := loadAuthorities(caFile)
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
	cert, err := loadPair(certFile, keyFile)
	if err != nil {
		return nil, err
	}
	cfg.Certificates = []tls.Certificate{cert}
	return cfg, nil
}

// loadAuthorities reads every certificate in file. Unlike x509.CertPool.AppendCertsFromPEM it does not skip those
// that it cannot read.
func loadAuthorities(file string) (*x509.CertPool, error) {
	rest, err := probe.ReadFile(file, probe.MaxFile)
	if err != nil {
		return nil, fmt.Errorf("read CA certificates: %w", err)
	}
	pool := x509.NewCertPool()
	for count := 1; ; count++ {
		var block *pem.Block
		block, rest = pem.Decode(rest)
		switch {
		case block == nil && count == 1:
			return nil, fmt.Errorf("CA certificates %s: there is no PEM certificate in it", file)
		case block == nil:
			return pool, nil
		case block.Type != "CERTIFICATE":
			return nil, fmt.Errorf("CA certificates %s: entry %d is a %s, not a CERTIFICATE", file, count, block.Type)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("CA certificates %s: entry %d: %w", file, count, err)
		}
		pool.AddCert(cert)
	}
}

func loadPair(certFile, keyFile string) (tls.Certificate, error) {
	certPEM, err := probe.ReadFile(certFile, probe.MaxFile)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("read client certificate: %w", err)
	}
	keyPEM, err := probe.ReadFile(keyFile, probe.MaxFile)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("read client key: %w", err)
	}
	cert, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("client certificate %s with key %s: %w", certFile, keyFile, err)
	}
	return cert, nil
}
