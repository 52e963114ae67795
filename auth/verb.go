package auth

import (
	"slices"

	"github.com/cjworkbench/unstuck/release/plan"
)

// Verb is what somebody wants to do.
type Verb string

// The verbs, as the file of tokens names them.
const (
	Deploy  Verb = "deploy"
	Promote Verb = "promote"
	Revert  Verb = "revert"
	Restart Verb = "restart"
	RunTask Verb = "task"
	Logs    Verb = "logs"  // to read the logs of a service
	Env     Verb = "env"   // to see the variables of a service's pods
	Pause   Verb = "pause" // and ending a pause
	Delete  Verb = "delete"
	Probe   Verb = "probe"
	Read    Verb = "read"
)

// verbRow says of a Verb what it is done to, and what kubectl would need the right to for the same.
type verbRow struct {
	verb  Verb
	words string // in a sentence; "": the verb itself

	ofEnvironment func(plan.Environment, Action) []ResourceAttributes // nil: it is not done to environments
	ofTarget      targetNeeds                                         // nil: it is not done to targets
}

// targetNeeds is told Unstuck's own namespace, and that of the target; "": that is not known.
type targetNeeds func(home, namespace string, action Action) []ResourceAttributes

// verbs are all of them, in the order in which people read them.
var verbs = []verbRow{
	{verb: Deploy, ofEnvironment: deploying},
	{verb: Promote, ofEnvironment: deploying},
	{verb: Revert, ofEnvironment: deploying},
	{verb: Restart, ofEnvironment: restarting},
	{verb: RunTask, ofEnvironment: runningTask},
	{verb: Logs, words: "read the logs of", ofEnvironment: readingLogs},
	{verb: Env, words: "see the variables of", ofEnvironment: seeingVariables},
	{verb: Pause, ofTarget: pausing},
	{verb: Delete, ofTarget: deleting},
	{verb: Probe, ofTarget: probing},
	{verb: Read, ofEnvironment: readingEnvironment, ofTarget: readingTarget},
}

// EnvironmentVerbs lists those that are done to an environment, and to nothing else.
func EnvironmentVerbs() []Verb { return verbsThat(func(r verbRow) bool { return r.ofTarget == nil }) }

// TargetVerbs lists those that are done to a broker or an application, and to nothing else.
func TargetVerbs() []Verb { return verbsThat(func(r verbRow) bool { return r.ofEnvironment == nil }) }

// Verbs lists every Verb.
func Verbs() []Verb { return verbsThat(func(verbRow) bool { return true }) }

func verbsThat(are func(verbRow) bool) (all []Verb) {
	for _, r := range verbs {
		if are(r) {
			all = append(all, r.verb)
		}
	}
	return all
}

// rowOf gives the row of a Verb; of one that there is not, a row that is done to nothing.
func rowOf(verb Verb) verbRow {
	i := slices.IndexFunc(verbs, func(r verbRow) bool { return r.verb == verb })
	if i < 0 {
		return verbRow{verb: verb}
	}
	return verbs[i]
}

// readingEnvironment: the lists show workloads, and operations have lines of logs.
func readingEnvironment(env plan.Environment, _ Action) (needs []ResourceAttributes) {
	for _, resource := range resourcesOf(env) {
		needs = append(needs, ResourceAttributes{Verb: "list", Group: "apps", Resource: resource, Namespace: env.Namespace})
	}
	return append(needs, ResourceAttributes{
		Verb: "get", Resource: "pods", Subresource: "log", Namespace: env.Namespace,
	})
}

// resourcesOf gives of which kinds the services of an environment are, each once.
func resourcesOf(env plan.Environment) (resources []string) {
	for _, s := range env.Services {
		if of := s.WorkloadKind().Resource(); !slices.Contains(resources, of) {
			resources = append(resources, of)
		}
	}
	return resources
}

func deploying(env plan.Environment, _ Action) (needs []ResourceAttributes) {
	for _, s := range env.Services {
		needs = append(needs, patching(env.Namespace, s.WorkloadKind().Resource(), s.WorkloadName()))
	}
	for _, j := range env.Jobs {
		needs = append(needs, starting(env.Namespace, j.From)...)
	}
	return needs
}

func restarting(env plan.Environment, action Action) (needs []ResourceAttributes) {
	if s, ok := serviceOf(env, action); ok {
		return []ResourceAttributes{patching(env.Namespace, s.WorkloadKind().Resource(), s.WorkloadName())}
	}
	if action.Secret != "" { // which services read it is known only once it is done
		for _, resource := range resourcesOf(env) {
			needs = append(needs, patching(env.Namespace, resource, ""))
		}
	}
	return needs
}

func runningTask(env plan.Environment, action Action) []ResourceAttributes {
	i := slices.IndexFunc(env.Tasks, func(t plan.Task) bool { return t.Name == action.Task })
	switch {
	case i < 0:
		return nil
	case len(env.Tasks[i].Exec.Command) > 0: // in whichever pod is ready
		return []ResourceAttributes{{Verb: "create", Resource: "pods", Subresource: "exec", Namespace: env.Namespace}}
	}
	return starting(env.Namespace, env.Tasks[i].From)
}

// readingLogs is what `kubectl logs deployment/NAME` needs.
func readingLogs(env plan.Environment, action Action) []ResourceAttributes {
	s, ok := serviceOf(env, action)
	if !ok {
		return nil
	}
	return append(findingPods(env.Namespace, s),
		ResourceAttributes{Verb: "get", Resource: "pods", Subresource: "log", Namespace: env.Namespace})
}

// seeingVariables is what `kubectl get pod` needs, whose answer has the variables.
func seeingVariables(env plan.Environment, action Action) []ResourceAttributes {
	s, ok := serviceOf(env, action)
	switch {
	case !ok:
		return nil
	case action.Pod != "":
		return []ResourceAttributes{{Verb: "get", Resource: "pods", Namespace: env.Namespace, Name: action.Pod}}
	}
	return findingPods(env.Namespace, s)
}

func findingPods(namespace string, s plan.Service) []ResourceAttributes {
	return []ResourceAttributes{
		{
			Verb: "get", Group: "apps", Resource: s.WorkloadKind().Resource(), Namespace: namespace, Name: s.WorkloadName(),
		},
		{Verb: "list", Resource: "pods", Namespace: namespace},
	}
}

// serviceOf gives the service that an action names; false: it names none that there is.
func serviceOf(env plan.Environment, action Action) (plan.Service, bool) {
	i := slices.IndexFunc(env.Services, func(s plan.Service) bool { return s.Name == action.Service })
	if i < 0 || action.Service == "" {
		return plan.Service{}, false
	}
	return env.Services[i], true
}

func patching(namespace, resource, name string) ResourceAttributes {
	return ResourceAttributes{Verb: "patch", Group: "apps", Resource: resource, Namespace: namespace, Name: name}
}

// starting is what `kubectl create job --from` needs.
func starting(namespace string, from plan.TemplateRef) []ResourceAttributes {
	template := ResourceAttributes{
		Verb: "get", Group: "batch", Resource: "cronjobs", Namespace: namespace, Name: from.Name,
	}
	if from.Kind == plan.FromPodTemplate {
		template.Group, template.Resource = "", "podtemplates"
	}
	return []ResourceAttributes{template, {Verb: "create", Group: "batch", Resource: "jobs", Namespace: namespace}}
}

// pausing: what keeps a pause is a ConfigMap of Unstuck's own.
func pausing(home, _ string, _ Action) []ResourceAttributes {
	return []ResourceAttributes{{Verb: "patch", Resource: "configmaps", Namespace: home}}
}

func readingTarget(home, namespace string, action Action) []ResourceAttributes {
	switch {
	case action.Target == "": // the pauses of everything
		return []ResourceAttributes{{Verb: "get", Resource: "configmaps", Namespace: home}}
	case namespace == "":
		return nil
	}
	// incidents have lines of logs
	return []ResourceAttributes{{Verb: "get", Resource: "pods", Subresource: "log", Namespace: namespace}}
}

func deleting(_, namespace string, action Action) []ResourceAttributes {
	if namespace == "" {
		return nil
	}
	return []ResourceAttributes{{Verb: "delete", Resource: "pods", Namespace: namespace, Name: action.Node}}
}

// probing: maybe_stuck runs next to the node.
func probing(_, namespace string, action Action) []ResourceAttributes {
	if namespace == "" {
		return nil
	}
	return []ResourceAttributes{
		{Verb: "create", Resource: "pods", Subresource: "exec", Namespace: namespace, Name: action.Node},
	}
}
