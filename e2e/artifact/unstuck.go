package artifact

import (
	"context"
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
	return path, m.step("make helm", func() error {
		return m.goBuild(ctx, ".", path, "-modfile="+modfile, "helm.sh/helm/v4/cmd/helm")
	})
}

// Command gives the path of our own program, built of the sources as they are, for this machine.
func (m *Maker) Command(ctx context.Context) (string, error) {
	path := filepath.Join(m.Root, ".cache", "own", "unstuck")
	return path, m.goBuild(ctx, ".", path, "-trimpath", "./cmd/unstuck")
}
