package auth

import "testing"

func TestResourceAttributesAreWrittenAsKubectlHasThem(t *testing.T) {
	for _, tc := range []struct {
		a          ResourceAttributes
		text, path string
	}{
		{ResourceAttributes{Verb: "delete", Resource: "pods", Namespace: "production", Name: "rabbit-1"}, "delete pods rabbit-1 in namespace production", "pods"},
		{ResourceAttributes{Verb: "create", Resource: "pods", Subresource: "exec", Namespace: "production"}, "create pods/exec in namespace production", "pods/exec"},
		{ResourceAttributes{Verb: "create", Group: "authentication.k8s.io", Resource: "tokenreviews"}, "create tokenreviews.authentication.k8s.io", "tokenreviews"},
	} {
		if got := tc.a.String(); got != tc.text {
			t.Errorf("%q, want %q", got, tc.text)
		}
		if got := tc.a.Path(); got != tc.path {
			t.Errorf("path %q, want %q", got, tc.path)
		}
	}
}
