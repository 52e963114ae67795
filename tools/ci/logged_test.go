package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestLoggedValuesSayThemselvesHowTheyAreWritten refuses to log a struct, or whatever may be one. In the log's text it
// would be printed as one value with its fields side by side, unquoted, so that who writes into one of them can make up
// the others. A struct with LogValue gives each field as a value of its own.
func TestLoggedValuesSayThemselvesHowTheyAreWritten(t *testing.T) {
	found, calls := loggedIn(t, "../..", "./...")
	for _, f := range found {
		t.Error(f)
	}
	if calls < 60 {
		t.Errorf("only %d calls of package log/slog were found", calls)
	}
}

func TestLoggedRefusesWhatMayBeAStruct(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod": "module example.com/a\n\ngo 1.26.0\n",
		"a.go": `package a

import (
	"log/slog"
	"time"
)

type plain struct{ Reason string }

type quoted struct{ Reason string }

func (quoted) LogValue() slog.Value { return slog.Value{} }

func log(l *slog.Logger, p plain, q quoted, err error, v any) {
	l.Info("m", "a", 1, "b", "x", "c", err, "d", time.Now(), "e", time.Second, "f", q, "g", &q, slog.Any("h", q))
	l.With(slog.Any("a", err)).Info("m", slog.String("x", "y"))
	l.Info("m", slog.Any("bad", p))                        // want
	l.Info("m", "bad", p)                                  // want
	l.Info("m", "bad", &p)                                 // want
	l.With("bad", p).Info("m")                             // want
	l.WithGroup("g").Warn("m", "bad", []plain{p})          // want
	l.Warn("m", "bad", map[string]plain{})                 // want
	l.Warn("m", "bad", []string{"a b"})                    // want
	l.Warn("m", "bad", v)                                  // want
	l.Warn("m", slog.Group("g", "bad", p))                 // want
	_ = slog.GroupValue(slog.Attr{Value: slog.AnyValue(p)}) // want
	l.Warn("m", []any{p}...)                               // want
}
`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	source, err := os.ReadFile(filepath.Join(dir, "a.go"))
	if err != nil {
		t.Fatal(err)
	}
	found, _ := loggedIn(t, dir, "./...")
	got := map[string]bool{}
	for _, f := range found {
		got[strings.SplitN(f, ": ", 2)[0]] = true
	}
	for i, line := range strings.Split(string(source), "\n") {
		at := fmt.Sprintf("a.go:%d", i+1)
		if want := strings.HasSuffix(line, "// want"); got[at] != want {
			t.Errorf("%s is refused: %t, want %t: %s", at, got[at], want, line)
		}
	}
}

// listed is what `go list` says of a package.
type listed struct {
	Dir, ImportPath, Export string
	GoFiles                 []string
	DepOnly                 bool
}

// loggedIn looks at the values that packages give to package log/slog, and gives those that are refused.
func loggedIn(t *testing.T, dir, pattern string) (found []string, calls int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-export", "-deps", "-json=Dir,ImportPath,Export,GoFiles,DepOnly", pattern)
	cmd.Dir, cmd.Stderr = dir, os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	exports := map[string]string{}
	var ours []listed
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		exports[p.ImportPath] = p.Export
		if !p.DepOnly {
			ours = append(ours, p)
		}
	}
	fset := token.NewFileSet()
	imports := importer.ForCompiler(fset, "gc", func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) })
	for _, p := range ours {
		l := logged{fset: fset, info: &types.Info{Types: map[ast.Expr]types.TypeAndValue{}, Uses: map[*ast.Ident]types.Object{}}}
		var files []*ast.File
		for _, name := range p.GoFiles {
			file, err := parser.ParseFile(fset, filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, file)
		}
		if _, err := (&types.Config{Importer: imports}).Check(p.ImportPath, fset, files, l.info); err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			ast.Inspect(file, l.look)
		}
		found, calls = append(found, l.found...), calls+l.calls
	}
	return found, calls
}

// logged looks at the calls of log/slog in one package.
type logged struct {
	fset  *token.FileSet
	info  *types.Info
	found []string
	calls int
}

// look looks at a call. Whatever a function of log/slog takes as an any is written to the log.
func (l *logged) look(n ast.Node) bool {
	call, ok := n.(*ast.CallExpr)
	if !ok {
		return true
	}
	name, ok := call.Fun.(*ast.Ident)
	if selected, is := call.Fun.(*ast.SelectorExpr); is {
		name, ok = selected.Sel, true
	}
	if !ok {
		return true
	}
	f, ok := l.info.Uses[name].(*types.Func)
	if !ok || f.Pkg() == nil || f.Pkg().Path() != "log/slog" {
		return true
	}
	l.calls++
	params := f.Signature().Params()
	for i, arg := range call.Args {
		at := min(i, params.Len()-1)
		to := params.At(at).Type()
		if s, is := to.(*types.Slice); is && f.Signature().Variadic() && at == params.Len()-1 {
			to = s.Elem()
		}
		given := l.info.Types[arg]
		if i, is := to.Underlying().(*types.Interface); !is || i.NumMethods() > 0 || given.Value != nil || speaks(given.Type) {
			continue
		}
		pos := l.fset.Position(call.Pos())
		l.found = append(l.found, fmt.Sprintf("%s:%d: %s is given a %s: want text, a number, or a type with LogValue",
			filepath.Base(pos.Filename), pos.Line, f.Name(), given.Type))
	}
	return true
}

// speaks says whether a value of that type is written as one value, that the log quotes, or says itself how it is.
func speaks(t types.Type) bool {
	if named, ok := types.Unalias(t).(*types.Named); ok && named.Obj().Pkg() != nil {
		switch path := named.Obj().Pkg().Path() + "." + named.Obj().Name(); path {
		case "log/slog.Attr", "log/slog.Value", "time.Time":
			return true
		}
	}
	for _, method := range []string{"LogValue", "MarshalText", "Error"} {
		found, _, _ := types.LookupFieldOrMethod(t, true, nil, method)
		if _, is := found.(*types.Func); is {
			return true
		}
	}
	_, basic := t.Underlying().(*types.Basic)
	return basic
}
