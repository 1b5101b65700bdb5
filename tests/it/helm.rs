//! The chart: accepted by Helm 3 and 4, restricted pods, the same rules as in the binary.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use valmis::artifacts;
use valmis::listener::{self, PemSource};

use crate::tools::{checkout, run, tool};

/// Everything that can be switched on, with every kind of change of an alert.
const ALL_ON: &str = "
commonLabels: {team: platform}
image: {registry: registry.example, digest: 'sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef'}
replicaCount: 2
config:
  apps:
    - name: '{{ .Release.Name }}-shop'
existingSecret: valmis-passwords
existingEnvSecret: valmis-environment
externalUrl: https://valmis.example/
extraArgs: [--log-format=json]
extraEnv: [{name: TZ, value: UTC}]
web:
  tlsSecret: valmis-tls
  config: {basic_auth_users: {'{{ .Release.Name }}': $2y$10$hash}, rate_limit: {interval: 100ms, burst: 20}}
  healthPort: 9800
service: {type: NodePort, annotations: {a: b}}
persistence: {storageClass: fast, size: 20Gi, annotations: {a: b}}
priorityClassName: high
tolerations: [{operator: Exists}]
topologySpreadConstraints: [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: ScheduleAnyway}]
podDisruptionBudget: {enabled: true}
networkPolicy:
  enabled: true
  from: [{namespaceSelector: {matchLabels: {name: monitoring}}}]
  egress: [{ports: [{port: 443}]}]
serviceMonitor: {enabled: true, labels: {release: kps}, metricRelabelings: [{action: labeldrop, regex: x}],
  basicAuth: {username: {name: scrape, key: user}, password: {name: scrape, key: password}}, tlsConfig: {serverName: valmis.prod.svc}}
prometheusRule:
  enabled: true
  labels: {release: kps}
  grafanaUrl: https://grafana.example/
  expectedJobs: [backend]
  alerts:
    DiskAlmostFull: {for: 10m, keepFiringFor: 5m, severity: warning, labels: {team: storage}}
    CertificateExpiresSoon: {enabled: false}
dashboards: {enabled: true, namespace: grafana, annotations: {folder: valmis}}
extraObjects:
  - {apiVersion: v1, kind: ConfigMap, metadata: {name: extra}, data: {release: '{{ .Release.Name }}'}}
";

/// As little as possible.
const MINIMAL: &str = "
fullnameOverride: v
serviceAccount: {create: false}
persistence: {enabled: false}
existingConfigMap: mine
image: {tag: edge}
tests: {enabled: false}
";

const ONLY_RULES: &str = "prometheusRule: {enabled: true}";

fn helms() -> Vec<PathBuf> {
    ["helm3/helm", "helm4/helm"].into_iter().filter_map(tool).collect()
}

fn chart() -> PathBuf {
    checkout("helm/valmis")
}

/// A file with values.
fn values(folder: &tempfile::TempDir, text: &str) -> PathBuf {
    let path = folder.path().join("values.yaml");
    fs::write(&path, text).unwrap();
    path
}

/// The objects that the chart renders to.
fn render(helm: &Path, text: &str) -> Vec<Value> {
    let folder = tempfile::tempdir().unwrap();
    let output = run(Command::new(helm)
        .args(["template", "test"])
        .arg(chart())
        .args(["--namespace", "prod", "--kube-version", "1.29", "--values"])
        .arg(values(&folder, text)));
    let documents = output.split("\n---").filter(|text| text.lines().any(|line| line.starts_with("kind:")));
    documents.map(|text| serde_saphyr::from_str(text.trim_start_matches("---")).unwrap()).collect()
}

fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects.iter().filter(|object| object["kind"] == kind).collect()
}

#[test]
fn helm_accepts_the_chart_with_every_set_of_values() {
    for helm in helms() {
        for text in ["", ALL_ON, MINIMAL, ONLY_RULES, WEB_SECRET] {
            let folder = tempfile::tempdir().unwrap();
            run(Command::new(&helm)
                .args(["lint", "--strict"])
                .arg(chart())
                .arg("--values")
                .arg(values(&folder, text)));
            for object in render(&helm, text) {
                let name = object["metadata"]["name"].as_str().unwrap();
                assert!(!name.is_empty() && name.len() <= 63, "{name}");
                assert!(object["apiVersion"].is_string(), "{name}");
            }
        }
    }
}

#[test]
fn a_misspelt_value_is_refused() {
    #[track_caller]
    fn check(helm: &Path, setting: &str) {
        let output = Command::new(helm)
            .args(["template", "test"])
            .arg(chart())
            .args(["--set", setting])
            .output()
            .unwrap();
        assert!(!output.status.success(), "{setting} is accepted");
        let name = setting.split(['=', '.']).next().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stderr.contains(name), "{setting}: {stderr}");
    }
    for helm in helms() {
        check(&helm, "replicacount=2");
        check(&helm, "replicaCount=many");
        check(&helm, "persistence.sise=1Gi");
        check(&helm, "prometheusRule.alerts.DiskAlmostFull.threshold=5");
        check(&helm, "prometheusRule.alerts.DiskAlmostFull.for=soon");
        check(&helm, "image.digest=latest");
        check(&helm, "web.tls=true");
        check(&helm, "web.scheme=ftp");
    }
}

#[test]
fn everything_is_there_when_all_is_on() {
    let Some(helm) = helms().pop() else { return };
    let objects = render(&helm, ALL_ON);
    let kinds: BTreeSet<&str> = objects.iter().map(|object| object["kind"].as_str().unwrap()).collect();
    let expected = [
        "ConfigMap",
        "NetworkPolicy",
        "Pod",
        "PodDisruptionBudget",
        "PrometheusRule",
        "Secret",
        "Service",
        "ServiceAccount",
        "ServiceMonitor",
        "StatefulSet",
    ];
    assert_eq!(kinds, BTreeSet::from(expected));
    for object in objects.iter().filter(|object| object["metadata"]["name"] != "extra") {
        assert_eq!(object["metadata"]["labels"]["team"], "platform", "{}", object["metadata"]["name"]);
    }
    let maps = of_kind(&objects, "ConfigMap");
    let named = |name: &str| maps.iter().find(|map| map["metadata"]["name"] == name).unwrap();
    let config = "apps:\n- name: 'test-shop'\nexternal_url: https://valmis.example\n";
    assert_eq!(named("test-valmis")["data"]["valmis.yaml"], config);
    assert_eq!(named("extra")["data"]["release"], "test");
    let dashboard = named("test-valmis-dashboard-overview");
    assert_eq!(dashboard["metadata"]["labels"]["grafana_dashboard"], "1");
    let json = dashboard["data"]["valmis-overview.json"].as_str().unwrap();
    assert_eq!(json, artifacts::dashboards()[0].text);
    let monitor = of_kind(&objects, "ServiceMonitor")[0];
    assert_eq!(monitor["spec"]["endpoints"][0]["honorLabels"], true);
    assert_eq!(monitor["metadata"]["labels"]["release"], "kps");
    let service = of_kind(&objects, "Service")[0];
    for (name, value) in monitor["spec"]["selector"]["matchLabels"].as_object().unwrap() {
        assert_eq!(&service["metadata"]["labels"][name], value, "{name}");
    }
    let selector = service["spec"]["selector"].as_object().unwrap();
    let selected =
        |pod: &Value| selector.iter().all(|(name, value)| pod["metadata"]["labels"][name] == *value);
    assert!(selected(&of_kind(&objects, "StatefulSet")[0]["spec"]["template"]));
    assert!(!selected(of_kind(&objects, "Pod")[0]), "the Service sends requests to the pod of the test");
    let container = &of_kind(&objects, "StatefulSet")[0]["spec"]["template"]["spec"]["containers"][0];
    let image = container["image"].as_str().unwrap();
    assert!(image.starts_with("registry.example/valmis@sha256:0123"), "{image}");
    assert!(container["args"].as_array().unwrap().iter().any(|arg| arg == "--log-format=json"));
    assert_eq!(container["envFrom"][0]["secretRef"]["name"], "valmis-environment");
}

/// An address of one pod is of no use to people, and changes.
#[test]
fn links_of_alerts_begin_with_the_address_of_the_service_unless_another_is_given() {
    #[track_caller]
    fn check(helm: &Path, text: &str, expected: &str) {
        let objects = render(helm, text);
        let config = of_kind(&objects, "ConfigMap")[0]["data"]["valmis.yaml"].as_str().unwrap().trim_end();
        assert_eq!(config, format!("external_url: {expected}"), "{text}");
    }
    let Some(helm) = helms().pop() else { return };
    check(&helm, "", "http://test-valmis.prod.svc:9797");
    check(&helm, "service: {port: 80}", "http://test-valmis.prod.svc:80");
    check(&helm, "web: {tlsSecret: certificate}", "https://test-valmis.prod.svc:9797");
    check(&helm, "externalUrl: https://a.example/", "https://a.example");
    check(
        &helm,
        "{externalUrl: https://a.example, config: {external_url: https://b.example}}",
        "https://b.example",
    );
}

/// The Pod Security Standard "restricted" of Kubernetes 1.25 and later.
#[test]
fn pods_are_restricted() {
    let Some(helm) = helms().pop() else { return };
    for text in ["", ALL_ON, MINIMAL, WEB_SECRET] {
        let objects = render(&helm, text);
        let of_workloads =
            of_kind(&objects, "StatefulSet").into_iter().map(|set| &set["spec"]["template"]["spec"]);
        let of_tests = of_kind(&objects, "Pod").into_iter().map(|pod| &pod["spec"]);
        for pod in of_workloads.chain(of_tests) {
            assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
            assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
            assert_eq!(pod["automountServiceAccountToken"], false);
            for forbidden in ["hostNetwork", "hostPID", "hostIPC"] {
                assert!(pod[forbidden].is_null(), "{forbidden}");
            }
            for container in pod["containers"].as_array().unwrap() {
                let context = &container["securityContext"];
                assert_eq!(context["allowPrivilegeEscalation"], false);
                assert_eq!(context["readOnlyRootFilesystem"], true);
                assert_eq!(context["capabilities"]["drop"], serde_json::json!(["ALL"]));
                assert!(context["capabilities"]["add"].is_null() && context["privileged"].is_null());
                assert!(!container["resources"]["limits"]["memory"].is_null());
            }
            let allowed = ["configMap", "secret", "emptyDir", "name"];
            for volume in pod["volumes"].as_array().into_iter().flatten() {
                assert!(
                    volume.as_object().unwrap().keys().all(|key| allowed.contains(&key.as_str())),
                    "{volume}"
                );
            }
        }
    }
}

#[test]
fn probes_ask_for_health_and_readiness_and_the_service_answers_regardless() {
    let Some(helm) = helms().pop() else { return };
    let objects = render(&helm, "");
    let container = &of_kind(&objects, "StatefulSet")[0]["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["livenessProbe"]["httpGet"]["path"], "/health");
    assert_eq!(container["livenessProbe"]["httpGet"]["port"], "http");
    assert_eq!(container["readinessProbe"]["httpGet"]["path"], "/ready");
    assert_eq!(of_kind(&objects, "Service")[0]["spec"]["publishNotReadyAddresses"], true);
}

/// A web configuration in a Secret of the user, and none of the chart.
const WEB_SECRET: &str = "web: {existingSecret: mine, scheme: https}";

#[test]
fn with_a_web_configuration_the_kubelet_asks_where_no_password_is_needed() {
    let Some(helm) = helms().pop() else { return };
    for (text, port, secret) in [(ALL_ON, 9800, "test-valmis-web"), (WEB_SECRET, 9798, "mine")] {
        let objects = render(&helm, text);
        let pod = &of_kind(&objects, "StatefulSet")[0]["spec"]["template"]["spec"];
        let container = &pod["containers"][0];
        for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
            assert_eq!(container[name]["httpGet"]["port"], "health", "{name}");
        }
        let listed = |list: &Value, name: &str| {
            let found = list.as_array().unwrap().iter().find(|one| one["name"] == name);
            found.unwrap_or_else(|| panic!("no `{name}` in {list}")).clone()
        };
        assert_eq!(listed(&container["ports"], "health")["containerPort"], port);
        assert_eq!(listed(&of_kind(&objects, "Service")[0]["spec"]["ports"], "health")["port"], port);
        assert_eq!(listed(&pod["volumes"], "web")["secret"]["secretName"], secret);
        assert_eq!(listed(&container["volumeMounts"], "web")["mountPath"], "/etc/valmis-web");
        let arguments = container["args"].as_array().unwrap();
        for expected in
            ["--web.config.file=/etc/valmis-web/web.yml", &format!("--health-listen=0.0.0.0:{port}")]
        {
            assert!(arguments.iter().any(|argument| argument == expected), "{expected}: {arguments:?}");
        }
        let test = of_kind(&objects, "Pod").pop().unwrap();
        let command = test["spec"]["containers"][0]["args"][0].as_str().unwrap();
        assert!(command.contains(&format!("http://test-valmis:{port}/health")), "{command}");
        for made in of_kind(&objects, "Secret") {
            assert_eq!(made["metadata"]["name"], secret);
        }
        assert_eq!(of_kind(&objects, "Secret").len(), usize::from(text == ALL_ON));
    }
}

/// What the chart writes is what the program reads.
#[test]
fn the_web_configuration_of_the_chart_is_understood() {
    let Some(helm) = helms().pop() else { return };
    let objects = render(&helm, ALL_ON);
    let text = of_kind(&objects, "Secret")[0]["stringData"]["web.yml"].as_str().unwrap();
    let (config, findings) = listener::read("web.yml", text, Path::new("/"));
    let refused: Vec<_> = findings.iter().map(ToString::to_string).collect();
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert!(refused[0].contains("not given as a bcrypt hash"), "{refused:?}");
    assert_eq!(config.rate_limit.map(|limit| limit.burst), Some(20));
    let cert = config.tls.expect("TLS").cert.source;
    assert_eq!(cert, PemSource::File("/etc/valmis-tls/tls.crt".into()));
    let endpoint = &of_kind(&objects, "ServiceMonitor")[0]["spec"]["endpoints"][0];
    assert_eq!((&endpoint["scheme"], &endpoint["port"]), (&"https".into(), &"http".into()));
    assert_eq!(endpoint["basicAuth"]["password"]["key"], "password");
    assert_eq!(endpoint["tlsConfig"]["serverName"], "valmis.prod.svc");
}

/// The rules of a rendered chart, as rule files that Prometheus loads.
fn rendered_groups(objects: &[Value]) -> Vec<(String, Value)> {
    let rules = of_kind(objects, "PrometheusRule").into_iter();
    rules.map(|rule| (rule["metadata"]["name"].as_str().unwrap().to_owned(), rule["spec"].clone())).collect()
}

#[test]
fn the_rules_of_the_chart_are_those_of_the_binary() {
    let Some(helm) = helms().pop() else { return };
    let rendered = rendered_groups(&render(&helm, ONLY_RULES));
    assert_eq!(rendered.len(), artifacts::rules().len());
    for file in artifacts::rules() {
        let links = "http://test-valmis.prod.svc:9797/runbooks";
        let text = file.text.replace("{{ $externalURL }}/runbooks", links);
        let expected: Value = serde_saphyr::from_str(&text).unwrap();
        let name = format!("test-{}", file.name);
        let (_, found) = rendered.iter().find(|(rendered, _)| *rendered == name).unwrap();
        assert_eq!(*found, expected, "{}", file.name);
    }
}

#[test]
fn changes_of_alerts_are_made_and_promtool_accepts_the_result() {
    let Some(helm) = helms().pop() else { return };
    let rendered = rendered_groups(&render(&helm, ALL_ON));
    let rules: Vec<&Value> = rendered
        .iter()
        .flat_map(|(_, spec)| spec["groups"].as_array().unwrap())
        .flat_map(|group| group["rules"].as_array().unwrap())
        .collect();
    let alert = |name: &str| rules.iter().filter(|rule| rule["alert"] == name).collect::<Vec<_>>();
    let disk = alert("DiskAlmostFull")[0];
    assert_eq!((&disk["for"], &disk["keep_firing_for"]), (&"10m".into(), &"5m".into()));
    assert_eq!(
        disk["labels"],
        serde_json::json!({"severity": "warning", "component": "disk", "team": "storage"})
    );
    assert_eq!(disk["annotations"]["runbook_url"], "https://valmis.example/runbooks/DiskAlmostFull");
    assert_eq!(disk["annotations"]["dashboard"], "https://grafana.example/d/valmis-overview?viewPanel=50");
    assert!(alert("CertificateExpiresSoon").is_empty());
    assert_eq!(alert("ApplicationDown")[1]["expr"], "absent(up{job=\"backend\"})");

    let Some(promtool) = tool("bookworm/usr/bin/promtool") else { return };
    let folder = tempfile::tempdir().unwrap();
    for (name, spec) in &rendered {
        // JSON is YAML.
        let path = folder.path().join(format!("{name}.yaml"));
        fs::write(&path, spec.to_string()).unwrap();
        run(Command::new(&promtool).args(["check", "rules", "--lint=all", "--lint-fatal"]).arg(path));
    }
}
