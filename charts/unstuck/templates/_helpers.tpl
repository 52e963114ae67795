{{- /* The name of everything that the chart creates in its own namespace. */ -}}
{{- define "unstuck.name" -}}
{{- .Values.fullnameOverride | default .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- /* The name of the Roles in the namespaces that are served: more than one release may serve the same. */ -}}
{{- define "unstuck.servedName" -}}
{{- printf "%s.%s" (include "unstuck.name" .) .Release.Namespace -}}
{{- end -}}

{{- /* The Lease by which the replicas of this release, and no others, know which of them leads. */ -}}
{{- define "unstuck.lease" -}}
{{- dig "kubernetes" "lease" "" .Values.config | default (include "unstuck.name" .) -}}
{{- end -}}

{{- /*
Nine tenths of the memory limit in bytes, for the Go runtime: it collects harder as it comes near, in place of being
killed. Empty where there is no limit, or one in a unit that nobody uses for memory.
*/ -}}
{{- define "unstuck.memoryLimit" -}}
{{- $limit := dig "limits" "memory" "" .Values.resources -}}
{{- if kindIs "float64" $limit -}}{{- $limit = printf "%.0f" $limit -}}{{- end -}}
{{- $limit = toString $limit -}}
{{- $unit := regexFind "[^0-9.]*$" $limit -}}
{{- $units := dict "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 -}}
{{- if and (regexMatch "^[0-9]+([.][0-9]+)?[KkMGTi]*$" $limit) (or (eq $unit "") (hasKey $units $unit)) -}}
{{- mulf (trimSuffix $unit $limit | float64) (get $units $unit | default 1) 0.9 | printf "%.0f" -}}
{{- end -}}
{{- end -}}

{{- define "unstuck.selector" -}}
app.kubernetes.io/name: unstuck
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{- define "unstuck.labels" -}}
{{ include "unstuck.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | quote }}
{{- end -}}

{{- define "unstuck.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (include "unstuck.name" .) -}}
{{- end -}}

{{- define "unstuck.image" -}}
{{- with .Values.image -}}
{{- $repository := required "image.repository: none is published; build the image with the Dockerfile, push it to a registry of yours, and say here where it is" .repository -}}
{{- if .digest -}}
{{ $repository }}@{{ .digest }}
{{- else -}}
{{ $repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /*
The file that the daemon reads: the values' config, and what the chart alone knows.
*/ -}}
{{- define "unstuck.config" -}}
{{- $config := deepCopy .Values.config -}}
{{- if not $config.brokers -}}
{{- fail "config.brokers: want at least one; charts/unstuck/examples has complete configurations" -}}
{{- end -}}
{{- $inCluster := or (not (empty $config.apps)) (not (empty $config.environments)) -}}
{{- range $config.brokers -}}{{- if .pods -}}{{- $inCluster = true -}}{{- end -}}{{- end -}}
{{- if not $inCluster -}}
{{- fail "config: no broker has pods, and there is neither an app nor an environment; what is watched from here is in this cluster, at least some of it" -}}
{{- end -}}
{{- if eq (int .Values.metrics.port) (int .Values.api.port) -}}
{{- fail (printf "metrics.port and api.port are both %d: want two, for both are listened on in the pod" (int .Values.api.port)) -}}
{{- end -}}
{{- $api := printf "%s:%d" (ternary "" "127.0.0.1" .Values.api.exposed) (int .Values.api.port) -}}
{{- $_ := set $config "listen" (dict "metrics" (printf ":%d" (int .Values.metrics.port)) "api" $api) -}}
{{- $kubernetes := dict "namespace" .Release.Namespace "lease" (include "unstuck.lease" .) -}}
{{- $_ := set $config "kubernetes" (merge $kubernetes ($config.kubernetes | default dict)) -}}
{{- toYaml $config -}}
{{- end -}}

{{- /*
What is served, as JSON: for each namespace whether it has brokers and apps, whether anything there may be deleted
(something there is in mode remediate), the names of the Secrets to read, and of an environment what its operations
change, start and run. Environments in other clusters are none of this cluster's.
*/ -}}
{{- define "unstuck.served" -}}
{{- $served := dict -}}
{{- $defaults := .Values.config.defaults | default dict -}}
{{- range $kind := list "brokers" "apps" -}}
{{- range (get $.Values.config $kind) -}}
{{- $inherited := ternary $defaults dict (eq $kind "brokers") -}}
{{- $mode := .mode | default $inherited.mode | default "observe" -}}
{{- $home := $.Release.Namespace -}}
{{- with .pods -}}
{{- $home = .namespace | default $home -}}
{{- $namespace := get $served $home | default (dict "secrets" list) -}}
{{- $_ := set $namespace $kind true -}}
{{- if eq $mode "remediate" -}}{{- $_ := set $namespace "deletes" true -}}{{- end -}}
{{- if and (eq $mode "remediate") .skip_pre_stop_checks -}}{{- $_ := set $namespace "labels" true -}}{{- end -}}
{{- $_ := set $served $home $namespace -}}
{{- end -}}
{{- $secret := .secret -}}
{{- if and (not $secret) (not .password_file) -}}{{- $secret = $inherited.secret -}}{{- end -}}
{{- with $secret -}}
{{- $its := .namespace | default $home -}}
{{- $namespace := get $served $its | default (dict "secrets" list) -}}
{{- $_ := set $namespace "secrets" (append $namespace.secrets .name | uniq | sortAlpha) -}}
{{- $_ := set $served $its $namespace -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $.Values.config.environments -}}
{{- if not .cluster -}}
{{- $namespace := get $served .namespace | default (dict "secrets" list) -}}
{{- $deployments := list -}}{{- $cronJobs := list -}}{{- $podTemplates := list -}}{{- $execs := false -}}
{{- range .services -}}{{- $deployments = append $deployments .deployment -}}{{- end -}}
{{- $from := list -}}
{{- range .jobs -}}{{- $from = append $from .from -}}{{- end -}}
{{- range .tasks -}}
{{- if .exec -}}{{- $execs = true -}}{{- end -}}
{{- with .job -}}{{- $from = append $from . -}}{{- end -}}
{{- end -}}
{{- range $from -}}
{{- with .cronjob -}}{{- $cronJobs = append $cronJobs . | uniq -}}{{- end -}}
{{- with .podtemplate -}}{{- $podTemplates = append $podTemplates . | uniq -}}{{- end -}}
{{- end -}}
{{- $_ := set $namespace "environment" (dict "deployments" $deployments "cronJobs" $cronJobs "podTemplates" $podTemplates "execs" $execs) -}}
{{- $_ := set $served .namespace $namespace -}}
{{- $home := .namespace -}}
{{- with .registry_secret -}}
{{- $its := .namespace | default $home -}}
{{- $namespace := get $served $its | default (dict "secrets" list) -}}
{{- $_ := set $namespace "secrets" (append $namespace.secrets .name | uniq | sortAlpha) -}}
{{- $_ := set $served $its $namespace -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toJson $served -}}
{{- end -}}
