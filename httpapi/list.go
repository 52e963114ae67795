package httpapi

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// MaxLimit is how many things one page of a list has at most, where a limit is asked for.
const MaxLimit = 500

// maxCursor bounds a cursor, in bytes: names of Kubernetes have 253 at most.
const maxCursor = 2 << 10

// List is a list that is answered page by page. Its order is that of the texts that its entries sort by; so a page goes
// on behind the last entry of the one before, whatever has come or gone in between.
type List[T any] struct {
	Name  string         // of the list: a cursor of another one is refused
	Sorts func(T) string // the entry's place: no two entries have the same
	Last  bool           // the greatest comes first: the newest
	Usual int            // the limit where none is asked for; 0: all
}

// ListParams are the parameters of a list in the query, after those of its own.
func (l List[T]) ListParams(own ...Param) []Param {
	usual := "all of them"
	if l.Usual > 0 {
		usual = strconv.Itoa(l.Usual)
	}
	return append(slices.Clone(own),
		Param{Name: "limit", About: fmt.Sprintf("at most so many, up to %d; default: %s", MaxLimit, usual), Kind: "integer"},
		Param{Name: "cursor", About: "go on behind that page: what its answer has as next", Kind: "string"})
}

// Page sorts the entries and gives those that the request asks for, and where the next ones are. The error is a
// Problem.
func (l List[T]) Page(r *http.Request, all []T) (page []T, next Next, err error) {
	asked := r.URL.Query()
	limit := l.Usual
	if asked.Has("limit") {
		limit, err = strconv.Atoi(asked.Get("limit"))
		if err != nil || limit < 1 || limit > MaxLimit {
			return nil, next, NewProblem(http.StatusBadRequest, "the limit is %q: want a number from 1 to %d",
				Short(asked.Get("limit")), MaxLimit)
		}
	}
	slices.SortStableFunc(all, func(a, b T) int { return l.compare(l.Sorts(a), l.Sorts(b)) })
	if asked.Has("cursor") {
		behind, ok := l.behind(asked.Get("cursor"))
		if !ok {
			return nil, next, NewProblem(http.StatusBadRequest, "the cursor is %q: want one that a page of %s had as next",
				Short(asked.Get("cursor")), l.Name)
		}
		first := slices.IndexFunc(all, func(one T) bool { return l.compare(l.Sorts(one), behind) > 0 })
		if first < 0 {
			first = len(all)
		}
		all = all[first:]
	}
	if limit > 0 && len(all) > limit {
		all = all[:limit]
		next.Next = l.cursor(l.Sorts(all[limit-1]))
	}
	return OrEmpty(all), next, nil
}

func (l List[T]) compare(a, b string) int {
	if l.Last {
		return strings.Compare(b, a)
	}
	return strings.Compare(a, b)
}

// cursor names the place behind an entry.
func (l List[T]) cursor(place string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(l.Name + "\n" + place))
}

// behind reads a cursor. It takes nothing that cursor cannot have made of this list.
func (l List[T]) behind(cursor string) (place string, ok bool) {
	data, err := base64.RawURLEncoding.Strict().DecodeString(cursor)
	if err != nil || len(cursor) > maxCursor || !utf8.Valid(data) {
		return "", false
	}
	place, ok = strings.CutPrefix(string(data), l.Name+"\n")
	return place, ok && l.cursor(place) == cursor
}

// PlaceAt is the place of something by its time, and then by what else tells it from others.
func PlaceAt(at time.Time, id string) string {
	return at.UTC().Format("2006-01-02T15:04:05.000000000") + " " + id
}

// Next is the part of an answer that says where the next page of a list is.
type Next struct {
	Next string `json:"next,omitzero"` // the cursor of the next page; absent: this is the last
}

func (n Next) cursor() string { return n.Next }

// linkNext tells of the next page in the header Link, too (RFC 8288), if v is a page of a list and there is one.
func linkNext(w http.ResponseWriter, r *http.Request, v any) {
	page, ok := v.(interface{ cursor() string })
	if !ok || page.cursor() == "" {
		return
	}
	query := r.URL.Query()
	query.Set("cursor", page.cursor())
	next := url.URL{Path: r.URL.Path, RawQuery: query.Encode()}
	w.Header().Set("Link", "<"+next.String()+`>; rel="next"`)
}
