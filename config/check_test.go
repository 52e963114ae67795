package config

import "testing"

func TestOverlap(t *testing.T) {
	for _, row := range []struct {
		a, b string
		want bool
	}{
		{"app=rabbit", "app=rabbit", true},
		{"app=rabbit", "app==rabbit", true},
		{"app=rabbit", "app =rabbit", true},
		{"app=rabbit", "app in (rabbit)", true},
		{"app=rabbit", "app in (rabbit,other)", true},
		{"app in (a,b)", "app in ( b , a )", true},
		{"app in (a,b)", "app in (b,c)", true},
		{"app", "app=rabbit", true},
		{"app=rabbit", "app=rabbit,tier=x", true},
		{"app=rabbit , tier=x", "tier=x,app=rabbit", true},
		{"app=rabbit,tier!=y", "app=rabbit,tier=x", true},
		{"app in (a,b)", "app in (a),zone in (c,b)", true},
		{"app notin (a)", "app=b", true},
		{"app notin (a)", "app!=b", true},

		{"app=rabbit", "app=orders", false},
		{"app in (a,b)", "app in (c,d)", false},
		{"app in (a,b)", "zone in (c,b),app in (d)", false},
		{"app notin (a)", "app=a", false},
		{"!app", "app=a", false},
		{"app=rabbit", "tier=x", false}, // nobody knows
		{"release=prod,app=rabbit", "release=prod,component=web", false},
		{"", "app=rabbit", false}, // it is a problem of its own
		{"app=(", "app=rabbit", false},
	} {
		if got := overlap(row.a, row.b); got != row.want {
			t.Errorf("%q and %q: %t, want %t", row.a, row.b, got, row.want)
		}
		if got := overlap(row.b, row.a); got != row.want {
			t.Errorf("%q and %q: %t, want %t", row.b, row.a, got, row.want)
		}
	}
}
