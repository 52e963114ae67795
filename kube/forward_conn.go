package kube

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/streaming/pkg/httpstream"
)

const (
	// faultLimit bounds what is read of why a port could not be forwarded.
	faultLimit = 4 << 10
	// faultWait is how long the reason may come after the end of the data.
	faultWait = time.Second
)

// forwarded is one connection to a port of a pod: two streams, of data and of what went wrong on the other side
// (k8s.io/kubelet, port forward protocol v1).
type forwarded struct {
	httpstream.Stream // the data

	connection httpstream.Connection
	address    podAddress
	ended      chan struct{} // closed when the stream of errors has ended
	fault      string        // what it said; only after ended
}

func newForwarded(c httpstream.Connection, pod string, port int32) (_ *forwarded, err error) {
	defer func() {
		if err != nil {
			_ = c.Close()
		}
	}()
	h := http.Header{}
	h.Set(corev1.StreamType, corev1.StreamTypeError)
	h.Set(corev1.PortHeader, strconv.Itoa(int(port)))
	h.Set(corev1.PortForwardRequestIDHeader, "0")
	faults, err := c.CreateStream(h)
	if err != nil {
		return nil, fmt.Errorf("open the stream of errors: %w", err)
	}
	if err := faults.Close(); err != nil { // we write nothing to it
		return nil, fmt.Errorf("close our half of the stream of errors: %w", err)
	}
	h.Set(corev1.StreamType, corev1.StreamTypeData)
	data, err := c.CreateStream(h)
	if err != nil {
		return nil, fmt.Errorf("open the stream of data: %w", err)
	}
	f := &forwarded{
		Stream: data, connection: c, address: podAddress(fmt.Sprintf("%s:%d", pod, port)), ended: make(chan struct{}),
	}
	go func() { // Close waits for it
		defer close(f.ended)
		text, _ := io.ReadAll(io.LimitReader(faults, faultLimit))
		f.fault = strings.TrimSpace(string(text))
	}()
	return f, nil
}

// Read reads what the pod sends. At the end of it, it says why that came, if the other side said so: that nothing
// listens there, for instance.
func (f *forwarded) Read(b []byte) (int, error) {
	n, err := f.Stream.Read(b)
	if err == nil || n > 0 {
		return n, nil
	}
	timer := time.NewTimer(faultWait)
	defer timer.Stop()
	select {
	case <-f.ended:
		if f.fault != "" {
			return 0, errors.New(f.fault)
		}
	case <-timer.C:
	}
	return 0, err
}

// Close ends the connection, and all that belongs to it.
func (f *forwarded) Close() error {
	err := f.connection.Close()
	<-f.ended
	return err
}

// podAddress is the name of a pod, and a port.
type podAddress string

func (podAddress) Network() string  { return "tcp" }
func (a podAddress) String() string { return string(a) }

// LocalAddr implements net.Conn.
func (f *forwarded) LocalAddr() net.Addr { return podAddress("") }

// RemoteAddr implements net.Conn.
func (f *forwarded) RemoteAddr() net.Addr { return f.address }

// SetDeadline implements net.Conn. The streams have no deadlines; net/http ends what takes too long by closing it.
func (*forwarded) SetDeadline(time.Time) error { return os.ErrNoDeadline }

// SetReadDeadline implements net.Conn.
func (*forwarded) SetReadDeadline(time.Time) error { return os.ErrNoDeadline }

// SetWriteDeadline implements net.Conn.
func (*forwarded) SetWriteDeadline(time.Time) error { return os.ErrNoDeadline }
