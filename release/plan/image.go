package plan

import (
	"slices"
	"strings"
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
func (e Environment) changes(containers []Container, commit string) (changes []ImageChange, own int) {
	for _, c := range containers {
		name, isOwn := e.ownImage(c.Image)
		if !isOwn {
			continue
		}
		own++
		if to := e.imageAt(name, commit); to != c.Image {
			changes = append(changes, ImageChange{Container: c.Name, Init: c.Init, From: c.Image, To: to})
		}
	}
	return changes, own
}
