package stuck

import (
	"bytes"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cjworkbench/unstuck/probe"
)

// glance parses what maybe_stuck might print after this much of the hour.
func glance(t *testing.T, after time.Duration, total int, records ...string) *probe.Processes {
	t.Helper()
	return parsed(t, after, announced(total, len(records), strings.Join(records, "")))
}

// parsed parses text, with its times set to this much after an hour.
func parsed(t *testing.T, after time.Duration, text string) *probe.Processes {
	t.Helper()
	at := time.Date(2026, 11, 23, 3, 0, 0, 0, time.UTC).Add(after).Format(time.DateTime)
	lines := strings.SplitAfter(text, "\n")
	for i, line := range lines {
		if rest, ok := afterTime([]byte(line)); ok {
			lines[i] = at + " " + string(rest)
		}
	}
	p, err := Parse(strings.NewReader(strings.Join(lines, "")))
	if err != nil {
		t.Fatal(err)
	}
	return &p
}

func pid(n int) string { return fmt.Sprintf("<12060.%d.0>", n) }

// many gives a record for each of n processes, numbered from first on.
func many(first, n, waiting int, frames ...string) []string {
	var all []string
	for i := range n {
		all = append(all, oneRecord(pid(first+i), waiting, frames...))
	}
	return all
}

var (
	strangeFrames = []string{"acme_quota,ask,1", "rabbit_reader,auth_phase,2"}
	workFrames    = []string{"gen,do_call,4", "rabbit_channel,handle_method,3"}
	peerFrames    = []string{"delegate,invoke,3", "rabbit_channel,handle_method,3"}
	clientFrames  = []string{"gen,do_call,4", "ssl_gen_statem,handshake,2", "rabbit_reader,init,3"}
	limitFrames   = []string{"rabbit_networking,setup_socket,1", "rabbit_reader,init,3"}
	idleFrames    = []string{"erts_code_purger,wait_for_request,0"}
)

func TestDiagnoseProvesByTwoLooksWhatHasNotMoved(t *testing.T) {
	logins := many(100, 4, 1, loginFrames...)
	const minute = time.Minute
	for name, test := range map[string]struct {
		earlier, later *probe.Processes
		want           probe.Reason
		proved         bool
		persisting     int
		detail         string
	}{
		"a wedge":                      {glance(t, 0, 300, logins...), glance(t, minute, 300, logins...), probe.ProcessesStuck, true, 4, "4 connections hang in their login, with a message waiting, where they already hung 60 s before"},
		"a wedge for 40 s":             {glance(t, 0, 300, logins...), glance(t, LooksApart, 300, logins...), probe.ProcessesStuck, true, 4, "40 s before"},
		"one of several stays":         {glance(t, 0, 300, many(100, 4, 1, loginFrames...)...), glance(t, minute, 300, many(103, 4, 1, loginFrames...)...), probe.ProcessesStuck, true, 1, "1 connection hangs in its login, with a message waiting, where it already hung"},
		"no message waited at first":   {glance(t, 0, 300, many(100, 4, 0, loginFrames...)...), glance(t, minute, 300, logins...), probe.ProcessesStuck, true, 4, "already hung"},
		"no message ever waits":        {glance(t, 0, 300, many(100, 4, 0, loginFrames...)...), glance(t, minute, 300, many(100, 4, 0, loginFrames...)...), probe.OK, false, 4, "no message waits for them, which is no sign yet"},
		"39 s are too short":           {glance(t, 0, 300, logins...), glance(t, 39*time.Second, 300, logins...), probe.ProcessesStuck, false, 4, "but 39 s do not prove it"},
		"days":                         {glance(t, 0, 300, logins...), glance(t, 12*24*time.Hour, 300, logins...), probe.ProcessesStuck, false, 4, "the node may have been started again in between"},
		"an hour":                      {glance(t, 0, 300, logins...), glance(t, time.Hour, 300, logins...), probe.ProcessesStuck, true, 4, "60 min before"},
		"one for its client":           {glance(t, 0, 300, many(100, 1, 1, clientFrames...)...), glance(t, minute, 300, many(100, 1, 1, clientFrames...)...), probe.OK, false, 1, "1 waits for its client"},
		"others each time":             {glance(t, 0, 300, logins...), glance(t, minute, 300, many(200, 4, 1, loginFrames...)...), probe.ProcessesMove, false, 0, "slow, not stuck"},
		"others each time, soon":       {glance(t, 0, 300, logins...), glance(t, 5*time.Second, 300, many(200, 4, 1, loginFrames...)...), probe.ProcessesMove, false, 0, "slow, not stuck"},
		"the same elsewhere":           {glance(t, 0, 300, logins...), glance(t, minute, 300, many(100, 4, 1, append([]string{"timer,sleep,1"}, loginFrames...)...)...), probe.ProcessesMove, false, 0, "slow, not stuck"},
		"messages were worked off":     {glance(t, 0, 300, many(100, 4, 3, loginFrames...)...), glance(t, minute, 300, many(100, 4, 2, loginFrames...)...), probe.ProcessesMove, false, 0, "slow, not stuck"},
		"they hang only since":         {glance(t, 0, 300), glance(t, minute, 300, logins...), probe.ProcessesMove, false, 0, "none did 60 s before: slow, or stuck only since"},
		"they hang no more":            {glance(t, 0, 300, logins...), glance(t, minute, 300, many(1, 1, 0, idleFrames...)...), probe.OK, false, 0, "4 connections that hung in their login 60 s before do not hang there"},
		"strange ones, many":           {glance(t, 0, 300, many(100, 20, 1, strangeFrames...)...), glance(t, minute, 300, many(100, 20, 1, strangeFrames...)...), probe.ProcessesStuck, true, 20, "20 connections hang"},
		"strange ones, too few":        {glance(t, 0, 300, many(100, 19, 1, strangeFrames...)...), glance(t, minute, 300, many(100, 20, 1, strangeFrames...)...), probe.ProcessesMove, false, 19, "19 already hung there 60 s before: that is too few"},
		"strange ones of thousands":    {glance(t, 0, 9000, many(100, 20, 1, strangeFrames...)...), glance(t, minute, 9000, many(100, 20, 1, strangeFrames...)...), probe.OK, false, 20, "20 processes have not moved"},
		"a channel":                    {glance(t, 0, 300, many(100, 2, 1, workFrames...)...), glance(t, minute, 300, many(100, 2, 1, workFrames...)...), probe.WorkWaits, false, 2, "2 channels or queues have not moved, with a message waiting, which corroborates a round trip that hangs, and says nothing about logins"},
		"a channel that waits on peer": {glance(t, 0, 300, many(100, 1, 1, peerFrames...)...), glance(t, minute, 300, many(100, 1, 1, peerFrames...)...), probe.WorkWaits, false, 1, "accuses those for whom it waits"},
		"other channels":               {glance(t, 0, 300, many(100, 2, 1, workFrames...)...), glance(t, minute, 300, many(200, 2, 1, workFrames...)...), probe.WorkWaits, false, 0, "no process that waits for something is where it was 60 s before; 2 channels or queues hang"},
		"half-open clients":            {glance(t, 0, 300, many(100, 40, 1, clientFrames...)...), glance(t, minute, 300, many(100, 40, 1, clientFrames...)...), probe.OK, false, 40, "40 processes have not moved in 60 s: 40 wait for their clients"},
		"a limit":                      {glance(t, 0, 300, many(100, 9, 1, limitFrames...)...), glance(t, minute, 300, many(100, 9, 1, limitFrames...)...), probe.Full, false, 9, "9 processes have not moved"},
		"a wedge and clients":          {glance(t, 0, 300, slices.Concat(logins, many(200, 3, 1, clientFrames...))...), glance(t, minute, 300, slices.Concat(logins, many(200, 3, 1, clientFrames...))...), probe.ProcessesStuck, true, 7, "7 processes have not moved in 60 s: 3 wait for their clients, 4 wait in their login"},
		"idle ones do not count":       {glance(t, 0, 300, many(1, 2, 0, idleFrames...)...), glance(t, minute, 300, many(1, 2, 0, idleFrames...)...), probe.OK, false, 0, "2 wait for work, as on every healthy node"},
		"more than are remembered":     {glance(t, 0, 9999, many(100, probe.MaxProcesses+9, 1, loginFrames...)...), glance(t, minute, 9999, many(100, probe.MaxProcesses+9, 1, loginFrames...)...), probe.ProcessesStuck, true, probe.MaxProcesses, "at least 1000 processes have not moved"},
		"others, more than remembered": {glance(t, 0, 9999, many(100, probe.MaxProcesses+9, 1, loginFrames...)...), glance(t, minute, 9999, many(5000, probe.MaxProcesses+9, 1, loginFrames...)...), probe.ProcessesMove, false, 0, "none of the 1000 that were compared"},
	} {
		d := Diagnose(test.earlier, test.later)
		if d.Reason != test.want || d.Proved != test.proved || d.Persisting != test.persisting || len(d.Same) != test.persisting || d.Looks != 2 {
			t.Errorf("%s: %s, proved %t, %d persist of %d looks (%s)", name, d.Reason, d.Proved, d.Persisting, d.Looks, d.Detail)
		}
		if !strings.Contains(d.Detail, test.detail) || strings.Contains(d.Detail, "baseline") {
			t.Errorf("%s: %q lacks %q", name, d.Detail, test.detail)
		}
		if d.Proved == strings.Contains(d.Detail+d.Advice, "not prove") && d.Reason == probe.ProcessesStuck || d.Means == "" || d.Advice == "" {
			t.Errorf("%s: %q, %q, %q", name, d.Detail, d.Means, d.Advice)
		}
		if d.Reason == probe.ProcessesStuck && d.Proved == strings.Contains(d.Advice, "Restart nothing") {
			t.Errorf("%s: proved %t, and the advice is %q", name, d.Proved, d.Advice)
		}
	}
}

func TestDiagnoseShowsWhatHasNotMovedAsItIsNow(t *testing.T) {
	d := Diagnose(glance(t, 0, 300, slices.Concat(many(200, 1, 1, loginFrames...), many(100, 1, 1, clientFrames...))...),
		glance(t, time.Minute, 300, slices.Concat(many(200, 1, 5, loginFrames...), many(100, 1, 2, clientFrames...))...))
	if len(d.Same) != 2 || d.Same[0].ID != 100<<32 || d.Same[0].Mailbox != 2 || d.Same[1].ID != 200<<32 || d.Same[1].Mailbox != 5 {
		t.Errorf("%+v, want <0.100.0> and <0.200.0> with their later mailboxes", d.Same)
	}
}

func TestDiagnoseComparesNothingOfFilesThatAreNotTwoLooks(t *testing.T) {
	logins := many(100, 4, 1, loginFrames...)
	on := func(node string, p *probe.Processes) *probe.Processes { p.ErlangNode = node; return p }
	undated := glance(t, time.Minute, 300, logins...)
	undated.At = time.Time{}
	for name, test := range map[string]struct {
		earlier, later *probe.Processes
		detail         string
	}{
		"the same look":         {glance(t, 0, 300, logins...), glance(t, 0, 300, logins...), "both are the same look, of 2026-11-23 03:00:00, which is one look and not two"},
		"the same, one by -q":   {on("rabbit@a", glance(t, 0, 300, logins...)), glance(t, 0, 300, logins...), "both are the same look"},
		"at the same time":      {glance(t, 0, 301, logins...), glance(t, 0, 300, logins...), "within the same second, at 2026-11-23 03:00:00"},
		"in the wrong order":    {glance(t, time.Minute, 300, logins...), glance(t, 0, 300, logins...), "wrong order, or the clock was set back: the first is of 2026-11-23 03:01:00 and the second of 2026-11-23 03:00:00"},
		"of different nodes":    {on("rabbit@a", glance(t, 0, 300, logins...)), on("rabbit@b", glance(t, time.Minute, 300, logins...)), "different nodes, rabbit@a and rabbit@b"},
		"without a time":        {glance(t, 0, 300, logins...), undated, "does not tell when"},
		"one look, and no more": {nil, glance(t, 0, 300, logins...), "4 connections hang in their login with a message waiting; 4 of 300 processes are suspicious"},
		"one look, given first": {glance(t, 0, 300, logins...), nil, "4 connections hang"},
	} {
		d := Diagnose(test.earlier, test.later)
		if d.Proved || d.Persisting != 0 || d.Looks != 1 || d.Reason != probe.ProcessesStuck || !strings.Contains(d.Detail, test.detail) ||
			!strings.HasSuffix(d.Detail, "one look does not tell slow from stuck: run it again 40 s later and give both") || !strings.Contains(d.Advice, "Restart nothing") {
			t.Errorf("%s: %+v", name, d)
		}
	}
	if d := Diagnose(nil, nil); d.Reason != probe.NotRun {
		t.Errorf("nothing at all: %+v", d)
	}
}

func TestDiagnoseProvesNothingByWhatIsNotWhole(t *testing.T) {
	whole := string(readSample(t, "login-wedged.txt"))
	first, again := parsed(t, 0, whole), parsed(t, time.Minute, whole)
	const recordAt = 2000 // beyond the line that says how many there are
	for n := recordAt; n < len(whole); n += 97 {
		for _, d := range []Diagnosis{
			Diagnose(nil, parsed(t, 0, whole[:n])), Diagnose(first, parsed(t, time.Minute, whole[:n])), Diagnose(parsed(t, 0, whole[:n]), again),
		} {
			if d.Reason != probe.ExecFailed || d.Reason.Status() != probe.Unknown || d.Proved || d.Persisting != 0 || !strings.Contains(d.Detail, "of 6 suspicious processes") {
				t.Fatalf("the first %d bytes: %+v", n, d)
			}
		}
	}
	torn := parsed(t, 0, strings.Replace(whole, "{message_queue_len,1},\n", "{message_queue_len,1},\nwarning: the file name encoding is latin1\n", 1))
	if d := Diagnose(nil, torn); d.Reason != probe.ExecFailed || !strings.Contains(d.Detail, "5 are described whole") {
		t.Errorf("with a warning in the midst of it: %+v", d)
	}
	if d := Diagnose(nil, parsed(t, 0, whole+whole)); d.Reason != probe.ExecFailed || !strings.Contains(d.Detail, "several runs in it") {
		t.Errorf("two in one file: %+v", d)
	}
	ended, _, _ := strings.Cut(whole, "[{pid")
	ended = ended[:strings.LastIndex(ended, "\n")+1] // a run that was ended before its list
	for _, text := range []string{ended + whole, whole + ended} {
		if d := Diagnose(parsed(t, 0, text), parsed(t, time.Minute, whole)); d.Proved || !strings.Contains(d.Detail, "several runs in it") {
			t.Errorf("a run that was ended, and a whole one: %+v", d)
		}
	}
	if d := Diagnose(first, again); d.Reason != probe.ProcessesStuck || !d.Proved {
		t.Errorf("and yet the whole of both: %+v", d)
	}
}

// No field report may count as stuck, however long it lasts.
func TestDiagnoseCallsNoFieldReportStuckEvenIfNothingMoves(t *testing.T) {
	for name, persisting := range map[string]int{
		"tls-half-open": 40, "readers-await-descriptors": 64, "channels-await-other-node": 40, "one-queue-stuck": 1, "supervisors-await-children": 13,
		"ldap-pool-busy": 30, "http-backend-down": 30, "oauth2-lock": 30, "khepri-minority": 2,
	} {
		text := readSample(t, "field/"+name+".txt")
		p, err := Parse(bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		own, _ := verdict(p, DefaultLimits)
		one, two := Diagnose(nil, &p), Diagnose(parsed(t, 0, string(text)), parsed(t, time.Hour, string(text)))
		if one.Reason != own || two.Reason != own || own.Status() == probe.Stuck || one.Persisting != 0 || two.Persisting != persisting {
			t.Errorf("%s: %s and %s, %d and %d persist, want %s and %d", name, one.Reason, two.Reason, one.Persisting, two.Persisting, own, persisting)
		}
		if !maps.Equal(two.Processes.Waiting, p.Waiting) {
			t.Errorf("%s: waiting %v", name, two.Processes.Waiting)
		}
	}
}

func TestDiagnoseAccusesNobodyOfWorkThatMayWaitForTheMetadata(t *testing.T) {
	files, err := filepath.Glob("../testdata/recordings/*/maybe_stuck-metadata*.txt")
	if err != nil || len(files) != 4 {
		t.Fatalf("%d recordings, error %v", len(files), err)
	}
	for _, file := range files {
		text := readRecording(t, file).stdout
		d := Diagnose(parsed(t, 0, text), parsed(t, time.Minute, text))
		if d.Proved || strings.Contains(d.Detail, "corroborates") || len(d.Processes.Work) > 0 && !strings.Contains(d.Detail, "accuses") {
			t.Errorf("%s: %s", file, d.Detail)
		}
	}
	text := readRecording(t, "../testdata/recordings/3.10/maybe_stuck-queues-wedged.txt").stdout
	if d := Diagnose(parsed(t, 0, text), parsed(t, time.Minute, text)); !strings.Contains(d.Detail, "corroborates a round trip that hangs") {
		t.Errorf("wedged queues: %s", d.Detail)
	}
}
