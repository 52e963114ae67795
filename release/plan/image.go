package plan

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cjworkbench/unstuck/release/workload"
)

// splitTag splits an image's reference into its repository and its tag; a digest is dropped.
func splitTag(image string) (repository, tag string) {
	image, _, _ = strings.Cut(image, "@")
	slash := strings.LastIndexByte(image, '/')
	if colon := strings.LastIndexByte(image, ':'); colon > slash { // before the slash it is a registry's port
		return image[:colon], image[colon+1:]
	}
	return image, ""
}

// SameImage says whether two references mean the same image: one repository, and in it one tag. A digest that only one
// of them has was appended to that tag, by an admission webhook for instance.
func SameImage(a, b string) bool {
	_, tagA := splitTag(a)
	_, tagB := splitTag(b)
	_, digestA, _ := strings.Cut(a, "@")
	_, digestB, _ := strings.Cut(b, "@")
	return repositoryOf(a) == repositoryOf(b) && tagA == tagB && (digestA == digestB || digestA == "" || digestB == "")
}

// repositoryOf gives the repository of an image as the registries mean it, so that "redis", "library/redis" and
// "docker.io/library/redis:7" are one.
func repositoryOf(image string) string {
	repository, _ := splitTag(image)
	first, rest, ok := strings.Cut(repository, "/")
	switch {
	case !ok:
		return "docker.io/library/" + repository
	case first == "docker.io" || first == "index.docker.io":
		if !strings.Contains(rest, "/") {
			rest = "library/" + rest
		}
		return "docker.io/" + rest
	case strings.ContainsAny(first, ".:") || first == "localhost":
		return repository
	}
	return "docker.io/" + repository
}

// namesImage says whether an image is named by whatever stands in a service: a repository, or a name for the pattern.
func (e Environment) namesImage(name string) bool {
	_, tag := splitTag(name)
	whole := strings.Contains(name, "/")
	return name != "" && tag == "" && !strings.Contains(name, "@") && (whole || strings.Contains(e.Image, "{image}"))
}

// imageAt gives the image that a name stands for at a commit.
func (e Environment) imageAt(name, commit string) string {
	repository, tag := splitTag(e.Image)
	if strings.Contains(name, "/") {
		repository = name
	} else {
		repository = strings.ReplaceAll(repository, "{image}", name)
	}
	return repository + ":" + strings.ReplaceAll(tag, "{commit}", commit)
}

// ImagesAt gives every image that must be published before a commit can be deployed, sorted, each once: those of the
// services, and those of Images, where the images stand that only jobs use.
func (e Environment) ImagesAt(commit string) []string {
	var all []string
	for _, name := range e.imageNames() {
		all = append(all, e.imageAt(name, commit))
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func (e Environment) imageNames() []string {
	names := slices.Clone(e.Images)
	for _, s := range e.Services {
		names = append(names, s.Image)
	}
	return names
}

// ownImage gives the name under which the environment knows the image, if it is one of its own, at whatever tag.
func (e Environment) ownImage(image string) (name string, own bool) {
	repository := repositoryOf(image)
	for _, name := range e.imageNames() {
		if repositoryOf(e.imageAt(name, "x")) == repository {
			return name, true
		}
	}
	return "", false
}

// commitOf reads the commit off an image's tag. An image without a tag does not say which it is.
func (e Environment) commitOf(name, image string) (string, bool) {
	_, tag := splitTag(image)
	_, want := splitTag(e.imageAt(name, "{commit}"))
	before, after, _ := strings.Cut(want, "{commit}")
	if len(tag) < len(before)+len(after) || !strings.HasPrefix(tag, before) || !strings.HasSuffix(tag, after) {
		return "", false
	}
	commit := tag[len(before) : len(tag)-len(after)]
	return commit, IsCommit(commit)
}

// ImageChange is another image for one container, init containers and sidecars included.
type ImageChange struct {
	Container string `json:"container"`
	Init      bool   `json:"init,omitzero"`
	From      string `json:"from"`
	To        string `json:"to"`
}

// changes gives the containers that must move so that everything of the environment's own is at the commit, and in
// how many containers anything of its own is.
func (e Environment) changes(containers []workload.Container, commit string) (changes []ImageChange, own int) {
	for _, c := range containers {
		name, isOwn := e.ownImage(c.Image)
		if !isOwn {
			continue
		}
		own++
		if to := e.imageAt(name, commit); !SameImage(to, c.Image) {
			changes = append(changes, ImageChange{Container: c.Name, Init: c.Init, From: c.Image, To: to})
		}
	}
	return changes, own
}

// Foreign says which container has an image that is neither the one that a change starts from nor the one that it leads
// to, for somebody else has changed it; nothing if there is none.
func Foreign(containers []workload.Container, changes []ImageChange) string {
	for _, change := range changes {
		for _, c := range containers {
			if c.Name == change.Container && c.Init == change.Init &&
				!SameImage(c.Image, change.From) && !SameImage(c.Image, change.To) {
				return fmt.Sprintf("container %s is to go from %s to %s, and runs %s", c.Name, change.From, change.To, c.Image)
			}
		}
	}
	return ""
}

// Differs says in which way a workload is not what a step was to make of it; nothing if it is. With a commit, every
// container with an image of the environment's own must be at it, whether the step changed it or not.
func (e Environment) Differs(d workload.Workload, s Step, commit string) string {
	for _, change := range s.Images {
		i := slices.IndexFunc(d.Containers, func(c workload.Container) bool {
			return c.Name == change.Container && c.Init == change.Init
		})
		if i < 0 {
			return "there is no container " + change.Container + " any more"
		}
		if image := d.Containers[i].Image; !SameImage(image, change.To) {
			return fmt.Sprintf("container %s was set to %s, and runs %s", change.Container, change.To, image)
		}
	}
	if commit != "" {
		if changes, _ := e.changes(d.Containers, commit); len(changes) > 0 {
			return fmt.Sprintf("container %s is to run %s, and runs %s", changes[0].Container, changes[0].To, changes[0].From)
		}
	}
	switch {
	case s.RestartedAt != "" && d.RestartedAt == "":
		return "the annotation of the restart at " + s.RestartedAt + " is gone"
	case s.RestartedAt != "" && d.RestartedAt != s.RestartedAt:
		return fmt.Sprintf("the annotation of the restart says %s, and was set to %s", d.RestartedAt, s.RestartedAt)
	case s.Do == Replace && d.Replicas < s.Replicas:
		return fmt.Sprintf("it was set to have %d pods, and asks for %d", s.Replicas, d.Replicas)
	}
	return ""
}
