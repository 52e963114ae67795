package remediate

import (
	"slices"
	"testing"
	"time"

	"github.com/cjworkbench/unstuck/remediate/decide"
	"github.com/cjworkbench/unstuck/target"
)

func TestHostsKnowWhichBrokersHaveTheSameNodes(t *testing.T) {
	var h Hosts
	at := func(uids ...string) target.View {
		v := target.View{At: epoch}
		for _, uid := range uids {
			v.Nodes = append(v.Nodes, target.Node{UID: uid})
		}
		return v
	}
	if got := h.claim("orders", at("a", "b", "c")); got != nil {
		t.Errorf("alone: %v", got)
	}
	got := h.claim("rabbit", at("c", "d"))
	if len(got) != 1 || !slices.Equal(got["c"], []string{"orders", "rabbit"}) {
		t.Errorf("one is shared: %v", got)
	}
	if got := h.claim("orders", at("a", "b", "c")); len(got) != 1 || !slices.Equal(got["c"], []string{"orders", "rabbit"}) {
		t.Errorf("the other says: %v", got)
	}
	blind := at("c")
	blind.At = time.Time{}
	if got := h.claim("rabbit", blind); len(got) != 1 {
		t.Errorf("a view that knows nothing forgets: %v", got)
	}
	if got := h.claim("rabbit", at("d")); got != nil {
		t.Errorf("once it is corrected: %v", got)
	}
}

func TestHostsForgetABrokerThatIsWatchedNoLonger(t *testing.T) {
	var h Hosts
	n := target.Node{Target: "orders", Name: "n", UID: "a", Host: "h"}
	v := target.View{At: epoch, Nodes: []target.Node{n}}
	h.claim("orders", v)
	h.set(n, true, epoch)
	if got := h.claim("renamed", v); len(got) != 1 {
		t.Errorf("while both are watched: %v", got)
	}
	h.Forget("orders")
	if got := h.claim("renamed", v); got != nil || len(h.silent()) > 0 {
		t.Errorf("once the first is no longer: %v, silent are %v", got, h.silent())
	}
}

func TestHostsShowWhatIsSilentAcrossBrokers(t *testing.T) {
	var h Hosts
	a, b := target.Node{Target: "a", Name: "n", Host: "h"}, target.Node{Target: "b", Name: "n", Host: "h"}
	h.set(a, true, epoch)
	h.set(b, true, epoch.Add(time.Minute))
	h.set(a, true, epoch.Add(time.Hour)) // still
	if got := h.silent()["h"]; !slices.Equal(got, []decide.Silent{{Name: "a/n", Since: epoch}, {Name: "b/n", Since: epoch.Add(time.Minute)}}) {
		t.Errorf("silent on h: %v", got)
	}
	h.set(a, false, epoch)
	h.keep("b", target.View{At: time.Now()})
	if got := h.silent(); len(got) != 0 {
		t.Errorf("silent: %v, want none", got)
	}
}
