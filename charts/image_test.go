package charts_test

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const maxImage = 60 << 20 // bytes

// image is what a Docker archive says of the one image in it.
type image struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// settings are those of an image.
type settings struct {
	OS     string `json:"os"`
	Config struct {
		User       string
		Entrypoint []string
		Cmd        []string
		Env        []string
	} `json:"config"`
}

// The Dockerfile is built as it is, from base images of this machine: it takes root, and buildah. All of it is looked at
// in one test, for a build takes its time.
//
//promise:47
func TestImageHoldsOneStaticProgramThatIsNotRunByRoot(t *testing.T) {
	dir := t.TempDir()
	archive := filepath.Join(dir, "image.tar")
	const commit = "0123456789abcdef0123456789abcdef01234567"
	build := exec.CommandContext(t.Context(), "../tools/image.sh", archive, "VERSION=v9.8.7", "COMMIT="+commit)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the image: %v\n%s", err, out)
	}
	blobs := files(t, archive)
	var images []image
	if err := json.Unmarshal(blobs["manifest.json"], &images); err != nil || len(images) != 1 {
		t.Fatalf("%d images in the archive, %v", len(images), err)
	}
	if !slices.Equal(images[0].RepoTags, []string{"unstuck.local/unstuck:e2e"}) {
		t.Errorf("it is called %v", images[0].RepoTags)
	}
	var s settings
	if err := json.Unmarshal(blobs[images[0].Config], &s); err != nil {
		t.Fatal(err)
	}
	if s.OS != "linux" || s.Config.User != "65532:65532" || len(s.Config.Cmd) != 0 ||
		!slices.Equal(s.Config.Entrypoint, []string{"/usr/bin/unstuck"}) {
		t.Errorf("its settings are %+v", s)
	}

	size, content := 0, make(map[string][]byte)
	for _, layer := range images[0].Layers {
		size += len(blobs[layer])
		maps.Copy(content, tarred(t, bytes.NewReader(blobs[layer])))
	}
	if diff := cmp.Diff([]string{"usr/bin/unstuck"}, slices.Sorted(maps.Keys(content))); diff != "" {
		t.Errorf("the files in it (-want +got):\n%s", diff)
	}
	if size == 0 || size > maxImage {
		t.Errorf("it has %d bytes, want up to %d", size, maxImage)
	}
	t.Logf("the image has %.1f MB", float64(size)/1e6)

	root := filepath.Join(dir, "root")
	program := filepath.Join(root, "usr", "bin", "unstuck")
	if err := os.MkdirAll(filepath.Dir(program), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(program, content["usr/bin/unstuck"], 0o755); err != nil {
		t.Fatal(err)
	}
	static(t, program)
	if out := inside(t, root, "version"); !strings.Contains(out, "unstuck v9.8.7, commit 0123456789ab, go1.") {
		t.Errorf("its version is %q", out)
	}
	if out := inside(t, root, "--help"); !strings.Contains(out, "Run the daemon") {
		t.Errorf("its help is %q", out)
	}
}

// inside runs the image's program as Kubernetes does: with the image for a root directory, and the image's user.
func inside(t *testing.T, root string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/usr/bin/unstuck", args...)
	cmd.Dir, cmd.Env = "/", []string{}
	// Changing the root comes before changing the user, so that it does not matter who may read the way to it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: root, Credential: &syscall.Credential{Uid: 65532, Gid: 65532}}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("run it with %v: %v\n%s", args, err, out)
	}
	return string(out)
}

// static fails if a program asks for a loader or a shared library.
func static(t *testing.T, path string) {
	t.Helper()
	f, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
			t.Errorf("it is linked dynamically: %s", p.Type)
		}
	}
}

// files gives the files of a tar.
func files(t *testing.T, path string) map[string][]byte {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	return tarred(t, f)
}

// tarred gives whatever is in a tar and is no directory, links too.
func tarred(t *testing.T, r io.Reader) map[string][]byte {
	t.Helper()
	all := make(map[string][]byte)
	for archive := tar.NewReader(r); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		if header.Typeflag == tar.TypeDir {
			continue
		}
		data, err := io.ReadAll(archive)
		if err != nil {
			t.Fatal(err)
		}
		all[header.Name] = data
	}
}
