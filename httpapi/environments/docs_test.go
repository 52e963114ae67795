package environments

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/cjworkbench/unstuck/httpapi"
)

func TestDocsHaveEveryRefusalAndBound(t *testing.T) {
	doc, err := os.ReadFile("../../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{fmt.Sprintf("(%d, at most %d)", defaultLimit, httpapi.MaxLimit)}
	for code, status := range statusOf {
		want = append(want, fmt.Sprintf("| %#q | %d |", code, status))
	}
	for _, text := range want {
		if !strings.Contains(string(doc), text) {
			t.Errorf("docs/api.md does not have %s", text)
		}
	}
}
