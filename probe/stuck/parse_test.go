package stuck

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/cjworkbench/unstuck/probe"
)

func readSample(t testing.TB, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "maybe_stuck", name))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// announced wraps records in the lines that come before them.
func announced(total, found int, records string) string {
	const at = "2026-11-23 00:38:01 "
	return fmt.Sprintf("%sThere are %d processes.\n%sInvestigated 9 processes this round, 5000ms to go.\n"+
		"%sFound %d suspicious processes.\n%s", at, total, at, at, found, records)
}

// oneRecord writes a record as Erlang would, more or less: each field and each frame on lines of their own.
func oneRecord(pid string, waiting int, frames ...string) string {
	const indent = "\n                     "
	var b strings.Builder
	fmt.Fprintf(&b, "2026-11-23 00:38:06 [{pid,%s},%s{registered_name,[]},%s{current_stacktrace,%s    [", pid, indent, indent, indent)
	for i, frame := range frames {
		if i > 0 {
			b.WriteString("," + indent + "     ")
		}
		fmt.Fprintf(&b, "{%s,%s         [{file,\"x.erl\"},{line,%d}]}", frame, indent, i)
	}
	fmt.Fprintf(&b, "]},%s{initial_call,{proc_lib,init_p,5}},%s{message_queue_len,%d},%s{links,[#Port<1.2>,<1.3.4>]},"+
		"%s{monitors,%s    [{process,<1.2.3>}]},%s{monitored_by,[]},%s{heap_size,610}]\n",
		indent, indent, waiting, indent, indent, indent, indent, indent)
	return b.String()
}

var loginFrames = []string{"rabbit_auth_mechanism_plain,handle_response,2", "rabbit_reader,auth_phase,2", "rabbit_reader,handle_method0,3"}

func TestParseUnderstandsWhatRealNodesPrint(t *testing.T) {
	for _, test := range []struct {
		file   string
		want   probe.Processes // without Top, Logins and Work
		top    probe.Stack
		logins int
	}{
		{
			file: "healthy.txt", want: probe.Processes{Total: 271, Suspicious: 1, Waiting: probe.Waits{probe.AwaitsIdle: 1}},
			top: probe.Stack{Count: 1, Awaits: probe.AwaitsIdle, Frames: []string{"global_group:global_group_check_dispatcher/0"}},
		},
		{
			file: "healthy-300-idle-connections.txt", want: probe.Processes{Total: 2369, Suspicious: 1, Waiting: probe.Waits{probe.AwaitsIdle: 1}},
			top: probe.Stack{Count: 1, Awaits: probe.AwaitsIdle, Frames: []string{"global_group:global_group_check_dispatcher/0"}},
		},
		{
			file: "healthy-4.0.txt", want: probe.Processes{Total: 301, Suspicious: 3, Waiting: probe.Waits{probe.AwaitsIdle: 3}},
			top: probe.Stack{Count: 1, Awaits: probe.AwaitsIdle, Frames: []string{"erts_code_purger:wait_for_request/0"}},
		},
		{
			file: "login-wedged-4.0.txt", want: probe.Processes{Total: 312, Suspicious: 7, StuckReaders: 4, Waiting: probe.Waits{probe.AwaitsIdle: 3, probe.AwaitsLogin: 4}}, logins: 4,
			top: probe.Stack{Count: 4, Awaits: probe.AwaitsLogin, Frames: []string{
				"rabbit_auth_mechanism_plain:handle_response/2", "rabbit_reader:auth_phase/2",
				"rabbit_reader:handle_method0/3", "rabbit_reader:handle_input/3", "rabbit_reader:recvloop/4",
				"rabbit_reader:run/1", "rabbit_reader:start_connection/5", "proc_lib:init_p_do_apply/3",
			}},
		},
		{
			file: "login-wedged.txt", want: probe.Processes{Total: 283, Suspicious: 6, StuckReaders: 4, Waiting: probe.Waits{probe.AwaitsIdle: 2, probe.AwaitsLogin: 4}}, logins: 4,
			top: probe.Stack{Count: 4, Awaits: probe.AwaitsLogin, Frames: []string{
				"rabbit_auth_mechanism_plain:handle_response/2", "rabbit_reader:auth_phase/2",
				"rabbit_reader:handle_method0/3", "rabbit_reader:handle_input/3", "rabbit_reader:recvloop/4",
				"rabbit_reader:run/1", "rabbit_reader:start_connection/4", "proc_lib:init_p_do_apply/3",
			}},
		},
		{
			file: "start-wedged.txt", want: probe.Processes{Total: 283, Suspicious: 6, StuckReaders: 4, Waiting: probe.Waits{probe.AwaitsIdle: 2, probe.AwaitsLogin: 4}}, logins: 4,
			top: probe.Stack{Count: 4, Awaits: probe.AwaitsLogin, Frames: []string{
				"rabbit_log_connection:info/2", "rabbit_reader:mainloop/4", "rabbit_reader:run/1",
				"rabbit_reader:start_connection/4", "proc_lib:init_p_do_apply/3",
			}},
		},
	} {
		t.Run(test.file, func(t *testing.T) {
			got, err := Parse(bytes.NewReader(readSample(t, test.file)))
			if err != nil {
				t.Fatal(err)
			}
			if len(got.Logins) != test.logins || len(got.Work) != 0 {
				t.Errorf("%d connections in their login and %d channels, want %d and none", len(got.Logins), len(got.Work), test.logins)
			}
			if diff := cmp.Diff(test.top, got.Top[0]); diff != "" {
				t.Error(diff)
			}
			if got.Announced != got.Described || got.Announced != test.want.Suspicious || got.At.IsZero() || !strings.HasPrefix(got.ErlangNode, "rabbit-") {
				t.Errorf("%d of %d are described, at %s on %q", got.Described, got.Announced, got.At, got.ErlangNode)
			}
			got.Top, got.Logins, got.Work, got.Others = nil, nil, nil, nil
			test.want.Baseline = -1
			test.want.Announced, test.want.Described, test.want.At, test.want.ErlangNode = got.Announced, got.Described, got.At, got.ErlangNode
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestParseTakesTheTextInAnyPieces(t *testing.T) {
	text := readSample(t, "queues-wedged.txt")
	want, err := Parse(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	readers := map[string]io.Reader{
		"byte by byte":    iotest.OneByteReader(bytes.NewReader(text)),
		"in halves":       iotest.HalfReader(bytes.NewReader(text)),
		"with CR LF":      bytes.NewReader(bytes.ReplaceAll(text, []byte("\n"), []byte("\r\n"))),
		"as -q prints it": bytes.NewReader(text[bytes.IndexByte(text, '\n')+1:]),
		"after noise":     io.MultiReader(strings.NewReader("warning: latin1\n[{pid,<1.2.3>},\n"), bytes.NewReader(text)),
	}
	for name, r := range readers {
		got, err := Parse(r)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if name == "as -q prints it" {
			got.ErlangNode = want.ErlangNode // only the first line has it
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestParseKnowsThatOutputIsTruncated(t *testing.T) {
	text := []byte(announced(300, 2, oneRecord("<1.2.0>", 1, loginFrames...)+oneRecord("<1.3.0>", 1, loginFrames...)))
	whole, err := Parse(bytes.NewReader(text))
	if err != nil || whole.Truncated {
		t.Fatalf("the whole text: truncated %v, error %v", whole.Truncated, err)
	}
	for n := range text {
		p, _ := Parse(bytes.NewReader(text[:n]))
		if !p.Truncated {
			t.Fatalf("the first %d of %d bytes count as whole", n, len(text))
		}
		if p.Suspicious > whole.Suspicious || p.StuckReaders > whole.StuckReaders {
			t.Fatalf("the first %d bytes show more than all of them: %+v", n, p)
		}
	}
}

func TestParseRefusesWhatIsNotMaybeStucks(t *testing.T) {
	for name, text := range map[string]string{
		"nothing":           "",
		"an error":          string(readSample(t, "app-stopped.txt")),
		"diagnostics":       string(readSample(t, "frozen.txt")),
		"only the start":    string(readSample(t, "own-timeout.txt")),
		"another program's": "2026-11-23 00:38:01 hello\n2026-11-23 00:38:02 world\n",
		"HTML":              strings.Repeat("<html>[{pid,<1.2.3>}]\n", 1000),
		"a negative number": announced(-5, 0, ""),
		"an absurd number":  announced(1<<40, 0, ""),
	} {
		p, err := Parse(strings.NewReader(text))
		if !errors.Is(err, ErrNotMaybeStuck) || p.Suspicious != 0 || p.Total != 0 {
			t.Errorf("%s: got %+v and %v", name, p, err)
		}
	}
}

func TestParseKeepsWhatCameBeforeABrokenRead(t *testing.T) {
	broken := errors.New("the stream broke")
	text := readSample(t, "login-wedged.txt")
	p, err := Parse(io.MultiReader(bytes.NewReader(text[:len(text)-400]), iotest.ErrReader(broken)))
	if !errors.Is(err, broken) {
		t.Errorf("error %v, want %v", err, broken)
	}
	if p.StuckReaders != 3 || !p.Truncated {
		t.Errorf("got %+v, want the three readers that came whole", p)
	}
}

func TestParseCountsOddRecordsForWhatTheyAre(t *testing.T) {
	lock := "2026-11-23 00:38:06 [{pid,<5588.27566.47>},\n                     {registered_name,'odd \\' ]},{message_queue_len,9} name'},\n" +
		"                     {current_stacktrace,\n                         [{gen,do_call,4,[{file,\"gen.erl\"},{line,168}]},\n" +
		"                          {rabbit_amqqueue_process,\n                              '-terminate_delete/3-fun-1-',6,\n" +
		"                              [{file,\"src/rabbit\\\"q.erl\"},\n                               {line,258}]}]},\n" +
		"                     {initial_call,{proc_lib,init_p,5}},\n                     {message_queue_len,2},\n" +
		"                     {links,[]},\n                     {heap_size,610}]\n"
	gone := "2026-11-23 00:38:06 [{pid,<11016.77.0>}|undefined]\n"
	deep := oneRecord("<1.78.0>", 1, "erpc,call,5", "mnesia,do_dirty_rpc,5", "rabbit_auth_backend_internal,internal_check_user_login,2")
	closing := oneRecord("<1.79.0>", 3, "gen,do_call,4", "rabbit_reader,close_connection,1", "rabbit_reader,mainloop,4")
	manyFrames := oneRecord("<1.80.0>", 1, slices.Repeat([]string{"rabbit_channel," + strings.Repeat("f", 300) + ",1"}, 300)...)

	got, err := Parse(strings.NewReader(announced(300, 5, lock+gone+deep+closing+manyFrames)))
	if err != nil || got.Truncated {
		t.Fatalf("truncated %v, error %v", got.Truncated, err)
	}
	if got.Suspicious != 4 || got.StuckReaders != 0 || got.StuckChannels != 1 || got.Waiting[probe.AwaitsMetadata] != 1 {
		t.Errorf("got %+v", got)
	}
	if len(got.Work) != 2 || got.Work[1].ID != 27566<<32|47 || got.Work[1].Mailbox != 2 || got.Work[1].ID.String() != "<0.27566.47>" {
		t.Errorf("the queue that hangs is %+v", got.Work)
	}
	var frames []string
	for _, s := range got.Top {
		frames = append(frames, s.Frames...)
		for _, frame := range s.Frames {
			if len(frame) > maxFrameBytes {
				t.Errorf("%d bytes of one frame were kept", len(frame))
			}
		}
		if len(s.Frames) > maxFrames {
			t.Errorf("%d frames of one stack were kept", len(s.Frames))
		}
	}
	if !slices.Contains(frames, "rabbit_amqqueue_process:'-terminate_delete/3-fun-1-'/6") {
		t.Errorf("a frame that was broken over two lines is missing among %q", frames)
	}
}

func TestParseFindsTheMostFrequentStacksWhereverTheyStand(t *testing.T) {
	var b strings.Builder
	const different, same = 3000, 400
	for i := range different {
		b.WriteString(oneRecord(fmt.Sprintf("<1.%d.0>", i+1), 0, fmt.Sprintf("odd_%d,f,1", i)))
	}
	for i := range same {
		b.WriteString(oneRecord(fmt.Sprintf("<1.%d.0>", 9000+i), 1, loginFrames...))
	}
	p, err := Parse(strings.NewReader(announced(20000, different+same, b.String())))
	if err != nil || p.Truncated {
		t.Fatalf("truncated %v, error %v", p.Truncated, err)
	}
	if p.Suspicious != different+same || p.StuckReaders != same || len(p.Logins) != same || p.Waiting[probe.AwaitsUnknown] != different {
		t.Errorf("got %d suspicious, %d readers, %d of these kept, waiting %v", p.Suspicious, p.StuckReaders, len(p.Logins), p.Waiting)
	}
	top := p.Top[0]
	if top.Frames[0] != "rabbit_auth_mechanism_plain:handle_response/2" || top.Count > same ||
		top.Count < same-(different+same)/maxStacks {
		t.Errorf("the most frequent stack is said to be %+v", top)
	}
}

func TestProcessSetIsSortedUniqueAndBounded(t *testing.T) {
	var s processSet
	most := 0
	for i := range 50 * probe.MaxProcesses {
		s.add(probe.Process{ID: probe.ProcessID(50*probe.MaxProcesses - i)})
		s.add(probe.Process{ID: 7})
		most = max(most, len(s))
	}
	got := s.sorted()
	if len(got) != probe.MaxProcesses || got[0].ID != 1 || got[probe.MaxProcesses-1].ID != probe.MaxProcesses {
		t.Errorf("%d ids from %v to %v", len(got), got[0].ID, got[len(got)-1].ID)
	}
	if most > 2*probe.MaxProcesses {
		t.Errorf("up to %d processes were kept", most)
	}
	s = processSet{{ID: 5}, {ID: 3}, {ID: 5}}
	if diff := cmp.Diff([]probe.Process{{ID: 3}, {ID: 5}}, s.sorted()); diff != "" {
		t.Error(diff)
	}
}

func TestRoleOfAStack(t *testing.T) {
	for stack, want := range map[string]role{
		"erts_code_purger:wait_for_request/0":                                                  {awaits: probe.AwaitsIdle},
		"rabbit_reader:mainloop/4":                                                             {reader: true, awaits: probe.AwaitsLogin},
		"timer:sleep/1 rabbit_reader:handle_exception/3 rabbit_reader:mainloop/4":              {},
		"gen:do_call/4 supervisor2:start_child/2 rabbit_reader:create_channel/2":               {awaits: probe.AwaitsChildren},
		"gen:do_call/4 rabbit_reader:wait_for_channel_termination/3":                           {},
		"httpc:handle_answer/3 rabbit_auth_backend_http:user_login_authentication/2":           {reader: true, awaits: probe.AwaitsBackend},
		"httpc:handle_answer/3 rabbit_auth_backend_http:check_resource_access/4":               {awaits: probe.AwaitsBackend},
		"gen:do_call/4 rabbit_auth_backend_ldap:with_ldap/3 rabbit_reader:auth_phase/2":        {reader: true, awaits: probe.AwaitsBackend},
		"gen:do_call/4 rabbit_auth_backend_cache:with_cache/3 rabbit_reader:auth_phase/2":      {reader: true, awaits: probe.AwaitsBackend},
		"inet_gethost_native:do_op/2 inet:gethostbyaddr_tm/2 rabbit_reader:start_connection/4": {reader: true, awaits: probe.AwaitsDNS},
		"erpc:call/5 rabbit_access_control:check_user_pass_login/2":                            {reader: true, awaits: probe.AwaitsNode},
		"erpc:call/5 rabbit_access_control:check_resource_access/4 rabbit_channel:go/1":        {work: true, awaits: probe.AwaitsNode},
		"gen:do_call/4 rabbit_auth_mechanism_ssl:init/1":                                       {reader: true, awaits: probe.AwaitsLogin},
		"gen:do_call/4 rabbit_amqqueue_process:handle_cast/2":                                  {work: true, awaits: probe.AwaitsWork},
		"gen:do_call/4 rabbit_channel_sup:start_link/1":                                        {},
		"mnesia_locker:receive_wlocks/4 mnesia_tm:apply_fun/3":                                 {awaits: probe.AwaitsMetadata},
		"mnesia:transaction/4": {awaits: probe.AwaitsMetadata},
		"gen_server2:call/3 rabbit_misc:execute_mnesia_transaction/1":                                           {awaits: probe.AwaitsMetadata},
		"ra:process_command/3 khepri_machine:process_command/3":                                                 {awaits: probe.AwaitsMetadata},
		"ra:process_command/3 rabbit_khepri:transaction/3 rabbit_channel:go/1":                                  {work: true, awaits: probe.AwaitsMetadata},
		"ra:process_command/3 rabbit_quorum_queue:declare/2 rabbit_channel:go/1":                                {work: true, awaits: probe.AwaitsNode},
		"gen:do_call/4 gen_server2:call/3 rabbit_networking:setup_socket/1 rabbit_reader:init/3":                {reader: true, awaits: probe.AwaitsLimit},
		"gen_server2:call/3 file_handle_cache:obtain/1 rabbit_reader:init/3":                                    {reader: true, awaits: probe.AwaitsLimit},
		"ranch_conns_sup:start_protocol/3 ranch_acceptor:loop/5":                                                {awaits: probe.AwaitsLimit},
		"gen_statem:call_dirty/4 ssl_gen_statem:handshake/2 rabbit_networking:handshake/2 rabbit_reader:init/3": {reader: true, awaits: probe.AwaitsClient},
		"prim_inet:recv0/3 ranch_proxy_header:parse/1 ranch:recv_proxy_header/2 rabbit_reader:init/3":           {reader: true, awaits: probe.AwaitsClient},
		"prim_inet:send/4 rabbit_writer:internal_flush/1":                                                       {awaits: probe.AwaitsClient},
		// TLS to an authentication server is a wait for the backend, not for a client.
		"ssl_gen_statem:connect/2 httpc:request/5 rabbit_auth_backend_http:user_login_authentication/2": {reader: true, awaits: probe.AwaitsBackend},
		"timer:sleep/1 global:random_sleep/1 global:set_lock/4 rabbit_reader:auth_phase/2":              {reader: true, awaits: probe.AwaitsLock},
		"prim_file:write/2 disk_log:do_log/1 rabbit_reader:auth_phase/2":                                {reader: true, awaits: probe.AwaitsDisk},
		"acme_quota:ask/1 rabbit_reader:auth_phase/2":                                                   {reader: true}, // a plugin that nobody knows
		"rabbit_auth_backend_internal_loopback:user_login_authentication/2":                             {reader: true, awaits: probe.AwaitsLogin},
		"gen:do_call/4 gen_server:call/3 rabbit_alarm:register/2 rabbit_reader:start_connection/4":      {reader: true, awaits: probe.AwaitsLogin},
		"gen:do_call/4 amqp_gen_connection:connect/1 rabbit_shovel_worker:init/1":                       {awaits: probe.AwaitsBroker},
		"delegate:safe_invoke/2 rabbit_amqqueue:notify_down_all/2 rabbit_channel:notify_queues/1":       {work: true, awaits: probe.AwaitsNode},
		"rabbit_mirror_queue_master:stop_all_slaves/2 rabbit_amqqueue_process:terminate_shutdown/2":     {work: true, awaits: probe.AwaitsNode},
	} {
		if got := roleOf([]byte(strings.ReplaceAll(stack, " ", "\n") + "\n")); got != want {
			t.Errorf("%s: %+v, want %+v", stack, got, want)
		}
	}
}

func TestAwaitRulesAreOfTheList(t *testing.T) {
	for _, rule := range awaitRules {
		if !slices.Contains(probe.Awaits(), rule.awaits) {
			t.Errorf("the rule of %s:%s awaits %s, which is not on the list", rule.module, rule.function, rule.awaits)
		}
	}
}

func TestParseOrdersEqualCountsByTheirFrames(t *testing.T) {
	var records []string
	for i, name := range []string{"e", "c", "a", "d", "b", "f"} {
		records = append(records, oneRecord(fmt.Sprintf("<1.%d.0>", i+1), 0, name+",f,1"))
	}
	for range 10 {
		rand.Shuffle(len(records), func(i, j int) { records[i], records[j] = records[j], records[i] })
		p, err := Parse(strings.NewReader(announced(300, 6, strings.Join(records, ""))))
		if err != nil {
			t.Fatal(err)
		}
		var got string
		for _, s := range p.Top {
			got += s.Frames[0] + " "
		}
		if got != "a:f/1 b:f/1 c:f/1 d:f/1 e:f/1 " {
			t.Fatalf("top stacks %s", got)
		}
	}
}

func FuzzParse(f *testing.F) {
	samples, err := filepath.Glob("testdata/maybe_stuck/*.txt")
	if err != nil || len(samples) == 0 {
		f.Fatalf("no samples: %v", err)
	}
	for _, name := range samples {
		f.Add(readSample(f, filepath.Base(name)))
	}
	f.Add([]byte(announced(300, 2, oneRecord("<1.2.0>", 1, loginFrames...)+"2026-11-23 00:38:06 [{pid,<1.7.0>}|undefined]\n")))
	f.Add([]byte("2026-11-23 00:38:06 [{pid,<1.2.99999999999>},{message_queue_len,-1},{current_stacktrace,[{'a\\']}"))
	f.Add([]byte("2026-11-23 00:38:06 [{pid,<}}}]]]]{[{[{[{[{[{[{["))
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := Parse(bytes.NewReader(text))
		if err != nil && !errors.Is(err, ErrNotMaybeStuck) {
			t.Fatalf("error %v", err)
		}
		if err != nil && !p.Truncated {
			t.Fatal("not maybe_stuck's, and yet whole")
		}
		checkProcesses(t, p, bytes.Count(text, []byte("[{pid,<")))
		again, err2 := Parse(iotest.HalfReader(bytes.NewReader(text)))
		if diff := cmp.Diff(p, again); diff != "" || (err == nil) != (err2 == nil) {
			t.Fatalf("read in pieces it means something else: %s", diff)
		}
	})
}

// checkProcesses checks what must hold for any text with at most this many records.
func checkProcesses(t *testing.T, p probe.Processes, records int) {
	t.Helper()
	if p.Total < 0 || p.Total > maxProcesses || p.Suspicious < 0 || p.Suspicious > records || p.Baseline != -1 {
		t.Fatalf("counts out of bounds: %+v, %d records", p, records)
	}
	waiting := 0
	for _, n := range p.Waiting {
		waiting += n
	}
	if p.StuckReaders < 0 || p.UnknownReaders < 0 || p.StuckChannels < 0 ||
		p.StuckReaders+p.UnknownReaders+p.StuckChannels > p.Suspicious || waiting != p.Suspicious {
		t.Fatalf("the counts do not add up: %+v", p)
	}
	sum := 0
	for i, s := range p.Top {
		sum += s.Count
		if s.Count < 1 || i > 0 && s.Count > p.Top[i-1].Count || len(s.Frames) == 0 || len(s.Frames) > maxFrames {
			t.Fatalf("stack %d of %+v", i, p.Top)
		}
		for _, frame := range s.Frames {
			if len(frame) > maxFrameBytes {
				t.Fatalf("a frame of %d bytes", len(frame))
			}
		}
	}
	if len(p.Top) > topStacks || sum > p.Suspicious {
		t.Fatalf("%d top stacks of %d processes, %d are suspicious", len(p.Top), sum, p.Suspicious)
	}
	for _, list := range [][]probe.Process{p.Logins, p.Work, p.Others} {
		if len(list) > probe.MaxProcesses || len(list) > p.Suspicious {
			t.Fatalf("%d processes kept of %d", len(list), p.Suspicious)
		}
		for i := range list[:max(0, len(list)-1)] {
			if list[i].ID >= list[i+1].ID {
				t.Fatal("not sorted, or one twice")
			}
		}
	}
}
