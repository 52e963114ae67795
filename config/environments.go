package config

import (
	"cmp"
	"regexp"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/cjworkbench/unstuck/release/plan"
	"github.com/cjworkbench/unstuck/release/workload"
)

// Environment is a namespace to which services are deployed, and how to reach it.
type Environment struct {
	plan.Environment // with a Context it is in another cluster than the daemon's own

	Kubeconfig string          // the file that has the Context
	Registry   *RegistrySecret // nil: no Secret has the registry's password
	Identity   Identity        // of the daemon's pod, with which the registry is asked besides
}

// Identity is the cloud that gives the daemon's pod an identity.
type Identity string

// The identities.
const (
	NoIdentity     Identity = "none"
	AWSIdentity    Identity = "aws"
	AzureIdentity  Identity = "azure"
	GoogleIdentity Identity = "google"
)

// RegistrySecret names the Secret, in the environment's cluster, with which the registry is asked whether an image is
// published: the same that its pods pull their images with.
type RegistrySecret struct {
	Namespace string
	Name      string
	Key       string
}

// DefaultEnvironment gives what holds for an environment that says no more than it must.
func DefaultEnvironment() Environment {
	e := Environment{Identity: NoIdentity}
	e.Settings = plan.Settings{
		RolloutDeadline: 15 * time.Minute, StopDeadline: 5 * time.Minute, JobDeadline: 30 * time.Minute,
		TaskDeadline: 30 * time.Minute, ResumeDeadline: 10 * time.Minute,
		OnFailure: plan.Leave, GitOps: plan.RefuseGitOps,
	}
	return e
}

// The forms of images, after the specification of OCI's distribution. A name that has a slash is a whole repository.
var (
	imageForm   = regexp.MustCompile(`^[a-z0-9]+([-_.]+[a-z0-9]+)*$|^[a-z0-9][-.a-z0-9]*(:[0-9]{1,5})?(/[a-z0-9]+([-_.]+[a-z0-9]+)*)+$`)
	patternForm = regexp.MustCompile(`^([-_./a-z0-9]|\{image\})+(:[0-9]{1,5}/([-_./a-z0-9]|\{image\})+)?:[-_.A-Za-z0-9]*\{commit\}[-_.A-Za-z0-9]*$`)
)

const (
	wantImage = "an image's short name such as frontend, or its repository such as registry.example/frontend, without " +
		"a tag"
	wantPattern = "an image with {commit} in its tag, such as registry.example/{image}:{commit}"
	wantRegexp  = "a regular expression, as Go has them"
)

// environments reads all environments. One in another cluster whose kubeconfig is not said has that of k.
func (s *section) environments(k Kubernetes) (all []Environment) {
	for _, e := range s.few("environments", none, "environments", maxEnvironments) {
		env := s.environment(e)
		if env.Context != "" {
			env.Kubeconfig = cmp.Or(env.Kubeconfig, k.Kubeconfig)
		}
		all = append(all, env)
	}
	return all
}

// environment reads one environment.
func (d *decoder) environment(e element) Environment {
	env := DefaultEnvironment()
	s := d.section(e.path, e.node)
	s.name(&env.Name)
	s.named("namespace", required, brokerName, wantBroker, &env.Namespace)
	s.missing("namespace", env.Namespace, wantBroker)
	s.cluster(&env)
	s.named("image", required, patternForm, wantPattern, &env.Image)
	s.missing("image", env.Image, wantPattern)
	s.texts("images", none, "images", wantImage, imageForm.MatchString, &env.Images)
	env.Registry = s.registrySecret(env.Namespace)
	identities := []string{string(NoIdentity), string(AWSIdentity), string(AzureIdentity), string(GoogleIdentity)}
	s.oneOf("registry_identity", string(env.Identity), identities, func(v string) { env.Identity = Identity(v) })
	for _, e := range s.few("services", required, "services", maxSteps) {
		env.Services = append(env.Services, d.service(e))
	}
	for _, e := range s.few("jobs", none, "jobs", maxSteps) {
		env.Jobs = append(env.Jobs, d.job(e))
	}
	for _, e := range s.few("tasks", none, "tasks", maxTasks) {
		env.Tasks = append(env.Tasks, d.task(e))
	}
	s.named("promote_from", none, brokerName, "the name of another environment", &env.PromoteFrom)
	s.duration("healthy_for", &env.HealthyFor, 0)
	s.oneOf("gitops", string(env.GitOps), []string{string(plan.RefuseGitOps), string(plan.AllowGitOps)}, func(v string) {
		env.GitOps = plan.GitOps(v)
	})
	s.oneOf("on_failure", string(env.OnFailure), []string{string(plan.Leave), string(plan.Rollback)}, func(v string) {
		env.OnFailure = plan.OnFailure(v)
	})
	deadlines := s.sub("deadlines")
	deadlines.duration("rollout", &env.RolloutDeadline, time.Second)
	deadlines.duration("stop", &env.StopDeadline, time.Second)
	deadlines.duration("job", &env.JobDeadline, time.Second)
	deadlines.duration("task", &env.TaskDeadline, time.Second)
	deadlines.duration("resume", &env.ResumeDeadline, time.Minute)
	deadlines.end()
	s.end()
	return env
}

// name reads the name that each environment, service, job and task has.
func (s *section) name(to *string) {
	s.named("name", required, brokerName, wantBroker, to)
	s.missing("name", *to, wantBroker)
}

// cluster reads how to reach an environment that is in another cluster than the daemon's own.
func (s *section) cluster(env *Environment) {
	const wantContext = "the name of a context, which says which cluster it is"
	_, there := s.values["cluster"]
	sub := s.sub("cluster")
	sub.text("kubeconfig", none, wantFile, &env.Kubeconfig)
	sub.text("context", required, wantContext, &env.Context)
	if there {
		sub.missing("context", env.Context, wantContext)
	}
	sub.end()
}

// registrySecret reads which Secret holds the registry's password; nil if there is no such section.
func (s *section) registrySecret(namespace string) *RegistrySecret {
	_, there := s.values["registry_secret"]
	r := RegistrySecret{Key: ".dockerconfigjson"}
	sub := s.sub("registry_secret")
	sub.named("namespace", none, brokerName, wantBroker, &r.Namespace)
	sub.named("name", required, objectName, wantObject, &r.Name)
	sub.named("key", r.Key, secretKey, wantKey, &r.Key)
	if there {
		sub.missing("name", r.Name, wantObject)
	}
	sub.end()
	if !there {
		return nil
	}
	r.Namespace = cmp.Or(r.Namespace, namespace)
	return &r
}

// service reads one service.
func (d *decoder) service(e element) plan.Service {
	var v plan.Service
	s := d.section(e.path, e.node)
	s.name(&v.Name)
	v.Ref = s.workload(e)
	s.named("image", required, imageForm, wantImage, &v.Image)
	s.missing("image", v.Image, wantImage)
	s.oneOf("kind", v.Kind.String(), []string{plan.Rolling.String(), plan.Singleton.String()}, func(kind string) {
		v.Kind = map[string]plan.ServiceKind{plan.Rolling.String(): plan.Rolling}[kind]
	})
	s.end()
	return v
}

// workload reads which workload a service is: exactly one of three keys.
func (s *section) workload(e element) workload.Ref {
	noted := len(s.problems)
	var r workload.Ref
	s.named("deployment", none, objectName, wantObject, &r.Deployment)
	s.named("statefulset", none, objectName, wantObject, &r.StatefulSet)
	s.named("daemonset", none, objectName, wantObject, &r.DaemonSet)
	switch {
	case s.listen != nil || len(s.problems) > noted:
	case r == workload.Ref{}:
		s.problem(e.path, "missing: want a deployment, a statefulset or a daemonset, which the service is")
	case !r.Alone():
		s.problem(e.path, "there are several of deployment, statefulset and daemonset: want one of them")
	default:
		return r
	}
	return workload.Ref{}
}

// job reads one job that a deploy runs.
func (d *decoder) job(e element) plan.Job {
	var j plan.Job
	s := d.section(e.path, e.node)
	s.name(&j.Name)
	j.From = s.template("from", required)
	s.truth("no_migration", &j.NoMigration)
	patterns := s.sub("patterns")
	patterns.texts("migrated", none, "patterns", wantRegexp, isRegexp, &j.Patterns.Migrated)
	patterns.texts("nothing", none, "patterns", wantRegexp, isRegexp, &j.Patterns.Nothing)
	patterns.end()
	s.end()
	return j
}

func isRegexp(v string) bool {
	_, err := regexp.Compile(v)
	return err == nil
}

// task reads one task: a command, or a job.
func (d *decoder) task(e element) plan.Task {
	var t plan.Task
	s := d.section(e.path, e.node)
	s.name(&t.Name)
	s.text("warning", none, "what to say beforehand", &t.Warning)
	_, isExec := s.values["exec"]
	_, isJob := s.values["job"]
	if exec := s.sub("exec"); isExec || s.listen != nil {
		exec.named("service", required, brokerName, wantBroker, &t.Exec.Service)
		exec.missing("service", t.Exec.Service, wantBroker)
		exec.named("container", none, brokerName, wantBroker, &t.Exec.Container)
		anything := func(string) bool { return true }
		exec.texts("command", required, "words, which no shell splits", "a word of the command", anything, &t.Exec.Command)
		exec.end()
	}
	t.From = s.template("job", none)
	if s.listen == nil && isExec == isJob {
		s.problem(e.path, "want either exec or job")
	}
	s.end()
	return t
}

// template reads from what a job is started: exactly one of two keys.
func (s *section) template(name, byDefault string) plan.TemplateRef {
	_, there := s.values[name]
	noted := len(s.problems)
	var cronJob, podTemplate string
	sub := s.sub(name)
	sub.named("cronjob", none, objectName, wantObject, &cronJob)
	sub.named("podtemplate", none, objectName, wantObject, &podTemplate)
	sub.end()
	wanted := there || byDefault == required
	switch {
	case s.listen != nil:
	case cronJob != "" && podTemplate != "":
		s.problem(sub.key("podtemplate"), "there is a cronjob too: want one of them")
	case cronJob != "":
		return plan.TemplateRef{Kind: plan.FromCronJob, Name: cronJob}
	case podTemplate != "":
		return plan.TemplateRef{Kind: plan.FromPodTemplate, Name: podTemplate}
	case wanted && len(s.problems) == noted:
		s.problem(sub.path, "missing: want a cronjob or a podtemplate, to start it from")
	}
	return plan.TemplateRef{}
}

// texts reads a list of texts, each of which fits. No message repeats one: it may be a secret that went astray.
func (s *section) texts(name, byDefault, what, want string, fits func(string) bool, to *[]string) {
	elements := s.few(name, byDefault, what, maxTexts)
	if s.listen != nil {
		return
	}
	for _, e := range elements {
		if e.node.Kind != yaml.ScalarNode || isNull(e.node) || e.node.Value == "" || !fits(e.node.Value) {
			s.problem(e.path, "want %s", want)
			continue
		}
		*to = append(*to, e.node.Value)
	}
}
