package app

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cjworkbench/unstuck/lab"
)

// matrix is set by `make matrix`, which takes its time.
var matrix = flag.Bool("matrix", false, "write what the table of faults comes to on this RabbitMQ to docs/supported.md, and look at other checks in each of its faults")

const supportedDoc = projectRoot + "/docs/supported.md"

// supportedColumn is what the rows of the table come to on one RabbitMQ: a column of docs/supported.md.
type supportedColumn struct {
	versions lab.Versions

	mu    sync.Mutex
	cells map[string]string // by row
}

// The rows of the page before those of the table.
const rowRabbitMQ, rowErlang, rowDay = "RabbitMQ", "Erlang", "day"

func newSupportedColumn(t *testing.T, l *lab.Lab) *supportedColumn {
	t.Helper()
	v, err := l.Versions(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return &supportedColumn{versions: v, cells: map[string]string{
		rowRabbitMQ: v.RabbitMQ, rowErlang: v.Erlang, rowDay: time.Now().UTC().Format(time.DateOnly),
	}}
}

// series is the heading of the column: 4.0 for 4.0.5.
func (c *supportedColumn) series() string {
	words := strings.Split(c.versions.RabbitMQ, ".")
	return strings.Join(words[:min(2, len(words))], ".")
}

// held takes note that a row held.
func (c *supportedColumn) held(row tableRow) {
	cell := "`" + string(row.reason) + "`"
	if row.look != "" {
		cell += ", `" + string(row.look) + "`"
	}
	if row.deleted {
		cell += ": deleted, cured"
	} else {
		cell += ": left alone"
	}
	c.note(row.name, cell)
}

// cannot takes note that this RabbitMQ cannot have a row, and why.
func (c *supportedColumn) cannot(row tableRow, why error) {
	words := strings.Split(why.Error(), ": ")
	c.note(row.name, "cannot be: "+words[len(words)-1])
}

func (c *supportedColumn) note(row, cell string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cells[row] = cell
}

// compare holds the column against the page, or writes it there. Of the versions and the day it only says that they differ.
func (c *supportedColumn) compare(t *testing.T, rows []string) {
	t.Helper()
	page := readText(t, supportedDoc)
	before, rest, found := strings.Cut(page, supportedBegin)
	text, after, ends := strings.Cut(rest, supportedEnd)
	if !found || !ends {
		t.Fatalf("%s has no place for the table", supportedDoc)
	}
	table := readSupported(text)
	if *matrix {
		table.put(c.series(), append([]string{rowRabbitMQ, rowErlang, rowDay}, rows...), c.cells)
		if err := os.WriteFile(supportedDoc, []byte(before+supportedBegin+table.String()+supportedEnd+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	column, there := table.cells[c.series()]
	if !there {
		t.Logf("%s has no column for RabbitMQ %s: `make matrix` writes it", supportedDoc, c.series())
		return
	}
	for row, got := range c.cells {
		switch want := column[row]; {
		case got == want:
		case row == rowRabbitMQ || row == rowErlang || row == rowDay:
			t.Logf("%s: %s is %s, in %s it is %q", c.series(), row, got, supportedDoc, want)
		default:
			t.Errorf("%s, RabbitMQ %s, %s: it says %q, and it is %q (`make matrix` writes it)", supportedDoc, c.series(), row, want, got)
		}
	}
}

const (
	supportedBegin = "<!-- supported: written by `make matrix` -->\n\n"
	supportedEnd   = "\n<!-- end -->"
)

// supportedTable is the table of docs/supported.md.
type supportedTable struct {
	series []string                     // the columns
	rows   []string                     // without the heading
	cells  map[string]map[string]string // by series and row
}

func readSupported(text string) supportedTable {
	table := supportedTable{cells: map[string]map[string]string{}}
	for i, line := range slices.Collect(strings.Lines(strings.TrimSpace(text))) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		for j := range cells {
			cells[j] = strings.TrimSpace(cells[j])
		}
		switch i {
		case 0:
			table.series = cells[1:]
			for _, s := range table.series {
				table.cells[s] = map[string]string{}
			}
		case 1: // the line below the heading
		default:
			table.rows = append(table.rows, cells[0])
			for j, s := range table.series {
				table.cells[s][cells[0]] = cells[j+1]
			}
		}
	}
	return table
}

// put sets a column, and which rows there are. Of a row that did not run (-run) it keeps what there was.
func (s *supportedTable) put(series string, rows []string, column map[string]string) {
	column = maps.Clone(column)
	for row, cell := range s.cells[series] {
		if column[row] == "" {
			column[row] = cell
		}
	}
	if !slices.Contains(s.series, series) {
		s.series = append(s.series, series)
		slices.SortFunc(s.series, compareSeries)
	}
	s.rows, s.cells[series] = rows, column
}

func compareSeries(a, b string) int {
	number := func(s string) (n [2]int) {
		_, _ = fmt.Sscanf(s, "%d.%d", &n[0], &n[1]) // 0 of what is no number
		return n
	}
	x, y := number(a), number(b)
	return slices.Compare(x[:], y[:])
}

func (s *supportedTable) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "| | %s |\n|---|%s\n", strings.Join(s.series, " | "), strings.Repeat("---|", len(s.series)))
	for _, row := range s.rows {
		fmt.Fprintf(&b, "| %s |", row)
		for _, series := range s.series {
			fmt.Fprintf(&b, " %s |", s.cells[series][row])
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func TestSupportedVersionsAreReadAsTheyAreWritten(t *testing.T) {
	t.Parallel()
	var table supportedTable
	table.cells = map[string]map[string]string{}
	table.put("4.0", []string{"day", "a"}, map[string]string{"day": "2026-11-29", "a": "`ok`: left alone"})
	table.put("3.10", []string{"day", "a", "b"}, map[string]string{"day": "2026-11-28", "a": "`x`: deleted, cured", "b": "cannot be: it has none"})
	const want = "| | 3.10 | 4.0 |\n|---|---|---|\n| day | 2026-11-28 | 2026-11-29 |\n| a | `x`: deleted, cured | `ok`: left alone |\n| b | cannot be: it has none |  |\n"
	if got := table.String(); got != want {
		t.Errorf("written:\n%s\nwant:\n%s", got, want)
	}
	again := readSupported(table.String())
	if got := again.String(); got != want {
		t.Errorf("read and written:\n%s\nwant:\n%s", got, want)
	}
}

// TestSupportedVersionsPageHasEveryRow holds the page against the table of faults, without a broker.
//
//promise:4
func TestSupportedVersionsPageHasEveryRow(t *testing.T) {
	t.Parallel()
	_, rest, _ := strings.Cut(readText(t, supportedDoc), supportedBegin)
	text, _, _ := strings.Cut(rest, supportedEnd)
	table := readSupported(text)
	if want := []string{"3.8", "3.10", "4.0", "4.3"}; !slices.Equal(table.series, want) {
		t.Errorf("its columns are %v, want %v", table.series, want)
	}
	want := append([]string{rowRabbitMQ, rowErlang, rowDay}, rowNames()...)
	if !slices.Equal(table.rows, want) {
		t.Errorf("its rows are %q, want %q", table.rows, want)
	}
	for series, column := range table.cells {
		for _, row := range table.rows {
			if column[row] == "" {
				t.Errorf("%s, RabbitMQ %s: nothing is said", row, series)
			}
		}
	}
}
