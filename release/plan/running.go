package plan

import "slices"

// Running gives the commit that one of the environment's services is asked to run, by the images of its workload;
// empty, and why, if these do not say one commit.
func (e Environment) Running(service string, s State) (commit, why string) {
	i := slices.IndexFunc(e.Services, func(one Service) bool { return one.Name == service })
	if i < 0 {
		return "", "there is no service " + service
	}
	// What else is the environment's own stays so: a sidecar with another service's image counts too.
	e.Images = e.imageNames()
	e.Services = e.Services[i : i+1]
	return runningCommit(e, s)
}
