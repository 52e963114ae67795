package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRunRefusesWhatIsNoVersionOrDigest(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{nil, "-version is \"\": want v1.2.3"},
		{[]string{"-version", "1.2.3"}, "want v1.2.3"},
		{[]string{"-version", "v1.02.3"}, "want v1.2.3"},
		{[]string{"-version", "v1.2.3", "-image-digest", "abc"}, "want sha256: and 64 hexadecimal digits"},
	} {
		args := append([]string{"-out", filepath.Join(t.TempDir(), "out")}, c.args...)
		if err := run(t.Context(), args); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: error %v, want one with %q", c.args, err, c.want)
		}
	}
}

func TestNamedNamesTheImageOfTheRelease(t *testing.T) {
	values, err := os.ReadFile("../../charts/unstuck/values.yaml")
	if err != nil {
		t.Fatal(err)
	}
	digest := "sha256:" + strings.Repeat("0", 64)
	got, err := named(values, digest)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"\n  repository: ghcr.io/cjworkbench/unstuck\n", "\n  digest: \"" + digest + "\"\n"} {
		if !strings.Contains(string(got), want) {
			t.Errorf("there is no %q", want)
		}
	}
	if _, err := named(got, digest); err == nil {
		t.Error("values that name an image already are taken")
	}
}

func TestEmptiedRemovesNothingButReleases(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"unstuck_1_linux_amd64.tar.gz", checksumsFile, "mine"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := emptied(dir); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 || left[0].Name() != "mine" {
		t.Errorf("left are %v (%v)", left, err)
	}
}
