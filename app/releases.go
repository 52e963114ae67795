package app

import (
	"context"
	"fmt"
	"os"

	"github.com/cjworkbench/unstuck/auth"
	"github.com/cjworkbench/unstuck/config"
	"github.com/cjworkbench/unstuck/httpapi/environments"
	"github.com/cjworkbench/unstuck/kube"
	"github.com/cjworkbench/unstuck/kube/apiserver"
	"github.com/cjworkbench/unstuck/kube/deploy"
	"github.com/cjworkbench/unstuck/release"
	"github.com/cjworkbench/unstuck/release/plan"
)

// place says in which cluster an environment is: empty is our own. Two kubeconfigs may have contexts of one name.
func place(e config.Environment) string {
	if e.Context == "" {
		return ""
	}
	return e.Kubeconfig + " " + e.Context
}

// at gives the connection to an environment's cluster: our own, or one that all environments there share.
func (c *cluster) at(e config.Environment, k config.Kubernetes) (*kube.Client, error) {
	where := place(e)
	if where == "" {
		return c.Client, nil
	}
	if client := c.others[where]; client != nil {
		return client, nil
	}
	conn, err := apiserver.Connect(apiserver.Options{
		Kubeconfig: e.Kubeconfig, Context: e.Context, QPS: k.QPS, Burst: k.Burst, UserAgent: userAgent(),
	}, c.log.With("cluster", where))
	if err != nil {
		return nil, err
	}
	client := kube.New(conn, kube.Options{External: true})
	c.others[where] = client
	return client, nil
}

// serveReleases makes the daemon carry out what people ask for in the environments, and show it.
func (a *App) serveReleases(c *config.Config, k *cluster) error {
	if len(c.Environments) == 0 {
		return nil
	}
	clusters, registries := deploy.New(), make(release.Registries)
	var envs []plan.Environment
	for _, e := range c.Environments {
		client, err := k.at(e, c.Kubernetes)
		if err != nil {
			return fmt.Errorf("environment %s: %w", e.Name, err)
		}
		clusters.Add(client.Conn, e.Environment)
		var credentials []func(context.Context) ([]byte, error)
		if r := e.Registry; r != nil {
			credentials = append(credentials, deploy.DockerConfig(client.Conn, r.Namespace, r.Name, r.Key))
		}
		credentials = append(credentials, identityOf(e)...)
		registries[e.Name] = release.NewImageRegistry(nil, credentials...)
		envs = append(envs, e.Environment)
	}
	host, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("find out who we are: %w", err)
	}
	feed, store := environments.NewFeed(), deploy.NewStore(k.Conn)
	runner, err := release.NewRunner(release.Options{
		Environments: envs, World: clusters, Jobs: clusters, Logs: clusters, Lock: clusters,
		Registry: registries, Store: store,
		Notify: func(o plan.Operation) { feed.Notify(o); a.metrics.OperationChanged(o); a.pulse.OperationChanged(o) },
		Log:    a.log, Identity: host,
	})
	if err != nil {
		return err
	}
	a.metrics.WatchOperations(envs, runner.Running)
	a.api.environments = &environments.Options{
		Environments: envs, Operations: runner, Records: store, Feed: feed,
		States: clusters, Logs: clusters, Pods: clusters,
	}
	a.beside = append(a.beside, runner.Serve)
	return nil
}

// identityOf is how the registries of e's images are asked with the identity that a cloud gives the pod; empty: not.
func identityOf(e config.Environment) []func(context.Context) ([]byte, error) {
	hosts := release.RegistryHosts(e.ImagesAt("commit")...)
	switch e.Identity {
	case config.AWSIdentity:
		return []func(context.Context) ([]byte, error){release.AWSIdentity(hosts...)}
	case config.AzureIdentity:
		return []func(context.Context) ([]byte, error){release.AzureIdentity(hosts...)}
	case config.GoogleIdentity:
		return []func(context.Context) ([]byte, error){release.GoogleIdentity()}
	case config.NoIdentity:
	}
	return nil
}

// reviews are the clusters' word on who calls and what they may do; nil if the configuration does not want it.
// namespaceOf gives the namespace of what is watched.
func (c *cluster) reviews(cfg *config.Config, namespaceOf func(string) string) *auth.Reviews {
	if !cfg.API.KubernetesAuth {
		return nil
	}
	v := &auth.Reviews{
		Own: c.Reviews(), Others: make(map[string]auth.Reviewer), Targets: namespaceOf, Home: c.Namespace(),
	}
	for where, client := range c.others {
		v.Others[where] = client.Reviews()
	}
	for _, e := range cfg.Environments {
		env := e.Environment
		env.Context = place(e) // by which Others are told apart
		v.Releases = append(v.Releases, env)
	}
	return v
}
