// Package whole makes a whole release, without a registry, and looks into each product: `make release-test`. It takes
// minutes, root, and buildah, and so is no part of `make check`.
package whole

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"debug/buildinfo"
	"debug/elf"
	"debug/macho"
	"debug/pe"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

const (
	root    = "../../.."
	version = "v9.8.7-rc.1"
	number  = "9.8.7-rc.1"
)

// systems are the platforms that there are archives for, and how a program of each begins to be told from others.
var systems = wanted(map[string]func(t *testing.T, program []byte){
	"linux_amd64":   isELF(elf.EM_X86_64),
	"linux_arm64":   isELF(elf.EM_AARCH64),
	"darwin_amd64":  isMachO(macho.CpuAmd64),
	"darwin_arm64":  isMachO(macho.CpuArm64),
	"windows_amd64": isPE(pe.IMAGE_FILE_MACHINE_AMD64),
	"windows_arm64": isPE(pe.IMAGE_FILE_MACHINE_ARM64),
}, os.Getenv("PLATFORMS"))

// wanted leaves of all systems those that the list has, or all if it is empty.
func wanted(all map[string]func(*testing.T, []byte), platforms string) map[string]func(*testing.T, []byte) {
	if platforms == "" {
		return all
	}
	some := make(map[string]func(*testing.T, []byte))
	for p := range strings.SplitSeq(platforms, ",") {
		name := strings.ReplaceAll(p, "/", "_")
		if some[name] = all[name]; some[name] == nil {
			panic("PLATFORMS has " + p + ", which nothing is known of")
		}
	}
	return some
}

// One test makes the release; its parts look at it.
func TestWholeReleaseHasEveryPart(t *testing.T) {
	dist := filepath.Join(t.TempDir(), "dist")
	cmd := exec.CommandContext(t.Context(), "make", "release-dry", "RELEASE="+version, "DIST="+dist) // with PLATFORMS of the environment
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("make release-dry: %v\n%s", err, out)
	}
	t.Run("has_these_files_and_no_others", func(t *testing.T) { hasFiles(t, dist) })
	t.Run("checksums_are_of_every_file", func(t *testing.T) { checksums(t, dist) })
	for system, right := range systems {
		t.Run("archive_of_"+system, func(t *testing.T) { archive(t, dist, system, right) })
		t.Run("SBOM_of_"+system, func(t *testing.T) { sbom(t, dist, system) })
	}
	t.Run("program_of_this_machine_says_its_version", func(t *testing.T) { runs(t, dist) })
	t.Run("krew_finds_each_archive", func(t *testing.T) { krew(t, dist) })
	t.Run("chart_names_the_image", func(t *testing.T) { chart(t, dist) })
	t.Run("image_is_for_two_platforms_and_not_run_by_root", func(t *testing.T) { image(t, filepath.Join(dist, "image")) })
}

func archiveName(system string) string {
	end := ".tar.gz"
	if strings.HasPrefix(system, "windows") {
		end = ".zip"
	}
	return "unstuck_" + number + "_" + system + end
}

func hasFiles(t *testing.T, dist string) {
	want := []string{"checksums.txt", "image", "unstuck-" + number + ".tgz", "unstuck.yaml"}
	for system := range systems {
		want = append(want, archiveName(system), "unstuck_"+number+"_"+system+".cdx.json")
	}
	entries, err := os.ReadDir(dist)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("it has %q, want %q", got, want)
	}
}

func checksums(t *testing.T, dist string) {
	said := map[string]string{}
	for line := range strings.Lines(string(read(t, dist, "checksums.txt"))) {
		sum, name, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "  ")
		if !ok {
			t.Errorf("a line is %q", line)
		}
		said[name] = sum
	}
	files, err := filepath.Glob(filepath.Join(dist, "unstuck*"))
	if err != nil || len(files) != len(said) {
		t.Errorf("%d checksums of %d files (%v)", len(said), len(files), err)
	}
	for _, path := range files {
		if name := filepath.Base(path); said[name] != sum(read(t, dist, name)) {
			t.Errorf("%s has another checksum than %s", name, said[name])
		}
	}
}

func archive(t *testing.T, dist, system string, right func(*testing.T, []byte)) {
	content := unpacked(t, dist, system)
	program := content[programOf(system)]
	right(t, program)
	for name, want := range map[string]string{
		"LICENSE": "Apache License", "README.md": "# Unstuck", "CHANGELOG.md": "# Changelog",
		"man/man1/unstuck.1": `.TH "UNSTUCK" "1"`, "man/man1/unstuck-probe.1": "exit code",
		"completions/unstuck.bash": "__start_unstuck", "completions/_unstuck": "#compdef unstuck",
		"completions/unstuck.fish": "complete -c unstuck", "completions/unstuck.ps1": "Register-ArgumentCompleter",
	} {
		if !bytes.Contains(content[name], []byte(want)) {
			t.Errorf("%s of %d bytes has no %q; the archive has %q", name, len(content[name]), want, slices.Sorted(maps.Keys(content)))
		}
	}
	info, err := buildinfo.Read(bytes.NewReader(program))
	if err != nil {
		t.Fatal(err)
	}
	if info.Path != "github.com/cjworkbench/unstuck/cmd/unstuck" {
		t.Errorf("the program is %s", info.Path)
	}
	// The linker keeps the names of packages, for stack traces, also with -s. Those of the lab are in the demo alone.
	if !bytes.Contains(program, []byte("github.com/cjworkbench/unstuck/probe.")) {
		t.Error("the names of packages cannot be found in the program")
	}
	for _, part := range []string{"/unstuck/lab", "/unstuck/apptest", "/unstuck-demo"} {
		if bytes.Contains(program, []byte("github.com/cjworkbench"+part)) {
			t.Errorf("%s is in the program", part)
		}
	}
}

func sbom(t *testing.T, dist, system string) {
	var bom struct {
		BOMFormat   string
		SpecVersion string
		Metadata    struct {
			Component struct{ Name, Version string }
		}
		Components []struct{ Name, Version, PURL string }
	}
	if err := json.Unmarshal(read(t, dist, "unstuck_"+number+"_"+system+".cdx.json"), &bom); err != nil {
		t.Fatal(err)
	}
	main := bom.Metadata.Component
	if bom.BOMFormat != "CycloneDX" || bom.SpecVersion == "" || main.Name != "github.com/cjworkbench/unstuck" || main.Version != version {
		t.Errorf("it is %s %s of %s %s", bom.BOMFormat, bom.SpecVersion, main.Name, main.Version)
	}
	info, err := buildinfo.Read(bytes.NewReader(unpacked(t, dist, system)[programOf(system)]))
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]string{}
	for _, c := range bom.Components {
		listed[c.Name] = c.Version
		if c.PURL != "pkg:golang/"+c.Name+"@"+c.Version {
			t.Errorf("%s has the URL %s", c.Name, c.PURL)
		}
	}
	want := map[string]string{"stdlib": info.GoVersion}
	for _, m := range info.Deps {
		want[m.Path] = m.Version
	}
	if !maps.Equal(listed, want) || len(want) < 20 {
		t.Errorf("it lists %d parts, and the program has %d", len(listed), len(want))
	}
}

func runs(t *testing.T, dist string) {
	system := runtime.GOOS + "_" + runtime.GOARCH
	program := filepath.Join(t.TempDir(), "unstuck")
	if err := os.WriteFile(program, unpacked(t, dist, system)[programOf(system)], 0o755); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), program, "version").CombinedOutput()
	if err != nil || !strings.HasPrefix(string(out), "unstuck "+version+", commit ") {
		t.Errorf("it says %q (%v)", out, err)
	}
}

func krew(t *testing.T, dist string) {
	var plugin struct {
		APIVersion string `yaml:"apiVersion"`
		Kind       string
		Metadata   struct{ Name string }
		Spec       struct {
			Version          string
			ShortDescription string `yaml:"shortDescription"`
			Platforms        []struct {
				Selector struct {
					MatchLabels map[string]string `yaml:"matchLabels"`
				}
				URI, SHA256, Bin string
				Files            []struct{ From, To string }
			}
		}
	}
	if err := yaml.Unmarshal(read(t, dist, "unstuck.yaml"), &plugin); err != nil {
		t.Fatal(err)
	}
	s := plugin.Spec
	if plugin.APIVersion != "krew.googlecontainertools.github.com/v1alpha2" || plugin.Kind != "Plugin" ||
		plugin.Metadata.Name != "unstuck" || s.Version != version || len(s.Platforms) != len(systems) {
		t.Errorf("it is %+v", plugin)
	}
	if n := len(s.ShortDescription); n == 0 || n > 50 { // krew-index refuses more
		t.Errorf("its short description has %d characters", n)
	}
	for _, p := range s.Platforms {
		system := p.Selector.MatchLabels["os"] + "_" + p.Selector.MatchLabels["arch"]
		name := archiveName(system)
		if p.URI != "https://github.com/cjworkbench/unstuck/releases/download/"+version+"/"+name || p.SHA256 != sum(read(t, dist, name)) {
			t.Errorf("%s: it is to come from %s, with the sum %s", system, p.URI, p.SHA256)
		}
		content := unpacked(t, dist, system)
		for _, f := range p.Files {
			if content[f.From] == nil || f.To != "." {
				t.Errorf("%s: %s is not in the archive, or goes to %s", system, f.From, f.To)
			}
		}
		if p.Bin != programOf(system) {
			t.Errorf("%s: the program is %s", system, p.Bin)
		}
	}
}

func chart(t *testing.T, dist string) {
	content := tarGz(t, read(t, dist, "unstuck-"+number+".tgz"))
	for name, wants := range map[string][]string{
		"unstuck/Chart.yaml":  {"version: " + number, "appVersion: " + number, "artifacthub.io/"},
		"unstuck/values.yaml": {"repository: ghcr.io/cjworkbench/unstuck\n"},
	} {
		for _, want := range wants {
			if !bytes.Contains(content[name], []byte(want)) {
				t.Errorf("%s has no %q:\n%.300s", name, want, content[name])
			}
		}
	}
	for _, name := range []string{"values.schema.json", "README.md", "templates/tests/ready.yaml", "templates/admissionpolicy.yaml", "rules/nodes.yaml"} {
		if len(content["unstuck/"+name]) == 0 {
			t.Errorf("%s is not in it", name)
		}
	}
}

// descriptor is of an index or a manifest (https://github.com/opencontainers/image-spec/blob/main/descriptor.md).
type descriptor struct {
	MediaType string
	Digest    string
	Platform  struct{ OS, Architecture string }
}

func image(t *testing.T, layout string) {
	var index struct{ Manifests []descriptor }
	decode(t, read(t, layout, "index.json"), &index)
	for len(index.Manifests) == 1 { // the index of the layout names one, of the image
		blob := read(t, layout, blobPath(index.Manifests[0].Digest))
		index.Manifests = nil
		decode(t, blob, &index)
	}
	machines := map[string]func(*testing.T, []byte){"amd64": isELF(elf.EM_X86_64), "arm64": isELF(elf.EM_AARCH64)}
	for _, m := range index.Manifests {
		right := machines[m.Platform.Architecture]
		if right == nil || m.Platform.OS != "linux" {
			t.Errorf("it is for %+v", m.Platform)
			continue
		}
		delete(machines, m.Platform.Architecture)
		var manifest struct {
			Config descriptor
			Layers []descriptor
		}
		decode(t, read(t, layout, blobPath(m.Digest)), &manifest)
		var config struct {
			Architecture string
			Config       struct {
				User       string
				Entrypoint []string
				Labels     map[string]string
			}
		}
		decode(t, read(t, layout, blobPath(manifest.Config.Digest)), &config)
		c := config.Config
		if config.Architecture != m.Platform.Architecture || c.User != "65532:65532" || !slices.Equal(c.Entrypoint, []string{"/usr/bin/unstuck"}) {
			t.Errorf("%s: it is %+v", m.Platform.Architecture, config)
		}
		if c.Labels["org.opencontainers.image.version"] != version || len(c.Labels["org.opencontainers.image.revision"]) != 40 {
			t.Errorf("%s: its labels are %v", m.Platform.Architecture, c.Labels)
		}
		content := map[string][]byte{}
		for _, layer := range manifest.Layers {
			maps.Copy(content, tarGz(t, read(t, layout, blobPath(layer.Digest))))
		}
		if names := slices.Sorted(maps.Keys(content)); !slices.Equal(names, []string{"usr/bin/unstuck"}) {
			t.Errorf("%s: the files in it are %q", m.Platform.Architecture, names)
		}
		right(t, content["usr/bin/unstuck"])
	}
	if len(machines) > 0 {
		t.Errorf("there is no image for %q", slices.Sorted(maps.Keys(machines)))
	}
}

func blobPath(digest string) string { return "blobs/" + strings.Replace(digest, ":", "/", 1) }

func programOf(system string) string {
	if strings.HasPrefix(system, "windows") {
		return "unstuck.exe"
	}
	return "unstuck"
}

func unpacked(t *testing.T, dist, system string) map[string][]byte {
	t.Helper()
	data := read(t, dist, archiveName(system))
	if !strings.HasPrefix(system, "windows") {
		return tarGz(t, data)
	}
	archive, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	content := map[string][]byte{}
	for _, f := range archive.File {
		in, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		if content[f.Name], err = io.ReadAll(in); err != nil {
			t.Fatal(err)
		}
		in.Close()
	}
	return content
}

// tarGz gives the files of a tar, that is compressed or not.
func tarGz(t *testing.T, data []byte) map[string][]byte {
	t.Helper()
	var in io.Reader = bytes.NewReader(data)
	if zipped, err := gzip.NewReader(bytes.NewReader(data)); err == nil {
		in = zipped
	}
	content := map[string][]byte{}
	for archive := tar.NewReader(in); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return content
		}
		if err != nil {
			t.Fatal(err)
		}
		if header.Typeflag == tar.TypeDir {
			continue
		}
		if content[header.Name], err = io.ReadAll(archive); err != nil {
			t.Fatal(err)
		}
	}
}

func read(t *testing.T, dir, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func decode(t *testing.T, data []byte, into any) {
	t.Helper()
	if err := json.Unmarshal(data, into); err != nil {
		t.Fatal(err)
	}
}

func sum(data []byte) string {
	digest := sha256.Sum256(data)
	return hex.EncodeToString(digest[:])
}

func isELF(machine elf.Machine) func(*testing.T, []byte) {
	return func(t *testing.T, program []byte) {
		t.Helper()
		f, err := elf.NewFile(bytes.NewReader(program))
		if err != nil {
			t.Fatal(err)
		}
		if f.Machine != machine {
			t.Errorf("it is for %s", f.Machine)
		}
		for _, p := range f.Progs {
			if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
				t.Errorf("it is linked dynamically: %s", p.Type)
			}
		}
	}
}

func isMachO(cpu macho.Cpu) func(*testing.T, []byte) {
	return func(t *testing.T, program []byte) {
		t.Helper()
		if f, err := macho.NewFile(bytes.NewReader(program)); err != nil || f.Cpu != cpu {
			t.Errorf("it is none for %s (%v)", cpu, err)
		}
	}
}

func isPE(machine uint16) func(*testing.T, []byte) {
	return func(t *testing.T, program []byte) {
		t.Helper()
		if f, err := pe.NewFile(bytes.NewReader(program)); err != nil || f.Machine != machine {
			t.Error(fmt.Errorf("it is none for %#x: %w", machine, err))
		}
	}
}
