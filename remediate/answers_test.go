package remediate

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cjworkbench/unstuck/remediate/decide"
	"github.com/cjworkbench/unstuck/target"
)

// A node answers half of the last question.
func TestReadLimitsClosesTheAlarmIfALimitIsNotSaid(t *testing.T) {
	all := ""
	for line := range strings.SplitSeq(strings.TrimSpace(freeNode), "\n") {
		name, _, ok := strings.Cut(line, "=")
		switch {
		case ok && name == "listener":
			all += "listener=unknown\n"
		case ok && name == "state":
			all += "state=ready\n"
		case ok:
			all += name + "=unknown\n"
		default:
			all += line + "\n"
		}
	}
	if r := readLimits(all, false, 1); r.OnPurpose == target.No {
		t.Errorf("every limit is unknown: OnPurpose %s, the guard says %q", r.OnPurpose, "it refuses nobody on purpose")
	}
	for _, only := range []string{"file_handles_used", "sockets_used", "descriptors_used", "maintenance"} {
		var lines []string
		for line := range strings.SplitSeq(strings.TrimSpace(freeNode), "\n") {
			if strings.HasPrefix(line, only+"=") {
				line = only + "=unknown"
			}
			lines = append(lines, line)
		}
		r := readLimits(strings.Join(lines, "\n")+"\n", false, 1)
		if counted := only == "descriptors_used"; (r.OnPurpose == target.No) != counted { // of descriptors the connections tell
			t.Errorf("%s unknown: OnPurpose %s", only, r.OnPurpose)
		}
	}
	if r := readLimits("unstuck limits end\nok\n", false, 1); r.OnPurpose == target.Yes {
		t.Errorf("an answer that says nothing: OnPurpose %s: %q", r.OnPurpose, r.Detail)
	}
	full := strings.NewReplacer("connections=0", "connections=50", "connection_max=infinity", "connection_max=50").Replace(freeNode)
	if r := readLimits(full, false, 5); r.OnPurpose != target.Yes {
		t.Errorf("50 of 50 connections are logged in, 5 hang in their login: OnPurpose %s", r.OnPurpose)
	}
}

// A real node of 3.10 without file handles (33 connections logged in, 25 sockets allowed, the alarm is on), of which 20 connections hang in their login.
func TestReadLimitsFindsANodeFullOfLoginsThatSucceeded(t *testing.T) {
	for _, r := range recordings(t, "eval_limits") {
		if r.situation != "no-file-handles" && r.situation != "no-connections" {
			continue
		}
		for _, stuck := range []int{0, 1, 4, 13, 20} {
			if got := readLimits(r.out, false, stuck); got.OnPurpose != target.Yes {
				t.Errorf("%s %s, %d hang in their login: OnPurpose %s", r.version, r.situation, stuck, got.OnPurpose)
			}
		}
	}
}

//promise:11
func TestLoopDeletesNoNodeThatRefusesOnPurpose(t *testing.T) {
	edit := func(old, changed string) string {
		if !strings.Contains(freeNode, old) {
			panic(old)
		}
		return strings.Replace(freeNode, old, changed, 1)
	}
	for name, row := range map[string]struct {
		answer     string
		roundtrips bool
		stuck      int
		want       target.Answer
		why        string
	}{
		"full in no respect":                           {freeNode, false, 1, target.No, ""},
		"file descriptors used up":                     {edit("file_handles_used=2", "file_handles_used=927"), false, 0, target.Yes, "927 of 927 file descriptors"},
		"sockets used up":                              {edit("sockets_used=0", "sockets_used=832"), false, 1, target.Yes, "832 of 832 sockets"},
		"full of connections that hang in their login": {edit("sockets_used=0", "sockets_used=832"), false, 700, target.No, ""},
		"connection_max by its listener":               {edit("0 infinity 1", "12 12 1"), false, 0, target.Yes, "12 connections of 12"},
		"connection_max, shared by ten supervisors":    {edit("0 infinity 1", "97 10 10"), false, 0, target.Yes, "97 connections of 100"},
		"far from connection_max":                      {edit("0 infinity 1", "10 10 10"), false, 0, target.No, ""},
		"connection_max of 4.x":                        {edit("connections=0\nconnection_max=infinity", "connections=50\nconnection_max=50"), false, 0, target.Yes, "50 of 50 connections"},
		"in maintenance":                               {edit("maintenance=regular", "maintenance=draining"), false, 0, target.Yes, "maintenance"},
		"it boots":                                     {edit("state=ready", "state=booting"), false, 0, target.Yes, "booting"},
		"its listener is suspended":                    {edit("5672 running", "5672 suspended"), false, 0, target.Yes, "suspended"},
		"a memory alarm keeps no logins out":           {edit("alarms=none", "alarms=memory"), false, 1, target.No, ""},
		"a memory alarm keeps messages out":            {edit("alarms=none", "alarms=memory"), true, 0, target.Yes, "memory"},
		"a disk alarm elsewhere keeps messages out":    {edit("alarms_elsewhere=none", "alarms_elsewhere=disk"), true, 0, target.Yes, "disk"},
		"it does not say which alarms are on":          {edit("alarms=none", "alarms=unknown"), true, 0, target.CannotTell, "which alarms"},
		"nor for logins, which alarms do not keep out": {edit("alarms=none", "alarms=unknown"), false, 0, target.No, ""},
		"the alarm of file descriptors":                {edit("alarms=none", "alarms=file_descriptor_limit"), false, 0, target.Yes, "file_descriptor_limit"},
		"an answer that is cut off":                    {strings.Split(freeNode, "unstuck limits end")[0], false, 0, target.CannotTell, "not whole"},
		"nothing":                                      {"", false, 0, target.CannotTell, "not whole"},
	} {
		r := readLimits(row.answer, row.roundtrips, row.stuck)
		if r.OnPurpose != row.want || !strings.Contains(r.Detail, row.why) {
			t.Errorf("%s: %s (%s), want %s, %q", name, r.OnPurpose, r.Detail, row.want, row.why)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		w := newFakeWorld()
		w.wedge()
		w.exec = func(_ target.Node, command string) (int, string) {
			if strings.Contains(command, "unstuck limits end") {
				return 0, edit("sockets_used=0", "sockets_used=832")
			}
			return 0, answered(command)
		}
		w.play(t, 6*time.Minute, nil)
		if d := w.loop.Snapshot().Nodes[1].Decision; w.did("delete") != 0 || !slices.Equal(d.Closed(), []decide.Guard{decide.GuardAlarm}) {
			t.Errorf("%d deletions; %s", w.did("delete"), d.Reason)
		}
	})
}
