//! What the alert-generator compliance suite of Prometheus demands, its four cases: against the whole
//! program with seconds instead of half minutes, and with its own times over a clock of our own.
//! Source: prometheus/compliance, `alert_generator/specification.md` and `alert_generator/cases`.

mod simulated;
mod whole;

/// The rules of the suite; `UNIT1` is its interval of 30 seconds.
const RULES: &str = r#"
groups:
- name: NewAlerts_OrderCheck
  interval: UNIT1
  rules:
  - alert: NewAlerts_OrderCheck_Rule1
    expr: 'suite{alertname="NewAlerts_OrderCheck_Rule1", rulegroup="NewAlerts_OrderCheck"} > 10'
    for: UNIT6
    labels: {foo: bar, rulegroup: NewAlerts_OrderCheck}
    annotations: {description: This should produce more alerts later}
  - alert: NewAlerts_OrderCheck_Rule2
    expr: '(ALERTS{alertstate="firing", alertname="NewAlerts_OrderCheck_Rule1", variant="one"} + ignoring (variant) ALERTS{alertstate="firing", alertname="NewAlerts_OrderCheck_Rule1", variant="two"}) == 2'
    labels: {ba_dum: tss, foo: baz, rulegroup: NewAlerts_OrderCheck}
    annotations: {description: 'Old alertname was {{$labels.alertname}}. foo was {{.Labels.foo}}.'}
- name: PendingAndFiringAndResolved
  interval: UNIT1
  rules:
  - alert: PendingAndFiringAndResolved_SimpleAlert
    expr: 'suite{rulegroup="PendingAndFiringAndResolved"} > 10'
    for: UNIT12
    labels: {foo: bar}
    annotations: {description: SimpleAlert is firing, summary: 'The value is {{$value}} {{.Value}}'}
- name: PendingAndResolved_AlwaysInactive
  interval: UNIT1
  rules:
  - alert: PendingAndResolved_AlwaysInactive_PendingAlert
    expr: 'suite{rulegroup="PendingAndResolved_AlwaysInactive"} > 10'
    for: UNIT6
    labels: {foo: bar}
  - alert: PendingAndResolved_AlwaysInactive_InactiveAlert
    expr: 'suite{rulegroup="PendingAndResolved_AlwaysInactive"} > 99'
    for: UNIT6
- name: ZeroFor_SmallFor
  interval: UNIT1
  rules:
  - alert: ZeroFor_SmallFor_ZeroFor
    expr: 'suite{rulegroup="ZeroFor_SmallFor", for=""} > 10'
    labels: {foo: bar}
    annotations:
      description: This should immediately fire
      template_query_test: '{{ define "testtemplate" }}Args are: {{.arg0}} {{.arg1}} {{.arg2}}. {{ with query "suite{rulegroup=''ZeroFor_SmallFor'',for=''template''}" }}first_id:{{ . | sortByLabel "id" | first | label "id"}},{{ range $v := sortByLabel "id" .}}{{ . | label "id" }}:{{ . | value }},{{end}}{{end}}{{ end }}{{ template "testtemplate" (args "foo" "bar" 99) }}'
      template_test: '{{humanize 1048576}} {{humanize1024 1048576}} {{humanizeDuration 135.3563}} {{humanizePercentage 0.959}} {{humanizeTimestamp 1643114203}}'
  - alert: ZeroFor_SmallFor_SmallFor
    expr: 'suite{rulegroup="ZeroFor_SmallFor", for=""} > 10'
    for: HALF
    labels: {ba_dum: tss}
    annotations:
      template_test: '{{title "this part"}} {{toUpper "is testing"}} {{toLower "THE STRINGS"}}. {{ stripPort "[::1]:6006"}} {{ stripPort "127.0.0.1:4004"}}. {{parseDuration "2h10m15s"}}. {{if match "[0-9]+" "1234"}}{{reReplaceAll "r.*d" "replaced" "rpld text"}}{{end}}. {{if match "[0-9]+$" "1234a"}}WRONG{{end}}.'
"#;

/// What the templates above yield.
const TEXTS: [&str; 3] = [
    "1.049M 1Mi 2m 15s 95.9% 2022-01-25 12:36:43 +0000 UTC",
    "Args are: foo bar 99. first_id:101,101:1,102:2,103:3,",
    "This Part IS TESTING the strings. ::1 127.0.0.1. 7815. replaced text. .",
];

/// The rules with another interval, in seconds.
fn rules(unit: u32) -> String {
    let text = RULES.replace("HALF", &format!("{}ms", unit * 500));
    [12, 6, 1]
        .iter()
        .fold(text, |text, times| text.replace(&format!("UNIT{times}"), &format!("{}s", times * unit)))
}
