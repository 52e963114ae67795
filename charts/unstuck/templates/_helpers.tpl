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

{{- /*
The labels of an object, of a dict: top, and more: labels of the object's own. Each key comes once, and what the user says
wins, except over the labels by which the pods, the Service and the Deployment are found (selected), which stay ours.
*/ -}}
{{- define "unstuck.labels" -}}
{{- $labels := include "unstuck.selector" .top | fromYaml -}}
{{- $_ := set $labels "app.kubernetes.io/version" (include "unstuck.labelValue" .top.Chart.AppVersion) -}}
{{- $_ := set $labels "app.kubernetes.io/managed-by" .top.Release.Service -}}
{{- $_ := set $labels "helm.sh/chart" (include "unstuck.labelValue" (printf "%s-%s" .top.Chart.Name .top.Chart.Version)) -}}
{{- $more := list .top.Values.commonLabels .more -}}
{{- if .selected -}}{{- $more = append $more (include "unstuck.selector" .top | fromYaml) -}}{{- end -}}
{{- range $more -}}{{- $labels = include "unstuck.over" (dict "own" $labels "over" .) | fromYaml -}}{{- end -}}
{{- toYaml $labels -}}
{{- end -}}

{{- /* A version as the value of a label, or an image's tag, which may hold no +: Flux adds +DIGEST to a chart's. */ -}}
{{- define "unstuck.labelValue" -}}
{{- replace "+" "_" . | trunc 63 | trimAll "-_." -}}
{{- end -}}

{{- /* A dict of two of them: own, and over it over. What is null there is left out. */ -}}
{{- define "unstuck.over" -}}
{{- $all := deepCopy .own -}}
{{- range $key, $value := .over -}}
{{- if kindIs "invalid" $value -}}{{- $_ := unset $all $key -}}{{- else -}}{{- $_ := set $all $key $value -}}{{- end -}}
{{- end -}}
{{- toYaml $all -}}
{{- end -}}

{{- /*
The pod's security context. OpenShift gives each namespace a range of users of its own, and refuses any other: there
none is named.
*/ -}}
{{- define "unstuck.podSecurityContext" -}}
{{- $own := dict "runAsNonRoot" true "seccompProfile" (dict "type" "RuntimeDefault") -}}
{{- $openShift := "security.openshift.io/v1" -}}
{{- $has := .Capabilities.APIVersions -}}
{{- if not (or ($has.Has $openShift) ($has.Has (printf "%s/SecurityContextConstraints" $openShift))) -}}
{{- range list "runAsUser" "runAsGroup" "fsGroup" -}}{{- $_ := set $own . 65532 -}}{{- end -}}
{{- end -}}
{{- include "unstuck.over" (dict "own" $own "over" .Values.podSecurityContext) -}}
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
{{ $repository }}:{{ .tag | default (include "unstuck.labelValue" $.Chart.AppVersion) }}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /*
The file that the daemon reads: the values' config, and what the chart alone knows.
*/ -}}
{{- define "unstuck.config" -}}
{{- $config := deepCopy .Values.config -}}
{{- if not (or $config.brokers $config.discovery) -}}
{{- fail "config.brokers: want at least one, or config.discovery; charts/unstuck/examples has complete configurations" -}}
{{- end -}}
{{- $inCluster := or (not (empty $config.apps)) (not (empty $config.environments)) (not (empty $config.discovery)) -}}
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
{{- if .Values.certificate.enabled -}}
{{- $files := dict "cert_file" "/etc/unstuck-certificate/tls.crt" "key_file" "/etc/unstuck-certificate/tls.key" -}}
{{- $api := $config.api | default dict -}}
{{- if $api.tls -}}
{{- fail "certificate.enabled: config.api.tls names other files; want one or the other" -}}
{{- end -}}
{{- $_ := set $config "api" (set $api "tls" $files) -}}
{{- end -}}
{{- $_ := set $config "kubernetes" (merge $kubernetes ($config.kubernetes | default dict)) -}}
{{- toYaml $config -}}
{{- end -}}

{{- /*
The keys of the configuration that take a restart: all but those that the daemon puts into force while it runs.
*/ -}}
{{- define "unstuck.restarting" -}}
{{- $config := omit (include "unstuck.config" . | fromYaml) "brokers" "apps" -}}
{{- /* What is found has its policy from the defaults, and keeps it until the daemon ends. */ -}}
{{- if not $config.discovery -}}{{- $config = omit $config "defaults" -}}{{- end -}}
{{- $_ := set $config "log" (omit ($config.log | default dict) "level") -}}
{{- toJson $config -}}
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
{{- if not (or $secret .password_file .token_file) -}}{{- $secret = $inherited.secret -}}{{- end -}}
{{- if eq (.auth_mechanism | default $inherited.auth_mechanism | default "plain") "external" -}}{{- $secret = dict -}}{{- end -}}
{{- $tls := .tls | default dict -}}
{{- $theirs := $inherited.tls | default dict -}}
{{- $ca := $tls.ca_secret -}}
{{- if not (or $ca $tls.ca_file) -}}{{- $ca = $theirs.ca_secret -}}{{- end -}}
{{- $cert := $tls.cert_secret -}}
{{- if not (or $cert $tls.cert_file $tls.key_file) -}}{{- $cert = $theirs.cert_secret -}}{{- end -}}
{{- range list $secret $ca $cert -}}
{{- with . -}}
{{- $its := .namespace | default $home -}}
{{- $namespace := get $served $its | default (dict "secrets" list) -}}
{{- $_ := set $namespace "secrets" (append $namespace.secrets .name | uniq | sortAlpha) -}}
{{- $_ := set $served $its $namespace -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- with .Values.config.discovery -}}
{{- $found := include "unstuck.discovered" $ | fromJson -}}
{{- range .namespaces -}}
{{- $namespace := get $served . | default (dict "secrets" list) -}}
{{- range $key, $value := $found -}}{{- if and $value (ne $key "secrets") -}}{{- $_ := set $namespace $key $value -}}{{- end -}}{{- end -}}
{{- $_ := set $namespace "secrets" (concat $namespace.secrets $found.secrets | uniq | sortAlpha) -}}
{{- $_ := set $served . $namespace -}}
{{- end -}}
{{- range list (dig "defaults" "secret" dict .) (dig "defaults" "tls" "ca_secret" dict .) (dig "defaults" "tls" "cert_secret" dict .) -}}
{{- if .namespace -}}
{{- $namespace := get $served .namespace | default (dict "secrets" list) -}}
{{- $_ := set $namespace "secrets" (append $namespace.secrets .name | uniq | sortAlpha) -}}
{{- $_ := set $served .namespace $namespace -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $.Values.config.environments -}}
{{- if not .cluster -}}
{{- $namespace := get $served .namespace | default (dict "secrets" list) -}}
{{- $deployments := list -}}{{- $statefulSets := list -}}{{- $daemonSets := list -}}{{- $cronJobs := list -}}{{- $podTemplates := list -}}{{- $execs := false -}}
{{- range .services -}}
{{- with .deployment -}}{{- $deployments = append $deployments . -}}{{- end -}}
{{- with .statefulset -}}{{- $statefulSets = append $statefulSets . -}}{{- end -}}
{{- with .daemonset -}}{{- $daemonSets = append $daemonSets . -}}{{- end -}}
{{- end -}}
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
{{- $_ := set $namespace "environment" (dict "deployments" $deployments "statefulSets" $statefulSets "daemonSets" $daemonSets "cronJobs" $cronJobs "podTemplates" $podTemplates "execs" $execs) -}}
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

{{- /* What is done in a namespace in which brokers are found, in the words of unstuck.served. */ -}}
{{- define "unstuck.discovered" -}}
{{- $discovery := .Values.config.discovery -}}
{{- $clusters := true -}}{{- if eq (toString $discovery.rabbitmq_clusters) "false" -}}{{- $clusters = false -}}{{- end -}}
{{- $deletes := or (eq (toString $discovery.mode) "remediate") (eq (toString $discovery.max_mode) "remediate") -}}
{{- $own := dig "defaults" "secret" dict $discovery -}}
{{- $secrets := list -}}{{- if and $own.name (not $own.namespace) -}}{{- $secrets = list $own.name -}}{{- end -}}
{{- range list "ca_secret" "cert_secret" -}}
{{- $its := dig "defaults" "tls" . dict $discovery -}}
{{- if and $its.name (not $its.namespace) -}}{{- $secrets = append $secrets $its.name -}}{{- end -}}
{{- end -}}
{{- $theirUser := not (or $own.name (dig "defaults" "password_file" "" $discovery) (dig "defaults" "token_file" "" $discovery) (eq (dig "defaults" "auth_mechanism" "" $discovery) "external")) -}}
{{- dict "brokers" true "clusters" $clusters "deletes" $deletes "labels" (and $deletes $clusters) "anySecret" $theirUser "secrets" $secrets | toJson -}}
{{- end -}}

{{- /* The name of the Certificate, and of its Secret. */ -}}
{{- define "unstuck.certificate" -}}
{{- printf "%s-api-tls" (include "unstuck.name" .) -}}
{{- end -}}

{{- /* One endpoint of a ServiceMonitor or PodMonitor, of the values that say how it is scraped. */ -}}
{{- define "unstuck.endpoint" -}}
{{- $endpoint := dict "port" "metrics" "path" "/metrics" "interval" .interval -}}
{{- range list "scrapeTimeout" "relabelings" "metricRelabelings" -}}
{{- $value := get $ . -}}{{- if $value -}}{{- $_ := set $endpoint . $value -}}{{- end -}}
{{- end -}}
{{- toYaml $endpoint -}}
{{- end -}}

{{- /*
The pods that the admission policy lets Unstuck's account have, as JSON: of a namespace (empty: of any) with a selector,
whether they may be deleted, and the container to exec into; or with a prefix of their names, to exec into.
*/ -}}
{{- define "unstuck.admitted" -}}
{{- $admitted := list -}}
{{- $defaults := .Values.config.defaults | default dict -}}
{{- range $kind := list "brokers" "apps" -}}
{{- $inherited := ternary $defaults dict (eq $kind "brokers") -}}
{{- range (get $.Values.config $kind) -}}
{{- $deletes := eq (.mode | default $inherited.mode | default "observe") "remediate" -}}
{{- with .pods -}}
{{- $container := ternary .container "" (eq $kind "brokers") -}}
{{- $admitted = append $admitted (dict "namespace" (.namespace | default $.Release.Namespace) "selector" .selector "container" $container "deletes" $deletes) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range .Values.config.environments -}}
{{- if not .cluster -}}
{{- $namespace := .namespace -}}
{{- $deployments := dict -}}
{{- range .services -}}{{- $_ := set $deployments .name .deployment -}}{{- end -}}
{{- range .tasks -}}
{{- with .exec -}}
{{- $admitted = append $admitted (dict "namespace" $namespace "prefix" (printf "%s-" (get $deployments .service))) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- with .Values.config.discovery -}}
{{- $found := include "unstuck.discovered" $ | fromJson -}}
{{- if $found.clusters -}}
{{- /* As the operator labels them. Those of other StatefulSets, and with labels of their own, nobody knows beforehand. */ -}}
{{- range (ternary (list "") .namespaces (empty .namespaces)) -}}
{{- $admitted = append $admitted (dict "namespace" . "selector" "app.kubernetes.io/component=rabbitmq,app.kubernetes.io/part-of=rabbitmq" "container" "rabbitmq" "deletes" $found.deletes) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range .Values.admissionPolicy.extraPods -}}
{{- $admitted = append $admitted (dict "namespace" .namespace "selector" .selector "container" .container "deletes" true) -}}
{{- end -}}
{{- toJson $admitted -}}
{{- end -}}

{{- /*
A label selector, of the forms that the configuration takes, as CEL about variables.labels. As Kubernetes has it, != and
notin fit a pod without the label, too.
*/ -}}
{{- define "unstuck.selectorCEL" -}}
{{- $terms := list -}}
{{- range regexFindAll "[^,(]+([(][^)]*[)])?" . -1 -}}
{{- $term := trim . -}}
{{- $key := regexFind "^!?[-A-Za-z0-9_./]+" $term | trimPrefix "!" | toJson -}}
{{- $has := printf "%s in variables.labels" $key -}}
{{- $is := printf "%s && variables.labels[%s]" $has $key -}}
{{- if hasPrefix "!" $term -}}
{{- $terms = append $terms (printf "!(%s)" $has) -}}
{{- else if contains "(" $term -}}
{{- $values := list -}}
{{- range regexFind "[(].*[)]" $term | trimAll "()" | splitList "," -}}{{- $values = append $values (trim .) -}}{{- end -}}
{{- $terms = append $terms (printf "%s(%s in %s)" (ternary "!" "" (regexMatch " notin *[(]" $term)) $is (toJson $values)) -}}
{{- else if contains "=" $term -}}
{{- $value := regexFind "[^= ]*$" $term | toJson -}}
{{- $terms = append $terms (printf "%s(%s == %s)" (ternary "!" "" (contains "!=" $term)) $is $value) -}}
{{- else -}}
{{- $terms = append $terms (printf "(%s)" $has) -}}
{{- end -}}
{{- end -}}
{{- join " && " $terms -}}
{{- end -}}
