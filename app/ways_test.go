package app

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/cjworkbench/unstuck/lab"
	"github.com/cjworkbench/unstuck/probe"
	"github.com/cjworkbench/unstuck/probe/login"
	"github.com/cjworkbench/unstuck/target"
)

// TestWaysToReachARealBrokerNeverLookStuck logs in to a healthy node over plain TCP and over TLS, rightly and wrongly. Nothing of
// this may look like a node that a restart would cure.
//
//promise:1
func TestWaysToReachARealBrokerNeverLookStuck(t *testing.T) {
	t.Parallel()
	l := <-startLabs(t, 1, lab.Options{Nodes: 1, TLS: true, HandshakeTimeout: tableHandshake, Root: os.Getenv("UNSTUCK_RABBITMQ_ROOT")})
	node := l.Nodes()[0]
	files := l.TLS()
	load := func(ca, cert, key, name string) *tls.Config {
		c, err := login.LoadTLS(ca, cert, key, name)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	right := load(files.CA, files.Cert, files.Key, "")
	rows := []struct {
		name    string
		address string
		tls     *tls.Config
		vhost   string
		want    probe.Reason
	}{
		{"plain", node.Address, nil, "/", probe.OK},
		{"TLS with a client certificate", l.TLSAddress(node.Name), right, "/", probe.OK},
		{"TLS by the server's name", l.TLSAddress(node.Name), load(files.CA, files.Cert, files.Key, files.ServerName), "/", probe.OK},
		{"TLS by another name", l.TLSAddress(node.Name), load(files.CA, files.Cert, files.Key, "elsewhere.test"), "/", probe.TLS},
		{"TLS without the client certificate", l.TLSAddress(node.Name), load(files.CA, "", "", ""), "/", probe.TLS},
		{"TLS with an authority that is not known", l.TLSAddress(node.Name), load("", files.Cert, files.Key, ""), "/", probe.TLS},
		{"TLS on the plain port", node.Address, right, "/", probe.TLS},
		{"plain on the TLS port", l.TLSAddress(node.Name), nil, "/", probe.Protocol},
		{"a vhost that does not exist", node.Address, nil, "nowhere", probe.NotAllowed},
		{"through a proxy that hangs up", hangUpProxy(t, node.Address), nil, "/", probe.ClosedEarly},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			for _, level := range []probe.Kind{probe.Login, probe.Roundtrip} {
				attempt := login.New(login.Options{
					Level: level, Vhost: row.vhost, TLS: login.Fixed(row.tls), HandshakeTimeout: tableHandshake, Timeout: 4 * time.Second,
					Credentials: func(context.Context) (target.Credentials, error) {
						user, password := l.Credentials()
						return target.Credentials{Username: user, Password: password}, nil
					},
				})
				if r := attempt(t.Context(), target.Node{Address: row.address}); r.Reason != row.want {
					t.Errorf("%s says %s in stage %s (%s), want %s", level, r.Reason, r.Stage, r.Detail, row.want)
				}
			}
		})
	}
}

// hangUpProxy passes the broker's greeting on, and hangs up upon the credentials.
func hangUpProxy(t *testing.T, broker string) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", broker)
			if err == nil {
				const header = 8
				_, _ = io.CopyN(server, client, header)
				greeting := make([]byte, 4096)
				n, _ := server.Read(greeting)
				_, _ = client.Write(greeting[:n])
				_, _ = client.Read(greeting) // the credentials
				_ = server.Close()
			}
			_ = client.Close()
		}
	}()
	t.Cleanup(func() { _ = listener.Close(); <-done })
	return listener.Addr().String()
}

// TestWaysShowEveryReasonOnARealBrokerOrItStandsHere keeps the table whole.
//
//promise:1
func TestWaysShowEveryReasonOnARealBrokerOrItStandsHere(t *testing.T) {
	seen := map[probe.Reason]bool{
		// In TestWaysToReachARealBrokerNeverLookStuck.
		probe.TLS: true, probe.Protocol: true, probe.ClosedEarly: true,
		// A real broker cannot be made to hang at just this point from outside; a fake one does, in package probe.
		probe.AwaitOpen: true, probe.AwaitChannel: true, probe.AwaitConfirm: true, probe.AwaitDelivery: true,
		// A crash of the broker's own, and a metadata store (Khepri, from 4.0 on) without a majority: package probe.
		probe.InternalError: true, probe.NoMetadata: true,
		// Of an application, not of a broker: package probe, and on a real cluster package e2e.
		probe.Silent: true,
		// No probe's, but that of `unstuck diagnose`: package probe.
		probe.ProcessesMove: true,
		// Our own troubles: tests of package probe.
		probe.ExecFailed: true, probe.Cancelled: true, probe.NotRun: true,
	}
	for _, row := range everyRow() {
		seen[row.reason], seen[row.look] = true, true
	}
	for _, v := range probe.Verdicts() {
		if !seen[v.Reason] {
			t.Errorf("no row of the table brings about %s", v.Reason)
		}
	}
}

// TestWaysOfTheLabToBreakANodeAllHaveARow looks for each method of the lab that breaks something in the source of the table.
func TestWaysOfTheLabToBreakANodeAllHaveARow(t *testing.T) {
	var source []byte
	for _, file := range []string{"table_test.go", "table_loaded_test.go"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		source = append(source, text...)
	}
	noFault := strings.Fields(`Start Close Dir View Delete Deletions Exec LastLines Checks Names Nodes Node Credentials TLS TLSAddress
		WaitReady WaitLogin Reset MetadataLockHolder Load Token RenewTLS
		Thaw UnlockMetadata ClearAlarm Revive StartApp RegainMajority Versions RestorePassword AddVhost VhostUp Unlimit RegainLog Reconnect RestoreLogin
		FreeDescriptors FreeConnections OpenListener UnlimitUser ClearDiskAlarm ReleaseQueue ReleaseChannel RestoreDisk DropOnlyMember`)
	others := map[string]bool{}
	for _, name := range noFault {
		others[name] = true
	}
	methods := reflect.TypeFor[*lab.Lab]()
	for method := range methods.Methods() {
		name := method.Name
		used := strings.Contains(string(source), "(*lab.Lab)."+name) || strings.Contains(string(source), "l."+name+"(ctx, node") ||
			strings.Contains(string(source), "l."+name+"(node)")
		if !others[name] && !used {
			t.Errorf("the lab's %s has no row in the table, and does not stand among those that break nothing", name)
		}
	}
}
