package login

import (
	"io"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestLostExceptsWhatWasSentAMomentAgo(t *testing.T) {
	for _, row := range []struct {
		name string
		info unix.TCPInfo
		want bool
	}{
		{"everything is acknowledged", unix.TCPInfo{Last_data_sent: 12000}, false},
		{"it was sent again, and then acknowledged", unix.TCPInfo{Total_retrans: 3, Last_data_sent: 12000}, false},
		{"a heartbeat is on its way", unix.TCPInfo{Unacked: 1, Last_data_sent: 3}, false},
		{"it is on its way for as long as a kernel may wait", unix.TCPInfo{Unacked: 1, Last_data_sent: 200}, false},
		{"it was sent again, and is not acknowledged", unix.TCPInfo{Unacked: 1, Retransmits: 1, Last_data_sent: 10}, true},
		{"it is not acknowledged for long", unix.TCPInfo{Unacked: 1, Last_data_sent: 1001}, true},
	} {
		if got := lost(&row.info); got != row.want {
			t.Errorf("%s: lost %v, want %v", row.name, got, row.want)
		}
	}
}

// The kernel tells right after each of many writes, some of which are unacknowledged at that moment.
func TestLostExceptsAWriteRightBeforeTheLook(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	served := make(chan struct{})
	go func() {
		defer close(served)
		if conn, err := l.Accept(); err == nil {
			_, _ = io.Copy(io.Discard, conn)
			conn.Close()
		}
	}()
	conn, err := net.DialTimeout("tcp", l.Addr().String(), time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	for range 1000 {
		if _, err := conn.Write(fakeHeartbeat); err != nil {
			t.Fatal(err)
		}
		if sent, _ := unacknowledged(conn); sent {
			t.Fatal("a write of a moment ago is called lost")
		}
	}
	conn.Close()
	<-served
}
