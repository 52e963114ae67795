package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cjworkbench/unstuck/auth"
	"github.com/cjworkbench/unstuck/remediate/decide"
)

func FuzzParse(f *testing.F) {
	for _, pattern := range []string{"testdata/good/*.yaml", "testdata/bad/*.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	f.Add([]byte("a: &a [*a]\nbrokers: *a\n"))
	f.Add([]byte("defaults: &d {tls: *d}\nbrokers: [*d, {<<: *d}]\n"))

	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse(data)
		if err == nil {
			held(t, c)
			return
		}
		var problems *Error
		if !errors.As(err, &problems) || len(problems.Problems) == 0 {
			t.Fatalf("%v is no *Error with problems", err)
		}
		lines := 2 // YAML has more ends of lines than one
		for _, end := range []string{"\n", "\r", "\u0085", "\u2028", "\u2029"} {
			lines += strings.Count(string(data), end)
		}
		last := 1
		for _, p := range problems.Problems {
			if p.Line < last || p.Line > lines || p.Text == "" {
				t.Errorf("a problem without a line, or out of order: %+v", p)
			}
			last = p.Line
		}
	})
}

// held checks what the rest of the daemon relies on, of a configuration that was taken.
func held(t *testing.T, c *Config) {
	t.Helper()
	if len(c.Brokers) == 0 {
		t.Error("no brokers")
	}
	names := make(map[string]bool)
	for _, b := range c.Brokers {
		p := b.Policy
		users := 0
		for _, there := range []bool{b.Username != "", b.UsernameFile != "", b.Secret != nil && b.Secret.UsernameKey != ""} {
			if there {
				users++
			}
		}
		passwords := 0
		for _, there := range []bool{b.PasswordFile != "", b.TokenFile != "", b.Secret != nil} {
			if there {
				passwords++
			}
		}
		if b.Name == "" || names[b.Name] || (len(b.Nodes) == 0) == (b.Pods == nil) {
			t.Errorf("broker %q lacks something, or comes twice", b.Name)
		}
		switch {
		case b.AuthMechanism == External && (users+passwords != 0 || !b.TLS.hasCert()):
			t.Errorf("broker %q has %d users, %d passwords and %+v for the mechanism external", b.Name, users, passwords, b.TLS)
		case b.AuthMechanism == Plain && (passwords != 1 || users > 1 || users == 0 && b.TokenFile == ""):
			t.Errorf("broker %q has %d users and %d passwords", b.Name, users, passwords)
		case b.AuthMechanism != External && b.AuthMechanism != Plain:
			t.Errorf("broker %q has the mechanism %q", b.Name, b.AuthMechanism)
		}
		if tls := b.TLS; tls != nil && (tls.CAFile != "" && tls.CASecret != nil || tls.CertFile != "" && tls.CertSecret != nil ||
			(tls.CertFile == "") != (tls.KeyFile == "") || tls.ServerName.wrong()) {
			t.Errorf("broker %q has the TLS %+v", b.Name, tls)
		}
		names[b.Name] = true
		if b.Probes.Login.Every.Schedule == nil || b.Probes.Login.Timeout < b.HandshakeTimeout+time.Second {
			t.Errorf("broker %q breaks the ten-second rule", b.Name)
		}
		if p.Mode == decide.Remediate && b.Pods == nil {
			t.Errorf("broker %q is to be acted on, and its nodes are no pods", b.Name)
		}
		if p.FailureThreshold < 1 || p.FailureThreshold > p.Window || p.MinDuration <= 0 || p.GracePeriod < time.Second || p.MaxStuck < 1 || p.ResultTTL <= 0 || p.EvidenceTTL < p.MinDuration {
			t.Errorf("broker %q has the policy %+v", b.Name, p)
		}
	}
	heldEnvironments(t, c)
	for _, a := range c.Apps {
		if a.Name == "" || names[a.Name] || a.Pods.Namespace == "" || a.Pods.Selector == "" || a.Pods.Container == "" || a.Every.Schedule == nil {
			t.Errorf("application %q lacks something, or comes twice", a.Name)
		}
		names[a.Name] = true
		if p := a.Policy; p.FailureThreshold < 1 || p.FailureThreshold > p.Window || p.GracePeriod < time.Second || p.EvidenceTTL < p.MinDuration {
			t.Errorf("application %q has the policy %+v", a.Name, p)
		}
	}
}

// heldEnvironments checks that what was taken is what package release takes.
func heldEnvironments(t *testing.T, c *Config) {
	t.Helper()
	names := make(map[string]bool)
	for _, e := range c.Environments {
		if err := e.Validate(); err != nil || names[e.Name] || (e.Kubeconfig == "") != (e.Context == "") {
			t.Errorf("environment %q is no good, or comes twice: %v", e.Name, err)
		}
		names[e.Name] = true
	}
	for _, e := range c.Environments {
		if e.PromoteFrom != "" && !names[e.PromoteFrom] {
			t.Errorf("environment %q is promoted to from nowhere", e.Name)
		}
	}
	if a := c.API; (a.CertFile == "") != (a.KeyFile == "") || a.PerSecond < 1 || a.Burst < 1 {
		t.Errorf("the API is %+v", a)
	}
}

// Whatever is taken holds to its bounds, and can be asked anything.
func FuzzParseTokens(f *testing.F) {
	for _, file := range []string{"testdata/tokens.yaml", "testdata/bad-tokens.yaml"} {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		all, err := parseTokens(newDecoder(), data, "")
		var problems *Error
		if err != nil && (!errors.As(err, &problems) || len(problems.Problems) == 0) {
			t.Fatalf("%v is no *Error with problems", err)
		}
		for _, token := range all {
			if again, ok := parseHash(token.hash.String()); !ok || token.Name == "" || len(token.Rights) == 0 || again != token.hash {
				t.Errorf("token %q lacks something", token.Name)
			}
			if token.May(auth.Deploy, "", "") || token.May("fly", "a", "") || token.May(auth.Delete, "", "") && !token.May(auth.Delete, "", "b") {
				t.Errorf("token %q may do what nobody can, or all and not each", token.Name)
			}
		}
	})
}

func FuzzParseSchedule(f *testing.F) {
	for _, spec := range []string{"@every 15s", "*/5 * * * *", "TZ=UTC", "CRON_TZ=", "0 0 30 2 *", "@daily", "0-59/0 * * * *"} {
		f.Add(spec)
	}
	f.Fuzz(func(t *testing.T, spec string) {
		s, err := ParseSchedule(spec)
		if err != nil {
			return
		}
		now := time.Now()
		if next := s.Next(now); !next.After(now) {
			t.Errorf("%q: next at %s, now is %s", spec, next, now)
		}
	})
}
