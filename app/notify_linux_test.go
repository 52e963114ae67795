package app

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"

	"github.com/cjworkbench/unstuck/config"
	"github.com/cjworkbench/unstuck/notify"
	"github.com/cjworkbench/unstuck/remediate/decide"
	"github.com/cjworkbench/unstuck/remediate/store"
	"github.com/cjworkbench/unstuck/target"
)

// TestNotifyReachesARealAlertmanager saves an incident as a loop would, and looks at what a real Alertmanager has then:
// at first one alert, after the escalation two, and none once the incident is closed.
func TestNotifyReachesARealAlertmanager(t *testing.T) {
	dir := t.TempDir()
	file := writeYAML(t, dir, "alertmanager.yml", map[string]any{
		"route": map[string]any{"receiver": "nobody"}, "receivers": []any{map[string]any{"name": "nobody"}},
	})
	alertmanager := startServer(t, "Listening on", "prometheus-alertmanager", "--config.file="+file, "--storage.path="+dir,
		"--web.listen-address=127.0.0.1:0", "--cluster.listen-address=")

	a := newApp(nil, slog.New(slog.DiscardHandler))
	r := notify.DefaultReceiver()
	r.Name, r.Type, r.URL = "am", notify.Alertmanager, alertmanager
	documents, err := store.NewDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	leader := func() (target.Answer, time.Time) { return target.Yes, time.Time{} }
	a.keepRecords(&config.Config{Notify: []notify.Receiver{r}}, store.New(documents), documents, leader)
	if len(a.beside) != 1 {
		t.Fatalf("%d run beside", len(a.beside))
	}
	ctx, cancel := context.WithCancel(t.Context())
	var teller errgroup.Group
	teller.Go(func() error { return a.beside[0](ctx) })
	defer func() {
		cancel()
		if err := teller.Wait(); err != nil {
			t.Error(err)
		}
	}()
	waitFor(t, "the record", func() bool {
		_, there, err := documents.One(ctx, store.KindNotified, "am")
		return err == nil && there
	})

	save := func(c store.Incident) {
		t.Helper()
		if err := a.store.SaveIncident(ctx, c); err != nil {
			t.Fatal(err)
		}
	}
	now := time.Now()
	c := store.Incident{ID: "i-1", Target: "orders", Node: "mq-1", UID: "u", Opened: now}
	c.Decision.Phase, c.Decision.Evidence.Enough, c.Decision.Reason = decide.PhaseConfirmed, true, "3 of 4 logins hang"
	save(c)
	waitFor(t, "the first alert", func() bool {
		return cmp.Equal(firing(t, alertmanager), []string{"UnstuckIncident warning orders mq-1 i-1: 3 of 4 logins hang"})
	})
	d := decide.Deletion{ID: "d", Incident: "i-1", At: now, Accepted: now, Settled: now, Outcome: decide.Escalated, Why: "nothing came back"}
	c.Deletion, c.Outcome = &d, "escalated"
	save(c)
	waitFor(t, "both", func() bool {
		return cmp.Equal(firing(t, alertmanager), []string{
			"UnstuckIncident warning orders mq-1 i-1: nothing came back",
			"UnstuckIncidentEscalated critical orders mq-1 i-1: nothing came back",
		})
	})
	recovered := d
	recovered.Outcome = decide.Recovered
	c.Deletion, c.Outcome, c.Closed = &recovered, "recovered", time.Now()
	save(c)
	waitFor(t, "none", func() bool { return len(firing(t, alertmanager)) == 0 })
}

// firing gives the alerts that an Alertmanager has and that have not ended.
func firing(t *testing.T, url string) (all []string) {
	t.Helper()
	response, err := http.Get(url + "/api/v2/alerts")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var alerts []struct {
		Labels, Annotations map[string]string
	}
	if err := json.NewDecoder(response.Body).Decode(&alerts); err != nil {
		t.Fatal(err)
	}
	for _, a := range alerts {
		l := a.Labels
		all = append(all, strings.Join([]string{l["alertname"], l["severity"], l["target"], l["node"], l["incident"]}, " ")+": "+a.Annotations["description"])
	}
	slices.Sort(all)
	return all
}

// waitFor waits until it is so.
func waitFor(t *testing.T, what string, is func() bool) {
	t.Helper()
	deadline := time.After(time.Minute)
	for !is() {
		select {
		case <-deadline:
			t.Fatalf("not within a minute: %s", what)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// What could not be written down is told to nobody: it would be forgotten. But it may be written all the same.
func TestNotifyTellsNothingThatIsNotStored(t *testing.T) {
	dir, err := store.NewDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	documents := &full{Documents: dir}
	told, doubts := make(map[string]int), 0
	s := telling{store.New(documents), func(c store.Incident) { told[c.ID]++ }, func() { doubts++ }}
	if err := s.SaveIncident(t.Context(), store.Incident{ID: "a"}); err != nil {
		t.Fatal(err)
	}
	if doubts != 0 {
		t.Errorf("%d doubts of what was written", doubts)
	}
	documents.full = true
	if err := s.SaveIncident(t.Context(), store.Incident{ID: "b"}); !errors.Is(err, errFull) {
		t.Errorf("error %v", err)
	}
	if doubts != 1 {
		t.Errorf("%d doubts of what could not be written, want 1", doubts)
	}
	if diff := cmp.Diff(map[string]int{"a": 1}, maps.Clone(told)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

var errFull = errors.New("no space left")

// full are documents that cannot be written while they are full.
type full struct {
	store.Documents

	full bool
}

func (f *full) Put(ctx context.Context, kind, name string, data []byte) error {
	if f.full {
		return errFull
	}
	return f.Documents.Put(ctx, kind, name, data)
}
