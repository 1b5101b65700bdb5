//! Whole files, good and bad.

use std::path::Path;
use std::time::Duration;

use super::*;
use crate::client::{HttpAuth, SecretSource};
use crate::config::{CertificateSource, DiskConfig, Pace, TlsServer};
use crate::model::Secret;
use crate::probe::certificate::{CertificateFiles, Glob, SourceKind};
use crate::state::LedgerLimits;

fn read_text(text: &str) -> Result<Config, Vec<Diagnostic>> {
    let environment = |name: &str| (name == "TOKEN").then(|| "t0ken".to_owned());
    let folder = Path::new("/etc/valmis");
    let (config, findings) = read("valmis.yaml", text, &Surroundings { environment: &environment, folder });
    if findings.is_empty() { Ok(config) } else { Err(findings) }
}

fn findings(text: &str) -> String {
    let findings = read_text(text).expect_err("a bad configuration");
    findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

const DOCUMENTED: &str = r"
listen: 127.0.0.1:9797
storage: {path: ./valmis-data, retention: 24h, max_memory: 256MiB}
external_labels: {cluster: dev}
apps:
  - name: backend
    url: http://127.0.0.1:3000/health        # probed
    metrics: http://127.0.0.1:3000/metrics   # scraped, job=backend
    interval: 5s
postgres:
  - name: appdb
    dsn: postgres://valmis@127.0.0.1:5432/appdb?sslmode=prefer
    password_file: /run/secrets/pg
disks:
  - path: /
certificates:
  - name: web
    url: https://127.0.0.1:8443
  - name: ingress
    file: /etc/valmis/tls/*.pem
alertmanagers:
  - url: http://127.0.0.1:9093
rules:
  - builtin
  - ./my-rules/*.yaml
";

#[test]
fn the_documented_configuration_is_understood() {
    let config = read_text(DOCUMENTED).expect("a good configuration");
    assert_eq!(config.listen.to_string(), "127.0.0.1:9797");
    assert_eq!(config.storage.retention, Duration::from_hours(24));
    assert_eq!(config.storage.max_memory_bytes, 256 << 20);
    assert_eq!(config.external_labels["cluster"], "dev");
    assert_eq!(config.apps[0].pace.interval, Duration::from_secs(5));
    assert_eq!(config.apps[0].pace.timeout, Duration::from_secs(5));
    assert_eq!(config.postgres[0].password, Some(SecretSource::File("/run/secrets/pg".into())));
    assert_eq!(config.disks, [DiskConfig { path: "/".into(), pace: Pace::default() }]);
    let server = TlsServer { host: "127.0.0.1".to_owned(), port: 8443, starttls: None };
    assert_eq!(config.certificates[0].source, CertificateSource::Server(server));
    let pattern = Glob::parse("/etc/valmis/tls/*.pem").expect("a pattern");
    assert_eq!(config.certificates[1].source, CertificateSource::Files(CertificateFiles::new(pattern)));
    assert!(config.rules.builtin);
    assert_eq!(config.rules.files, ["/etc/valmis/./my-rules/*.yaml"]);
}

#[test]
fn an_empty_file_is_the_default() {
    assert_eq!(read_text("").expect("nothing to object to"), Config::default());
    assert_eq!(read_text("# only a comment\n").expect("nothing to object to"), Config::default());
}

#[test]
fn secrets_come_from_the_file_or_the_environment() {
    let text = "apps: [{name: a, url: 'http://h', bearer_token_env: TOKEN}]";
    let config = read_text(text).expect("a good configuration");
    let token = HttpAuth::Bearer(SecretSource::Value(Secret::new("t0ken")));
    assert_eq!(config.apps[0].auth, Some(token));
}

#[test]
fn every_fault_is_reported_with_its_place() {
    let text = "listen: nowhere
intervall: 5s
apps:
  - name: a
    url: ftp://h/
    interval: 5 minutes
    timeout: 1h
  - nam: b
    metrics: http://h/metrics
certificates: {name: x}
query: {max_samples: 0, timeout: soon}
features: [promql-experimental-function, telepathy]
postgres:
  - name: db
    dsn: postgres://u@h:notaport/d
    password_env: NOPE
";
    insta::assert_snapshot!(findings(text), @r#"
    valmis.yaml:1:9: `listen` must be an address with a port, not `nowhere`
      hint: write `127.0.0.1:9797`, or `:9797` for all interfaces
    valmis.yaml:2:1: the configuration has no key `intervall`
      hint: known keys: listen, web, external_url, storage, ledger, query, features, external_labels, max_series_per_component, evaluation_interval, apps, postgres, redis, machine, disks, certificates, blackbox, probes, scrapes, sources, alertmanagers, alert_relabel_configs, drills, heartbeat, pings, resend_delay, error_hold, catch_up, rules
    valmis.yaml:5:10: `url` is not a usable URL: it must begin with `http://` or `https://`
    valmis.yaml:6:15: `interval`: unknown unit " minutes" in duration "5 minutes"
      hint: write a duration such as `15s`, `5m` or `1h30m`
    valmis.yaml:7:14: `timeout` is longer than `interval`
      hint: a probe must end before the next one begins
    valmis.yaml:8:5: an app needs a value for `name`
    valmis.yaml:8:5: an app has no key `nam`
      hint: did you mean `name`?
    valmis.yaml:10:15: `certificates` must be a list, not a mapping
      hint: begin each item on a line of its own with `- `
    valmis.yaml:11:22: `max_samples` must be a whole number from 1 to 1099511627776, not `0`
    valmis.yaml:11:34: `timeout`: not a valid duration string: "soon"
      hint: write a duration such as `15s`, `5m` or `1h30m`
    valmis.yaml:12:12: there is no feature `promql-experimental-function`
      hint: did you mean `promql-experimental-functions`?
    valmis.yaml:12:42: there is no feature `telepathy`
      hint: there are `promql-binop-fill-modifiers`, `promql-delayed-name-removal`, `promql-duration-expr`, `promql-experimental-functions`, `promql-extended-range-selectors`, `promql-per-step-stats`
    valmis.yaml:15:10: `dsn` cannot be used: invalid value for `port`: expected a number from 1 to 65535
    valmis.yaml:16:19: `password_env`: the environment has no variable `NOPE`
    "#);
}

#[test]
fn two_components_with_one_name_are_refused() {
    let text = "apps:\n  - {name: a, url: 'http://h'}\n  - {name: a, url: 'http://i'}\n";
    assert_eq!(findings(text), "valmis.yaml:3:5: two entries of `apps` have the name `a`");
}

#[test]
fn components_whose_series_would_be_the_same_are_refused() {
    let text = "\
apps:
  - {name: a, url: 'http://h'}
  - {name: b, url: 'http://h/', method: HEAD}
  - {name: c, url: 'http://h/c'}
  - {name: d, metrics: 'http://h/metrics'}
  - {name: e, metrics: 'http://h/metrics'}
postgres:
  - {name: a, dsn: 'postgres://u:s3cret@h/a'}
  - {name: b, dsn: 'host=h port=5432 user=v dbname=b'}
redis:
  - {name: a, address: 'h:1'}
  - {name: b, address: 'redis://h:1'}
certificates:
  - {name: a, url: 'https://h'}
  - {name: b, url: 'https://h:443', file: 'b.pem'}
  - {name: c, file: 'c.pem'}
  - {name: d, file: 'c.pem'}
";
    insta::assert_snapshot!(findings(text), @r"
    valmis.yaml:3:5: two entries of `apps` look at `http://h/`: their samples would be the same series
      hint: leave one out; the entries of `probes` may look at the same, for their names are the label `job`
    valmis.yaml:9:5: two entries of `postgres` look at `h:5432`: their samples would be the same series
      hint: leave one out; the entries of `probes` may look at the same, for their names are the label `job`
    valmis.yaml:12:5: two entries of `redis` look at `h:1`: their samples would be the same series
      hint: leave one out; the entries of `probes` may look at the same, for their names are the label `job`
    valmis.yaml:15:5: two entries of `certificates` look at `h:443`: their samples would be the same series
      hint: leave one out; the entries of `probes` may look at the same, for their names are the label `job`
    ");
}

#[test]
fn every_disk_has_its_own_pace() {
    let config = read_text("disks: [{path: /, interval: 5s}, {path: /data}]").expect("a good configuration");
    let intervals = config.disks.iter().map(|disk| disk.pace.interval.as_secs());
    assert_eq!(intervals.collect::<Vec<_>>(), [5, 15]);
    let text = "disks:\n  - path: /\n  - path: /\n";
    assert_eq!(findings(text), "valmis.yaml:3:5: two entries of `disks` have the name `/`");
}

#[test]
fn connection_strings_may_say_all_that_libpq_understands() {
    let dsn = "host=localhost hostaddr=127.0.0.1 user=u dbname=d sslmode=verify-full sslrootcert=/ca.crt";
    read_text(&format!("postgres:\n  - {{name: db, dsn: '{dsn}'}}\n")).expect("a good configuration");
}

#[test]
fn a_secret_never_appears_in_a_finding() {
    let text = "postgres:\n  - name: db\n    dsn: postgres://u:hunter2@h:bad/d\n";
    assert!(!findings(text).contains("hunter2"));
}

#[test]
fn what_only_the_parts_know_is_checked_too() {
    let text = "external_url: http://me:hunter2@h/
apps:
  - name: a
    url: http://h
    metrics: http://h/metrics
    method: GE T
    headers: {'X Y': z, Authorization: \"hunter2\\u0001\"}
    tls: {ca_file: missing.pem}
  - name: b
    url: https://me@h
    tls: {server_name: '-'}
postgres:
  - name: db
    dsn: postgres://h/d?sslmode=maybe&target_session_attrs=any
certificates:
  - name: c
    file: tls/{a,b}.pem
scrapes:
  - job: a
    targets: ['h:1']
  - job: d
    targets: ['h:1']
  - job: d
    targets: ['h:x', 'h/metrics']
    interval: 1s
    timeout: 2s
";
    insta::assert_snapshot!(findings(text), @r"
    valmis.yaml:1:15: `external_url` must not hold a user or password
      hint: leave them out; to log in there, give `basic_auth: {username: …, password_file: …}`
    valmis.yaml:6:13: `method` is not a request method: `GE T`
      hint: write `GET`, `HEAD` or `POST`
    valmis.yaml:7:15: `headers`: `X Y` is not the name of a header
    valmis.yaml:7:25: `headers`: the value of `Authorization` has a character that cannot be sent
    valmis.yaml:8:20: `tls`: cannot read the trust anchors in `/etc/valmis/missing.pem`: I/O error: No such file or directory (os error 2)
    valmis.yaml:10:10: `url` must not hold a user or password
      hint: leave them out; to log in there, give `basic_auth: {username: …, password_file: …}`
    valmis.yaml:11:24: `tls`: `-` is not a server name
    valmis.yaml:14:10: `dsn` cannot be used: invalid value for `sslmode`: expected `disable`, `prefer`, `require`, `verify-ca` or `verify-full`
    valmis.yaml:14:10: `dsn` cannot be used: unknown connection parameter `target_session_attrs`
    valmis.yaml:14:10: `dsn` cannot be used: missing connection parameter `user`
    valmis.yaml:17:11: `file`: `/etc/valmis/tls/{a,b}.pem` uses `{`; only `*`, `**`, `?` and `[…]` are understood
    valmis.yaml:19:5: the app `a` is scraped as job `a` already
      hint: give this job another name, or leave `metrics` of the app out
    valmis.yaml:23:5: two entries of `scrapes` have the name `d`
    valmis.yaml:24:15: target `h:x`: invalid URL: invalid port number
    valmis.yaml:24:22: target `h/metrics`: `h/metrics` is not a valid hostname
    valmis.yaml:26:14: `timeout` is longer than `interval`
      hint: a probe must end before the next one begins
    ");
}

#[test]
fn alerts_are_relabelled_with_prometheus_keys() {
    let text = "alertmanagers:
  - url: http://am:9093
    alert_relabel_configs:
      - {source_labels: [severity], regex: info, action: drop}
alert_relabel_configs:
  - regex: replica
    action: labeldrop
";
    let config = read_text(text).expect("a good configuration");
    assert_eq!((config.alert_relabel.len(), config.alertmanagers[0].alert_relabel.len()), (1, 1));
    let text = "alert_relabel_configs:\n  - {action: lowercase}\n  - {regex: '(', target_label: a}\n";
    insta::assert_snapshot!(findings(text), @r"
    valmis.yaml:2:5: relabel configuration for lowercase action requires 'target_label' value
    valmis.yaml:3:5: error parsing regexp: missing closing ): `(`
    ");
}

#[test]
fn the_ledger_has_bounds_and_can_be_switched_off() {
    let ledger = |text: &str| read_text(text).expect("a good configuration").ledger;
    assert_eq!(ledger(""), LedgerLimits { retention_ms: 30 * 86_400_000, max_entries: 20_000 });
    let text = "ledger: {retention: 1h, max_entries: 0}";
    assert_eq!(ledger(text), LedgerLimits { retention_ms: 3_600_000, max_entries: 0 });
    assert!(findings("ledger: {max_entries: -1, size: 3}").lines().count() > 1);
}

#[test]
fn an_entry_of_prometheus_alertmanagers_is_understood() {
    let text = "alertmanagers:
  - scheme: https
    path_prefix: /am
    timeout: 5s
    api_version: v2
    static_configs:
      - targets: [a:9093, b:9093]
        labels: {zone: x}
    file_sd_configs:
      - files: [targets/*.json]
        refresh_interval: 1m
    dns_sd_configs:
      - names: [_am._tcp.example]
      - {names: [am.example], type: a, port: 9093, refresh_interval: 10s}
    authorization: {type: GenieKey, credentials: k3y}
    http_headers:
      X-Scope-OrgID: tenant
      X-More: {values: [one], secrets: [two], files: [three]}
    proxy_url: http://user:pw@proxy:3128
    no_proxy: 10.0.0.0/8
    relabel_configs:
      - {source_labels: [zone], regex: y, action: drop}
  - static_configs: [{targets: [c:9093]}]
";
    let config = read_text(text).expect("a good configuration");
    let set = &config.alertmanagers[0];
    assert_eq!((set.scheme.as_str(), set.path_prefix.as_str()), ("https", "/am"));
    assert_eq!(set.timeout, Duration::from_secs(5));
    assert_eq!(set.discovery.groups[0].targets, ["a:9093", "b:9093"]);
    assert_eq!(set.discovery.files[0].patterns, [std::path::Path::new("/etc/valmis/targets/*.json")]);
    let types: Vec<_> = set.discovery.dns.iter().map(|dns| (dns.record_type.as_str(), dns.port)).collect();
    assert_eq!(types, [("SRV", 0), ("A", 9093)]);
    let credentials = SecretSource::Value(Secret::new("k3y"));
    assert_eq!(set.http.auth, Some(HttpAuth::Other { scheme: "GenieKey".to_owned(), credentials }));
    let headers: Vec<&str> = set.http.headers.iter().map(|header| header.name.as_str()).collect();
    assert_eq!(headers, ["x-scope-orgid", "x-more", "x-more", "x-more"]);
    assert_eq!(set.http.headers[3].value, SecretSource::File("/etc/valmis/three".into()));
    assert_eq!(set.relabel.len(), 1);
    let shown = format!("{config:?}");
    assert!(!shown.contains("k3y") && !shown.contains("pw@"), "{shown}");
    assert_eq!(config.alertmanagers[1].timeout, Duration::from_secs(10));
}

#[test]
fn everything_wrong_with_alertmanagers_is_reported() {
    let text = "alertmanagers:
  - timeout: 5s
  - {url: 'http://a', scheme: https, static_configs: [{targets: [b]}]}
  - {url: 'http://a', api_version: v1, authorization: {type: Basic}, bearer_token: t, basic_auth: {username: u}}
  - static_configs: [{targets: ['http://a:9093']}, {labels: {a: b}}]
  - dns_sd_configs: [{names: [a], type: A}, {names: [a], type: MX, port: 1}, {type: SRV}]
  - {url: 'http://a', http_headers: {Host: h, 'a b': c, x: {value: d}}, proxy_url: 'socks5://h', no_proxy: x}
  - {url: 'http://a', tls: {cert_file: c.pem}, tls_config: {ca_file: missing.pem}}
";
    insta::assert_snapshot!(findings(text), @r"
    valmis.yaml:2:5: an Alertmanager needs `url`, or where to find it
      hint: give `url`, `static_configs`, `dns_sd_configs` or `file_sd_configs`
    valmis.yaml:3:11: `url` says where an Alertmanager is, and so does another key
      hint: `scheme`, `path_prefix` and discovery stand in place of `url`
    valmis.yaml:4:36: expected Alertmanager api version to be one of [v2] but got v1
    valmis.yaml:4:55: `authorization` type cannot be set to `basic`, use `basic_auth` instead
    valmis.yaml:4:99: give one of `basic_auth`, a bearer token and `authorization`, not several
    valmis.yaml:5:22: `http://a:9093` is not a valid hostname: an address has neither scheme nor path
    valmis.yaml:5:52: a static configuration needs a value for `targets`
    valmis.yaml:6:22: a port is required in DNS-SD configs for all record types except SRV
    valmis.yaml:6:64: invalid DNS-SD records type MX
      hint: write `A`, `AAAA` or `SRV`
    valmis.yaml:6:78: a DNS discovery needs a value for `names`
    valmis.yaml:7:38: setting header `Host` is not allowed
    valmis.yaml:7:47: `http_headers`: `a b` is not the name of a header
    valmis.yaml:7:61: a header has no key `value`
      hint: did you mean `values`?
    valmis.yaml:7:84: `proxy_url` is not a usable URL: it must begin with `http://` or `https://`
    valmis.yaml:7:108: `no_proxy` needs a `proxy_url`
    valmis.yaml:8:40: `cert_file` and `key_file` are only of use together
    valmis.yaml:8:60: `tls` and `tls_config` mean the same; give one of them
    ");
}

#[test]
fn drills_have_an_alert_and_times() {
    let config =
        read_text("drills: [{alert: A}, {alert: B, interval: 1m, labels: {severity: x}, echo: true}]");
    let drills = config.expect("a good configuration").drills;
    let times = |index: usize| (drills[index].interval.as_secs(), drills[index].drill.timeout.as_secs());
    assert_eq!((times(0), times(1)), ((86_400, 300), (60, 60)));
    assert!(drills[1].drill.echo && drills[1].drill.labels.get("severity") == "x");
    let text =
        findings("drills: [{interval: 1m}, {alert: A, interval: 1m, timeout: 2m}, {alert: C}, {alert: C}]");
    for expected in ["`alert`", "`timeout` is longer", "have the name `C`"] {
        assert!(text.contains(expected), "no {expected} in {text}");
    }
}

#[test]
fn rules_are_given_to_sources() {
    let text = "sources:
  - name: a
    url: http://prometheus:9090
    timeout: 10s
    http_headers: {X-Scope-OrgID: team}
    params: {dedup: 'true'}
    remote_write: http://prometheus:9090/api/v1/write
  - name: b
    url: https://mimir/prometheus
    remote_write: {url: 'https://mimir/api/v1/push', bearer_token: t}
rules:
  - builtin
  - local.yaml
  - {files: a/*.yaml, source: a}
  - {files: [b.yaml, c.yaml], groups: slow, source: b}
";
    let config = read_text(text).expect("a good configuration");
    let [a, b] = config.sources.as_slice() else { panic!("{:?}", config.sources) };
    assert_eq!((a.timeout, b.timeout), (Duration::from_secs(10), Duration::from_secs(30)));
    assert_eq!(a.parameters, [("dedup".to_owned(), "true".to_owned())]);
    let write_back = |source: &SourceConfig| source.write_back.clone().expect("it writes back");
    assert_eq!(write_back(a).http, a.http);
    assert_eq!(write_back(b).http.auth, Some(HttpAuth::Bearer(SecretSource::Value(Secret::new("t")))));
    assert!(config.rules.builtin);
    let files = ["local.yaml", "a/*.yaml", "b.yaml", "c.yaml"].map(|file| format!("/etc/valmis/{file}"));
    assert_eq!(config.rules.files, files);
    assert_eq!(config.rules.sources[0].files, files[1..2]);
    let last = &config.rules.sources[1];
    assert_eq!((last.source.as_str(), last.groups.as_slice()), ("b", ["slow".to_owned()].as_slice()));

    let text = "sources:
  - {name: prod, url: 'ftp://x'}
  - {name: prod2, url: 'http://h', remote_write: nowhere}
  - {name: prod2, url: 'http://h', remote_write: {}}
rules:
  - {files: a.yaml, source: prod22}
  - {files: a.yaml}
  - {source: other, group: x, files: a.yaml}
";
    insta::assert_snapshot!(findings(text), @r"
    valmis.yaml:2:23: `url` is not a usable URL: it must begin with `http://` or `https://`
    valmis.yaml:3:50: `remote_write` is not a usable URL: relative URL without a base
    valmis.yaml:4:5: two entries of `sources` have the name `prod2`
    valmis.yaml:4:50: `remote_write` needs a value for `url`
    valmis.yaml:6:29: there is no source `prod22`
      hint: did you mean `prod2`?
    valmis.yaml:7:5: an entry of `rules` needs a value for `source`
    valmis.yaml:8:14: there is no source `other`
      hint: name it under `sources`, with its URL
    valmis.yaml:8:21: an entry of `rules` has no key `group`
      hint: did you mean `groups`?
    ");
}

#[test]
fn heartbeats_are_read_and_their_faults_reported() {
    let text = "heartbeat:
  - {name: outside, url: 'https://hc.example/s3cret', method: post, interval: 30s, tied_to: [evaluation]}
  - {name: other, url_file: token, http_headers: {X-Key: k}}
pings: [{name: backup, period: 1d, grace: 1h}, {name: sync, period: 5m}]
";
    let config = read_text(text).expect("a good configuration");
    let (first, second) = (&config.heartbeat[0], &config.heartbeat[1]);
    assert_eq!(
        (first.method.as_str(), first.interval, first.ties.delivery),
        ("POST", Duration::from_secs(30), false)
    );
    assert_eq!((second.method.as_str(), second.ties.delivery), ("GET", true));
    assert_eq!(second.url, SecretSource::File("/etc/valmis/token".into()));
    assert_eq!(config.pings[1].grace, Duration::from_mins(5));
    assert!(!format!("{config:?}").contains("s3cret"));
    let text = "heartbeat: [{name: a}, {name: b, url: s3cret, tied_to: [luck]}]
pings: [{name: a/b, period: 1d}, {name: c}, {name: d, period: 1m}, {name: d, period: 1m}]
";
    insta::assert_snapshot!(findings(text), @r"
    valmis.yaml:1:13: a heartbeat needs a value for `url`
      hint: `url_file` and `url_env` keep it out of this file: who knows it can pretend that all is well
    valmis.yaml:1:24: `url` is not a usable URL: it must begin with `http://` or `https://`
    valmis.yaml:1:57: `tied_to` knows nothing of `luck`
      hint: there are `evaluation` and `delivery`
    valmis.yaml:2:16: `a/b` cannot be part of a path
      hint: use letters, digits, `-`, `_` and `.`
    valmis.yaml:2:34: a ping needs a value for `period`
    valmis.yaml:2:68: two entries of `pings` have the name `d`
    ");
}

#[test]
fn certificates_lie_in_files_directories_and_kubeconfigs() {
    let pattern = |text: &str| Glob::parse(text).expect("a pattern");
    let check = |text: &str, expected: CertificateFiles| {
        let config =
            read_text(&format!("certificates: [{{name: a, {text}}}]")).expect("a good configuration");
        assert_eq!(config.certificates[0].source, CertificateSource::Files(expected), "{text}");
    };
    let one = CertificateFiles::new(pattern("/tls/a.pem"));
    check("file: /tls/a.pem", one.clone());
    let two = vec![pattern("/tls/a.pem"), pattern("/etc/valmis/b.p12")];
    let password = Some(SecretSource::File("/etc/valmis/p12".into()));
    let exclude = vec![pattern("/tls/old*")];
    let keystores = CertificateFiles { kind: SourceKind::File, patterns: two, exclude, password };
    check("file: [/tls/a.pem, b.p12], exclude: /tls/old*, password_file: p12", keystores);
    let both = CertificateFiles { patterns: vec![pattern("/b.pem"), pattern("/tls/*")], ..one.clone() };
    check("directory: /tls, file: /b.pem", both);
    let patterns = vec![pattern("/etc/kubernetes/*.conf")];
    let clients = CertificateFiles { kind: SourceKind::Kubeconfig, patterns, ..one };
    check("kubeconfig: /etc/kubernetes/*.conf", clients);
}

#[test]
fn files_of_certificates_that_contradict_one_another_are_refused() {
    let text = "certificates:
- {name: a, file: /a, kubeconfig: /b}
- {name: b, url: 'https://h', password_file: p}
- {name: c}
- {name: d, directory: ['/{a}', [], /b]}
";
    insta::assert_snapshot!(findings(text), @"
    valmis.yaml:2:35: `kubeconfig` belongs into an entry of its own, without `file` and `directory`
    valmis.yaml:3:3: `exclude` and a password belong to `file`, `directory` or `kubeconfig`
    valmis.yaml:4:3: a certificate needs `url`, or one of `file`, `directory` and `kubeconfig`, or both to have them compared
    valmis.yaml:5:25: `directory`: `/{a}/*` uses `{`; only `*`, `**`, `?` and `[…]` are understood
    valmis.yaml:5:33: `directory` must be a text, not a list
    ");
}
