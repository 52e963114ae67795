package app

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/cjworkbench/unstuck/lab"
	"github.com/cjworkbench/unstuck/target"
)

// blackboxModules are the modules that docs/checks.md shows.
var blackboxModules = []string{"tcp", "amqp_greeting", "amqp_login"}

// startBlackbox starts a real blackbox_exporter with these modules, and gives its URL.
func startBlackbox(t *testing.T, l *lab.Lab) string {
	t.Helper()
	block := regexp.MustCompile("(?s)```yaml\n(modules:.*?)```").FindStringSubmatch(readText(t, checksDoc))
	if len(block) < 2 || !strings.Contains(block[1], "FRAMES") {
		t.Fatalf("%s does not show the modules any more", checksDoc)
	}
	user, password := l.Credentials()
	frames := base64.StdEncoding.EncodeToString(loginFrames(user, password))
	file := filepath.Join(t.TempDir(), "blackbox.yml")
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(block[1], "FRAMES", frames)), 0o600); err != nil {
		t.Fatal(err)
	}
	return startServer(t, "Listening on", "prometheus-blackbox-exporter", "--config.file="+file, "--web.listen-address=127.0.0.1:0")
}

// loginFrames is all that a client says in a login to the vhost "/", in one piece. blackbox_exporter ends each thing that
// it sends with a newline, which would be taken for the beginning of the next frame. So nothing can follow, and the
// answers of the broker cannot be waited for. (AMQP 0-9-1, 2.3.5 and the classes' methods.)
func loginFrames(user, password string) []byte {
	const (
		startOK, tuneOK, open = 11, 31, 40 // of the class connection
		frameEnd              = 0xCE
	)
	short := func(s string) []byte { return append([]byte{byte(len(s))}, s...) }
	long := func(s string) []byte { return append(binary.BigEndian.AppendUint32(nil, uint32(len(s))), s...) }
	method := func(id uint16, arguments ...[]byte) []byte {
		payload := binary.BigEndian.AppendUint16([]byte{0, 10}, id)
		payload = append(payload, bytes.Join(arguments, nil)...)
		frame := append([]byte{1, 0, 0}, long(string(payload))...) // of a method, on channel 0
		return append(frame, frameEnd)
	}
	return bytes.Join([][]byte{
		[]byte("AMQP\x00\x00\x09\x01"),
		method(startOK, long(""), short("PLAIN"), long("\x00"+user+"\x00"+password), short("en_US")),
		method(tuneOK, []byte{0, 1}, []byte{0, 2, 0, 0}, []byte{0, 0}), // one channel, frames of 128 KiB, no heartbeat
		method(open, short("/"), short(""), []byte{0}),
	}, nil)
}

// blackbox has blackbox_exporter probe a node with each of its modules, all at once, and gives probe_success by module.
func (c *comparison) blackbox(ctx context.Context, n target.Node) map[string]bool {
	up := make(map[string]bool)
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, module := range blackboxModules {
		wg.Go(func() {
			query := url.Values{"module": {module}, "target": {n.Address}}
			success, err := probeSuccess(ctx, c.exporter+"/probe?"+query.Encode())
			if err != nil {
				c.t.Errorf("probe with blackbox_exporter's %s: %v", module, err)
			}
			mu.Lock()
			defer mu.Unlock()
			up[module] = success
		})
	}
	wg.Wait()
	return up
}

var success = regexp.MustCompile(`(?m)^probe_success ([01])$`)

// probeSuccess reads the metric of that name.
func probeSuccess(ctx context.Context, address string) (bool, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return false, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return false, err
	}
	body, err := io.ReadAll(res.Body)
	if err := errors.Join(err, res.Body.Close()); err != nil {
		return false, err
	}
	is := success.FindSubmatch(body)
	if is == nil {
		return false, fmt.Errorf("%s: %s", res.Status, body)
	}
	return string(is[1]) == "1", nil
}
