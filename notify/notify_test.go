package notify

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cjworkbench/unstuck/remediate/store"
	"github.com/cjworkbench/unstuck/target"
)

// secretPath is the part of a URL that nobody may learn.
const secretPath = "/services/T000/B000/xoxb-hunter2"

// world is what a Notifier has around it: a store on a real directory, leadership, a log, and what was counted.
type world struct {
	t         *testing.T
	documents store.Documents
	store     *store.Store
	log       *logged

	mu      sync.Mutex
	leader  target.Answer
	since   time.Time
	counted map[string]int
	queue   map[string]int
}

func newWorld(t *testing.T) *world {
	t.Helper()
	dir, err := store.NewDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return &world{
		t: t, documents: dir, store: store.New(dir), log: &logged{}, leader: target.Yes, since: began,
		counted: make(map[string]int), queue: make(map[string]int),
	}
}

func (w *world) count(what string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.counted[what]++
}

func (w *world) Notified(receiver, kind string)     { w.count("sent " + receiver + " " + kind) }
func (w *world) NotifyFailed(receiver string)       { w.count("failed " + receiver) }
func (w *world) NotifyDropped(receiver, why string) { w.count("dropped " + receiver + " " + why) }

func (w *world) NotifyQueue(receiver string, waiting int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.queue[receiver] = waiting
}

func (w *world) waiting(receiver string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.queue[receiver]
}

func (w *world) counts() map[string]int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(w.counted)
}

func (w *world) lead(answer target.Answer, since time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.leader, w.since = answer, since
}

func (w *world) isLeader() (target.Answer, time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.leader, w.since
}

// start runs a replica with those receivers until stop is called.
func (w *world) start(receivers ...Receiver) (n *Notifier, stop func()) {
	w.t.Helper()
	n = New(Options{
		Receivers: receivers, Incidents: w.store.Incidents, Documents: w.documents, IsLeader: w.isLeader, Meter: w,
		Log: slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelInfo})), UserAgent: "unstuck/test",
	})
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := n.Run(ctx); err != nil {
			w.t.Error(err)
		}
	}()
	stop = sync.OnceFunc(func() { cancel(); <-done })
	w.t.Cleanup(stop)
	return n, stop
}

// save stores an incident, as the wiring does before it tells the Notifier.
func (w *world) save(n *Notifier, c store.Incident) {
	w.t.Helper()
	if err := w.store.SaveIncident(w.t.Context(), c); err != nil {
		w.t.Fatal(err)
	}
	if n != nil {
		n.Saved(c)
	}
}

// known makes each receiver one that has been known for long.
func (w *world) known(receivers ...Receiver) {
	w.t.Helper()
	for _, r := range receivers {
		if _, err := load(w.t.Context(), w.documents, r.Name, began.Add(-time.Hour)); err != nil {
			w.t.Fatal(err)
		}
	}
}

// logged is a log that goroutines may share.
type logged struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logged) Write(data []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(data)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// hook is a real server that is told.
type hook struct {
	*httptest.Server

	mu   sync.Mutex
	got  []*http.Request
	ids  []string
	body []string
}

// newHook starts a server that answers as told, and keeps what it took.
func newHook(t *testing.T, answer http.HandlerFunc) *hook {
	t.Helper()
	h := &hook{}
	h.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		h.mu.Lock()
		h.got, h.ids, h.body = append(h.got, r), append(h.ids, r.Header.Get(IdempotencyHeader)), append(h.body, string(body))
		h.mu.Unlock()
		if answer != nil {
			answer(w, r)
		}
	}))
	t.Cleanup(h.Close)
	return h
}

func (h *hook) told() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.ids)
}

// receiver is one at that server, by a URL that stands in a file.
func (h *hook) receiver(t *testing.T, name string, change func(*Receiver)) Receiver {
	t.Helper()
	r := DefaultReceiver()
	r.Name, r.Type, r.Timeout = name, JSON, 5*time.Second
	r.GiveUpAfter = time.Since(began) + 24*time.Hour
	r.URLFile = secretFile(t, h.URL+secretPath)
	if change != nil {
		change(&r)
	}
	return r
}

func secretFile(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(text+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// eventually waits until it is so.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for !is() {
		select {
		case <-deadline:
			t.Fatalf("not within 20 s: %s", what)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func TestNotifierTellsEachEventOnceInOrder(t *testing.T) {
	w := newWorld(t)
	h := newHook(t, nil)
	r := h.receiver(t, "hook", nil)
	w.known(r)
	n, stop := w.start(r)
	stages := incident("i")
	for _, kind := range Kinds() {
		w.save(n, stages[kind])
		w.save(n, stages[kind]) // a timeline grows, and is saved again
		eventually(t, string(kind), func() bool { return slices.Contains(h.told(), "i/"+string(kind)) })
	}
	eventually(t, "the last count", func() bool { return w.counts()["sent hook closed"] == 1 })
	stop()
	want := []string{"i/opened", "i/deleted", "i/escalated", "i/closed"}
	if diff := cmp.Diff(want, h.told()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	_, stop = w.start(r) // another start reads what was told
	w.save(nil, incident("j")[Opened])
	stop()
	_, stop = w.start(r)
	eventually(t, "j", func() bool { return slices.Contains(h.told(), "j/opened") })
	// It is counted once the answer is read, and the end comes no earlier.
	counts := map[string]int{"sent hook opened": 2, "sent hook deleted": 1, "sent hook escalated": 1, "sent hook closed": 1}
	eventually(t, "the counts", func() bool { return cmp.Equal(counts, w.counts()) })
	stop()
	if diff := cmp.Diff(append(want, "j/opened"), h.told()); diff != "" {
		t.Errorf("after a start (-want +got):\n%s", diff)
	}
}

func TestNotifierTellsNothingOfBeforeTheReceiver(t *testing.T) {
	w := newWorld(t)
	h := newHook(t, nil)
	w.save(nil, incident("old")[Closed])
	n, _ := w.start(h.receiver(t, "hook", nil))
	eventually(t, "the record", func() bool {
		_, there, err := w.documents.One(t.Context(), store.KindNotified, "hook")
		return there && err == nil
	})
	fresh := incident("new")[Opened]
	fresh.Opened = time.Now()
	w.save(n, fresh)
	eventually(t, "new", func() bool { return len(h.told()) > 0 })
	if diff := cmp.Diff([]string{"new/opened"}, h.told()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestNotifierFilters(t *testing.T) {
	w := newWorld(t)
	h := newHook(t, nil)
	receivers := []Receiver{
		h.receiver(t, "only-closed", func(r *Receiver) { r.Events = []Kind{Closed} }),
		h.receiver(t, "other", func(r *Receiver) { r.Targets = []string{"billing"} }),
		h.receiver(t, "pager", func(r *Receiver) {
			r.Type, r.Events, r.TokenFile = PagerDuty, []Kind{Escalated}, secretFile(t, "key")
		}),
	}
	w.known(receivers...)
	n, _ := w.start(receivers...)
	stages := incident("i")
	for _, kind := range Kinds() {
		w.save(n, stages[kind])
	}
	quiet := incident("quiet") // never escalated: there is nothing to resolve
	w.save(n, quiet[Opened])
	w.save(n, quiet[Closed])
	want := map[string]int{
		"sent only-closed closed": 2, "sent pager escalated": 1, "sent pager closed": 1,
	}
	eventually(t, "all", func() bool { return cmp.Equal(want, w.counts()) && w.waiting("pager") == 0 })
}

// A receiver that hangs, one that answers 500 and one that is not there: each is said in one line, and keeps nobody
// from anything. No secret is in the log.
func TestNotifierGoesOnWhileReceiversFail(t *testing.T) {
	w := newWorld(t)
	release := make(chan struct{})
	hanging := newHook(t, func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	})
	var mended sync.Map
	failing := newHook(t, func(rw http.ResponseWriter, r *http.Request) {
		if _, ok := mended.Load("yes"); !ok {
			http.Error(rw, "no: "+r.URL.Path+r.Header.Get("Authorization"), http.StatusInternalServerError)
		}
	})
	good := newHook(t, nil)
	gone := newHook(t, nil)
	gone.Close()
	receivers := []Receiver{
		hanging.receiver(t, "hangs", func(r *Receiver) { r.Timeout = 50 * time.Millisecond }),
		failing.receiver(t, "fails", func(r *Receiver) { r.TokenFile = secretFile(t, "hunter2-token") }),
		good.receiver(t, "good", nil), gone.receiver(t, "gone", nil),
	}
	w.known(receivers...)
	n, _ := w.start(receivers...)
	before := time.Now()
	for _, kind := range Kinds() {
		w.save(n, incident("i")[kind])
	}
	if took := time.Since(before); took > 5*time.Second {
		t.Errorf("saving took %s", took)
	}
	eventually(t, "the good one", func() bool { return len(good.told()) == 4 })
	eventually(t, "several tries", func() bool {
		c := w.counts()
		return c["failed hangs"] >= 3 && c["failed fails"] >= 3 && c["failed gone"] >= 3
	})
	for name, want := range map[string]string{
		"hangs": "no answer within 50ms", "fails": "it answered 500 Internal Server Error", "gone": "connection refused",
	} {
		lines := 0
		for line := range strings.SplitSeq(w.log.String(), "\n") {
			if strings.Contains(line, "receiver="+name) {
				lines++
				if !strings.Contains(line, want) {
					t.Errorf("%s: %s", want, line)
				}
			}
		}
		if lines != 1 {
			t.Errorf("%d lines about %s, want one, in\n%s", lines, name, w.log)
		}
	}
	mended.Store("yes", true)
	close(release)
	eventually(t, "what failed", func() bool { return w.waiting("fails") == 0 })
	if text := w.log.String(); strings.Contains(text, "hunter2") || !strings.Contains(text, "can be told again") {
		t.Errorf("log:\n%s", text)
	}
}

func TestNotifierHonoursRetryAfter(t *testing.T) {
	w := newWorld(t)
	var mu sync.Mutex
	var first time.Time
	h := newHook(t, func(rw http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if first.IsZero() {
			first = time.Now()
			rw.Header().Set("Retry-After", "3")
			rw.WriteHeader(http.StatusTooManyRequests)
		}
	})
	r := h.receiver(t, "hook", nil)
	w.known(r)
	n, _ := w.start(r)
	w.save(n, incident("i")[Opened])
	eventually(t, "the second try", func() bool { return w.counts()["sent hook opened"] == 1 })
	mu.Lock()
	defer mu.Unlock()
	if waited := time.Since(first); waited < 3*time.Second {
		t.Errorf("tried again after %s, asked to wait 3 s", waited)
	}
}

func TestNotifierDropsWhatIsRefused(t *testing.T) {
	w := newWorld(t)
	h := newHook(t, func(rw http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.Header.Get(IdempotencyHeader), "/opened") {
			http.Error(rw, "cannot parse "+r.URL.Path+"\nfield a", http.StatusBadRequest)
			return
		}
	})
	r := h.receiver(t, "hook", nil)
	w.known(r)
	n, stop := w.start(r)
	w.save(n, incident("i")[Deleted])
	eventually(t, "the next", func() bool { return w.counts()["sent hook deleted"] == 1 })
	stop()
	_, stop = w.start(r)
	w.save(nil, incident("j")[Opened])
	stop()
	if c := w.counts(); c["dropped hook refused"] != 1 {
		t.Errorf("counted %v", c)
	}
	if text := w.log.String(); !strings.Contains(text, "400 Bad Request") || !strings.Contains(text, "field a") || strings.Contains(text, "hunter2") {
		t.Errorf("log:\n%s", text)
	}
}

func TestNotifierBoundsItsQueue(t *testing.T) {
	w := newWorld(t)
	w.lead(target.CannotTell, began)
	h := newHook(t, nil)
	r := h.receiver(t, "hook", func(r *Receiver) { r.Queue, r.Events = 2, []Kind{Opened} })
	w.known(r)
	n, _ := w.start(r)
	for i, id := range []string{"a", "b", "c"} {
		c := incident(id)[Opened]
		c.Opened = c.Opened.Add(time.Duration(i) * time.Second)
		n.Saved(c)
	}
	if c := w.counts(); c["dropped hook queue_full"] != 1 || w.waiting("hook") != 2 {
		t.Errorf("counted %v, %d wait", c, w.waiting("hook"))
	}
	w.lead(target.Yes, began)
	eventually(t, "both", func() bool { return len(h.told()) == 2 })
	if diff := cmp.Diff([]string{"b/opened", "c/opened"}, h.told()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestNotifierGivesUpOnWhatIsOld(t *testing.T) {
	w := newWorld(t)
	h := newHook(t, nil)
	r := h.receiver(t, "hook", func(r *Receiver) { r.GiveUpAfter = time.Hour })
	w.known(r)
	n, _ := w.start(r)
	w.save(n, incident("old")[Opened])
	fresh := incident("new")[Opened]
	fresh.Opened = time.Now()
	w.save(n, fresh)
	eventually(t, "the new one", func() bool { return len(h.told()) == 1 && w.counts()["dropped hook too_old"] == 1 })
	if diff := cmp.Diff([]string{"new/opened"}, h.told()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Only the replica that leads tells. One that takes over reads what its predecessor told, and goes on from there.
func TestNotifierTellsAsLeaderOnly(t *testing.T) {
	w := newWorld(t)
	h := newHook(t, nil)
	r := h.receiver(t, "hook", nil)
	w.known(r)
	w.lead(target.No, time.Time{})
	n, _ := w.start(r)
	w.save(n, incident("i")[Deleted])
	other := record{Since: began.Add(-time.Hour), Told: map[string][]Kind{"i": {Opened}}}
	if err := other.save(t.Context(), w.documents, "hook"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "an empty queue", func() bool { return w.waiting("hook") == 0 })
	if told := h.told(); len(told) > 0 {
		t.Fatalf("told %v, though another leads", told)
	}
	w.lead(target.Yes, began.Add(time.Minute))
	eventually(t, "deleted", func() bool { return len(h.told()) > 0 })
	if diff := cmp.Diff([]string{"i/deleted"}, h.told()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// What was told and could not be written down is not told again by the same replica, even if it has to read anew.
func TestNotifierTellsNothingTwiceWhenItCannotWrite(t *testing.T) {
	w := newWorld(t)
	h := newHook(t, nil)
	r := h.receiver(t, "hook", nil)
	w.known(r)
	broken := &brokenDocuments{Documents: w.documents}
	w.documents = broken
	n, _ := w.start(r)
	broken.set(true)
	w.save(n, incident("i")[Opened])
	eventually(t, "a write that fails", func() bool { return len(h.told()) == 1 && w.counts()["failed hook"] > 0 })
	w.lead(target.Yes, began.Add(time.Minute)) // it reads anew
	broken.set(false)
	w.save(n, incident("j")[Opened])
	eventually(t, "j", func() bool { return len(h.told()) == 2 && w.waiting("hook") == 0 })
	if diff := cmp.Diff([]string{"i/opened", "j/opened"}, h.told()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// brokenDocuments cannot be written while they are broken.
type brokenDocuments struct {
	store.Documents

	mu     sync.Mutex
	broken bool
}

func (d *brokenDocuments) set(broken bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.broken = broken
}

func (d *brokenDocuments) Put(ctx context.Context, kind, name string, data []byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.broken {
		return errors.New("no space left")
	}
	return d.Documents.Put(ctx, kind, name, data)
}

// An end in the middle of a request: nobody knows whether it arrived, and it is told again.
func TestNotifierTellsAgainAfterAnEndInTheMiddle(t *testing.T) {
	w := newWorld(t)
	arrived := make(chan struct{}, 10)
	var mu sync.Mutex
	hang := true
	h := newHook(t, func(_ http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		mu.Lock()
		hangs := hang
		mu.Unlock()
		if hangs {
			<-r.Context().Done()
		}
	})
	r := h.receiver(t, "hook", nil)
	w.known(r)
	n, stop := w.start(r)
	w.save(n, incident("i")[Opened])
	<-arrived
	stop()
	mu.Lock()
	hang = false
	mu.Unlock()
	w.start(r)
	eventually(t, "the second try", func() bool { return w.counts()["sent hook opened"] == 1 })
	if diff := cmp.Diff([]string{"i/opened", "i/opened"}, h.told()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
