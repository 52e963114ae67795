package config

import (
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const running = `
brokers:
  - {name: orders, username: u, password_file: p, nodes: [{name: a, address: "a:1"}]}
`

func parsed(t *testing.T, text string) *Config {
	t.Helper()
	c, err := Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestConfigNeedsRestartNamesTheKeysThatTakeOne(t *testing.T) {
	pods := strings.Replace(running, `nodes: [{name: a, address: "a:1"}]`, `pods: {namespace: mq, selector: a=b, container: c}`, 1)
	for text, want := range map[string][]string{
		"":                    nil,
		"log: {level: debug}": nil,
		"defaults: {mode: observe, vhost: other}":           nil,
		"log: {format: json}":                               {"log.format"},
		"listen: {api: '127.0.0.1:8081', metrics: ':9091'}": {"listen.metrics", "listen.api"},
		"data_dir: elsewhere":                               {"data_dir"},
		"api: {rate_limit: {burst: 7}, tokens_file: t}":     {"api.tokens_file", "api.rate_limit"},
		"api: {tls: {cert_file: a, key_file: b}}":           {"api.tls"},
		"api: {trusted_proxies: [10.0.0.0/8]}":              {"api.trusted_proxies"},
		"kubernetes: {lease: other}":                        {"kubernetes"},
	} {
		if diff := cmp.Diff(want, parsed(t, running).NeedsRestart(parsed(t, text+running))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", text, diff)
		}
	}
	more := running + `  - {name: more, username: u, password_file: p, nodes: [{name: a, address: "b:1"}]}`
	if keys := parsed(t, running).NeedsRestart(parsed(t, more)); keys != nil {
		t.Errorf("another broker: %q", keys)
	}
	for _, two := range [][2]string{{running, pods}, {pods, running}} {
		if keys := parsed(t, two[0]).NeedsRestart(parsed(t, two[1])); !slices.Equal(keys, []string{"brokers"}) {
			t.Errorf("the first or the last pods: %q", keys)
		}
	}
	if keys := parsed(t, pods).NeedsRestart(parsed(t, pods+"api: {kubernetes_auth: true}")); !slices.Equal(keys, []string{"api.kubernetes_auth"}) {
		t.Errorf("kubernetes_auth: %q", keys)
	}
}

// A field of Config that is neither among those that take a restart nor among these would be ignored when the file
// changes.
func TestConfigNeedsRestartKnowsEveryFieldThatDoesNotTakeEffect(t *testing.T) {
	live := []string{"Path", "Brokers", "Apps", "Log.Level"}
	var fields func(prefix string, of reflect.Type)
	var unknown []string
	fields = func(prefix string, of reflect.Type) {
		for f := range of.Fields() {
			name := prefix + f.Name
			if slices.Contains(live, name) {
				continue
			}
			if f.Type.Kind() == reflect.Struct && f.Name != "Kubernetes" {
				fields(name+".", f.Type)
				continue
			}
			var c, next Config
			set(reflect.ValueOf(&next).Elem(), strings.Split(name, "."))
			if len(c.NeedsRestart(&next)) == 0 {
				unknown = append(unknown, name)
			}
		}
	}
	fields("", reflect.TypeFor[Config]())
	if len(unknown) > 0 {
		t.Errorf("a change of %q neither takes effect nor is it said that it takes a restart", unknown)
	}
}

// set gives a field, named by its path, another value than its zero value.
func set(v reflect.Value, path []string) {
	for _, name := range path {
		v = v.FieldByName(name)
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString("x")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int:
		v.SetInt(1)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
	case reflect.Struct:
		set(v.Field(0), nil)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
	default:
		panic("no other value of a " + v.Kind().String())
	}
}

func TestRestartKeysAreThoseOfTheDocs(t *testing.T) {
	text, err := os.ReadFile("../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`(?s)takes a restart: (.*?)\. `).FindStringSubmatch(string(text))
	if line == nil {
		t.Fatal("docs/configuration.md does not say what takes a restart")
	}
	var documented, want []string
	for _, key := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(line[1], -1) {
		documented = append(documented, key[1])
	}
	for _, f := range fixed {
		want = append(want, f.key)
	}
	if diff := cmp.Diff(want, documented); diff != "" {
		t.Errorf("docs/configuration.md (-code +documented):\n%s", diff)
	}
}
