// Command release makes everything that a release of Unstuck consists of, but for the images: archives with the program,
// its manual pages and completions for each platform, an SBOM of each, the manifest for krew, the chart, and the
// checksums of all. It publishes nothing and needs no registry.
//
//	go -C tools run ./release -version v0.1.0 -out ../dist [-image-digest sha256:...] [-platforms linux/amd64,...]
//
// The same commit makes the same bytes: every time in them is that of the commit.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	modulePath = "github.com/cjworkbench/unstuck"
	repository = "https://" + modulePath
	image      = "ghcr.io/cjworkbench/unstuck"
)

// platforms are those that there are archives for.
const platforms = "linux/amd64,linux/arm64,darwin/amd64,darwin/arm64,windows/amd64,windows/arm64"

var (
	// https://semver.org, with the v of Go's modules.
	versionForm = regexp.MustCompile(`^v(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?$`)
	digestForm  = regexp.MustCompile(`^(sha256:[0-9a-f]{64})?$`)
)

// release is what is made.
type release struct {
	version string // v1.2.3
	commit  string
	at      time.Time // of the commit
	root    string    // the checkout
	out     string    // where everything is put
	work    string    // what goes in the end
	digest  string    // of the image; empty: the chart names its version
}

// number is the version without the v, as charts, images and archives have it.
func (r *release) number() string { return strings.TrimPrefix(r.version, "v") }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	set := flag.NewFlagSet("release", flag.ContinueOnError)
	version := set.String("version", "", "the `version`, v1.2.3 or v1.2.3-rc.1")
	out := set.String("out", "../dist", "the `directory` to put everything into, which is emptied")
	digest := set.String("image-digest", "", "the `digest` of the published image, for the chart to name")
	wanted := set.String("platforms", platforms, "what to build for, as `os/arch,...`")
	if err := set.Parse(args); err != nil {
		return err
	}
	switch {
	case !versionForm.MatchString(*version):
		return fmt.Errorf("-version is %q: want v1.2.3 or v1.2.3-rc.1", *version)
	case !digestForm.MatchString(*digest):
		return fmt.Errorf("-image-digest is %q: want sha256: and 64 hexadecimal digits", *digest)
	}
	r := &release{version: *version, digest: *digest}
	if err := r.find(ctx, *out); err != nil {
		return err
	}
	defer os.RemoveAll(r.work)
	return r.make(ctx, strings.Split(*wanted, ","))
}

// find finds the checkout and its commit, and empties the directory.
func (r *release) find(ctx context.Context, out string) (err error) {
	if r.out, err = filepath.Abs(out); err != nil {
		return err
	}
	if r.root, err = command(ctx, "", nil, "git", "rev-parse", "--show-toplevel"); err != nil {
		return fmt.Errorf("find the checkout: %w", err)
	}
	if r.commit, err = command(ctx, r.root, nil, "git", "rev-parse", "HEAD"); err != nil {
		return err
	}
	seconds, err := command(ctx, r.root, nil, "git", "log", "-1", "--format=%ct")
	if err != nil {
		return err
	}
	epoch, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil {
		return fmt.Errorf("the time of the commit: %w", err)
	}
	r.at = time.Unix(epoch, 0).UTC()
	if err := emptied(r.out); err != nil {
		return err
	}
	r.work, err = os.MkdirTemp("", "unstuck-release")
	return err
}

// emptied makes a directory, and removes what a release before left in it: nothing that this command did not make.
func emptied(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, pattern := range []string{"unstuck*", checksumsFile} {
		files, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return err
		}
		for _, file := range files {
			if err := os.Remove(file); err != nil {
				return err
			}
		}
	}
	return nil
}

// make makes all of it.
func (r *release) make(ctx context.Context, platforms []string) error {
	// Helm's package first: it fails early if anything is wrong with the chart.
	if err := r.chart(ctx); err != nil {
		return err
	}
	extras, err := r.extras(ctx)
	if err != nil {
		return err
	}
	var archives []archive
	for _, p := range platforms {
		a, err := r.archive(ctx, p, extras)
		if err != nil {
			return fmt.Errorf("%s: %w", p, err)
		}
		archives = append(archives, a)
	}
	if err := r.krew(archives); err != nil {
		return err
	}
	return checksums(r.out)
}

// command runs one, and gives the first line of what it prints. An error has what it said.
func command(ctx context.Context, dir string, env []string, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	out, err := cmd.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return "", fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, exit.Stderr)
	}
	return strings.TrimSpace(string(out)), err
}
