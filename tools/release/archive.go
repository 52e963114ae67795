package main

import (
	"archive/tar"
	"archive/zip"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const checksumsFile = "checksums.txt"

// file is one of an archive.
type file struct {
	name string // in it
	path string
	mode int64
}

// archive is one that was made.
type archive struct {
	os, arch string
	name     string // of the file
	program  string // in it
	sha256   string
}

// shells are those that there are completions for, and what the file of each is called.
var shells = map[string]string{
	"bash": "unstuck.bash", "zsh": "_unstuck", "fish": "unstuck.fish", "powershell": "unstuck.ps1",
}

// flags of the linker: what `unstuck version` says, and no tables for debuggers.
func (r *release) ldflags() string {
	return fmt.Sprintf("-s -w -X %[1]s/version.builtVersion=%[2]s -X %[1]s/version.builtCommit=%[3]s", modulePath,
		r.version, r.commit)
}

// build builds the program for a platform.
func (r *release) build(ctx context.Context, goos, goarch, out string) error {
	env := []string{"CGO_ENABLED=0", "GOOS=" + goos, "GOARCH=" + goarch, "GOWORK=off", "GOFLAGS=-mod=readonly"}
	_, err := command(ctx, r.root, env, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", r.ldflags(), "-o", out,
		"./cmd/unstuck")
	return err
}

// extras makes what each archive has besides the program: manual pages and completions, by the program itself.
func (r *release) extras(ctx context.Context) ([]file, error) {
	program := filepath.Join(r.work, "unstuck")
	host, err := command(ctx, r.root, nil, "go", "env", "GOHOSTOS", "GOHOSTARCH")
	if err != nil {
		return nil, err
	}
	system := strings.Fields(host)
	if err := r.build(ctx, system[0], system[1], program); err != nil {
		return nil, err
	}
	var files []file
	for _, name := range []string{"LICENSE", "README.md", "CHANGELOG.md"} {
		files = append(files, file{name, filepath.Join(r.root, name), 0o644})
	}
	man := filepath.Join(r.work, "man")
	epoch := fmt.Sprintf("SOURCE_DATE_EPOCH=%d", r.at.Unix())
	if _, err := command(ctx, r.work, []string{epoch}, program, "man", man); err != nil {
		return nil, err
	}
	pages, err := filepath.Glob(filepath.Join(man, "*.1"))
	if err != nil {
		return nil, err
	}
	for _, page := range pages {
		files = append(files, file{"man/man1/" + filepath.Base(page), page, 0o644})
	}
	for shell, name := range shells {
		script, err := command(ctx, r.work, nil, program, "completion", shell)
		if err != nil {
			return nil, err
		}
		path := filepath.Join(r.work, name)
		if err := os.WriteFile(path, []byte(script+"\n"), 0o644); err != nil {
			return nil, err
		}
		files = append(files, file{"completions/" + name, path, 0o644})
	}
	slices.SortFunc(files, func(a, b file) int { return strings.Compare(a.name, b.name) })
	return files, nil
}

// archive makes the archive of a platform, and its SBOM.
func (r *release) archive(ctx context.Context, platform string, extras []file) (archive, error) {
	goos, goarch, ok := strings.Cut(platform, "/")
	if !ok {
		return archive{}, errors.New("want os/arch")
	}
	a := archive{os: goos, arch: goarch, program: "unstuck"}
	base := fmt.Sprintf("unstuck_%s_%s_%s", r.number(), goos, goarch)
	write := r.tarGz
	a.name = base + ".tar.gz"
	if goos == "windows" {
		write = r.zip
		a.name, a.program = base+".zip", "unstuck.exe"
	}
	built := filepath.Join(r.work, base)
	if err := r.build(ctx, goos, goarch, built); err != nil {
		return a, err
	}
	if err := r.sbom(built, filepath.Join(r.out, base+".cdx.json"), a); err != nil {
		return a, fmt.Errorf("its SBOM: %w", err)
	}
	path := filepath.Join(r.out, a.name)
	if err := write(path, append([]file{{a.program, built, 0o755}}, extras...)); err != nil {
		return a, err
	}
	var err error
	a.sha256, err = sum(path)
	return a, err
}

func (r *release) tarGz(path string, files []file) error {
	return created(path, func(out io.Writer) error {
		zipped, err := gzip.NewWriterLevel(out, gzip.BestCompression)
		if err != nil {
			return err
		}
		archive := tar.NewWriter(zipped)
		for _, f := range files {
			data, err := os.ReadFile(f.path)
			if err != nil {
				return err
			}
			header := &tar.Header{
				Typeflag: tar.TypeReg, Name: f.name, Mode: f.mode, Size: int64(len(data)), ModTime: r.at, Uname: "root", Gname: "root",
			}
			if err := archive.WriteHeader(header); err != nil {
				return err
			}
			if _, err := archive.Write(data); err != nil {
				return err
			}
		}
		return errors.Join(archive.Close(), zipped.Close())
	})
}

func (r *release) zip(path string, files []file) error {
	return created(path, func(out io.Writer) error {
		archive := zip.NewWriter(out)
		for _, f := range files {
			data, err := os.ReadFile(f.path)
			if err != nil {
				return err
			}
			header := &zip.FileHeader{Name: f.name, Method: zip.Deflate, Modified: r.at}
			header.SetMode(os.FileMode(f.mode))
			w, err := archive.CreateHeader(header)
			if err != nil {
				return err
			}
			if _, err := w.Write(data); err != nil {
				return err
			}
		}
		return archive.Close()
	})
}

// created writes a file; it goes again if that fails.
func created(path string, write func(io.Writer) error) error {
	out, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := errors.Join(write(out), out.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

// sum gives the SHA-256 of a file in hexadecimal.
func sum(path string) (string, error) {
	in, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer in.Close()
	h := sha256.New()
	if _, err := io.Copy(h, in); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// checksums writes the sums of every file in a directory, as `sha256sum --check` reads them.
func checksums(dir string) error {
	files, err := filepath.Glob(filepath.Join(dir, "unstuck*"))
	if err != nil {
		return err
	}
	var lines strings.Builder
	for _, path := range files { // in the order of their names
		digest, err := sum(path)
		if err != nil {
			return err
		}
		fmt.Fprintf(&lines, "%s  %s\n", digest, filepath.Base(path))
	}
	return os.WriteFile(filepath.Join(dir, checksumsFile), []byte(lines.String()), 0o644)
}
