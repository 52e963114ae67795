package app

import (
	"flag"
	"os"
	"testing"
)

const projectRoot = ".."

func readText(t testing.TB, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

var (
	update      = flag.Bool("update", false, "write the tables of the documentation anew")
	screenshots = flag.String("screenshots", "", "the `directory` to put the picture of the dashboard into")
)
