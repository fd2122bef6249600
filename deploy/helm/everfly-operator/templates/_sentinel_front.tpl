{{- define "everfly.frontName" -}}
{{- printf "%s-sentinel" (include "everfly.fullname" . | trunc 54 | trimSuffix "-") -}}
{{- end }}

{{- /* Not those of the operator: its Service and its NetworkPolicies must not mean the front. */ -}}
{{- define "everfly.frontSelectorLabels" -}}
app.kubernetes.io/name: everfly-sentinel-front
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "everfly.frontLabels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "everfly.frontSelectorLabels" . }}
app.kubernetes.io/component: sentinel-front
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.additionalLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "everfly.frontRules" -}}
rules:
  - apiGroups: [dragonflydb.io]
    resources: [dragonflies]
    verbs: {{ if .Values.sentinelFront.allowSwitchover }}[list, watch, patch]{{ else }}[list, watch]{{ end }}
  - apiGroups: [""]
    resources: [pods]
    verbs: [list, watch]
{{- end }}

{{- define "everfly.frontAddress" -}}
{{- printf "%s.%s.svc:%d" (include "everfly.frontName" .) (include "everfly.namespace" .) (int .Values.sentinelFront.service.port) -}}
{{- end }}
