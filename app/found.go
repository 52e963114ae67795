package app

import (
	"fmt"
	"time"

	"github.com/cjworkbench/unstuck/config"
	"github.com/cjworkbench/unstuck/httpapi/brokers"
	"github.com/cjworkbench/unstuck/kube/discover"
	"github.com/cjworkbench/unstuck/remediate/decide"
)

// settle says which brokers are made of what was found, and which resources are none, and why. What is written in the
// configuration wins; two resources that claim the same name or the same pods are both refused.
func settle(d *config.Discovery, written *config.Config, k discover.Known) ([]config.Broker, []brokers.Unwatched) {
	var found []config.Broker
	var unwatched []brokers.Unwatched
	for _, r := range k.Refused {
		unwatched = append(unwatched, brokers.Unwatched{Target: r.Name, Source: r.Source, Ignored: r.Ignored, Reason: r.Why})
	}
	taken := make(map[string]bool)
	for _, b := range written.Brokers {
		taken[b.Name] = true
	}
	for _, a := range written.Apps {
		taken[a.Name] = true
	}
	claims := discover.Claims(k.Found)
	for i, f := range k.Found {
		refuse := func(ignored bool, format string, args ...any) {
			unwatched = append(unwatched, brokers.Unwatched{
				Target: f.Name, Source: f.Source, Ignored: ignored, Reason: fmt.Sprintf(format, args...),
			})
		}
		writer := written.Claimant(f.Source.Namespace, f.Labels)
		switch {
		case taken[f.Name]:
			refuse(true, "the configuration has a target of that name, and what is written there wins")
		case writer != "":
			refuse(true, "its pods are those of %s in the configuration, and what is written there wins", writer)
		case claims[i] != "":
			refuse(false, "%s: neither is watched", claims[i])
		case len(written.Brokers)+len(found) >= config.MaxBrokers:
			refuse(false, "there are %d brokers already, which is the most", config.MaxBrokers)
		default:
			b, why := brokerOf(d, f)
			if why != "" {
				refuse(false, "%s", why)
				continue
			}
			found = append(found, b)
		}
	}
	return found, unwatched
}

// brokerOf makes a broker of a resource, or says in one line why it cannot be watched.
func brokerOf(d *config.Discovery, f discover.Found) (b config.Broker, why string) {
	b = d.New()
	b.Name, b.Source, b.Found = f.Name, f.Source, f
	b.Pods = &config.Pods{
		Namespace: f.Source.Namespace, Selector: f.Selector, Container: f.Container, Port: f.Port,
		SkipPreStopChecks: f.SkipPreStopChecks,
	}
	if !d.HasCredentials() {
		if f.NoSecret != "" {
			return b, f.NoSecret + ": want discovery.defaults.secret in the configuration, to log in with another user"
		}
		b.Username = f.Secret.Username
		b.Secret = &config.Secret{
			Namespace: f.Source.Namespace, Name: f.Secret.Name, UsernameKey: f.Secret.UsernameKey,
			PasswordKey: f.Secret.PasswordKey,
		}
	}
	trust(&b, f)
	b.Policy.Mode = modeOf(d, f.Asks)
	b.Policy.SingleNode = b.Policy.SingleNode || f.Replicas == 1
	if f.Grace >= time.Second {
		b.Policy.GracePeriod = min(b.Policy.GracePeriod, f.Grace)
	}
	return b, ""
}

// plainPort is where a broker listens that has TLS as well.
const plainPort = 5672

// caKey is the key of the Secret that spec.tls.caSecretName of a RabbitmqCluster names, as the operator has it.
const caKey = "ca.crt"

// trust says how to speak to a broker: by TLS if it has no other listener, or the configuration says whom to trust.
func trust(b *config.Broker, f discover.Found) {
	known := b.TLS
	if f.TLS == nil {
		b.TLS = nil
		return
	}
	if known == nil && !f.TLS.Required {
		if f.TLS.CASecret != "" {
			b.Pods.Port = plainPort // it listens there, too
		}
		return
	}
	own := config.TLS{}
	switch {
	case known != nil:
		own = *known
	case f.TLS.CASecret != "":
		own.CASecret = &config.CASecret{Namespace: f.Source.Namespace, Name: f.TLS.CASecret, Key: caKey}
	}
	if own.ServerName == "" {
		own.ServerName = config.NameTemplate(f.TLS.ServerName)
	}
	b.TLS = &own
	if f.Port == plainPort {
		b.Pods.Port = 5671
	}
}

// modeOf gives the mode of a broker whose resource asks for that: never more than the configuration allows.
func modeOf(d *config.Discovery, asks discover.Asks) decide.Mode {
	switch asks {
	case discover.AsksNothing:
		return d.Broker.Policy.Mode
	case discover.AsksRemediate:
		return d.MaxMode
	case discover.AsksObserve:
	}
	return decide.Observe
}
