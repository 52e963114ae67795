package login

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"os"
	"testing"
	"time"
)

// act is what a fake broker does instead of sending reply, its usual answer. After a nil error the broker goes on
// to serve the connection; after any other error it closes the connection.
type act func(c *fakeConn, reply []byte) error

// errHungUp ends a connection on purpose.
var errHungUp = errors.New("hung up")

// skip leaves this answer out and goes on: a process behind the connection hangs, but not the connection's own.
func skip(*fakeConn, []byte) error { return nil }

// hang reads on and answers nothing more until the client hangs up: a wedged reader, whose socket the kernel
// serves.
func hang(c *fakeConn, _ []byte) error {
	_, err := io.Copy(io.Discard, c.input())
	return errors.Join(err, errHungUp)
}

// freeze neither reads nor writes until the broker is closed: a stopped process.
func freeze(c *fakeConn, _ []byte) error {
	<-c.broker.done
	return errHungUp
}

// hangBeating hangs, and sends a heartbeat at every interval: the incident of 2019.
func hangBeating(every time.Duration) act {
	return func(c *fakeConn, _ []byte) error {
		for {
			c.SetReadDeadline(time.Now().Add(every))
			_, err := io.Copy(io.Discard, c.input())
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				return errors.Join(err, errHungUp)
			}
			if _, err := c.Write(fakeHeartbeat); err != nil {
				return err
			}
		}
	}
}

// drip sends the usual answer, one byte at every interval.
func drip(every time.Duration) act {
	return func(c *fakeConn, reply []byte) error {
		for i := range reply {
			if err := c.wait(every); err != nil {
				return err
			}
			if _, err := c.Write(reply[i : i+1]); err != nil {
				return err
			}
		}
		return nil
	}
}

// after lets d pass, and then does what then says; nil: the usual.
func after(d time.Duration, then act) act {
	return func(c *fakeConn, reply []byte) error {
		if err := c.wait(d); err != nil {
			return err
		}
		if then != nil {
			return then(c, reply)
		}
		_, err := c.Write(reply)
		return err
	}
}

// eof closes the connection in the ordinary way.
func eof(*fakeConn, []byte) error { return errHungUp }

// reset closes it with a RST. On a pipe, which has none, it is an EOF.
func reset(c *fakeConn, _ []byte) error {
	if tcp, ok := c.raw.(*net.TCPConn); ok {
		tcp.SetLinger(0)
	}
	c.raw.Close()
	return errHungUp
}

// say sends other bytes instead of the usual answer, and goes on.
func say(bytes []byte) act {
	return func(c *fakeConn, _ []byte) error {
		_, err := c.Write(bytes)
		return err
	}
}

// sayAndClose sends other bytes instead of the usual answer, and closes the connection.
func sayAndClose(bytes []byte) act {
	return func(c *fakeConn, _ []byte) error {
		_, err := c.Write(bytes)
		return errors.Join(err, errHungUp)
	}
}

// sayAndHang sends other bytes instead of the usual answer, and then nothing more.
func sayAndHang(bytes []byte) act {
	return func(c *fakeConn, _ []byte) error {
		if _, err := c.Write(bytes); err != nil {
			return err
		}
		return hang(c, nil)
	}
}

// refuse sends connection.close, and waits until the client sends close-ok or hangs up.
func refuse(code uint16, text string) act {
	return func(c *fakeConn, _ []byte) error {
		reply := methodFrame(0, methodClose, number(2, uint64(code)), short(text), make([]byte, 4))
		if _, err := c.Write(reply); err != nil {
			return err
		}
		for {
			if err := c.next(); err != nil {
				return err
			}
		}
	}
}

// refuseChannel sends channel.close on channel 1 and goes on.
func refuseChannel(code uint16, text string) act {
	return say(methodFrame(1, methodChannelClose, number(2, uint64(code)), short(text), make([]byte, 4)))
}

// block sends connection.blocked and reads nothing more, like a broker under an alarm. Except for heartbeats no
// answer comes.
func block(reason string) act { return sayAndHang(methodFrame(0, methodBlocked, short(reason))) }

// input is where the client's bytes come from, before and after the protocol has begun.
func (c *fakeConn) input() io.Reader {
	if c.r != nil {
		return c.r
	}
	return c.Conn
}

// What other servers, and hostile ones, say to an AMQP client.
var (
	otherAMQP     = []byte("AMQP\x00\x01\x00\x00") // AMQP 1.0
	sayHTTP       = []byte("HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
	sayTLSAlert   = []byte{0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 0x46} // fatal, protocol_version
	sayGarbage    = []byte("\x01\xff\xfe\x00\x00\x00\x10garbage, garbage, garbage")
	sayOversized  = []byte{1, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0, 10, 0, 10}
	fakeHeartbeat = []byte{8, 0, 0, 0, 0, 0, 0, frameEnd}
)

// fakeCerts is the test's own certificate authority, with a certificate for a broker on 127.0.0.1 or "localhost",
// and one for a client. The PEM is as it is in files.
type fakeCerts struct {
	CA         []byte
	Pool       *x509.CertPool
	Server     tls.Certificate
	ClientCert []byte
	ClientKey  []byte
}

func newFakeCerts(tb testing.TB) fakeCerts {
	tb.Helper()
	check := func(err error) {
		tb.Helper()
		if err != nil {
			tb.Fatal(err)
		}
	}
	serial := int64(0)
	issue := func(name string, parent *x509.Certificate, signer *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey, []byte, []byte) {
		tb.Helper()
		serial++
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		check(err)
		c := &x509.Certificate{
			SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name},
			NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<33, 0), // 1970 to 2242: synctest's clock starts in 2000
			DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
			ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
			IsCA:                  parent == nil,
			KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
			BasicConstraintsValid: true,
		}
		if parent == nil {
			parent, signer = c, key
		}
		der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
		check(err)
		c, err = x509.ParseCertificate(der)
		check(err)
		keyDER, err := x509.MarshalPKCS8PrivateKey(key)
		check(err)
		return c, key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
			pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
	}
	var f fakeCerts
	ca, caKey, caPEM, _ := issue("test authority", nil, nil)
	_, _, serverPEM, serverKey := issue("test broker", ca, caKey)
	_, _, f.ClientCert, f.ClientKey = issue("test client", ca, caKey)
	server, err := tls.X509KeyPair(serverPEM, serverKey)
	check(err)
	f.CA, f.Server, f.Pool = caPEM, server, x509.NewCertPool()
	f.Pool.AddCert(ca)
	return f
}
