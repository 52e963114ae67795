package kube

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/cjworkbench/unstuck/target"
)

// silence is how long the API server may have said nothing, or a watch may be interrupted, before what was known then
// counts as unknown. Watches end and begin anew every few minutes, within milliseconds; the API server is heard at
// least every 4.4 s (see campaign).
const silence = 10 * time.Second

// Target says which pods the nodes of a broker, or those of an application, are.
type Target struct {
	Name      string // of the broker or the application
	Namespace string
	Selector  string // a label selector; must not be empty
	Container string // in which commands run, whose log is read and whose start counts; empty: the default one
	Port      int    // of the AMQP listener; 0: there is none
	App       bool   // an application: its pods may belong to a Deployment, and no commands are run in them
	Act       bool   // pods may be deleted; only tells Check which permissions it needs

	// SkipPreStopChecks has a pod labelled skipPreStopChecks=true before it is deleted: the way out of the hook with which
	// the RabbitMQ cluster operator holds a pod back for up to a week. The grace period ends that hook too, only later.
	// It needs the permission to patch pods.
	SkipPreStopChecks bool

	// Confirm, if not nil, is asked right before a deletion whether what the target was found by is still as it was. Its
	// error is a *target.RefusedError.
	Confirm func(context.Context) error
	// Notes are what is wrong with how the target is looked for, as far as is known without its pods.
	Notes []string
}

// Pods are the pods of one target. It is a remediate.World, a target.Execer and a target.LogReader.
type Pods struct {
	Target

	client   *Client
	selector labels.Selector
	space    *space
	feed     *feed[pod]

	mu      sync.Mutex
	holding string // the id for which the lock on the namespace was last asked for
}

// Watch begins to watch a target: at once if the client runs, or else when it does. Pods.Stop ends that.
func (c *Client) Watch(t Target) (*Pods, error) {
	selector, err := labels.Parse(t.Selector)
	if err != nil {
		return nil, fmt.Errorf("watch the pods of %s: %w", t.Name, err)
	}
	if selector.Empty() || t.Namespace == "" {
		return nil, fmt.Errorf("watch the pods of %s: want a namespace and a selector", t.Name)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.spaces[t.Namespace]
	if s == nil {
		s = newSpace(c.API, t.Namespace, c.Log)
		c.spaces[t.Namespace] = s
		c.feeds.add(s.feeds()...)
	}
	if t.App {
		c.feeds.add(s.addApps(c.API, t.Namespace, c.Log)...)
	}
	p := &Pods{Target: t, client: c, selector: selector, space: s, feed: newPodFeed(c.API, t, selector, c.Log)}
	c.feeds.add(p.feed)
	c.pods = append(c.pods, p)
	return p, nil
}

// Stop ends the watch of the pods, and of their namespace what no other target needs: what is known of them ages from
// now on. Their permissions are needed no longer. It may be called again.
func (p *Pods) Stop() {
	c := p.client
	c.mu.Lock()
	defer c.mu.Unlock()
	if !slices.Contains(c.pods, p) {
		return
	}
	c.pods = slices.DeleteFunc(c.pods, func(other *Pods) bool { return other == p })
	c.feeds.remove(p.feed)
	here := func(other *Pods) bool { return other.Namespace == p.Namespace }
	if !slices.ContainsFunc(c.pods, func(other *Pods) bool { return here(other) && other.App }) {
		c.feeds.remove(p.space.removeApps()...)
	}
	if !slices.ContainsFunc(c.pods, here) {
		c.feeds.remove(p.space.feeds()...)
		delete(c.spaces, p.Namespace)
	}
}

// View says what is known of the broker's pods. It asks nothing of the cluster.
//
// Its time is that of the oldest knowledge in it: of the last answer of the API server, and where a watch is
// interrupted, of its end. If the pods are not known, or the API server has been silent for too long, it is an error;
// if anything else is not, the questions that need it are answered with cannot tell.
//
// Pods that have ended for good are not nodes any more: nothing replaces one of a Deployment by deleting it. Nor are
// the pods of a Job nodes. A pod that has no address yet is a node, which nobody can log in to.
func (p *Pods) View(ctx context.Context, broker string) (target.View, error) {
	fail := func(err error) (target.View, error) { return target.View{}, fmt.Errorf("look at %s: %w", broker, err) }
	if err := ctx.Err(); err != nil {
		return fail(err)
	}
	if broker != p.Name {
		return fail(fmt.Errorf("these are the pods of %s", p.Name))
	}
	now := time.Now()
	heard, err := p.client.campaign.heard(now)
	if err != nil {
		return fail(err)
	}
	pods, at, err := p.feed.known(now)
	if err != nil {
		return fail(err)
	}
	here := p.space.look(now)
	v := target.View{At: earliest(heard, at, here.at), Expected: expected(p.selector, here.sets)}
	if p.App {
		v.Expected = expected(p.selector, here.sets, here.deployments)
	}
	v.IsLeader, v.LeaderSince = p.client.campaign.isLeader(now)
	if here.locks != nil {
		var held verdict
		held, v.Operation = p.operating(here.locks, now)
		v.Operating = held.Answer
	}
	for _, pod := range pods {
		if pod.isNode() {
			v.Nodes = append(v.Nodes, p.node(pod, here))
		}
	}
	slices.SortFunc(v.Nodes, func(a, b target.Node) int { return strings.Compare(a.Name, b.Name) })
	v.Problems = p.problems(pods, v.Nodes)
	if len(p.Notes) > 0 {
		v.Problems = append(v.Problems, target.Problem{Kind: target.ProblemSource, Text: strings.Join(p.Notes, "; ")})
	}
	return v, nil
}

// node is what a pod is to a guard.
func (p *Pods) node(pod pod, here around) target.Node {
	l := here.above(pod)
	n := target.Node{
		Target: p.Name, Name: pod.name, UID: pod.uid, Host: pod.host, Started: pod.started,
		Terminating: target.AnswerTo(pod.terminating), RollingOut: rollingOut(pod, l).Answer, Owned: owned(pod, l).Answer,
	}
	if pod.ip != "" && p.Port > 0 {
		n.Address = net.JoinHostPort(pod.ip, strconv.Itoa(p.Port))
	}
	if here.budgets != nil {
		n.Disruptable = disruptable(pod, here.budgets).Answer
	}
	return n
}

// problems says what is wrong with the target itself, as far as its pods show it: its author may have meant
// others, or another container of theirs. That of one pod stands for all: they come from one template.
func (p *Pods) problems(pods map[string]pod, nodes []target.Node) []target.Problem {
	if len(pods) == 0 {
		return []target.Problem{{
			Kind: target.ProblemNoPod,
			Text: fmt.Sprintf("no pod in namespace %s fits the selector %s", p.Namespace, p.Selector),
		}}
	}
	if len(nodes) == 0 {
		return []target.Problem{{
			Kind: target.ProblemNoNode,
			Text: fmt.Sprintf("every pod in namespace %s that fits the selector %s has ended or is of a Job", p.Namespace,
				p.Selector),
		}}
	}
	for _, n := range nodes {
		if pod := pods[n.Name]; len(pod.containers) > 0 {
			return []target.Problem{{
				Kind: target.ProblemNoContainer,
				Text: fmt.Sprintf("container %s is not in pod %s: it has %s", pod.container, pod.name,
					strings.Join(pod.containers, ", ")),
			}}
		}
	}
	return nil
}

func earliest(times ...time.Time) time.Time { return slices.MinFunc(times, time.Time.Compare) }

// current gives the pod that n is, as the watch has it; it may have been replaced since.
func (p *Pods) current(n target.Node) (pod, error) {
	pod, found, _, err := p.feed.one(n.Name, time.Now())
	switch {
	case err != nil:
		return pod, err
	case !found:
		return pod, target.ErrGone
	case n.UID == "":
		return pod, errors.New("which pod is meant is not known: there is no UID")
	case pod.uid != n.UID:
		return pod, target.ErrChanged
	}
	return pod, nil
}
