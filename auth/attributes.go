package auth

// ResourceAttributes is one thing that somebody needs the right to, we or a caller, in the words of
// SubjectAccessReview (authorization.k8s.io/v1).
type ResourceAttributes struct {
	Verb        string // get, list, watch, create, update, patch, delete
	Group       string // "" is the core group
	Resource    string
	Subresource string
	Namespace   string // empty: it is about the cluster
	Name        string // of the one object that it is about; empty: any
}

// Path gives the resource with its subresource, as a Role names it: "pods/exec".
func (a ResourceAttributes) Path() string {
	if a.Subresource == "" {
		return a.Resource
	}
	return a.Resource + "/" + a.Subresource
}

// String says for instance "patch deployments.apps web in namespace production".
func (a ResourceAttributes) String() string {
	s := a.Verb + " " + a.Resource
	if a.Group != "" {
		s += "." + a.Group
	}
	if a.Subresource != "" {
		s += "/" + a.Subresource
	}
	if a.Name != "" {
		s += " " + a.Name
	}
	if a.Namespace != "" {
		s += " in namespace " + a.Namespace
	}
	return s
}
