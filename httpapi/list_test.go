package httpapi

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/cjworkbench/unstuck/httpapi/apitest"
)

var (
	upward   = List[string]{Name: "letters", Sorts: func(s string) string { return s }}
	downward = List[string]{Name: "numbers", Sorts: func(s string) string { return s }, Last: true, Usual: 2}
)

func pageOf(t *testing.T, l List[string], query string, all ...string) ([]string, Next) {
	t.Helper()
	page, next, err := l.Page(apitest.Request("", "GET", "/api/v1/letters?"+query, ""), all)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return page, next
}

func TestListPagesHaveEachEntryOnceWhateverComesAndGoes(t *testing.T) {
	for name, c := range map[string]struct {
		list    List[string]
		changes func(all []string) []string // between two pages
		want    string                      // of what was there all the time
	}{
		"nothing":            {upward, func(all []string) []string { return all }, "a b c d e f"},
		"one before":         {upward, func(all []string) []string { return append(all, "0") }, "a b c d e f"},
		"one behind":         {upward, func(all []string) []string { return append(all, "z") }, "a b c d e f"},
		"the last one seen":  {upward, func(all []string) []string { return slices.DeleteFunc(all, func(s string) bool { return s == "b" }) }, "a b c d e f"},
		"a newer one":        {downward, func(all []string) []string { return append(all, "g") }, "f e d c b a"},
		"all that were seen": {downward, func(all []string) []string { return slices.DeleteFunc(all, func(s string) bool { return s >= "e" }) }, "f e d c b a"},
	} {
		all := []string{"c", "a", "f", "b", "e", "d"}
		var seen []string
		query := "limit=2"
		for range 10 {
			page, next := pageOf(t, c.list, query, slices.Clone(all)...)
			seen = append(seen, page...)
			if next.Next == "" {
				break
			}
			query = url.Values{"limit": {"2"}, "cursor": {next.Next}}.Encode()
			all = c.changes(all)
		}
		seen = slices.DeleteFunc(seen, func(s string) bool { return s == "z" }) // which came in time to be seen
		if got := strings.Join(slices.Compact(seen), " "); got != c.want {
			t.Errorf("%s: seen %s, want %s", name, got, c.want)
		}
	}
}

func TestListPageHasTheLimitThatIsAskedForOrTheUsual(t *testing.T) {
	var many []string
	for i := range MaxLimit + 1 {
		many = append(many, fmt.Sprintf("%04d", i))
	}
	for _, c := range []struct {
		list  List[string]
		query string
		want  int
		more  bool
	}{
		{upward, "", MaxLimit + 1, false}, {upward, "limit=500", MaxLimit, true}, {upward, "limit=1", 1, true}, {downward, "", 2, true},
	} {
		if page, next := pageOf(t, c.list, c.query, slices.Clone(many)...); len(page) != c.want || (next.Next != "") != c.more {
			t.Errorf("%s?%s: %d entries, next %q", c.list.Name, c.query, len(page), next.Next)
		}
	}
	if page, next := pageOf(t, upward, "limit=1"); page == nil || len(page) > 0 || next.Next != "" {
		t.Errorf("of an empty list: %v, %q", page, next.Next)
	}
}

func TestListRefusesABadLimitAndABadCursor(t *testing.T) {
	_, next := pageOf(t, downward, "limit=1", "a", "b")
	for query, want := range map[string]string{
		"limit=0": "want a number from 1 to 500", "limit=501": "from 1 to 500", "limit=": "from 1 to 500", "limit=x": `the limit is "x"`, "limit=1e2": "from 1 to 500",
		"cursor=": "want one that a page of letters had as next", "cursor=zzz": `the cursor is "zzz"`,
		"cursor=" + next.Next: "a page of letters", // it is of another list
		"cursor=" + base64.RawURLEncoding.EncodeToString([]byte("letters")):                               "a page of letters",
		"cursor=" + base64.RawURLEncoding.EncodeToString([]byte("letters\n\xff")):                         "a page of letters",
		"cursor=" + base64.RawURLEncoding.EncodeToString([]byte("letters\na")) + "=":                      "a page of letters",
		"cursor=" + base64.RawURLEncoding.EncodeToString([]byte("letters\n"+strings.Repeat("a", 10_000))): "a page of letters",
	} {
		_, _, err := upward.Page(apitest.Request("", "GET", "/?"+query, ""), []string{"a"})
		if p, ok := errors.AsType[*Problem](err); !ok || p.Status != http.StatusBadRequest || !strings.Contains(p.Detail, want) {
			t.Errorf("%.40s: %v, want %s", query, err, want)
		}
	}
	if page, _ := pageOf(t, upward, "cursor="+base64.RawURLEncoding.EncodeToString([]byte("letters\na")), "a", "b"); !slices.Equal(page, []string{"b"}) {
		t.Errorf("a good cursor: %v", page)
	}
}

// FuzzListCursor reads cursors that anybody may send: none of them is taken that is not one of ours, and none that is
// leads anywhere but behind its place.
func FuzzListCursor(f *testing.F) {
	all := []string{"a", "b", "é", "z"}
	for _, place := range append(all, "", "\n", "\xff", "letters\n") {
		f.Add(upward.cursor(place))
	}
	f.Add("")
	f.Add("%zz")
	f.Fuzz(func(t *testing.T, cursor string) {
		r := apitest.Request("", "GET", "/?"+url.Values{"cursor": {cursor}, "limit": {"1"}}.Encode(), "")
		page, next, err := upward.Page(r, slices.Clone(all))
		place, ok := upward.behind(cursor)
		if ok != (err == nil) {
			t.Fatalf("%q: taken %t, %v", cursor, ok, err)
		}
		if err == nil && len(page) > 0 && page[0] <= place {
			t.Errorf("%q: %q is not behind %q", cursor, page[0], place)
		}
		if err == nil && next.Next != "" {
			if at, ok := upward.behind(next.Next); !ok || at != page[0] {
				t.Errorf("%q: next is %q, behind %q", cursor, next.Next, at)
			}
		}
	})
}
