package release

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cjworkbench/unstuck/release/plan"
	"github.com/cjworkbench/unstuck/release/workload"
)

const (
	commitA = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	commitB = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
	commitC = "cccccccccccccccccccccccccccccccccccccccc"
)

// How long things take in the fake cluster.
const (
	podStarts = 3 * time.Second
	podStops  = 7 * time.Second
	jobRuns   = 9 * time.Second
)

func testEnvironment() plan.Environment {
	return plan.Environment{
		Name: "staging", Namespace: "staging", Image: "gcr.io/acme/{image}:{commit}", Images: []string{"migrate", "assets"},
		Services: []plan.Service{
			{Name: "frontend", Ref: workload.Ref{Deployment: "frontend-deployment"}, Image: "frontend", Kind: plan.Rolling},
			{Name: "fetcher", Ref: workload.Ref{Deployment: "fetcher-deployment"}, Image: "fetcher", Kind: plan.Rolling},
			{Name: "cron", Ref: workload.Ref{Deployment: "cron-deployment"}, Image: "cron"},
		},
		Jobs: []plan.Job{
			{Name: "migrate", From: plan.TemplateRef{Kind: plan.FromCronJob, Name: "migrate"}},
			{Name: "assets", From: plan.TemplateRef{Kind: plan.FromPodTemplate, Name: "assets"}, NoMigration: true},
		},
		Tasks: []plan.Task{
			{Name: "import", Exec: plan.Exec{Service: "frontend", Command: []string{"./manage.py", "import"}}},
			{Name: "clear", Warning: "Users will notice.", From: plan.TemplateRef{Kind: plan.FromCronJob, Name: "clear"}},
		},
	}
}

type fakePod struct {
	workload.Pod
	image string
	ready time.Time // zero: never
	gone  time.Time // zero: it stays
}

// cluster is a cluster in which pods take time to start and to stop, a registry, a store and a lock. Like Kubernetes,
// it starts a new pod beside one that still stops.
type cluster struct {
	mu         sync.Mutex
	journal    []string
	deps       map[string]*workload.Workload
	pods       map[string][]*fakePod // by Deployment
	singletons map[string]bool
	broken     map[string]bool // images that crash
	stuck      map[string]bool // Deployments whose pods do not stop
	made       int
	twice      []string // moments at which a singleton lived twice

	jobs        map[string]time.Time // when they end
	jobsLast    time.Duration        // 0: jobRuns
	jobStarts   map[string]int
	stopped     map[string]bool
	jobFails    map[string]bool // by the template's name
	jobLog      map[string][]string
	commands    int
	unpublished map[string]bool

	ops     map[string]plan.Operation
	holder  Holder
	expires time.Time
	saveErr error
	lockErr error
}

func newCluster() *cluster {
	c := &cluster{
		deps: map[string]*workload.Workload{}, pods: map[string][]*fakePod{}, singletons: map[string]bool{}, broken: map[string]bool{},
		stuck: map[string]bool{}, jobs: map[string]time.Time{}, jobStarts: map[string]int{}, stopped: map[string]bool{},
		jobFails: map[string]bool{}, unpublished: map[string]bool{}, ops: map[string]plan.Operation{},
		jobLog: map[string][]string{"migrate": {`Schema "public" is up to date. No migration necessary.`}},
	}
	for _, s := range testEnvironment().Services {
		image := "gcr.io/acme/" + s.Image + ":" + commitA
		d := &workload.Workload{Ref: s.Ref, Replicas: 3, Generation: 1, Containers: []workload.Container{
			{Name: "setup", Init: true, Image: image}, {Name: "app", Image: image}, {Name: "proxy", Image: "gcr.io/sql/proxy:1.2"},
		}}
		if c.singletons[s.Deployment] = s.Kind == plan.Singleton; s.Kind == plan.Singleton {
			d.Replicas = 1
		}
		c.deps[s.Deployment] = d
		c.scale(d)
	}
	return c
}

func (c *cluster) note(format string, args ...any) {
	c.journal = append(c.journal, fmt.Sprintf(format, args...))
}

// scale makes and stops pods until there are as many of the current template as asked for.
func (c *cluster) scale(d *workload.Workload) {
	now := time.Now()
	image, current := d.Containers[1].Image+d.RestartedAt, 0
	for _, p := range c.pods[d.Deployment] {
		switch {
		case !p.gone.IsZero() || c.stuck[d.Deployment] && p.Terminating:
		case p.image == image && current < d.Replicas:
			current++
		case c.stuck[d.Deployment]:
			p.Terminating = true
		default:
			p.Terminating, p.gone = true, now.Add(podStops)
		}
	}
	for ; current < d.Replicas; current++ {
		if c.singletons[d.Deployment] && c.live(d.Deployment) > 0 {
			c.twice = append(c.twice, fmt.Sprintf("%s at %s", d.Deployment, now))
		}
		c.made++
		p := &fakePod{image: image, Pod: workload.Pod{Name: fmt.Sprintf("%s-%d", d.Deployment, c.made), Phase: "Running"}, ready: now.Add(podStarts)}
		if c.broken[d.Containers[1].Image] {
			p.ready = time.Time{}
		}
		c.pods[d.Deployment] = append(c.pods[d.Deployment], p)
	}
}

func (c *cluster) live(name string) int {
	n := 0
	for _, p := range c.pods[name] {
		if p.gone.IsZero() || time.Now().Before(p.gone) {
			n++
		}
	}
	return n
}

func (c *cluster) look(name string) workload.Workload {
	d := *c.deps[name]
	d.ObservedGeneration = d.Generation
	d.Containers = slices.Clone(d.Containers)
	for _, p := range c.pods[name] {
		if !p.gone.IsZero() && !time.Now().Before(p.gone) {
			continue
		}
		pod := p.Pod
		pod.Updated = p.image == d.Containers[1].Image+d.RestartedAt
		pod.Ready = !p.ready.IsZero() && !time.Now().Before(p.ready)
		pod.Containers = []workload.ContainerState{{Name: "app", Ready: pod.Ready}}
		if c.broken[d.Containers[1].Image] && pod.Updated {
			pod.Containers[0] = workload.ContainerState{Name: "app", Waiting: "CrashLoopBackOff", Restarts: 3, LastExit: 1, LastReason: "Error"}
		}
		d.Pods = append(d.Pods, pod)
		if p.Terminating {
			continue
		}
		d.Total++
		if pod.Updated {
			d.Updated++
		}
		if pod.Ready {
			d.Available++
		}
	}
	return d
}

func (c *cluster) operation(id string) plan.Operation {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ops[id]
}

// images gives what runs, and how many pods are asked for.
func (c *cluster) images() map[string]string {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := map[string]string{}
	for name, d := range c.deps {
		all[name] = fmt.Sprintf("%d pods of %.1s/%.1s/%s", d.Replicas,
			tagOf(d.Containers[0].Image), tagOf(d.Containers[1].Image), tagOf(d.Containers[2].Image))
	}
	return all
}

func tagOf(image string) string { return image[strings.LastIndexByte(image, ':')+1:] }

func allAt(letter string) map[string]string {
	return map[string]string{
		"frontend-deployment": "3 pods of " + letter + "/" + letter + "/1.2", "fetcher-deployment": "3 pods of " + letter + "/" + letter + "/1.2",
		"cron-deployment": "1 pods of " + letter + "/" + letter + "/1.2",
	}
}
