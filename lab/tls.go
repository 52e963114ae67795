package lab

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"time"
)

// CertificateUser is the common name of the client's certificate.
const CertificateUser = "unstuck"

// TLSFiles are the files that a client needs to talk to the TLS listeners. The server's certificate holds the
// nodes' addresses and the name ServerName.
type TLSFiles struct {
	CA, Cert, Key     string // paths: the authority, and the client's certificate and key
	ServerName        string
	server, serverKey string
}

// TLS gives the client's files. They are empty without Options.TLS.
func (l *Lab) TLS() TLSFiles { return l.tls }

// TLSAddress gives host:port of a node's TLS listener, "" if there is none.
func (l *Lab) TLSAddress(name string) string {
	n, err := l.node(name)
	if err != nil || !l.opts.TLS {
		return ""
	}
	return net.JoinHostPort(n.host, fmt.Sprint(n.amqps))
}

// Validity says from when until when a certificate holds.
type Validity struct{ From, Until time.Time }

// aDay holds since an hour ago, and for a day from now.
func aDay() Validity {
	now := time.Now()
	return Validity{now.Add(-time.Hour), now.Add(24 * time.Hour)}
}

// makeCertificates writes an authority and the certificates of the nodes (one for all) and of a client to dir.
func makeCertificates(dir string, addrs []netip.Addr, nodes, own Validity) (TLSFiles, error) {
	const name = "rabbit.lab.test"
	f := TLSFiles{ServerName: name}
	ca := template("unstuck lab CA")
	ca.IsCA, ca.BasicConstraintsValid, ca.KeyUsage = true, true, x509.KeyUsageCertSign
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return f, fmt.Errorf("make a key: %w", err)
	}
	server := template(name)
	server.NotBefore, server.NotAfter = nodes.From, nodes.Until
	server.DNSNames, server.ExtKeyUsage = []string{name}, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	for _, a := range addrs {
		server.IPAddresses = append(server.IPAddresses, a.AsSlice())
	}
	client := template(CertificateUser)
	client.NotBefore, client.NotAfter = own.From, own.Until
	client.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	for _, c := range []struct {
		file      string
		cert      *x509.Certificate
		key       *ecdsa.PrivateKey
		path, own *string
	}{
		{"ca", ca, caKey, &f.CA, new(string)},
		{"server", server, nil, &f.server, &f.serverKey},
		{"client", client, nil, &f.Cert, &f.Key},
	} {
		if c.key == nil {
			if c.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
				return f, fmt.Errorf("make a key: %w", err)
			}
		}
		der, err := x509.CreateCertificate(rand.Reader, c.cert, ca, &c.key.PublicKey, caKey)
		if err != nil {
			return f, fmt.Errorf("make a certificate: %w", err)
		}
		key, err := x509.MarshalPKCS8PrivateKey(c.key)
		if err != nil {
			return f, fmt.Errorf("encode a key: %w", err)
		}
		*c.path, *c.own = filepath.Join(dir, c.file+".pem"), filepath.Join(dir, c.file+"-key.pem")
		if err := writePEM(*c.path, "CERTIFICATE", der); err != nil {
			return f, err
		}
		if err := writePEM(*c.own, "PRIVATE KEY", key); err != nil {
			return f, err
		}
	}
	return f, nil
}

func template(name string) *x509.Certificate {
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil { // never (crypto/rand)
		serial = big.NewInt(time.Now().UnixNano())
	}
	return &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name},
		NotBefore: aDay().From, NotAfter: aDay().Until,
		KeyUsage: x509.KeyUsageDigitalSignature,
	}
}

func writePEM(path, kind string, der []byte) error {
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		return fmt.Errorf("write a certificate or key: %w", err)
	}
	return nil
}
