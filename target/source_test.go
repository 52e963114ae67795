package target

import "testing"

func TestSourceSaysWhereATargetComesFrom(t *testing.T) {
	for _, c := range []struct {
		s     Source
		want  string
		found bool
	}{
		{Source{}, "configuration", false},
		{Source{Kind: FromConfiguration}, "configuration", false},
		{Source{Kind: "Deployment", Namespace: "a", Name: "b"}, "Deployment a/b", true},
		{Source{Kind: FromRabbitmqCluster, Namespace: "production", Name: "orders"}, "RabbitmqCluster production/orders", true},
		{Source{Kind: FromStatefulSet, Namespace: "a", Name: "b"}, "StatefulSet a/b", true},
	} {
		if got := c.s.String(); got != c.want || c.s.Found() != c.found {
			t.Errorf("%+v: %q, found %v", c.s, got, c.s.Found())
		}
	}
	for kind, want := range map[SourceKind]SourceKind{"": FromConfiguration, "Deployment": FromConfiguration, FromStatefulSet: FromStatefulSet} {
		if got := (Source{Kind: kind}).Known().Kind; got != want {
			t.Errorf("%q is known as %q", kind, got)
		}
	}
}
