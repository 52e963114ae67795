package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cjworkbench/unstuck/release/plan"
	"github.com/cjworkbench/unstuck/release/workload"
)

// checkEnvironments notes what cannot be in environments that are right key by key.
func (d *decoder) checkEnvironments(c Config) {
	names, places := make(map[string]string), make(map[string]string)
	for i, e := range c.Environments {
		path := fmt.Sprintf("environments[%d]", i)
		d.unique(path+".name", e.Name, path, names)
		if place := strings.Join([]string{e.Kubeconfig, e.Context, e.Namespace}, " "); e.Namespace != "" {
			if other := places[place]; other != "" {
				d.problem(path+".namespace", "%s is that of %s too, in the same cluster: want another, for each has its lock there",
					quote(e.Namespace), other)
			}
			places[place] = path
		}
		if e.Context != "" && e.Kubeconfig == "" && !d.wrong(path+".cluster.kubeconfig") {
			d.problem(path+".cluster.kubeconfig",
				"missing: want the file that has the context, here or in kubernetes.kubeconfig")
		}
		d.checkPromotion(path, e, c.Environments)
		d.checkImages(path, e)
		d.checkServices(path, e)
		d.checkJobs(path, e)
		d.checkTasks(path, e)
		d.checkRest(path, e)
	}
}

// unique notes a name that was taken before; where is what has it now.
func (d *decoder) unique(key, name, where string, taken map[string]string) {
	if other := taken[name]; other != "" && name != "" {
		d.problem(key, "%s is that of %s too: want another", quote(name), other)
		return
	}
	taken[name] = where
}

func (d *decoder) checkPromotion(path string, e Environment, all []Environment) {
	known := slices.ContainsFunc(all, func(o Environment) bool { return o.Name == e.PromoteFrom })
	switch {
	case e.PromoteFrom == "" && e.HealthyFor > 0 && !d.wrong(path+".promote_from"):
		d.problem(path+".healthy_for", "nothing is promoted to this environment: want promote_from, or not this")
	case e.PromoteFrom == "":
	case e.PromoteFrom == e.Name:
		d.problem(path+".promote_from", "that is this environment itself: want another")
	case !known:
		d.problem(path+".promote_from", "there is no environment %s: want the name of one", quote(e.PromoteFrom))
	}
}

// checkImages notes short names that the pattern has no place for.
func (d *decoder) checkImages(path string, e Environment) {
	if e.Image == "" || strings.Contains(e.Image, "{image}") {
		return
	}
	check := func(key, image string) {
		if image != "" && !strings.Contains(image, "/") {
			d.problem(key, "%s is a short name, and there is no {image} in %s to put it into: want a repository", quote(image),
				path+".image")
		}
	}
	for i, image := range e.Images {
		check(fmt.Sprintf("%s.images[%d]", path, i), image)
	}
	for i, s := range e.Services {
		check(fmt.Sprintf("%s.services[%d].image", path, i), s.Image)
	}
}

func (d *decoder) checkServices(path string, e Environment) {
	names, workloads := make(map[string]string), make(map[workload.Ref]string)
	for i, s := range e.Services {
		at := fmt.Sprintf("%s.services[%d]", path, i)
		d.unique(at+".name", s.Name, at, names)
		kind := strings.ToLower(string(s.WorkloadKind()))
		if other := workloads[s.Ref]; other != "" && s.Ref != (workload.Ref{}) {
			d.problem(at+"."+kind, "%s is that of %s too: want another", quote(s.WorkloadName()), other)
		}
		workloads[s.Ref] = at
		if s.DaemonSet != "" && s.Kind == plan.Singleton {
			d.problem(at+".kind", "a DaemonSet has a pod on each host and cannot be scaled to 0: want kind: rolling")
		}
	}
}

func (d *decoder) checkJobs(path string, e Environment) {
	names := make(map[string]string)
	for i, j := range e.Jobs {
		at := fmt.Sprintf("%s.jobs[%d]", path, i)
		d.unique(at+".name", j.Name, at, names)
		if j.NoMigration && len(j.Patterns.Migrated)+len(j.Patterns.Nothing) > 0 {
			d.problem(at+".patterns", "with no_migration its log is not read for migrations: want one of them")
		}
	}
}

func (d *decoder) checkTasks(path string, e Environment) {
	services := make([]string, len(e.Services))
	for i, s := range e.Services {
		services[i] = s.Name
	}
	names := make(map[string]string)
	for i, t := range e.Tasks {
		at := fmt.Sprintf("%s.tasks[%d]", path, i)
		d.unique(at+".name", t.Name, at, names)
		if t.Exec.Service != "" && !slices.Contains(services, t.Exec.Service) {
			d.problem(at+".exec.service", "there is no service %s: want one of %s.services", quote(t.Exec.Service), path)
		}
	}
}

// checkRest asks package release, which has the last word, where nothing has been noted so far: what it would refuse
// when the daemon starts is refused here.
func (d *decoder) checkRest(path string, e Environment) {
	if slices.ContainsFunc(d.problems, func(p Problem) bool { return strings.HasPrefix(p.Key, path) }) {
		return
	}
	if err := e.Validate(); err != nil {
		d.problem(path, "%s", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
}
