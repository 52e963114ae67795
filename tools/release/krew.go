package main

import (
	"fmt"
	"os"
	"path/filepath"

	"go.yaml.in/yaml/v3"
)

// plugin is the manifest by which krew installs `kubectl unstuck`
// (https://krew.sigs.k8s.io/docs/developer-guide/plugin-manifest/).
type plugin struct {
	APIVersion string `yaml:"apiVersion"`
	Kind       string `yaml:"kind"`
	Metadata   struct {
		Name string `yaml:"name"`
	} `yaml:"metadata"`
	Spec struct {
		Version          string           `yaml:"version"`
		Homepage         string           `yaml:"homepage"`
		ShortDescription string           `yaml:"shortDescription"`
		Description      string           `yaml:"description"`
		Caveats          string           `yaml:"caveats"`
		Platforms        []pluginPlatform `yaml:"platforms"`
	} `yaml:"spec"`
}

type pluginPlatform struct {
	Selector struct {
		MatchLabels struct {
			OS   string `yaml:"os"`
			Arch string `yaml:"arch"`
		} `yaml:"matchLabels"`
	} `yaml:"selector"`
	URI    string       `yaml:"uri"`
	SHA256 string       `yaml:"sha256"`
	Bin    string       `yaml:"bin"`
	Files  []pluginFile `yaml:"files"`
}

// pluginFile is one that krew takes out of the archive.
type pluginFile struct {
	From string `yaml:"from"`
	To   string `yaml:"to"`
}

// krew writes the manifest of the archives.
func (r *release) krew(archives []archive) error {
	var p plugin
	p.APIVersion, p.Kind, p.Metadata.Name = "krew.googlecontainertools.github.com/v1alpha2", "Plugin", "unstuck"
	p.Spec.Version, p.Spec.Homepage = r.version, repository
	p.Spec.ShortDescription = "Find and explain stuck RabbitMQ nodes"
	p.Spec.Description = "Shows which RabbitMQ nodes accept no logins and why, asks a node itself, and gives people on call\n" +
		"safe triggers: pause, deploy, promote, revert, restart, run a task, delete a stuck node.\n"
	p.Spec.Caveats = "All but `kubectl unstuck probe` and `diagnose` ask Unstuck in the cluster, which its chart installs:\n" +
		repository + "/blob/main/docs/install.md\n"
	for _, a := range archives {
		var at pluginPlatform
		at.Selector.MatchLabels.OS, at.Selector.MatchLabels.Arch = a.os, a.arch
		at.URI = fmt.Sprintf("%s/releases/download/%s/%s", repository, r.version, a.name)
		at.SHA256, at.Bin = a.sha256, a.program
		at.Files = []pluginFile{{a.program, "."}, {"LICENSE", "."}}
		p.Spec.Platforms = append(p.Spec.Platforms, at)
	}
	data, err := yaml.Marshal(p)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(r.out, "unstuck.yaml"), data, 0o644)
}
