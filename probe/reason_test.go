package probe

import (
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"testing"
)

// A reason without a row would be taken for a probe that has not run.
func TestVerdictsHaveARowForEveryReason(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "reason.go", nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	reasons := 0
	for _, decl := range file.Decls {
		consts, ok := decl.(*ast.GenDecl)
		if !ok || consts.Tok != token.CONST {
			continue
		}
		for _, spec := range consts.Specs {
			value, _ := spec.(*ast.ValueSpec)
			if of, ok := value.Type.(*ast.Ident); !ok || of.Name != "Reason" {
				continue
			}
			literal, _ := value.Values[0].(*ast.BasicLit)
			text, err := strconv.Unquote(literal.Value)
			if err != nil {
				t.Fatal(err)
			}
			reasons++
			if !slices.ContainsFunc(Verdicts(), func(v Verdict) bool { return v.Reason == Reason(text) }) {
				t.Errorf("the reason %s (%q) has no row in the table of verdicts", value.Names[0].Name, text)
			}
		}
	}
	if reasons != len(Verdicts()) {
		t.Errorf("there are %d reasons and %d rows", reasons, len(Verdicts()))
	}
}
