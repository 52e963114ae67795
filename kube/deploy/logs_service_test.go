package deploy

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/cjworkbench/unstuck/kube/apiserver"
	"github.com/cjworkbench/unstuck/release"
	"github.com/cjworkbench/unstuck/release/plan"
)

// texts gives lines as "pod text".
func texts(lines []release.LogLine) []string {
	var all []string
	for _, l := range lines {
		all = append(all, l.Pod+" "+l.Text)
	}
	return all
}

func states(pods []release.PodLog) []string {
	var all []string
	for _, p := range pods {
		all = append(all, strings.TrimSpace(fmt.Sprintf("%s %s %s", p.Pod, p.State, p.Why)))
	}
	return all
}

func TestClustersServiceLogHasAllPodsLinesInTheOrderOfTheirTimes(t *testing.T) {
	h := newLogHost(t)
	h.add("cron-a", stamped(1, "one")+stamped(3, "three")+stamped(3, "three again")+stamped(6, "six"))
	h.add("cron-b", stamped(2, "two")+stamped(4.5, "bad \xff\x1b[31m")+stamped(5, "five"))
	h.add("cron-waits", "")
	h.change("cron-waits", func(l *podsLog) {
		l.refused = `container "app" in pod "cron-waits" is waiting to start: ContainerCreating`
	})
	h.add("cron-odd", "unable to retrieve container logs for containerd://0123\n")
	done := h.add("cron-done", stamped(0, "zero")+strings.TrimSuffix(stamped(7, "no end"), "\n"))
	done.Status.Phase, done.Status.Reason = corev1.PodFailed, "Evicted"
	r := h.clusters()
	for _, c := range []struct {
		query release.LogQuery
		want  []string
	}{
		{release.LogQuery{Lines: 100}, []string{
			"cron-done zero", "cron-a one", "cron-b two", "cron-a three", "cron-a three again", "cron-b bad ?\x1b[31m", "cron-b five", "cron-a six", "cron-done no end",
		}},
		{release.LogQuery{Lines: 3}, []string{"cron-b five", "cron-a six", "cron-done no end"}},
		{release.LogQuery{Lines: 100, After: past.Add(4400 * time.Millisecond)}, []string{"cron-b bad ?\x1b[31m", "cron-b five", "cron-a six", "cron-done no end"}},
		{release.LogQuery{Lines: 100, After: past.Add(5 * time.Second)}, []string{"cron-a six", "cron-done no end"}},
	} {
		c.query.Service = "cron"
		got, err := r.ServiceLog(t.Context(), testEnvironment(), c.query)
		if diff := cmp.Diff(c.want, texts(got.Lines)); err != nil || diff != "" || got.Cut {
			t.Errorf("%+v: %v, cut %t\n%s", c.query, err, got.Cut, diff)
		}
		pods := []string{
			"cron-a read", "cron-b read", "cron-done ended Evicted",
			"cron-odd unread unable to retrieve container logs for containerd://0123",
			`cron-waits unread container "app" in pod "cron-waits" is waiting to start: ContainerCreating`,
		}
		if diff := cmp.Diff(pods, states(got.Pods)); diff != "" {
			t.Errorf("pods (-want +got):\n%s", diff)
		}
	}
}

func TestClustersServiceLogRefusesWhatCannotBeReadAndSaysWhatCould(t *testing.T) {
	h := newLogHost(t)
	h.add("cron-a", "")
	r := h.clusters()
	for _, c := range []struct {
		service, container, why, want string
	}{
		{"nobody", "", `environment production has no service "nobody"`, ""},
		{"cron", "sidecar", `no pod of service cron has a container "sidecar"`, "ask for setup, app, proxy"},
	} {
		_, err := r.ServiceLog(t.Context(), testEnvironment(), release.LogQuery{Service: c.service, Container: c.container, Lines: 1})
		var refusal *plan.Refusal
		if !errors.As(err, &refusal) || refusal.Code != plan.NotFound || refusal.Why != c.why || refusal.Hint != c.want {
			t.Errorf("%+v: %v", c, err)
		}
	}
	if _, err := r.ServiceLog(t.Context(), testEnvironment(), release.LogQuery{Service: "gone", Lines: 1}); !errors.Is(err, release.ErrNotFound) {
		t.Errorf("no Deployment: %v", err)
	}
	synctest.Test(t, func(t *testing.T) { // it is tried for a while
		h := newLogHost(t)
		h.away = true
		_, err := h.clusters().ServiceLog(t.Context(), testEnvironment(), release.LogQuery{Service: "cron", Lines: 1})
		if err == nil || errors.Is(err, release.ErrNotFound) {
			t.Errorf("no API server: %v", err)
		}
	})
}

func TestClustersServiceLogIsBounded(t *testing.T) {
	h := newLogHost(t)
	for i := range mostLogPods + 5 {
		var b strings.Builder
		for j := range 30 {
			b.WriteString(stamped(float64(j), strings.Repeat("x", 2*apiserver.LongestLine)))
		}
		h.add(fmt.Sprintf("cron-%02d", i), b.String())
	}
	got, err := h.clusters().ServiceLog(t.Context(), testEnvironment(), release.LogQuery{Service: "cron", Lines: 1000})
	if err != nil {
		t.Fatal(err)
	}
	bytes := 0
	for _, l := range got.Lines {
		bytes += len(l.Text)
	}
	if bytes > mostLogBytes || bytes < mostLogBytes-apiserver.LongestLine || !got.Cut {
		t.Errorf("%d bytes, cut %t", bytes, got.Cut)
	}
	if len(got.Pods) != mostLogPods || got.Pods[0].Pod != "cron-05" {
		t.Errorf("%d pods, from %s: want the newest", len(got.Pods), got.Pods[0].Pod)
	}
}

func TestPlaceReadGivesNothingTwice(t *testing.T) {
	a, b, c := stamped(1, "a"), stamped(1, "b"), stamped(1.5, "c")
	for _, tc := range []struct {
		name  string
		from  place
		reads []string
		want  []string
	}{
		{"it goes on", place{}, []string{a, a + b + c}, []string{"a", "b", "c"}},
		{"it begins at a later second", place{}, []string{a + c, c + stamped(9, "d")}, []string{"a", "c", "d"}},
		{"it was rotated", place{}, []string{a + b, stamped(2, "x")}, []string{"a", "b", "x"}},
		{"it was cut off within a line", place{}, []string{a + strings.TrimSuffix(b, "b\n"), a + b}, []string{"a", "b"}},
		{"what is of that time has all been seen", startAfter(past.Add(time.Second)), []string{a + b, a + b + c}, []string{"c"}},
		{"a clock that went back is read on", place{}, []string{c + a, c + a + stamped(3, "d")}, []string{"c", "a", "d"}},
	} {
		at, got := tc.from, []string(nil)
		for i, text := range tc.reads {
			if err := at.read(strings.NewReader(text), i == len(tc.reads)-1, func(l release.LogLine) bool { got = append(got, l.Text); return true }); err != nil {
				t.Error(err)
			}
		}
		if !slices.Equal(got, tc.want) {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
	}
}

// tail follows the log of the service cron in a bubble, until stop; what came is in lines and news.
type tailing struct {
	lines, news []string
	times       []time.Time // when each line came
	err         error
	stop        context.CancelFunc
}

func follow(t *testing.T, h *logHost, q release.LogQuery) *tailing {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	f, done := &tailing{}, make(chan struct{})
	f.stop = func() { stop(); <-done }
	t.Cleanup(f.stop)
	q.Service = "cron"
	r := h.clusters()
	go func() {
		defer close(done)
		f.err = r.FollowServiceLog(ctx, testEnvironment(), q, func(part release.ServiceLog) error {
			f.news = append(f.news, states(part.Pods)...)
			f.lines = append(f.lines, texts(part.Lines)...)
			for range part.Lines {
				f.times = append(f.times, time.Now())
			}
			return nil
		})
	}()
	synctest.Wait()
	return f
}

func (f *tailing) expect(t *testing.T, lines, news []string) {
	t.Helper()
	synctest.Wait()
	if diff := cmp.Diff(lines, f.lines); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(news, f.news); diff != "" {
		t.Errorf("news (-want +got):\n%s", diff)
	}
	f.lines, f.news = nil, nil
}

func TestClustersFollowServiceLogGoesOnThroughARollout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newLogHost(t)
		h.add("cron-old", stamped(1, "a")+stamped(2, "b"))
		f := follow(t, h, release.LogQuery{Lines: 1})
		f.expect(t, []string{"cron-old b"}, []string{"cron-old read"})

		h.write("cron-old", stamped(3, "c"))
		time.Sleep(reorderFor)
		f.expect(t, []string{"cron-old c"}, nil)

		h.add("cron-new", stamped(4, "starts"))
		time.Sleep(podsPoll + reorderFor)
		f.expect(t, []string{"cron-new starts"}, []string{"cron-new read"})

		h.write("cron-new", stamped(6, "second"))
		h.write("cron-old", stamped(5, "first"))
		time.Sleep(reorderFor)
		f.expect(t, []string{"cron-old first", "cron-new second"}, nil)

		h.write("cron-old", stamped(7, "last words"))
		h.remove("cron-old")
		time.Sleep(podsPoll + logPoll + reorderFor)
		f.expect(t, []string{"cron-old last words"}, []string{"cron-old ended it is gone"})

		time.Sleep(time.Hour)
		h.write("cron-new", stamped(8, "still there"))
		time.Sleep(reorderFor)
		f.expect(t, []string{"cron-new still there"}, nil)
		f.stop()
		if !errors.Is(f.err, context.Canceled) {
			t.Errorf("it ended with %v", f.err)
		}
	})
}

func TestClustersFollowServiceLogFollowsAContainerThatStartsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newLogHost(t)
		h.add("cron-a", stamped(1, "run 1"))
		f := follow(t, h, release.LogQuery{Lines: 10})
		h.change("cron-a", func(l *podsLog) { l.text, l.runs = l.text+stamped(1, "dies"), false })
		time.Sleep(time.Minute) // in which its log is read again and again
		f.expect(t, []string{"cron-a run 1", "cron-a dies"}, []string{"cron-a read"})
		h.change("cron-a", func(l *podsLog) { l.refused = "back-off 40s" })
		time.Sleep(time.Minute)
		f.expect(t, nil, []string{"cron-a unread back-off 40s"})
		h.change("cron-a", func(l *podsLog) { l.refused, l.text, l.runs = "", stamped(9, "run 2"), true })
		time.Sleep(logPoll + reorderFor)
		f.expect(t, []string{"cron-a run 2"}, []string{"cron-a read"})
	})
}

func TestClustersFollowServiceLogGoesOnWhileTheAPIServerIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newLogHost(t)
		h.add("cron-a", stamped(1, "a"))
		ended := h.add("cron-b", stamped(0, "b"))
		ended.Status.Phase = corev1.PodSucceeded
		f := follow(t, h, release.LogQuery{Lines: 10})
		f.expect(t, []string{"cron-b b", "cron-a a"}, []string{"cron-a read", "cron-b ended Succeeded"})
		h.mu.Lock()
		h.away = true
		h.mu.Unlock()
		time.Sleep(time.Minute)
		h.write("cron-a", stamped(2, "c"))
		time.Sleep(reorderFor)
		f.expect(t, []string{"cron-a c"}, nil)
	})
}

func TestClustersFollowServiceLogEndsWhenNobodyTakesWhatComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newLogHost(t)
		h.add("cron-a", stamped(1, "a"))
		gone := errors.New("the client went away")
		n := 0
		done := make(chan error)
		go func() {
			done <- h.clusters().FollowServiceLog(t.Context(), testEnvironment(), release.LogQuery{Service: "cron", Lines: 1}, func(release.ServiceLog) error {
				if n++; n > 1 {
					return gone
				}
				return nil
			})
		}()
		synctest.Wait()
		h.write("cron-a", stamped(2, "b"))
		if err := <-done; !errors.Is(err, gone) {
			t.Errorf("%v", err)
		}
	}) // the bubble sees that no goroutine is left
}

func TestMergerLetsAPodWithASlowClockHoldNobodyBack(t *testing.T) {
	var m merger
	now := past
	var late time.Duration
	for i := range 10_000 { // cron-slow is an hour behind, and logs all the time
		now = now.Add(10 * time.Millisecond)
		m.put(held{at: now.Add(-time.Hour), line: release.LogLine{Pod: "slow"}}, now)
		if i%100 == 0 {
			m.put(held{at: now, line: release.LogLine{Pod: "good", At: now}}, now)
		}
		for h := m.next(now); h != nil; h = m.next(now) {
			if h.line.Pod == "good" {
				late = max(late, now.Sub(h.line.At))
			}
		}
	}
	if late == 0 || late > reorderFor+20*time.Millisecond {
		t.Errorf("it came %s late", late)
	}
}

func TestMergerOrdersWhatComesWithinASecondAndLosesNothing(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	var m merger
	var got []time.Time
	now, put := past, 0
	take := func() {
		for h := m.next(now); h != nil; h = m.next(now) {
			got = append(got, h.at)
		}
	}
	for now.Before(past.Add(time.Minute)) {
		now = now.Add(time.Duration(random.IntN(50)) * time.Millisecond)
		m.put(held{at: now.Add(-time.Duration(random.IntN(900)) * time.Millisecond)}, now)
		put++
		take()
	}
	now = now.Add(reorderFor)
	take()
	if len(got) != put || !slices.IsSortedFunc(got, time.Time.Compare) {
		t.Errorf("%d of %d came, in order: %t", len(got), put, slices.IsSortedFunc(got, time.Time.Compare))
	}
	for range mostHeld * 3 { // a flood
		m.put(held{at: now}, now)
		take()
		if len(m.byTime) > mostHeld {
			t.Fatalf("%d are held", len(m.byTime))
		}
	}
}
