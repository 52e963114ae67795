package trigger

import (
	"net/http"
	"reflect"

	"github.com/cjworkbench/unstuck/auth"
	"github.com/cjworkbench/unstuck/release/plan"
)

const (
	inEnvironment = "/api/v1/environments/{env}"
	onTarget      = "/api/v1/targets/{target}"
	onNode        = onTarget + "/nodes/{node}"
)

var (
	reason = Field{
		Name: "reason", Label: "Reason", Hint: "Why, for the record and for those who must wait.", Kind: "text",
		Required: true,
	}
	bugReport = Field{Name: "bug_report", Label: "Bug report", Hint: "Its address, if there is one.", Kind: "text"}
	onFailure = Field{
		Name: "on_failure", Label: "If it fails", Hint: "Otherwise as the environment says.", Kind: "choice",
		Choices: []string{string(plan.Leave), string(plan.Rollback)},
	}

	acceptMigrationRisk = Field{
		Name: "accept_migration_risk", Label: "Go back across a migration, and answer for it", Kind: "check",
	}
	forHow = Field{
		Name: "for", Label: "For how long", Hint: "As in 90m or 8h; at most 31 days.", Kind: "text", Required: true,
	}
)

// What is done to environments, and to the operations there.
var (
	Deploy = row(Trigger{
		Method: http.MethodPost, Path: inEnvironment + "/deploys", Does: "deploy a commit", Verb: auth.Deploy,
		Body: reflect.TypeFor[DeployBody](), Status: http.StatusAccepted, TakesKey: true,
		Page: "/environments/{env}/deploy", Title: "Deploy to {env}", Label: "Deploy", Plans: true, Typed: "env",
		What: "Runs the jobs, then moves every service to the commit.",
		Fields: []Field{{
			Name: "commit", Label: "Commit", Hint: "All 40 hexadecimal digits.", Kind: "text", Required: true,
		}, reason, bugReport, onFailure},
		Instead: "setting images, running migrations, waiting for rollouts",
		Command: "unstuck deploy ENV COMMIT --reason ...",
	})
	Promote = row(Trigger{
		Method: http.MethodPost, Path: inEnvironment + "/promotions",
		Does: "deploy the commit that the environment's source runs", Verb: auth.Promote,
		Body: reflect.TypeFor[PromotionBody](), Status: http.StatusAccepted, TakesKey: true,
		Page: "/environments/{env}/promote", Title: "Promote to {env}", Label: "Promote", Plans: true, Typed: "env",
		What:    "Deploys the commit that the environment's source runs.",
		Fields:  []Field{{Name: "expect_commit", Kind: "plan"}, acceptMigrationRisk, reason, bugReport, onFailure},
		Instead: "looking up the commit that staging runs, and deploying that commit",
		Command: "unstuck promote ENV --reason ...",
	})
	Revert = row(Trigger{
		Method: http.MethodPost, Path: inEnvironment + "/reverts", Does: "go back to an earlier commit", Verb: auth.Revert,
		Body: reflect.TypeFor[RevertBody](), Status: http.StatusAccepted, TakesKey: true,
		Page: "/environments/{env}/revert", Title: "Revert {env}", Label: "Revert", Plans: true, Typed: "env",
		What: "Goes back to an earlier commit.",
		Fields: []Field{
			{Name: "commit", Label: "Commit", Hint: "All 40 hexadecimal digits; empty: the previous good one.", Kind: "text"},
			acceptMigrationRisk, reason, bugReport, onFailure,
		},
		Instead: "deploying an older commit and hoping",
		Command: "unstuck revert ENV --reason ...",
	})
	Restart = row(Trigger{
		Method: http.MethodPost, Path: inEnvironment + "/services/{service}/restarts", Does: "restart a service",
		Verb: auth.Restart, Body: reflect.TypeFor[RestartBody](), Status: http.StatusAccepted, TakesKey: true,
		Page:  "/environments/{env}/services/{service}/restart",
		Title: "Restart {service} of {env}", Label: "Restart {service}", Plans: true, Typed: "service",
		What: "Starts its pods anew, with the same images.", Fields: []Field{reason, bugReport},
		Instead: "`kubectl rollout restart`, or scaling to 0 and back",
		Command: "unstuck restart ENV SERVICE --reason ...",
	})
	RestartReaders = row(Trigger{
		Method: http.MethodPost, Path: inEnvironment + "/secrets/{secret}/restarts",
		Does: "restart every service that reads a Secret", Verb: auth.Restart,
		Body: reflect.TypeFor[RestartBody](), Status: http.StatusAccepted, TakesKey: true,
		Page:  "/environments/{env}/restart-secret",
		Title: "Restart what reads a Secret in {env}", Label: "Restart what reads a Secret", Plans: true, Typed: "env",
		What:    "Starts the pods of each service anew that reads it.",
		Fields:  []Field{{Name: "secret", Label: "Name of the Secret", Kind: "path", Required: true}, reason, bugReport},
		Instead: "finding and restarting the services that read a changed Secret",
		Command: "unstuck restart ENV --secret NAME --reason ...",
	})
	RunTask = row(Trigger{
		Method: http.MethodPost, Path: inEnvironment + "/tasks/{task}/runs", Does: "run a task", Verb: auth.RunTask,
		Body: reflect.TypeFor[TaskBody](), Status: http.StatusAccepted, TakesKey: true,
		Page: "/environments/{env}/tasks/{task}/run", Title: "Run {task} in {env}", Label: "Run {task}", Plans: true,
		Typed: "task",
		Fields: []Field{
			{Name: "confirm", Label: "I have read its warning, if it has one", Kind: "check"}, reason, bugReport,
		},
		Instead: "`kubectl exec` of a command, `kubectl create job --from`",
		Command: "unstuck task ENV TASK --reason ...",
	})
	Cancel = row(Trigger{
		Method: http.MethodPost, Path: "/api/v1/operations/{id}/cancel", Does: "stop an operation",
		Body: reflect.TypeFor[CancelBody](), Status: http.StatusAccepted,
		Page: "/operations/{id}/cancel", Title: "Cancel {id}", Label: "Cancel",
		What: "It stops as soon as that is safe.", Fields: []Field{reason},
		Instead: "calling somebody to stop a deploy",
		Command: "unstuck operations ID --cancel --reason ...",
	})
)

// What is done to brokers and applications, and to their nodes.
var (
	Probe = row(Trigger{
		Method: http.MethodPost, Path: onNode + "/probes", Does: "look at a node now", Verb: auth.Probe,
		Body: reflect.TypeFor[ProbeBody](), Status: http.StatusAccepted,
		Page: "/targets/{target}/nodes/{node}/probe", Title: "Look at {node} of {target} now", Label: "Look at it now",
		What:    "Runs each of its probes as soon as possible.",
		Instead: "logging in to a node to see whether it works",
		Command: "unstuck explain TARGET NODE --now",
	})
	Delete = row(Trigger{
		Method: http.MethodPost, Path: onNode + "/deletions", Does: "delete a node, behind the guards", Verb: auth.Delete,
		Body: reflect.TypeFor[DeletionBody](), Status: http.StatusAccepted,
		Page: "/targets/{target}/nodes/{node}/delete", Title: "Delete {node} of {target}", Label: "Delete", Plans: true,
		Typed: "node",
		What:  "Deletes the pod, behind the same guards as Unstuck's own deletions. An incident is kept.",
		Fields: []Field{{Name: "uid", Kind: "hidden"}, reason, {
			Name: "override", Label: "Guards that are not to hold it back", Hint: "You answer for those that you tick.",
			Kind: "guards",
		}},
		Instead: "`kubectl delete pod` for a RabbitMQ node",
		Command: "unstuck delete TARGET NODE --reason ...",
	})
	Pause = row(Trigger{
		Method: http.MethodPost, Path: onTarget + "/pauses", Does: "pause one broker", Verb: auth.Pause,
		Body: reflect.TypeFor[PauseBody](), Status: http.StatusCreated,
		Page: "/targets/{target}/pause", Title: "Pause {target}", Label: "Pause",
		What: "Unstuck deletes none of its nodes until the pause ends.", Fields: []Field{forHow, reason},
		Instead: "telling everybody to leave a broker alone",
		Command: "unstuck pause TARGET --for 2h --reason ...",
	})
	Resume = row(Trigger{
		Method: http.MethodDelete, Path: onTarget + "/pauses", Does: "end the pauses of one broker", Verb: auth.Pause,
		Body: reflect.TypeFor[ResumeBody](), Status: http.StatusOK,
		Page: "/targets/{target}/resume", Title: "End the pauses of {target}", Label: "End the pauses",
		What: "Unstuck may delete its nodes again.", Fields: []Field{reason},
		Instead: "telling everybody that work on a broker is over",
		Command: "unstuck resume TARGET --reason ...",
	})
	EndPause = row(Trigger{
		Method: http.MethodDelete, Path: "/api/v1/pauses/{pause}", Does: "end one pause", Verb: auth.Pause,
		Body: reflect.TypeFor[ResumeBody](), Status: http.StatusOK,
		Page: "/pauses/{pause}/end", Title: "End {pause}", Label: "End {pause}",
		What: "Other pauses go on.", Fields: []Field{reason},
		Instead: "asking who made a pause to end it",
		Command: "unstuck resume --id PAUSE --reason ...",
	})
	PauseAll = row(Trigger{
		Method: http.MethodPost, Path: "/api/v1/pauses", Does: "pause every broker: delete no node until the pause ends",
		Verb: auth.Pause, Body: reflect.TypeFor[PauseBody](), Status: http.StatusCreated,
		Page: "/pause", Title: "Pause every broker", Label: "Pause every broker",
		What: "Unstuck deletes no node at all until the pause ends.", Fields: []Field{forHow, reason},
		Instead: "telling everybody to leave all brokers alone",
		Command: "unstuck pause --all --for 2h --reason ...",
	})
	ResumeAll = row(Trigger{
		Method: http.MethodDelete, Path: "/api/v1/pauses", Does: "end the pauses of every broker", Verb: auth.Pause,
		Body: reflect.TypeFor[ResumeBody](), Status: http.StatusOK,
		Page: "/resume", Title: "End the pauses of every broker", Label: "End the pauses of every broker",
		What: "Those of single brokers go on.", Fields: []Field{reason},
		Instead: "telling everybody that work on all brokers is over",
		Command: "unstuck resume --all --reason ...",
	})
)
