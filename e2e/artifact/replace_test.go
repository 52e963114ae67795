package artifact

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

//promise:48
func TestReplaceLeavesAloneWhatIsLinkedToTheOldOne(t *testing.T) {
	dir := t.TempDir()
	mine, theirs := filepath.Join(dir, "tool"), filepath.Join(dir, "of another checkout")
	write := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	holds := func(path, text string) {
		t.Helper()
		if raw, err := os.ReadFile(path); err != nil || string(raw) != text {
			t.Errorf("%s holds %q, %v; want %q", filepath.Base(path), raw, err, text)
		}
	}
	write(mine, "old")
	write(mine+".partial", "left by one that was killed")
	for path, other := range map[string]string{mine: theirs, mine + ".partial": theirs + ".partial"} {
		if err := os.Link(path, other); err != nil {
			t.Fatal(err)
		}
	}

	failure := errors.New("it does not compile")
	err := replace(mine, func(partial string) error {
		holds(partial, "old") // the go command asks it whether it is up to date
		write(partial, "half")
		return failure
	})
	if !errors.Is(err, failure) {
		t.Errorf("a build that failed is reported as %v", err)
	}
	holds(mine, "old")
	if err := replace(mine, func(partial string) error { write(partial, "new"); return nil }); err != nil {
		t.Fatal(err)
	}
	holds(mine, "new")
	holds(theirs, "old")
	holds(theirs+".partial", "left by one that was killed")
	if left, err := filepath.Glob(mine + ".*"); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestMakerProgramImageLeavesAloneWhatIsLinkedToTheOldOne(t *testing.T) {
	m := &Maker{Root: t.TempDir()}
	program := filepath.Join(m.Root, "program")
	if err := os.WriteFile(program, []byte("first"), 0o755); err != nil {
		t.Fatal(err)
	}
	path, err := m.programImage("tool", []string{"tool:1"}, program, nil)
	if err != nil {
		t.Fatal(err)
	}
	theirs := filepath.Join(m.Root, "theirs.tar")
	old, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Link(path, theirs); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(program, []byte("second"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := m.programImage("tool", []string{"tool:1"}, program, nil); err != nil {
		t.Fatal(err)
	}
	mine, err := os.ReadFile(path)
	if err != nil || string(mine) == string(old) {
		t.Errorf("the image was not made anew: %v", err)
	}
	if kept, err := os.ReadFile(theirs); err != nil || string(kept) != string(old) {
		t.Errorf("the other's image was changed: %v", err)
	}
}
