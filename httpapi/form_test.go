package httpapi

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/cjworkbench/unstuck/auth"
	"github.com/cjworkbench/unstuck/httpapi/apitest"
)

// forms reads a form of everybody's, and of ada's as of somebody who is known.
var forms = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Who") != "" {
		r = r.WithContext(context.WithValue(r.Context(), callerKey{}, auth.Caller{Name: "ada"}))
	}
	if err := ReadForm(w, r); err != nil {
		p := adapter{}.ProblemOf(r, err)
		http.Error(w, p.Detail, p.Status)
		return
	}
	<-time.After(2 * strangersFormTime) // what is looked up meanwhile may take its time
	_, _ = fmt.Fprint(w, len(r.PostForm.Get("token")), r.Context().Err() == nil)
})

func TestReadFormTakesLittleOfAStrangerAndWaitsForItShortly(t *testing.T) {
	const line = "POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n"
	for name, c := range map[string]struct {
		more, body string
		length     int
		want       string
		within     time.Duration
	}{
		"a token":                         {"", "token=" + strings.Repeat("a", 2800), 2806, "200 2800 true", 3 * strangersFormTime},
		"a form of who is known":          {"Who: ada\r\n", "token=" + strings.Repeat("a", 60000), 60006, "200 60000 true", 3 * strangersFormTime},
		"too much":                        {"", "", maxStrangersForm + 1, "413 the form is larger than 8192 bytes", strangersFormTime},
		"too much of who is known":        {"Who: ada\r\n", "", MaxBody + 1, "413 the form is larger than 65536 bytes", readTimeout},
		"half a form":                     {"", "token=a", 100, "400 the form cannot be read, or is larger than 8192 bytes", strangersFormTime},
		"a form of another origin's page": {"Origin: https://evil.example\r\n", "", 100, "403 a page of another origin may not change anything here", strangersFormTime},
	} {
		serving(t, forms, func(t *testing.T, p *apitest.Pipes, cancel context.CancelFunc, done <-chan error) {
			began := time.Now()
			conn, in := p.Dial(t)
			go func() {
				_, _ = io.WriteString(conn, line+c.more+fmt.Sprintf("Content-Length: %d\r\n\r\n", c.length)+c.body)
			}()
			r, err := http.ReadResponse(in, nil)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if body := apitest.BodyOf(t, r.Body); strings.TrimSpace(fmt.Sprint(r.StatusCode, " ", body)) != c.want || time.Since(began) > c.within {
				t.Errorf("%s: %d %s after %s, want %s within %s", name, r.StatusCode, body, time.Since(began), c.want, c.within)
			}
			_, _ = r.Body.Close(), conn.Close()
			cancel()
			<-done
		})
	}
}

// A form that comes in chunks says not how long it is.
func TestReadFormStopsAtTheBoundOfAStranger(t *testing.T) {
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "/", io.MultiReader(strings.NewReader("token="), strings.NewReader(strings.Repeat("a", maxStrangersForm))))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if err := ReadForm(nil, r); err == nil || !strings.Contains(err.Error(), "larger than 8192 bytes") {
		t.Errorf("%v", err)
	}
	if _, err := bufio.NewReader(r.Body).ReadByte(); err == nil {
		t.Error("there is more to read")
	}
}
