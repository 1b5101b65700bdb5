//! Rule files as other programs want them: with links of their own, or as PrometheusRule objects.

use std::fmt::Write;

use super::Artifact;

/// Where rule files link to, as they are bundled: valmis' own runbooks, and a path below a Grafana.
const RUNBOOKS: &str = "{{ $externalURL }}/runbooks/";
const DASHBOARD: &str = "dashboard: '/d/";

/// The text of a rule file with other links: `runbooks` is the address below which the runbooks are,
/// in place of the program that evaluates; `grafana` that of the Grafana that shows the dashboards.
pub fn with_links(text: &str, runbooks: Option<&str>, grafana: Option<&str>) -> String {
    let mut text = text.to_owned();
    if let Some(base) = runbooks {
        text = text.replace(RUNBOOKS, &format!("{}/", quotable(base)));
    }
    if let Some(base) = grafana {
        text = text.replace(DASHBOARD, &format!("dashboard: '{}/d/", quotable(base)));
    }
    text
}

/// A base address as it can stand within single quotes of YAML.
fn quotable(base: &str) -> String {
    base.trim_end_matches('/').replace('\'', "''")
}

/// A rule file as an object for the Prometheus operator.
#[derive(Debug, Clone, Copy, Default)]
pub struct PrometheusRule<'a> {
    /// The namespace of the object; that of whoever applies it if there is none.
    pub namespace: Option<&'a str>,
    /// Labels, such as those by which a Prometheus selects its rules.
    pub labels: &'a [(&'a str, &'a str)],
    /// See [`with_links`].
    pub runbooks: Option<&'a str>,
    /// See [`with_links`].
    pub grafana: Option<&'a str>,
}

impl PrometheusRule<'_> {
    /// The object as YAML. Its name is that of the artifact.
    pub fn manifest(&self, rules: &Artifact) -> String {
        let mut yaml =
            String::from("apiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\nmetadata:\n");
        let mut line = |text: std::fmt::Arguments<'_>| {
            writeln!(yaml, "{text}").expect("writing to a string does not fail");
        };
        line(format_args!("  name: {}", rules.name));
        if let Some(namespace) = self.namespace {
            line(format_args!("  namespace: {}", quoted(namespace)));
        }
        line(format_args!("  labels:"));
        line(format_args!("    app.kubernetes.io/name: valmis"));
        for (name, value) in self.labels {
            line(format_args!("    {}: {}", quoted(name), quoted(value)));
        }
        line(format_args!("  annotations:"));
        line(format_args!("    valmis/rules-version: {}", quoted(rules.version)));
        line(format_args!("spec:"));
        for text in with_links(rules.text, self.runbooks, self.grafana).lines() {
            // A rule file is a mapping with the key `groups`, as is the specification.
            if text.is_empty() { line(format_args!("")) } else { line(format_args!("  {text}")) }
        }
        yaml
    }
}

/// A string of YAML on one line, whatever it holds.
fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("a string is JSON, and JSON strings are YAML")
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Artifact = Artifact {
        name: "valmis-x",
        version: "1.2.3",
        sha256: "",
        text: concat!(
            "# A comment.\n",
            "groups:\n",
            "  - name: x\n",
            "    rules:\n",
            "      - alert: Down\n",
            "        expr: |\n",
            "          up\n",
            "\n",
            "            == 0\n",
            "        annotations:\n",
            "          runbook_url: '{{ $externalURL }}/runbooks/Down'\n",
            "          dashboard: '/d/valmis-overview?viewPanel=1'\n",
        ),
    };

    #[test]
    fn a_rule_file_becomes_an_object_with_the_same_groups() {
        let labels = [("release", "kube-prometheus"), ("odd", "it's \"quoted\"")];
        let rule = PrometheusRule { namespace: Some("monitoring"), labels: &labels, ..Default::default() };
        insta::assert_snapshot!(rule.manifest(&RULES), @r#"
        apiVersion: monitoring.coreos.com/v1
        kind: PrometheusRule
        metadata:
          name: valmis-x
          namespace: "monitoring"
          labels:
            app.kubernetes.io/name: valmis
            "release": "kube-prometheus"
            "odd": "it's \"quoted\""
          annotations:
            valmis/rules-version: "1.2.3"
        spec:
          # A comment.
          groups:
            - name: x
              rules:
                - alert: Down
                  expr: |
                    up

                      == 0
                  annotations:
                    runbook_url: '{{ $externalURL }}/runbooks/Down'
                    dashboard: '/d/valmis-overview?viewPanel=1'
        "#);
    }

    #[test]
    fn links_lead_where_they_are_told_to() {
        #[track_caller]
        fn check(runbooks: Option<&str>, grafana: Option<&str>, expected: [&str; 2]) {
            let text = with_links(RULES.text, runbooks, grafana);
            for line in expected {
                assert!(text.contains(line), "`{line}` is not in:\n{text}");
            }
        }
        let own = ["'{{ $externalURL }}/runbooks/Down'", "'/d/valmis-overview?viewPanel=1'"];
        check(None, None, own);
        check(Some("https://wiki/alerts/"), None, ["'https://wiki/alerts/Down'", own[1]]);
        check(
            None,
            Some("https://g/it's"),
            [own[0], "dashboard: 'https://g/it''s/d/valmis-overview?viewPanel=1'"],
        );
    }
}
