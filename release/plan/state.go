package plan

import "github.com/cjworkbench/unstuck/release/workload"

// State is what there is in an environment at one moment.
type State struct {
	Workloads []workload.Workload
	Templates []Template
}

// Template is what a job is started from.
type Template struct {
	Ref        TemplateRef
	Containers []workload.Container
}
