package artifact

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// The names of the images. Nothing pulls them: they are imported, and never looked for elsewhere.
const (
	ToolImage = "localhost/unstuck/tool:e2e" // cmd/tool: waits, so that it serves as the pause image too; fetches; logs
)

// RabbitMQImage gives the name of the image with a version of RabbitMQ: "3.10" or "4.0".
func RabbitMQImage(version string) string { return "localhost/unstuck/rabbitmq:" + version }

// suites are the releases of Debian by the versions of RabbitMQ in them.
var suites = map[string]string{"3.10": "bookworm", "4.0": "trixie"}

// RabbitMQVersions lists the versions of RabbitMQ of which there are images.
func RabbitMQVersions() []string { return []string{"3.10", "4.0"} }

// imageFormat is part of the names of kept images: raise it when they are made in another way.
const imageFormat = "1"

// RabbitMQ gives the path of an image, as a tar file, with a version of RabbitMQ.
func (m *Maker) RabbitMQ(ctx context.Context, version string) (string, error) {
	suite := suites[version]
	if suite == "" {
		return "", fmt.Errorf("no image of RabbitMQ %q; there are %s", version, strings.Join(RabbitMQVersions(), " and "))
	}
	path := m.imagePath("rabbitmq-" + version)
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	tree := filepath.Join(m.Root, ".cache", "rabbitmq-"+version)
	if _, err := os.Stat(tree); err != nil {
		if err := m.step("fetch RabbitMQ "+version+" and what it needs", func() error {
			_, err := m.command(ctx, m.Root, "lab/tree.sh", tree, suite)
			return err
		}); err != nil {
			return "", err
		}
	}
	err := m.step("make the image of RabbitMQ "+version, func() error {
		layer, err := anew(path + ".layer")
		if err != nil {
			return err
		}
		defer os.Remove(layer)
		// Without what nobody reads in a container, and what was left by others who use the tree.
		args := []string{"--create", "--file", layer, "--numeric-owner", "--one-file-system", "--directory", tree}
		for _, dir := range []string{
			"dev", "proc", "sys", "run", "tmp", "var/cache", "var/lib/apt", "usr/share/doc",
			"usr/share/man", "usr/share/locale", "var/log/rabbitmq", "var/lib/rabbitmq",
		} {
			args = append(args, "--exclude=./"+dir+"/*")
		}
		if _, err := m.command(ctx, m.Root, "tar", append(args, ".")...); err != nil {
			return err
		}
		return writeImage(path, layer, []string{RabbitMQImage(version)}, map[string]any{"User": "rabbitmq"})
	})
	return path, err
}

// Tool gives the path of the image of cmd/tool, as a tar file.
func (m *Maker) Tool(ctx context.Context) (string, error) {
	program, err := m.Own(ctx, "tool")
	if err != nil {
		return "", err
	}
	return m.programImage("tool", []string{ToolImage}, program, nil)
}

// programImage makes an image that holds one static program and nothing else, with names and with variables of its
// containers' environment, and gives the path of its tar file. It is quick, so it is made anew each time.
func (m *Maker) programImage(file string, names []string, program string, env []string) (string, error) {
	path := m.imagePath(file)
	layer, err := anew(path + ".layer")
	if err != nil {
		return "", err
	}
	defer os.Remove(layer)
	raw, err := os.ReadFile(program)
	if err != nil {
		return "", err
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	base := filepath.Base(program)
	if err := add(w, base, 0o755, int64(len(raw)), bytes.NewReader(raw)); err != nil {
		return "", err
	}
	if err := w.Close(); err != nil {
		return "", err
	}
	if err := os.WriteFile(layer, b.Bytes(), 0o644); err != nil {
		return "", err
	}
	return path, writeImage(path, layer, names, map[string]any{"Entrypoint": []string{"/" + base}, "Env": env})
}

func (m *Maker) imagePath(name string) string {
	return filepath.Join(m.Root, ".cache", "images", name+"-"+imageFormat+".tar")
}

// writeImage writes an image of one layer, with its names and with settings of its containers, in the format of `docker
// save` (https://github.com/moby/docker-image-spec/blob/main/v1.2.md). It appears only once it is complete.
func writeImage(path, layer string, names []string, settings map[string]any) error {
	name, err := anew(path + ".partial")
	if err != nil {
		return err
	}
	partial, err := os.Create(name)
	if err != nil {
		return err
	}
	defer os.Remove(name)
	defer partial.Close()
	in, err := os.Open(layer)
	if err != nil {
		return err
	}
	defer in.Close()
	h := sha256.New()
	size, err := io.Copy(h, in)
	if err != nil {
		return err
	}
	if _, err := in.Seek(0, io.SeekStart); err != nil {
		return err
	}
	config, err := imageConfig(settings, "sha256:"+hex.EncodeToString(h.Sum(nil)))
	if err != nil {
		return err
	}
	manifest, err := json.Marshal([]any{map[string]any{
		"Config": "config.json", "RepoTags": names, "Layers": []string{"layer.tar"},
	}})
	if err != nil {
		return err
	}
	w := tar.NewWriter(partial)
	for _, f := range []struct {
		name string
		size int64
		body io.Reader
	}{
		{"manifest.json", int64(len(manifest)), bytes.NewReader(manifest)},
		{"config.json", int64(len(config)), bytes.NewReader(config)},
		{"layer.tar", size, in},
	} {
		if err := add(w, f.name, 0o644, f.size, f.body); err != nil {
			return err
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	if err := partial.Close(); err != nil {
		return err
	}
	return os.Rename(partial.Name(), path)
}

// imageConfig is the configuration of an image of one layer, whose digest that is.
func imageConfig(settings map[string]any, layer string) ([]byte, error) {
	settings = maps.Clone(settings)
	env, _ := settings["Env"].([]string)
	settings["Env"] = append([]string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}, env...)
	return json.Marshal(map[string]any{
		"architecture": runtime.GOARCH, "os": "linux", "created": time.Unix(0, 0).UTC(), "config": settings,
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{layer}},
	})
}

func add(w *tar.Writer, name string, mode, size int64, body io.Reader) error {
	if err := w.WriteHeader(&tar.Header{Name: name, Mode: mode, Size: size, Typeflag: tar.TypeReg}); err != nil {
		return err
	}
	_, err := io.Copy(w, body)
	return err
}
