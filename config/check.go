package config

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/cjworkbench/unstuck/remediate/decide"
)

// check notes what is wrong with values that are each right by themselves.
func (d *decoder) check(c Config) {
	if d.listen != nil {
		return
	}
	_, port, err := net.SplitHostPort(c.Listen.Metrics)
	same := err == nil && port != "0" && c.Listen.Metrics == c.Listen.API
	if same && !d.wrong("listen.metrics") && !d.wrong("listen.api") { // else a default stands there
		d.problem("listen.api", "want another address than that of listen.metrics: two servers cannot share one")
	}
	first := make(map[string]int)
	for i, b := range c.Brokers {
		if j, taken := first[b.Name]; taken && b.Name != "" {
			d.problem(at(i, "name"), "%s is the name of brokers[%d] too: want another", quote(b.Name), j)
		} else {
			first[b.Name] = i
		}
		d.checkPlace(i, b)
		d.checkNodes(i, b)
		key := func(keys ...string) string { return at(i, keys...) }
		d.checkTLS(key, b)
		if b.Pods == nil {
			d.checkListedTLS(key, b)
		}
		if !c.InCluster() && b.Pods == nil && len(b.Nodes) > 0 { // else something is missing, which is said elsewhere
			d.checkSecrets(i, b)
		}
		d.checkProbes(key, b)
		d.checkEvidence(key, b)
		d.checkPolicy(func(k string) string { return at(i, k) }, b.Policy)
	}
	taken := make(map[string]string, len(first))
	for name, i := range first {
		taken[name] = fmt.Sprintf("brokers[%d]", i)
	}
	d.checkApps(c.Apps, taken)
	d.checkClaims(c)
	d.checkDiscovery(c.Discovery)
	d.checkEnvironments(c)
	d.checkAPI(c)
	d.checkReceivers(c)
}

// checkClaims refuses two brokers or applications that have the same pods, where their selectors show it: each would
// have a budget of its own. Where selectors differ and their pods overlap all the same, the guard self-degraded holds
// both back.
func (d *decoder) checkClaims(c Config) {
	type claim struct {
		path, name string
		pods       Pods
	}
	var claims []claim
	for i, b := range c.Brokers {
		if b.Pods != nil {
			claims = append(claims, claim{at(i, "pods", "selector"), b.Name, *b.Pods})
		}
	}
	for i, a := range c.Apps {
		claims = append(claims, claim{fmt.Sprintf("apps[%d].pods.selector", i), a.Name, a.Pods})
	}
	for i, later := range claims {
		for _, earlier := range claims[:i] {
			if later.pods.Namespace == earlier.pods.Namespace && later.pods.Selector != "" &&
				overlap(later.pods.Selector, earlier.pods.Selector) {
				d.problem(later.path, "%s fits pods of %s too: want another selector, for each deletes within a budget of its own",
					quote(later.pods.Selector), quote(earlier.name))
				break
			}
		}
	}
}

// overlap says whether two selectors certainly fit the same pods, if there are any: the keys of one are all among those
// of the other, and of no key do they ask for what excludes the other. Of keys that only one of them asks about nobody
// knows.
func overlap(a, b string) bool {
	x, y := requirements(a), requirements(b)
	if len(x) > len(y) {
		x, y = y, x
	}
	for key, ours := range x {
		theirs, ok := y[key]
		if !ok || !compatible(ours, theirs) {
			return false
		}
	}
	return len(x) > 0
}

// requirements gives what a selector asks for, by key; nothing if it is none.
func requirements(selector string) map[string][]labels.Requirement {
	all, err := labels.ParseToRequirements(selector)
	if err != nil {
		return nil
	}
	byKey := make(map[string][]labels.Requirement)
	for _, r := range all {
		byKey[r.Key()] = append(byKey[r.Key()], r)
	}
	return byKey
}

// compatible says whether one label can fit what two selectors ask of its key: one of the values that they name,
// another one, or none.
func compatible(a, b []labels.Requirement) bool {
	all := slices.Concat(a, b)
	candidates := []labels.Set{{}, {all[0].Key(): "any-other-value"}}
	for _, r := range all {
		for value := range r.Values() {
			candidates = append(candidates, labels.Set{r.Key(): value})
		}
	}
	return slices.ContainsFunc(candidates, func(set labels.Set) bool {
		return !slices.ContainsFunc(all, func(r labels.Requirement) bool { return !r.Matches(set) })
	})
}

func (d *decoder) checkNodes(i int, b Broker) {
	names, addresses := make(map[string]bool), make(map[string]bool)
	for j, n := range b.Nodes {
		path := nodeAt(i, j)
		name, address := strings.ToLower(n.Name), strings.ToLower(n.Address) // hosts mind no case, nor do all file systems
		if names[name] && name != "" {
			d.problem(path+".name", "%s is the name of another node of this broker: want another, by more than its case",
				quote(n.Name))
		}
		if addresses[address] && address != "" {
			d.problem(path+".address", "another node of this broker has the same address: want its own, not a load balancer's")
		}
		names[name], addresses[address] = true, true
	}
	if b.Policy.Mode == decide.Remediate && b.Pods == nil {
		d.problem(at(i, "mode"),
			"want observe: the nodes are listed in this file, and nothing here could delete and recreate them")
	}
}

// checkProbes holds the ten-second rule: a live broker ends an unfinished login at its handshake timeout, and only a
// wedged one is silent beyond. A deadline before that tells nothing. The margin is for connecting, and for a broker
// whose timer is late.
func (d *decoder) checkProbes(at keyed, b Broker) {
	least := b.HandshakeTimeout + max(time.Second, b.HandshakeTimeout/10)
	for _, p := range []struct {
		name    string
		timeout time.Duration
	}{
		{"login", b.Probes.Login.Timeout},
		{"roundtrip", b.Probes.Roundtrip.Timeout},
	} {
		if p.timeout < least {
			d.problem(at("probes", p.name, "timeout"),
				"%s: want at least %s, beyond the broker's handshake_timeout of %s, or a slow broker looks like a stuck one",
				span(p.timeout), span(least), span(b.HandshakeTimeout))
		}
	}
	if b.Policy.LogSilence > 0 && b.Probes.Log.Every.Schedule == nil {
		d.problem(at("policy", "log_silence"),
			"it asks for a silent log, and probes.log.every is never: want 0s, or a schedule there")
	}
}

// checkEvidence sees to it that what the policy asks for can come together before it is too old.
func (d *decoder) checkEvidence(at keyed, b Broker) {
	login, p := b.Probes.Login, b.Policy
	p.FailureThreshold = min(p.FailureThreshold, p.Window) // that it must not be more is said elsewhere
	pace := max(longestGap(login.Every), login.WhileSuspect, login.WhileConfirmed)
	// A login that answers stage by stage may take twice its deadline (probe.Login).
	if apart := pace + 2*login.Timeout; p.ResultTTL <= apart {
		d.problem(at("policy", "result_ttl"),
			"%s: want more than %s, the longest time from one login to the end of the next, or the node is unknown in between",
			span(p.ResultTTL), span(apart))
	}
	if b.Policy.LogSilence > 0 && b.Probes.Log.Every.Schedule != nil && p.ResultTTL <= longestGap(b.Probes.Log.Every) {
		d.problem(at("policy", "result_ttl"),
			"%s: want more than %s, the longest time between two looks at the log, which log_silence asks for",
			span(p.ResultTTL), span(longestGap(b.Probes.Log.Every)))
	}
	confirmed := time.Duration(p.FailureThreshold) * (max(login.WhileSuspect, login.WhileConfirmed) + 2*login.Timeout)
	if least := max(confirmed, p.MinDuration+2*login.Timeout); p.EvidenceTTL < least {
		d.problem(at("policy", "evidence_ttl"),
			"%s: want at least %s, or the first of %d stuck logins is forgotten before the last",
			span(p.EvidenceTTL), span(least), p.FailureThreshold)
	}
	if least := p.RecheckAfter + 2*b.Probes.MaybeStuck.Timeout; p.EvidenceTTL < least {
		d.problem(at("policy", "evidence_ttl"),
			"%s: want at least %s, the time that two looks at a node's processes may take, recheck_after apart",
			span(p.EvidenceTTL), span(least))
	}
}

// checkPolicy notes what does not fit together in a policy, of a broker or of an application; key gives a key's path.
func (d *decoder) checkPolicy(key func(string) string, p decide.Policy) {
	if p.FailureThreshold > p.Window {
		d.problem(key("policy.failure_threshold"), "%d: want at most %d, as many as policy.window", p.FailureThreshold,
			p.Window)
	}
	if p.RecoveryTimeout <= p.GracePeriod {
		d.problem(key("policy.recovery_timeout"),
			"%s: want more than policy.grace_period, %s: the old node may take that long to stop",
			span(p.RecoveryTimeout), span(p.GracePeriod))
	}
	if p.GracePeriod%time.Second != 0 {
		d.problem(key("policy.grace_period"), "%s: want whole seconds, Kubernetes counts no others", span(p.GracePeriod))
	}
	if p.PerNodePerDay > p.PerTargetPerDay {
		d.problem(key("policy.per_node_per_day"), "%d: want at most %d, as many as policy.per_target_per_day",
			p.PerNodePerDay, p.PerTargetPerDay)
	}
}

// keyed gives the path of a key below something: of a broker, or of what holds for those that are found.
type keyed func(keys ...string) string

// at gives the path of a broker's key.
func at(broker int, keys ...string) string {
	return fmt.Sprintf("brokers[%d].%s", broker, joined(keys))
}

func joined(keys []string) string { return strings.Join(keys, ".") }

// nodeAt gives the path of a broker's node.
func nodeAt(broker, node int) string { return at(broker, fmt.Sprintf("nodes[%d]", node)) }
