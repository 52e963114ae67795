package deploy

import (
	"cmp"
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/cjworkbench/unstuck/release"
	"github.com/cjworkbench/unstuck/release/plan"
)

// PodEnv gives the environment of a pod of a service, as the pod's specification defines it; no pod: of the newest one
// that runs. Only the specification is read. No Secret and no ConfigMap is, so this needs no right to read
// them, and a value that is hidden has never been here.
func (cs *Clusters) PodEnv(ctx context.Context, env plan.Environment, service, pod string) (release.PodEnv, error) {
	s, err := cs.servicePods(env, service)
	if err != nil {
		return release.PodEnv{}, err
	}
	pods, err := s.list(ctx)
	if err != nil {
		return release.PodEnv{}, err
	}
	p, err := s.choose(pods, pod)
	if err != nil {
		return release.PodEnv{}, err
	}
	all := release.PodEnv{Pod: p.Name}
	for i, c := range slices.Concat(p.Spec.InitContainers, p.Spec.Containers) {
		all.Containers = append(all.Containers, envOf(c, i < len(p.Spec.InitContainers)))
	}
	return all, nil
}

// choose gives the pod of that name, or the newest that runs; before one that has ended, one that is ending.
func (s servicePods) choose(pods []ownPod, name string) (*corev1.Pod, error) {
	slices.SortStableFunc(pods, func(a, b ownPod) int {
		return cmp.Or(rank(isOver(a.Pod), isOver(b.Pod)), rank(a.DeletionTimestamp != nil, b.DeletionTimestamp != nil))
	})
	for _, p := range pods {
		if name == "" || p.Name == name {
			return p.Pod, nil
		}
	}
	if name == "" {
		return nil, &plan.Refusal{Code: plan.NotFound, Why: fmt.Sprintf("service %s has no pods", s.service)}
	}
	return nil, &plan.Refusal{
		Code: plan.NotFound, Why: fmt.Sprintf("service %s has no pod %q", s.service, name), Hint: "ask for " + s.names(pods),
	}
}

// someNames bounds how many names a refusal suggests.
const someNames = 10

func (s servicePods) names(pods []ownPod) string {
	if len(pods) == 0 {
		return "it when it has pods"
	}
	var names []string
	for _, p := range pods[:min(len(pods), someNames)] {
		names = append(names, p.Name)
	}
	return strings.Join(names, ", ")
}

func envOf(c corev1.Container, init bool) release.ContainerEnv {
	all := release.ContainerEnv{
		Container: c.Name, Init: init, Image: c.Image, From: []release.EnvSource{}, Variables: []release.EnvVar{},
	}
	for _, e := range c.EnvFrom {
		all.From = append(all.From, wholeSource(e))
	}
	for _, e := range c.Env {
		all.Variables = append(all.Variables, variableOf(e))
	}
	return all
}

func wholeSource(e corev1.EnvFromSource) release.EnvSource {
	switch {
	case e.SecretRef != nil:
		return release.EnvSource{
			Kind: release.FromSecret, Name: e.SecretRef.Name, Prefix: e.Prefix, Optional: isTrue(e.SecretRef.Optional),
		}
	case e.ConfigMapRef != nil:
		return release.EnvSource{
			Kind: release.FromConfigMap, Name: e.ConfigMapRef.Name, Prefix: e.Prefix, Optional: isTrue(e.ConfigMapRef.Optional),
		}
	}
	return release.EnvSource{Kind: release.FromUnknown, Prefix: e.Prefix}
}

func variableOf(e corev1.EnvVar) release.EnvVar {
	v := release.EnvVar{Name: e.Name}
	if e.ValueFrom != nil {
		v.From = new(sourceOf(e.ValueFrom))
		return v
	}
	if v.Masked = whyMasked(e.Name, e.Value); v.Masked == "" {
		v.Value = new(e.Value)
	}
	return v
}

func sourceOf(from *corev1.EnvVarSource) release.EnvSource {
	switch {
	case from.SecretKeyRef != nil:
		r := from.SecretKeyRef
		return release.EnvSource{Kind: release.FromSecret, Name: r.Name, Key: r.Key, Optional: isTrue(r.Optional)}
	case from.ConfigMapKeyRef != nil:
		r := from.ConfigMapKeyRef
		return release.EnvSource{Kind: release.FromConfigMap, Name: r.Name, Key: r.Key, Optional: isTrue(r.Optional)}
	case from.FieldRef != nil:
		return release.EnvSource{Kind: release.FromField, Key: from.FieldRef.FieldPath}
	case from.ResourceFieldRef != nil:
		return release.EnvSource{
			Kind: release.FromResource, Name: from.ResourceFieldRef.ContainerName, Key: from.ResourceFieldRef.Resource,
		}
	case from.FileKeyRef != nil:
		r := from.FileKeyRef
		return release.EnvSource{
			Kind: release.FromFile, Name: r.VolumeName, Key: r.Path + " " + r.Key, Optional: isTrue(r.Optional),
		}
	}
	return release.EnvSource{Kind: release.FromUnknown}
}

func isTrue(b *bool) bool { return b != nil && *b }

// secretNames are parts of the names of variables whose values nobody should see. They hide too much (MONKEY has KEY)
// rather than too little: people who must know can ask kubectl.
var secretNames = []string{
	"PASS", "PWD", "SECRET", "TOKEN", "KEY", "CREDENTIAL", "PRIVATE", "AUTH", "COOKIE", "SALT", "SIGNATURE", "SIGNING",
	"CERT", "DSN", "WEBHOOK", "BEARER", "JWT", "SESSION", "OTP", "PEM", "CONNECTION_STRING", "CONNSTR", "PEPPER",
	"LICENSE",
}

// secretValues are what secrets look like under any name.
var secretValues = []*regexp.Regexp{
	regexp.MustCompile(`://[^\s]*@`),           // a URL with a user, and perhaps a password
	regexp.MustCompile(`[^\s:]*:[^\s]*@[^\s]`), // the same without a scheme
	regexp.MustCompile(`(?i)(pass(word|wd|phrase)?|pwd|secret|token|(api|access)[-_]?key|accountkey|sharedaccess\w*|credentials?|sig|signature)["']?\s*[=:]`),
	// an argument of a command
	regexp.MustCompile(`(?i)(^|\s)--?[\w-]*(pass(word|wd|phrase)?|pwd|secret|token|key|credentials?)\s+\S`),
	regexp.MustCompile(`(^|\s)(-u|--(proxy-)?user)[\s=]*[^\s:]+:\S`), // of curl
	regexp.MustCompile(`\bmysql(dump|admin)?\s(.*\s)?-p\S`),
	regexp.MustCompile(`^[^\s/]+/[^\s@]+@`), // of Oracle: user/password@database
	regexp.MustCompile(`(?i)%3A.*%40`),      // the second above, in a URL
	regexp.MustCompile(`(?i)\b(bearer|basic)\s+\S`),
	regexp.MustCompile(`(?i)(private|encrypted|begin .*)[ _-]key`),
	// a JSON Web Token
	regexp.MustCompile(`\beyJ[\w-]{5,}\.`),
	// of well-known services
	regexp.MustCompile(`\b(gh[a-z]_|github_pat_|glpat-|xox[a-z]-|[sr]k[-_]|AKIA|ASIA|AIza|SG\.|hv[sb]\.|npm_|dop_v1_|ya29\.)`),
	regexp.MustCompile(`https://hooks\.`),            // all who have such an address may post to it
	regexp.MustCompile(`\$2[abxy]\$|\$6\$|\$argon2`), // hashes of passwords
}

var (
	hexadecimal = regexp.MustCompile(`^[0-9a-fA-F-]{32,}$`)
	onePiece    = regexp.MustCompile(`^[A-Za-z0-9+/_.~-]{20,}={0,2}$`)
	commit      = regexp.MustCompile(`^[0-9a-f]{40}$`)
)

// whyMasked says why the value of a variable is not shown; empty: it is.
func whyMasked(name, value string) string {
	upper := strings.ToUpper(name)
	switch {
	case value == "":
		return ""
	case slices.ContainsFunc(secretNames, func(part string) bool { return strings.Contains(upper, part) }):
		return "its name is like that of a secret"
	case slices.ContainsFunc(secretValues, func(r *regexp.Regexp) bool {
		return r.MatchString(value)
	}), looksRandom(value):
		return "its value looks like a secret"
	}
	return ""
}

// looksRandom says whether a value may have been drawn at random, as keys are: long, of one piece, and either
// hexadecimal or of capital letters, small letters and digits. The commit that runs is no secret.
func looksRandom(value string) bool {
	if value = strings.TrimSpace(value); commit.MatchString(value) {
		return false
	}
	has := func(from, to rune) bool {
		return strings.ContainsFunc(value, func(r rune) bool { return r >= from && r <= to })
	}
	return hexadecimal.MatchString(value) ||
		onePiece.MatchString(value) && !strings.HasPrefix(value, "/") && has('A', 'Z') && has('a', 'z') && has('0', '9')
}
