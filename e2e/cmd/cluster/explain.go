package main

import (
	_ "embed"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"text/template"

	"github.com/cjworkbench/unstuck/e2e/cluster"
)

// explanation says how to use the cluster. Its lines that are indented by two work as they stand.
//
//go:embed explain.txt
var explanation string

// explained is what is filled in. Paths and URLs are quoted, for a shell.
type explained struct {
	Root, Kubeconfig, Tools, Server, Logs string
	Unstuck                               bool   // is it there, with all that it looks at?
	API, Metrics, Token, Curl             string // of it; the first two are URLs to which more is added, and not quoted
	Node, First, Second, Budget           string
}

// explain says how to use the cluster.
func (w where) explain(c *cluster.Cluster) error {
	e := explained{
		Root: quote(w.root), Kubeconfig: quote(c.Kubeconfig()), Tools: quote(w.tools()), Server: c.Config.Host,
		Logs:  filepath.Join(w.dir, "log"),
		Token: quote(w.token()), Curl: quote(w.curl()),
		Node: wedgedNode, First: firstCommit, Second: secondCommit, Budget: strings.TrimSpace(budget),
	}
	api, errAPI := c.Forwarded("api")
	metrics, errMetrics := c.Forwarded("metrics")
	_, errToken := os.Stat(w.token())
	switch err := errors.Join(errAPI, errMetrics, errToken); {
	case err == nil:
		e.Unstuck, e.API, e.Metrics = true, "http://"+api, "http://"+metrics
	case errors.Is(err, fs.ErrNotExist): // it was started without, or did not get so far
		e.Tools = quote(filepath.Join(w.dir, "bin"))
	default:
		return err
	}
	return e.write(w)
}

func (e explained) write(w where) error {
	t, err := template.New("explanation").Funcs(template.FuncMap{"quote": quote}).Parse(explanation)
	if err != nil {
		return err
	}
	return t.Execute(w.out, e)
}

// quote quotes a word for a shell, if it has to be.
func quote(word string) string {
	plain := func(r rune) bool {
		return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("/._-:@%+,", r)
	}
	if word != "" && strings.TrimFunc(word, plain) == "" {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
