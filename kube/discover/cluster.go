package discover

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Clusters are the resources of the RabbitMQ cluster operator, in the one version that is known.
var Clusters = schema.GroupVersionResource{Group: "rabbitmq.com", Version: "v1beta1", Resource: "rabbitmqclusters"}

// What the operator makes of each of its resources.
// Source: internal/resource and internal/metadata of rabbitmq/cluster-operator.
const (
	clusterContainer = "rabbitmq"
	plainPort        = 5672
	tlsPort          = 5671
	// defaultGrace is a week: the time that the operator's preStop hook may wait for the other nodes.
	defaultGrace = 604800 * time.Second
)

// cluster is what is read of a RabbitmqCluster.
// Source: api/v1beta1/rabbitmqcluster_types.go and rabbitmqcluster_status.go of rabbitmq/cluster-operator.
type cluster struct {
	Spec *struct {
		Replicas *int `json:"replicas"`
		TLS      struct {
			SecretName             string `json:"secretName"`
			CASecretName           string `json:"caSecretName"`
			DisableNonTLSListeners bool   `json:"disableNonTLSListeners"`
		} `json:"tls"`
		Grace         *int64 `json:"terminationGracePeriodSeconds"`
		SecretBackend struct {
			Vault *struct {
				DefaultUserPath string `json:"defaultUserPath"`
				TLS             struct {
					PKIIssuerPath string `json:"pkiIssuerPath"`
				} `json:"tls"`
			} `json:"vault"`
			ExternalSecret struct {
				Name string `json:"name"`
			} `json:"externalSecret"`
		} `json:"secretBackend"`
		Override struct {
			StatefulSet struct {
				Spec struct {
					Replicas *int                  `json:"replicas"`
					Selector *metav1.LabelSelector `json:"selector"`
					Template struct {
						Metadata struct {
							Labels map[string]string `json:"labels"`
						} `json:"metadata"`
						Spec struct {
							Grace      *int64 `json:"terminationGracePeriodSeconds"`
							Containers []struct {
								Name      string `json:"name"`
								Lifecycle struct {
									PreStop json.RawMessage `json:"preStop"`
								} `json:"lifecycle"`
							} `json:"containers"`
						} `json:"spec"`
					} `json:"template"`
				} `json:"spec"`
			} `json:"statefulSet"`
		} `json:"override"`
	} `json:"spec"`
	Status struct {
		DefaultUser *struct {
			SecretReference *struct {
				Name      string            `json:"name"`
				Namespace string            `json:"namespace"`
				Keys      map[string]string `json:"keys"`
			} `json:"secretReference"`
		} `json:"defaultUser"`
		Binding *struct {
			Name string `json:"name"`
		} `json:"binding"`
	} `json:"status"`
}

// readCluster reads a RabbitmqCluster into f.
func readCluster(o *unstructured.Unstructured, f *Found) error {
	if v := o.GroupVersionKind().GroupVersion(); v != Clusters.GroupVersion() {
		return fmt.Errorf("it is of version %s: want %s", short(v.String()), Clusters.GroupVersion())
	}
	var c cluster
	if err := into(o.Object, &c); err != nil {
		return err
	}
	if c.Spec == nil {
		return fmt.Errorf("it has no spec yet: the operator writes its defaults there")
	}
	set := c.Spec.Override.StatefulSet.Spec
	// The API server's default is 1; the operator's override of its StatefulSet wins.
	f.Replicas = 1
	for _, n := range []*int{c.Spec.Replicas, set.Replicas} {
		if n != nil {
			f.Replicas = *n
		}
	}
	switch {
	case f.Replicas == 0:
		return errNoReplicas
	case f.Replicas < 0:
		return fmt.Errorf("spec.replicas is %d: want none or more", f.Replicas)
	}
	if err := c.pods(o.GetName(), f); err != nil {
		return err
	}
	c.listener(o.GetName(), o.GetNamespace(), f)
	return c.secret(o.GetNamespace(), f)
}

// pods says which pods the cluster's are, and how they end.
func (c *cluster) pods(name string, f *Found) error {
	set := c.Spec.Override.StatefulSet.Spec
	f.Container = clusterContainer
	f.Labels = map[string]string{
		"app.kubernetes.io/name": name, "app.kubernetes.io/component": "rabbitmq", "app.kubernetes.io/part-of": "rabbitmq",
	}
	maps.Copy(f.Labels, set.Template.Metadata.Labels)
	selector := &metav1.LabelSelector{MatchLabels: map[string]string{
		"app.kubernetes.io/name": name, "app.kubernetes.io/component": f.Labels["app.kubernetes.io/component"],
	}}
	if set.Selector != nil {
		selector = set.Selector
	}
	var err error
	if f.Selector, err = selectorOf(selector, f.Labels); err != nil {
		return fmt.Errorf("spec.override.statefulSet.spec.selector: %w", err)
	}
	f.Grace = defaultGrace
	for _, seconds := range []*int64{c.Spec.Grace, set.Template.Spec.Grace} {
		if seconds != nil {
			f.Grace = time.Duration(*seconds) * time.Second
		}
	}
	if f.Grace < 0 || f.Grace > 10*defaultGrace {
		return fmt.Errorf("terminationGracePeriodSeconds is %d: want 0 to %d", f.Grace/time.Second,
			10*defaultGrace/time.Second)
	}
	f.SkipPreStopChecks = true
	for _, one := range set.Template.Spec.Containers {
		if one.Name == clusterContainer && len(one.Lifecycle.PreStop) > 0 {
			f.SkipPreStopChecks = false // another hook, which knows nothing of the label
		}
	}
	return nil
}

// listener says how the cluster is reached: by TLS where it has nothing else, or where it names the CA that its
// certificates can be checked with. The name is that of its Service, which its clients use.
func (c *cluster) listener(name, namespace string, f *Found) {
	f.Port = plainPort
	tls := c.Spec.TLS
	vault := c.Spec.SecretBackend.Vault
	if tls.SecretName == "" && (vault == nil || vault.TLS.PKIIssuerPath == "") {
		if tls.DisableNonTLSListeners {
			f.Notes = append(f.Notes,
				"spec.tls.disableNonTLSListeners is true, and there is no spec.tls.secretName: it has no listener")
		}
		return
	}
	f.TLS = &TLS{
		Required: tls.DisableNonTLSListeners, CASecret: tls.CASecretName, ServerName: name + "." + namespace + ".svc",
	}
	if f.TLS.Required || f.TLS.CASecret != "" {
		f.Port = tlsPort
	}
}

// secret says where the default user is. In the status, the operator names its own Secret also where it has made none
// because another is given; what the status binds is the right one (internal/controller/reconcile_status.go).
func (c *cluster) secret(namespace string, f *Found) error {
	f.Secret = Secret{UsernameKey: "username", PasswordKey: "password"}
	back := c.Spec.SecretBackend
	if back.ExternalSecret.Name != "" {
		f.Secret.Name = back.ExternalSecret.Name
		return nil
	}
	if back.Vault != nil && back.Vault.DefaultUserPath != "" {
		f.Secret, f.NoSecret = Secret{}, "its default user is in Vault, where it cannot be read"
		return nil
	}
	user := c.Status.DefaultUser
	if user == nil || user.SecretReference == nil || user.SecretReference.Name == "" {
		if b := c.Status.Binding; b != nil && b.Name != "" {
			f.Secret.Name = b.Name
			return nil
		}
		f.Secret, f.NoSecret = Secret{}, "the operator has not written status.defaultUser yet"
		return nil
	}
	ref := user.SecretReference
	if ref.Namespace != "" && ref.Namespace != namespace {
		return fmt.Errorf("status.defaultUser names a Secret in namespace %s: want one in its own", short(ref.Namespace))
	}
	f.Secret.Name = ref.Name
	f.Secret.UsernameKey = cmp.Or(ref.Keys["username"], f.Secret.UsernameKey)
	f.Secret.PasswordKey = cmp.Or(ref.Keys["password"], f.Secret.PasswordKey)
	return nil
}
