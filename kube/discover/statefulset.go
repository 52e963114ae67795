package discover

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/cjworkbench/unstuck/target"
)

// StatefulSets are the other resources that brokers are found by.
var StatefulSets = appsv1.SchemeGroupVersion.WithResource("statefulsets")

// objectName and keyName are the forms of a Secret's name and of its keys.
var (
	objectName = regexp.MustCompile(`^[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?$`)
	keyName    = regexp.MustCompile(`^[-._a-zA-Z0-9]{1,253}$`)
)

// readStatefulSet reads a StatefulSet into f.
func readStatefulSet(o *unstructured.Unstructured, f *Found) error {
	var set appsv1.StatefulSet
	if err := into(o.Object, &set); err != nil {
		return err
	}
	if by := metav1.GetControllerOf(&set); by != nil && by.Kind == string(target.FromRabbitmqCluster) {
		return fmt.Errorf("it is that of RabbitmqCluster %s: want the label %s taken away, for that is a broker already",
			by.Name, Label)
	}
	f.Replicas = 1
	if set.Spec.Replicas != nil {
		f.Replicas = int(*set.Spec.Replicas)
	}
	if f.Replicas == 0 {
		return errNoReplicas
	}
	pods := set.Spec.Template
	f.Labels = pods.Labels
	var err error
	if f.Selector, err = selectorOf(set.Spec.Selector, pods.Labels); err != nil {
		return fmt.Errorf("spec.selector: %w", err)
	}
	if s := pods.Spec.TerminationGracePeriodSeconds; s != nil {
		f.Grace = time.Duration(*s) * time.Second
	}
	notes := set.Annotations
	container, err := containerOf(pods.Spec.Containers, notes[Container])
	if err != nil {
		return err
	}
	f.Container = container.Name
	if err := listenerOf(container, notes, f); err != nil {
		return err
	}
	return secretOf(notes, f)
}

// selectorOf writes a selector as kubectl has it, if it fits pods of these labels.
func selectorOf(s *metav1.LabelSelector, pod map[string]string) (string, error) {
	selector, err := metav1.LabelSelectorAsSelector(s)
	switch {
	case err != nil:
		return "", errors.New("it is none")
	case selector.Empty():
		return "", errors.New("it is empty: want one that fits its pods and no others")
	case !selector.Matches(labels.Set(pod)):
		return "", errors.New("it does not fit the pods of its own template")
	}
	return selector.String(), nil
}

// containerOf gives the container of that name; without a name the one called rabbitmq, or the only one.
func containerOf(all []corev1.Container, name string) (corev1.Container, error) {
	names := make([]string, len(all))
	for i, c := range all {
		names[i] = c.Name
	}
	if name == "" && len(all) == 1 {
		return all[0], nil
	}
	if i := slices.Index(names, cmp.Or(name, clusterContainer)); i >= 0 {
		return all[i], nil
	}
	if name != "" {
		return corev1.Container{}, fmt.Errorf("its annotation %s is %s: want one of %s", Container, short(name),
			strings.Join(names, ", "))
	}
	return corev1.Container{}, fmt.Errorf("it has the containers %s: want the annotation %s to name one",
		strings.Join(names, ", "), Container)
}

// listenerOf finds the AMQP listener: the one that the annotation names, else the port of the container that is called
// amqp or amqps, as the operator and the charts call them. With amqps alone, or a CA, it is one with TLS.
func listenerOf(c corev1.Container, notes map[string]string, f *Found) error {
	ports := make(map[string]int)
	for _, p := range c.Ports {
		ports[p.Name] = int(p.ContainerPort)
	}
	ca := notes[CASecret]
	if ca != "" && !objectName.MatchString(ca) {
		return fmt.Errorf("its annotation %s is %s: want the name of a Secret", CASecret, short(ca))
	}
	f.Port = cmp.Or(ports["amqp"], plainPort)
	if only := ports["amqp"] == 0 && ports["amqps"] != 0; only || ca != "" {
		f.TLS = &TLS{Required: true, CASecret: ca} // it has no other listener, or its author says so by the CA
		f.Port = cmp.Or(ports["amqps"], tlsPort)
	}
	if text := notes[Port]; text != "" {
		port, err := strconv.Atoi(text)
		if err != nil || port < 1 || port > 65535 {
			return fmt.Errorf("its annotation %s is %s: want a whole number from 1 to 65535", Port, short(text))
		}
		f.Port = port
	}
	return nil
}

// secretOf says where the user and the password are.
func secretOf(notes map[string]string, f *Found) error {
	name := notes[SecretName]
	if name == "" {
		f.NoSecret = "it has no annotation " + SecretName
		return nil
	}
	f.Secret = Secret{
		Name: name, UsernameKey: cmp.Or(notes[UsernameKey], "username"), PasswordKey: cmp.Or(notes[PasswordKey], "password"),
	}
	if f.Secret.Username = notes[Username]; f.Secret.Username != "" {
		f.Secret.UsernameKey = ""
	}
	for _, one := range []struct {
		note, value, want string
		form              *regexp.Regexp
	}{
		{SecretName, name, "name of a Secret", objectName},
		{UsernameKey, cmp.Or(f.Secret.UsernameKey, "username"), "key of a Secret", keyName},
		{PasswordKey, f.Secret.PasswordKey, "key of a Secret", keyName},
	} {
		if !one.form.MatchString(one.value) {
			return fmt.Errorf("its annotation %s is no %s: want one", one.note, one.want)
		}
	}
	return nil
}
