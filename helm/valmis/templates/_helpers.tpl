{{- define "valmis.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "valmis.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" }}
{{- else }}
{{- $name := include "valmis.name" . }}
{{- if contains $name .Release.Name }}
{{- .Release.Name | trunc 52 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{- define "valmis.selectorLabels" -}}
app.kubernetes.io/name: {{ include "valmis.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "valmis.labels" -}}
{{ include "valmis.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "valmis.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "valmis.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "valmis.image" -}}
{{- $repository := .Values.image.repository }}
{{- with .Values.image.registry }}{{ $repository = printf "%s/%s" . $repository }}{{ end }}
{{- if .Values.image.digest }}
{{- printf "%s@%s" $repository .Values.image.digest }}
{{- else }}
{{- printf "%s:%s" $repository (default .Chart.AppVersion .Values.image.tag) }}
{{- end }}
{{- end }}

{{- define "valmis.config" -}}
{{- $config := deepCopy .Values.config }}
{{- if not (hasKey $config "external_url") }}
{{- $_ := set $config "external_url" (include "valmis.url" .) }}
{{- end }}
{{- tpl (toYaml $config) . }}
{{- end }}

{{- /* Whether there is a web configuration: a text that is empty if not. */ -}}
{{- define "valmis.web" -}}
{{- if or .Values.web.config .Values.web.existingSecret .Values.web.tlsSecret }}yes{{ end }}
{{- end }}

{{- define "valmis.webConfig" -}}
{{- $config := deepCopy .Values.web.config }}
{{- if and .Values.web.tlsSecret (not (hasKey $config "tls_server_config")) }}
{{- $_ := set $config "tls_server_config" (dict "cert_file" "/etc/valmis-tls/tls.crt" "key_file" "/etc/valmis-tls/tls.key") }}
{{- end }}
{{- tpl (toYaml $config) . }}
{{- end }}

{{- define "valmis.scheme" -}}
{{- if .Values.web.scheme }}
{{- .Values.web.scheme }}
{{- else if and (not .Values.web.existingSecret) (or .Values.web.tlsSecret (hasKey .Values.web.config "tls_server_config")) }}
{{- "https" }}
{{- else }}
{{- "http" }}
{{- end }}
{{- end }}

{{- /* The probe `name` of the values. What asks at the port `http` asks where no password is needed, if there is such a port. */ -}}
{{- define "valmis.probe" -}}
{{- $probe := deepCopy (get .root.Values .name) }}
{{- if and (include "valmis.web" .root) $probe.httpGet }}
{{- if eq (toString $probe.httpGet.port) "http" }}{{ $_ := set $probe.httpGet "port" "health" }}{{ end }}
{{- end }}
{{- toYaml $probe }}
{{- end }}

{{- define "valmis.url" -}}
{{- if .Values.externalUrl }}
{{- .Values.externalUrl | trimSuffix "/" }}
{{- else }}
{{- printf "%s://%s.%s.svc:%v" (include "valmis.scheme" .) (include "valmis.fullname" .) .Release.Namespace .Values.service.port }}
{{- end }}
{{- end }}
