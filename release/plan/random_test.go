package plan

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cjworkbench/unstuck/release/workload"
)

// containers makes containers of which some use an image of the environment's own, and says of each what it is to run
// at commit B; nothing if it is to stay as it is.
func containers(r *rand.Rand, names []string) (all []workload.Container, want []string) {
	n := 1 + r.IntN(4)
	owner := r.IntN(n)
	for i := range n {
		name := names[r.IntN(len(names))]
		c := workload.Container{Name: fmt.Sprintf("c%d", i), Init: r.IntN(3) == 0}
		own := "gcr.io/acme/" + name
		tag := []string{":" + commitA, ":latest", "", "@sha256:" + strings.Repeat("0", 64), ":" + commitB + "@sha256:" + strings.Repeat("0", 64)}[r.IntN(5)]
		foreign := []string{"gcr.io/acme/" + name + "-proxy", "gcr.io/other/" + name, name, "gcr.io:443/acme/" + name, "gcr.io/acme/x/" + name}[r.IntN(5)]
		if i == owner || r.IntN(2) == 0 {
			c.Image = own + tag
			want = append(want, own+":"+commitB)
			if strings.HasPrefix(tag, ":"+commitB+"@") { // a digest was appended
				want[i] = c.Image
			}
		} else {
			c.Image = foreign + tag
			want = append(want, "")
		}
		all = append(all, c)
	}
	return all, want
}

func TestMakeChangesAllContainersOfItsOwnAndNoOthersInOrder(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for round := range 3000 {
		env := Environment{Name: "staging", Namespace: "staging", Image: "gcr.io/acme/{image}:{commit}", Images: []string{"migrate"}}
		names := []string{"migrate"}
		for i := range 1 + r.IntN(6) {
			names = append(names, fmt.Sprintf("image%d", i%4))
			env.Services = append(env.Services, Service{
				Name: fmt.Sprintf("s%d", i), Ref: workload.Ref{Deployment: fmt.Sprintf("d%d", i)}, Image: names[len(names)-1], Kind: ServiceKind(r.IntN(2)),
			})
		}
		known := Known{Now: noon}
		want := map[string][]string{} // by Deployment or template
		for _, s := range env.Services {
			d := workload.Workload{Ref: s.Ref, Replicas: r.IntN(2)}
			d.Containers, want[s.Deployment] = containers(r, names)
			known.State.Workloads = append(known.State.Workloads, d)
		}
		for i := range r.IntN(4) {
			j := Job{Name: fmt.Sprintf("j%d", i), From: TemplateRef{FromCronJob, fmt.Sprintf("t%d", i)}, NoMigration: r.IntN(2) == 0}
			template := Template{Ref: j.From}
			template.Containers, want[j.From.Name] = containers(r, names)
			env.Jobs, known.State.Templates = append(env.Jobs, j), append(known.State.Templates, template)
		}
		if err := env.Validate(); err != nil {
			t.Fatal(err)
		}
		plan, err := Make(deployOf(commitB), env, known)
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		checkOrder(t, env, plan)
		checkChanges(t, known, plan, want)
		again, err := Make(deployOf(commitB), env, apply(known, plan))
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range again.Steps {
			if s.Do == Replace || (s.Do == Roll && len(s.Images) > 0) {
				t.Errorf("round %d: planned again, %s changes %v", round, s.ID, s.Images)
			}
		}
		if t.Failed() {
			t.Fatalf("round %d: %+v", round, plan)
		}
	}
}

func checkOrder(t *testing.T, env Environment, plan Plan) {
	t.Helper()
	rank := map[Do]int{CheckImages: 0, StartJob: 1, Roll: 2, Replace: 3}
	if !slices.IsSortedFunc(plan.Steps, func(a, b Step) int { return a.Stage - b.Stage }) || plan.Steps[0].Stage != 0 {
		t.Error("the stages are not in order")
	}
	seen := map[string]int{}
	for i, a := range plan.Steps {
		seen[a.ID]++
		for _, b := range plan.Steps[i:] {
			single := func(s Step) bool { x, _ := env.service(s.Name); return s.Deployment != "" && x.Kind == Singleton }
			if (rank[a.Do] < 2 || rank[b.Do] < 2) && (rank[a.Do] > rank[b.Do] || (a.Stage == b.Stage) != (a.Do == b.Do)) {
				t.Errorf("%s stands before %s", a.ID, b.ID)
			}
			if single(a) && !single(b) && b.Deployment != "" {
				t.Errorf("singleton %s stands before %s", a.ID, b.ID)
			}
		}
	}
	if len(seen) != len(plan.Steps) || len(seen) != 1+len(env.Jobs)+len(env.Services) {
		t.Errorf("steps %v", seen)
	}
}

// changed gives the images after a change.
func changed(all []workload.Container, changes []ImageChange) []workload.Container {
	all = slices.Clone(all)
	for _, c := range changes {
		i := slices.IndexFunc(all, func(x workload.Container) bool { return x.Name == c.Container })
		all[i].Image = c.To
	}
	return all
}

func apply(k Known, p Plan) Known {
	k.State.Workloads = slices.Clone(k.State.Workloads)
	for _, s := range p.Steps {
		for i, d := range k.State.Workloads {
			if d.Ref == s.Ref {
				k.State.Workloads[i].Containers = changed(d.Containers, s.Images)
			}
		}
	}
	return k
}

func checkChanges(t *testing.T, k Known, p Plan, want map[string][]string) {
	t.Helper()
	compare := func(name string, before []workload.Container, changes []ImageChange) {
		for i, c := range changed(before, changes) {
			expect := want[name][i]
			if expect == "" {
				expect = before[i].Image
			}
			if c.Image != expect {
				t.Errorf("%s: container %s runs %s, want %s", name, c.Name, c.Image, expect)
			}
		}
		for _, c := range changes {
			i := slices.IndexFunc(before, func(x workload.Container) bool { return x.Name == c.Container })
			if diff := cmp.Diff(workload.Container{Name: c.Container, Init: c.Init, Image: c.From}, before[i]); diff != "" || c.From == c.To {
				t.Errorf("%s: %+v: %s", name, c, diff)
			}
		}
	}
	for _, s := range p.Steps {
		for _, d := range k.State.Workloads {
			if d.Ref == s.Ref {
				compare(d.Deployment, d.Containers, s.Images)
			}
		}
		for _, tpl := range k.State.Templates {
			if s.Job != nil && s.Job.From == tpl.Ref {
				compare(tpl.Ref.Name, tpl.Containers, s.Job.Images)
			}
		}
	}
}
