package artifact

import (
	"context"
	"fmt"
	"path/filepath"
)

// UnstuckImage is the name of our own image, as tools/image.sh makes it.
const (
	UnstuckImage = "unstuck.local/unstuck"
	UnstuckTag   = "e2e"
)

// Unstuck gives the path of our own image, as a tar file, made of the sources as they are.
func (m *Maker) Unstuck(ctx context.Context) (string, error) {
	path := m.imagePath("unstuck")
	err := m.step("make the image of Unstuck", func() error {
		_, err := m.command(ctx, m.Root, "tools/image.sh", path)
		return err
	})
	return path, err
}

// Helm gives the path of helm, which is a Go tool of the project's.
func (m *Maker) Helm(ctx context.Context) (string, error) {
	path := filepath.Join(m.Root, ".cache", "helm")
	modfile := filepath.Join(m.Root, "tools", "helm", "go.mod")
	err := m.step("make helm", func() error {
		_, err := m.command(ctx, m.Root, "go", "build", "-modfile="+modfile, "-o", path, "helm.sh/helm/v4/cmd/helm")
		return err
	})
	if err != nil {
		return "", fmt.Errorf("make helm: %w", err)
	}
	return path, nil
}

// Command gives the path of our own program, built of the sources as they are, for this machine.
func (m *Maker) Command(ctx context.Context) (string, error) {
	path := filepath.Join(m.Root, ".cache", "own", "unstuck")
	if _, err := m.command(ctx, m.Root, "go", "build", "-trimpath", "-o", path, "./cmd/unstuck"); err != nil {
		return "", fmt.Errorf("build unstuck: %w", err)
	}
	return path, nil
}
