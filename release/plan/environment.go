// Package plan says what a deploy, a promotion, a revert, a restart or a task does: a request, an environment and what
// is known of the world in, ordered steps or a Refusal out. The same plan is a dry run's answer and what package
// release carries out. It also holds what becomes of a plan, the Operation, and reads whether a job migrated.
//
// All of it is pure: it depends on its arguments alone, the time among them.
package plan

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/cjworkbench/unstuck/release/workload"
)

// Environment is a namespace to which a set of services is deployed.
type Environment struct {
	Name        string
	Namespace   string
	Context     string // of the kubeconfig, if it is another cluster than the daemon's own
	PromoteFrom string // the environment whose commit a promotion takes; empty: nothing is promoted to this one

	// Image is how an image is named: {image} stands for a short name, {commit} for the commit, which must stand in
	// the tag. Example: "gcr.io/acme/{image}:{commit}".
	Image    string
	Images   []string // that must be published besides those of the services and jobs; names or repositories
	Services []Service
	Jobs     []Job // that a deploy runs before it touches a service
	Tasks    []Task
	Settings
}

// Settings bound an environment's operations. The zero value of each is its default.
type Settings struct {
	RolloutDeadline time.Duration // for one service to roll out; default 15 min
	StopDeadline    time.Duration // for a singleton's old pod to be gone; default 5 min
	JobDeadline     time.Duration // for one job of a deploy; default 30 min
	TaskDeadline    time.Duration // for one task; default 30 min
	// for how long after its process has died an operation is gone on with; default 10 min: after that, people have acted
	ResumeDeadline time.Duration
	// how long a promotion's source must have been healthy; default 0: it must be healthy now
	HealthyFor time.Duration
	OnFailure  OnFailure // default Leave
	GitOps     GitOps    // default RefuseGitOps
}

// The defaults of Settings.
const (
	defaultRolloutDeadline = 15 * time.Minute
	defaultStopDeadline    = 5 * time.Minute
	defaultJobDeadline     = 30 * time.Minute
	defaultTaskDeadline    = 30 * time.Minute
	defaultResumeDeadline  = 10 * time.Minute
)

// GitOps says what is done where another tool keeps a service's workload as Git has it, and would put back what an
// operation changes.
type GitOps string

// The answers.
const (
	RefuseGitOps GitOps = "refuse" // plan nothing that changes such a workload's images
	AllowGitOps  GitOps = "allow"  // the tool was told to leave the images alone
)

// OnFailure says what is done when a deploy fails after it changed something.
type OnFailure string

// What can be done on failure.
const (
	Leave    OnFailure = "leave"    // leave everything as it is
	Rollback OnFailure = "rollback" // put the old images back, unless something migrated
)

// ServiceKind says how a service's pods may be replaced. The zero value is Singleton, the careful one.
type ServiceKind uint8

// The kinds of services.
const (
	Singleton ServiceKind = iota // the old pod must be gone before the new one starts
	Rolling                      // old and new pods may run side by side
)

var serviceKindNames = [...]string{Singleton: "singleton", Rolling: "rolling"}

func (k ServiceKind) String() string {
	if int(k) < len(serviceKindNames) {
		return serviceKindNames[k]
	}
	return serviceKindNames[Singleton]
}

// MarshalText gives "rolling" or "singleton".
func (k ServiceKind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (k *ServiceKind) UnmarshalText(text []byte) error {
	i := slices.Index(serviceKindNames[:], string(text))
	if i < 0 {
		return fmt.Errorf("kind of service %q: want one of %v", text, serviceKindNames)
	}
	*k = ServiceKind(i)
	return nil
}

// Service is one workload.
type Service struct {
	Name         string
	workload.Ref        // exactly one of its fields is set
	Image        string // a short name, put into the environment's pattern, or a whole repository
	Kind         ServiceKind
}

// TemplateKind says of what kind an object is from which jobs are started.
type TemplateKind string

// What a job can be started from.
const (
	FromCronJob     TemplateKind = "cronjob"
	FromPodTemplate TemplateKind = "podtemplate"
)

// TemplateRef names the object in the environment's namespace from which a job is started.
type TemplateRef struct {
	Kind TemplateKind `json:"kind"`
	Name string       `json:"name"`
}

func (t TemplateRef) String() string { return string(t.Kind) + " " + t.Name }

// Job is what a deploy runs, once, before it touches a service.
type Job struct {
	Name string
	From TemplateRef
	// NoMigration says that it never changes a database. Of every other job the log is read for what it migrated,
	// and a log that does not say counts as a migration.
	NoMigration bool
	Patterns    Patterns // how its log says whether it migrated; the zero value: DefaultPatterns
}

// Task is what may be run on request: a command in one ready pod of a service, or a job. Exactly one of Exec and From
// is set.
type Task struct {
	Name    string
	Warning string // shown beforehand; if there is one, the request must confirm
	Exec    Exec
	From    TemplateRef
}

// Exec is a command in a container of one ready pod of a service.
type Exec struct {
	Service   string
	Container string // empty: the pod's first
	Command   []string
}

// WithDefaults gives the settings with the defaults in place of zeros.
func (s Settings) WithDefaults() Settings {
	orElse(&s.RolloutDeadline, defaultRolloutDeadline)
	orElse(&s.StopDeadline, defaultStopDeadline)
	orElse(&s.JobDeadline, defaultJobDeadline)
	orElse(&s.TaskDeadline, defaultTaskDeadline)
	orElse(&s.ResumeDeadline, defaultResumeDeadline)
	orElse(&s.OnFailure, Leave)
	orElse(&s.GitOps, RefuseGitOps)
	return s
}

func orElse[T comparable](v *T, otherwise T) {
	var zero T
	if *v == zero {
		*v = otherwise
	}
}

var dnsLabel = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`)

// Validate reports everything that is wrong with the environment at once.
func (e Environment) Validate() error {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if !dnsLabel.MatchString(e.Name) {
		wrong("name %q: want lower-case letters, digits and hyphens", e.Name)
	}
	if !dnsLabel.MatchString(e.Namespace) {
		wrong("namespace %q: want lower-case letters, digits and hyphens", e.Namespace)
	}
	if _, tag := splitTag(e.Image); strings.Count(e.Image, "{commit}") != 1 || !strings.Contains(tag, "{commit}") ||
		strings.Contains(tag, "{image}") {
		wrong(`image %q: want {commit} once, alone in the tag, as in "registry/{image}:{commit}"`, e.Image)
	}
	if e.PromoteFrom == e.Name {
		wrong("promote from %q: want another environment", e.PromoteFrom)
	}
	if e.GitOps != "" && e.GitOps != RefuseGitOps && e.GitOps != AllowGitOps {
		wrong("gitops %q: want %q or %q", e.GitOps, RefuseGitOps, AllowGitOps)
	}
	if e.OnFailure != "" && e.OnFailure != Leave && e.OnFailure != Rollback {
		wrong("on failure %q: want %q or %q", e.OnFailure, Leave, Rollback)
	}
	for _, d := range []time.Duration{
		e.RolloutDeadline, e.StopDeadline, e.JobDeadline, e.TaskDeadline, e.ResumeDeadline, e.HealthyFor,
	} {
		if d < 0 {
			wrong("a time of %s: want none below zero", d)
		}
	}
	if steps := 1 + len(e.Jobs) + len(e.Services); steps > MaxSteps {
		wrong("%d services and %d jobs: want at most %d of both, for a deploy has a step for each", len(e.Services),
			len(e.Jobs), MaxSteps-1)
	}
	errs = append(errs, e.validateServices(), e.validateJobs(), e.validateTasks())
	return errors.Join(errs...)
}

func (e Environment) validateServices() error {
	var errs []error
	names, workloads := map[string]bool{}, map[workload.Ref]bool{}
	for _, s := range e.Services {
		switch {
		case !dnsLabel.MatchString(s.Name) || names[s.Name]:
			errs = append(errs, fmt.Errorf("service %q: want a name of its own of lower-case letters, digits and hyphens",
				s.Name))
		case s.WorkloadName() == "" || !s.Alone() || workloads[s.Ref]:
			errs = append(errs, fmt.Errorf("service %s: %s: want one workload of its own", s.Name, s.Title()))
		case s.Kind == Singleton && s.WorkloadKind() == workload.DaemonSet:
			errs = append(errs, fmt.Errorf("service %s: %s: want kind rolling, for it has a pod on each host and cannot be "+
				"scaled to 0", s.Name, s.Title()))
		case !e.namesImage(s.Image):
			errs = append(errs, fmt.Errorf("service %s: image %q: want a repository, or a name that the pattern %q takes",
				s.Name, s.Image, e.Image))
		}
		names[s.Name], workloads[s.Ref] = true, true
	}
	for _, image := range e.Images {
		if !e.namesImage(image) {
			errs = append(errs, fmt.Errorf("image %q: want a repository, or a name that the pattern %q takes", image, e.Image))
		}
	}
	return errors.Join(errs...)
}

func (e Environment) validateJobs() error {
	var errs []error
	names := map[string]bool{}
	for _, j := range e.Jobs {
		if !dnsLabel.MatchString(j.Name) || names[j.Name] {
			errs = append(errs, fmt.Errorf("job %q: want a name of its own of lower-case letters, digits and hyphens", j.Name))
		}
		names[j.Name] = true
		if err := j.From.validate(); err != nil {
			errs = append(errs, fmt.Errorf("job %s: %w", j.Name, err))
		}
		if _, err := NewMigrationReader(j.Patterns); err != nil {
			errs = append(errs, fmt.Errorf("job %s: %w", j.Name, err))
		}
	}
	return errors.Join(errs...)
}

func (e Environment) validateTasks() error {
	var errs []error
	names := map[string]bool{}
	for _, t := range e.Tasks {
		if !dnsLabel.MatchString(t.Name) || names[t.Name] {
			errs = append(errs, fmt.Errorf("task %q: want a name of its own of lower-case letters, digits and hyphens", t.Name))
		}
		names[t.Name] = true
		isExec, isJob := len(t.Exec.Command) > 0, t.From != TemplateRef{}
		_, known := e.service(t.Exec.Service)
		switch {
		case isExec == isJob:
			errs = append(errs, fmt.Errorf("task %s: want either a command or what a job is started from", t.Name))
		case isExec && !known:
			errs = append(errs, fmt.Errorf("task %s: service %q: want one of %s", t.Name, t.Exec.Service, e.serviceNames()))
		case isJob:
			if err := t.From.validate(); err != nil {
				errs = append(errs, fmt.Errorf("task %s: %w", t.Name, err))
			}
		}
	}
	return errors.Join(errs...)
}

func (t TemplateRef) validate() error {
	if (t.Kind != FromCronJob && t.Kind != FromPodTemplate) || t.Name == "" {
		return fmt.Errorf("start from %q: want a %s or a %s and its name", t, FromCronJob, FromPodTemplate)
	}
	return nil
}

func (e Environment) service(name string) (Service, bool) {
	i := slices.IndexFunc(e.Services, func(s Service) bool { return s.Name == name })
	if i < 0 {
		return Service{}, false
	}
	return e.Services[i], true
}

func (e Environment) serviceNames() string {
	names := make([]string, len(e.Services))
	for i, s := range e.Services {
		names[i] = s.Name
	}
	return strings.Join(names, ", ")
}
