package workload

// Kind is a kind of workload, as Kubernetes writes it.
type Kind string

// The kinds.
const (
	Deployment  Kind = "Deployment"
	StatefulSet Kind = "StatefulSet"
	DaemonSet   Kind = "DaemonSet"
)

// Kinds lists every Kind.
func Kinds() []Kind { return []Kind{Deployment, StatefulSet, DaemonSet} }

// Resource is what the API of Kubernetes, in its group apps, calls workloads of the kind.
func (k Kind) Resource() string {
	switch k {
	case StatefulSet:
		return "statefulsets"
	case DaemonSet:
		return "daemonsets"
	case Deployment:
	}
	return "deployments"
}

// controller is the kind of what controls its pods.
func (k Kind) controller() string {
	if k == Deployment {
		return "ReplicaSet"
	}
	return string(k)
}

// Ref names a workload. At most one is set; where it names one, exactly one.
type Ref struct {
	Deployment  string `json:"deployment,omitzero"`
	StatefulSet string `json:"statefulset,omitzero"`
	DaemonSet   string `json:"daemonset,omitzero"`
}

// RefTo names the workload of that kind and name.
func RefTo(k Kind, name string) Ref {
	switch k {
	case StatefulSet:
		return Ref{StatefulSet: name}
	case DaemonSet:
		return Ref{DaemonSet: name}
	case Deployment:
	}
	return Ref{Deployment: name}
}

// WorkloadKind gives the kind.
func (r Ref) WorkloadKind() Kind {
	switch {
	case r.StatefulSet != "":
		return StatefulSet
	case r.DaemonSet != "":
		return DaemonSet
	}
	return Deployment
}

// WorkloadName gives the name; empty: it names none.
func (r Ref) WorkloadName() string {
	switch r.WorkloadKind() {
	case StatefulSet:
		return r.StatefulSet
	case DaemonSet:
		return r.DaemonSet
	case Deployment:
	}
	return r.Deployment
}

// Title is the kind and the name, as in a sentence. Example: "StatefulSet db".
func (r Ref) Title() string { return string(r.WorkloadKind()) + " " + r.WorkloadName() }

// InKubectl is the workload as an argument of kubectl. Example: "statefulset/db".
func (r Ref) InKubectl() string {
	switch r.WorkloadKind() {
	case StatefulSet:
		return "statefulset/" + r.StatefulSet
	case DaemonSet:
		return "daemonset/" + r.DaemonSet
	case Deployment:
	}
	return "deployment/" + r.Deployment
}

// Alone says whether at most one kind is set.
func (r Ref) Alone() bool { return r == Ref{} || r == RefTo(r.WorkloadKind(), r.WorkloadName()) }
