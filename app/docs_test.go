package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cjworkbench/unstuck/config"
	"github.com/cjworkbench/unstuck/release/plan"
)

// elsewise are the examples that this daemon answers in another way: nothing here is stuck, and no controller makes pods.
var elsewise = map[string]string{
	"POST /api/v1/environments/{env}/promotions":           "409", // no pod shows that the source is healthy
	"GET /api/v1/incidents/{id}":                           "404", // no node was deleted
	"POST /api/v1/targets/{target}/nodes/{node}/deletions": "409", // its node is not proved stuck
}

// documentedPlaces are what the examples name: a broker, and two environments on a cluster where everything rolls out.
func documentedPlaces(t *testing.T) *site {
	t.Helper()
	registry := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { // which has every image
		w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
		w.Header().Set("Content-Length", "2")
		w.Header().Set("Docker-Content-Digest", "sha256:"+strings.Repeat("d", 64))
	}))
	t.Cleanup(registry.Close)
	host := strings.TrimPrefix(registry.URL, "http://")
	s := &site{t: t, dir: t.TempDir(), tokens: make(map[string]string), apiServer: startAPIServer(t, documentedObjects(host)...)}
	s.kubeconfig(s.dir, "kubeconfig")
	token, hash, err := config.NewToken("ada")
	if err != nil {
		t.Fatal(err)
	}
	s.tokens["ada"] = token
	s.write("tokens.yaml", fmt.Sprintf("tokens:\n  - {name: ada, hash: %q, rights: [{verbs: [deploy, promote, revert, restart, task, logs, env], environments: ['*']}, {verbs: [pause, probe, delete], targets: ['*']}]}\n", hash))
	s.write("token", fmt.Sprintf("header = \"Authorization: Bearer %s\"\n", token))
	s.write("password", "p")
	environment := func(name, more string) string {
		return fmt.Sprintf(`
  - name: %[1]s
    namespace: %[1]s
    image: %[2]s/{image}:{commit}
    services: [{name: frontend, deployment: frontend-deployment, image: frontend, kind: rolling}, {name: cron, deployment: cron-deployment, image: cron, kind: rolling}]
    tasks: [{name: clear-render-cache, exec: {service: frontend, command: ["true"]}}]
%[3]s`, name, host, more)
	}
	s.write("unstuck.yaml", `listen: {metrics: "127.0.0.1:0", api: "127.0.0.1:0"}
kubernetes: {kubeconfig: kubeconfig}
api: {tokens_file: tokens.yaml, rate_limit: {per_second: 1000, burst: 1000}}
brokers: [{name: orders, username: u, password_file: password, nodes: [{name: mq-0, address: "127.0.0.1:1"}, {name: mq-1, address: "127.0.0.1:2"}, {name: mq-2, address: "127.0.0.1:3"}]}]
environments:`+environment("staging", "")+environment("production", "    promote_from: staging\n"))
	return s
}

// example is a request of docs/api.md, with the status that the page names.
type example struct{ route, line, status string }

func documentedExamples(t *testing.T) (all []example) {
	t.Helper()
	page, err := os.ReadFile("../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	sections := regexp.MustCompile("(?m)^### `([A-Z]+ [^`]+)`$").FindAllStringSubmatchIndex(string(page), -1)
	for i, m := range sections {
		end := len(page)
		if i+1 < len(sections) {
			end = sections[i+1][0]
		}
		e := example{route: string(page[m[2]:m[3]]), status: "200"}
		section := string(page[m[1]:end])
		if get := regexp.MustCompile("\nFor `GET ([^`]+)`:").FindStringSubmatch(section); get != nil {
			e.line = `curl -K ~/token "$UNSTUCK` + get[1] + `"`
		} else if line := regexp.MustCompile("\n(curl -K [^\n]+)\n(?s:.*?)Answers `([0-9]+)`").FindStringSubmatch(section); line != nil {
			e.line, e.status = line[1], line[2]
		} else {
			e.line = `curl -K ~/token "$UNSTUCK` + strings.TrimPrefix(e.route, "GET ") + `"`
		}
		if other := elsewise[e.route]; other != "" {
			e.status = other
		}
		all = append(all, e)
	}
	return all
}

// Each example of docs/api.md is sent by curl to a daemon that is wired as in production. It answers as the page says,
// in the form that docs/openapi.json describes.
func TestDocsExamplesAreAnsweredByTheDaemon(t *testing.T) {
	s := documentedPlaces(t)
	c, err := config.Load(filepath.Join(s.dir, "unstuck.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	d, ada := s.serveWith(c), s.tokens["ada"]
	d.await("is_leader=true")
	examples := documentedExamples(t)
	if len(examples) < 30 {
		t.Fatalf("only %d examples are found", len(examples))
	}
	first := d.begin("/api/v1/environments/production/deploys", ada, deployOf(published))
	d.follow(first.ID, ada, over)
	for _, e := range examples {
		line := strings.NewReplacer("deploy-20261123t114000-k3x9q2ab", first.ID, "2026-11-23T18:00:00Z", time.Now().Add(time.Hour).UTC().Format(time.RFC3339)).Replace(e.line)
		if strings.Contains(line, "/cancel") {
			line = strings.Replace(line, "deploy-20261123t115900-aaaaaaaa", d.unending(s, ada), 1)
		}
		if strings.Contains(line, "/pauses/pause-") {
			status, text := d.ask(http.MethodPost, "/api/v1/targets/orders/pauses", ada, `{"reason": "a test", "for": "1h"}`)
			line = regexp.MustCompile(`pause-[0-9a-f]+`).ReplaceAllString(line, regexp.MustCompile(`pause-[0-9a-f]+`).FindString(text))
			if status != http.StatusCreated {
				t.Fatalf("%d %s", status, text)
			}
		}
		listener := "metrics"
		if _, path, _ := strings.Cut(e.route, " "); path == "/" || strings.HasPrefix(path, "/api/") {
			listener = "api"
		}
		status, kind, text := d.curl(s.dir, line, listener)
		if status != e.status {
			t.Errorf("%s\n%s: %s, want %s: %s", e.route, line, status, e.status, text)
		}
		if strings.HasPrefix(status, "2") && kind == "application/json" {
			for _, wrong := range describedWrongly(t, e.route, status, text) {
				t.Errorf("%s: %s", e.route, wrong)
			}
		}
		var o plan.Operation
		if status == "202" && json.Unmarshal([]byte(text), &o) == nil && len(o.Steps) > 0 {
			d.follow(o.ID, ada, over)
		}
	}
}

// exitCodes are those of the commands of docs/triggers.md that do not end well here: the daemon refuses them, for the
// reasons of elsewise, or no container is there to run a task in.
var exitCodes = map[string]int{
	"unstuck delete TARGET NODE --reason ...": 4,
	"unstuck promote ENV --reason ...":        4,
	"unstuck incidents ID":                    4,
	"unstuck task ENV TASK --reason ...":      1,
}

// Each command of docs/triggers.md is given to the program, which asks a daemon that is wired as in production.
func TestDocsCommandsAreCarriedOutByTheDaemon(t *testing.T) {
	s := documentedPlaces(t)
	program := filepath.Join(s.dir, "unstuck")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, "../cmd/unstuck").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	c, err := config.Load(filepath.Join(s.dir, "unstuck.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	d, ada := s.serveWith(c), s.tokens["ada"]
	s.write("ada.token", ada+"\n")
	d.await("is_leader=true")
	operation := d.begin("/api/v1/environments/staging/deploys", ada, deployOf(published)).ID
	d.follow(operation, ada, over)
	page, err := os.ReadFile("../docs/triggers.md")
	if err != nil {
		t.Fatal(err)
	}
	commands := regexp.MustCompile("`(unstuck [a-z]+[^`]*)`").FindAllStringSubmatch(string(page), -1)
	if len(commands) < 20 {
		t.Fatalf("only %d commands are found", len(commands))
	}
	for _, m := range commands {
		id := operation
		if strings.Contains(m[1], "--cancel") {
			id = d.unending(s, ada)
		}
		_, text := d.ask(http.MethodPost, "/api/v1/targets/orders/pauses", ada, `{"reason": "a test", "for": "1h"}`)
		line := strings.NewReplacer("--secret NAME", "--secret database", "TARGET", "orders", "NODE", "mq-1", "ENV", "production", "COMMIT", published,
			"SERVICE", "frontend", "TASK", "clear-render-cache", "PAUSE", regexp.MustCompile(`pause-[0-9a-f]+`).FindString(text), "ID", id, "...", "test").Replace(m[1])
		args := slices.Concat(strings.Fields(line)[1:], []string{"--server", "http://" + d.address("api"), "--token-file", filepath.Join(s.dir, "ada.token")})
		if slices.Contains([]string{"deploy", "promote", "revert", "restart", "task", "delete"}, args[0]) {
			args = append(args, "--yes")
		}
		ctx, stop := context.WithTimeout(d.ctx, 20*time.Second)
		endless := args[0] == "logs" // with --follow
		if endless {
			ctx, stop = context.WithTimeout(d.ctx, 2*time.Second)
		}
		out, err := exec.CommandContext(ctx, program, args...).CombinedOutput()
		stop()
		exit, code := (*exec.ExitError)(nil), 0
		if errors.As(err, &exit) {
			code = exit.ExitCode()
		}
		if want := exitCodes[m[1]]; code != want && !(endless && ctx.Err() != nil) {
			t.Errorf("%s\nends with %d, want %d: %s", line, code, want, out)
		}
	}
}

// unending begins a deploy to staging that does not end by itself, and gives its ID.
func (d *served) unending(s *site, token string) string {
	s.mu.Lock()
	s.rolls = false
	s.mu.Unlock()
	return d.begin("/api/v1/environments/staging/deploys", token, deployOf(unpublished)).ID
}

// curl runs a line of the documentation, as a shell does.
func (d *served) curl(home, line, listener string) (status, kind, text string) {
	d.t.Helper()
	cmd := exec.CommandContext(d.ctx, "sh", "-c", strings.Replace(line, "curl ", `curl -sS -w '\n%{http_code} %{content_type}' `, 1))
	cmd.Env = append(os.Environ(), "HOME="+home, "UNSTUCK=http://"+d.address(listener))
	out, err := cmd.CombinedOutput()
	if err != nil {
		d.t.Fatalf("%s: %v: %s", line, err, out)
	}
	i := strings.LastIndex(string(out), "\n")
	status, kind, _ = strings.Cut(string(out[i+1:]), " ")
	return status, kind, string(out[:i])
}

// describedWrongly says where an answer is not as docs/openapi.json describes it.
func describedWrongly(t *testing.T, route, status, text string) []string {
	t.Helper()
	page, err := os.ReadFile("../docs/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	var doc map[string]any
	if err := json.Unmarshal(page, &doc); err != nil {
		t.Fatal(err)
	}
	at := func(v any, path ...string) any {
		for _, name := range path {
			m, _ := v.(map[string]any)
			v = m[name]
		}
		return v
	}
	method, path, _ := strings.Cut(route, " ")
	schema, known := at(doc, "paths", path, strings.ToLower(method), "responses", status, "content", "application/json", "schema").(map[string]any)
	if !known { // of the operators' listener, or the index
		return nil
	}
	var answer any
	if err := json.Unmarshal([]byte(text), &answer); err != nil {
		return []string{err.Error()}
	}
	var compare func(schema map[string]any, v any, where string) []string
	compare = func(schema map[string]any, v any, where string) (wrong []string) {
		if ref, ok := schema["$ref"].(string); ok {
			schema, _ = at(doc, strings.Split(strings.TrimPrefix(ref, "#/"), "/")...).(map[string]any)
		}
		switch v := v.(type) {
		case map[string]any:
			properties, closed := schema["properties"].(map[string]any)
			for name, one := range v {
				of, ok := properties[name].(map[string]any)
				if !ok && closed {
					wrong = append(wrong, where+"."+name+" is not described")
				}
				if ok {
					wrong = append(wrong, compare(of, one, where+"."+name)...)
				}
			}
			required, _ := schema["required"].([]any)
			for _, name := range required {
				if _, there := v[name.(string)]; !there {
					wrong = append(wrong, fmt.Sprintf("%s.%s is missing", where, name))
				}
			}
		case []any:
			items, _ := schema["items"].(map[string]any)
			for _, one := range v {
				wrong = append(wrong, compare(items, one, where+"[]")...)
			}
		case nil:
			wrong = append(wrong, where+" is null")
		}
		return wrong
	}
	return compare(schema, answer, "")
}
