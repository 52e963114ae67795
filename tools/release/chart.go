package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
)

// What a checkout says of the image, which has no registry, and what the chart of a release says.
const (
	noImage  = "\n  repository: \"\"\n"
	noDigest = "\n  digest: \"\"\n"
)

// chart makes the package of the chart: that of the checkout, which names the image of this release.
func (r *release) chart(ctx context.Context) error {
	dir := filepath.Join(r.work, "unstuck")
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(r.root, "charts", "unstuck"))); err != nil {
		return err
	}
	values := filepath.Join(dir, "values.yaml")
	data, err := os.ReadFile(values)
	if err != nil {
		return err
	}
	if data, err = named(data, r.digest); err != nil {
		return err
	}
	if err := os.WriteFile(values, data, 0o644); err != nil {
		return err
	}
	_, err = command(ctx, r.root, nil, "go", "tool", "-modfile=tools/helm/go.mod", "helm", "package", dir,
		"--version", r.number(), "--app-version", r.number(), "--destination", r.out)
	if err != nil {
		return fmt.Errorf("package the chart: %w", err)
	}
	return os.RemoveAll(dir) // its place is the program's
}

// named gives the values with the image of this release, by its digest if that is known.
func named(values []byte, digest string) ([]byte, error) {
	for _, c := range []struct{ from, to string }{
		{noImage, fmt.Sprintf("\n  repository: %s\n", image)},
		{noDigest, fmt.Sprintf("\n  digest: %q\n", digest)},
	} {
		if bytes.Count(values, []byte(c.from)) != 1 {
			return nil, fmt.Errorf("the chart's values have %q not once: want it to say where the image is", c.from)
		}
		values = bytes.Replace(values, []byte(c.from), []byte(c.to), 1)
	}
	return values, nil
}
