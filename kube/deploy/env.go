package deploy

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/cjworkbench/unstuck/release"
	"github.com/cjworkbench/unstuck/release/plan"
	"github.com/cjworkbench/unstuck/release/text"
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
	containers := slices.Concat(p.Spec.InitContainers, p.Spec.Containers)
	var running []string
	for _, c := range containers {
		running = append(running, text.CommitsIn(c.Image)...)
	}
	for i, c := range containers {
		all.Containers = append(all.Containers, envOf(c, i < len(p.Spec.InitContainers), running))
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

func envOf(c corev1.Container, init bool, running []string) release.ContainerEnv {
	all := release.ContainerEnv{
		Container: c.Name, Init: init, Image: c.Image, From: []release.EnvSource{}, Variables: []release.EnvVar{},
	}
	for _, e := range c.EnvFrom {
		all.From = append(all.From, wholeSource(e))
	}
	for _, e := range c.Env {
		all.Variables = append(all.Variables, variableOf(e, running))
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

func variableOf(e corev1.EnvVar, running []string) release.EnvVar {
	v := release.EnvVar{Name: e.Name}
	if e.ValueFrom != nil {
		v.From = new(sourceOf(e.ValueFrom))
		return v
	}
	if v.Masked = whyMasked(e.Name, e.Value, running...); v.Masked == "" {
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

// whyMasked says why the value of a variable is not shown; empty: it is.
func whyMasked(name, value string, running ...string) string {
	return text.WhyMasked(name, value, running)
}
