//! Changes of the configuration while the program runs: what is new comes, what is gone goes without a trace, what
//! is as before keeps its state, and a file with a fault changes nothing.

use std::collections::BTreeMap;
use std::fs;

use reqwest::StatusCode;
use rustix::process::Signal;
use serde_json::Value;

use crate::real::app::App;
use crate::real::tls_server::TlsServer;
use crate::real::valmis::{COMMON, NO_DISK, Valmis};
use crate::real::{eventually, turn};

/// A metric and one of its labels, as both the page and PromQL write it.
type Series<'a> = (&'a str, &'a str);

/// One change of the configuration.
struct Change<'a> {
    what: &'static str,
    /// A section of the configuration, and what it says from now on.
    section: (&'static str, String),
    appears: Vec<Series<'a>>,
    disappears: Vec<Series<'a>>,
    /// Components that begin anew. Those that are new need not be named.
    begins_anew: &'a [&'a str],
}

/// A configuration by sections, as files beside each other.
struct Watched {
    valmis: Valmis,
    sections: BTreeMap<&'static str, String>,
}

const MODULES: &str = "modules: {alive: {prober: tcp}}\n";
const WEB: &str = "http_server_config: {headers: {X-Frame-Options: deny}}\n";

impl Watched {
    async fn start(sections: BTreeMap<&'static str, String>) -> Self {
        let valmis = Valmis::start(&format!("{COMMON}{NO_DISK}")).await;
        let mut watched = Self { valmis, sections: BTreeMap::new() };
        watched.write("modules.yml", MODULES);
        watched.sections = sections;
        watched.configure();
        watched.reload().await;
        watched
    }

    fn write(&self, file: &str, text: &str) {
        fs::write(self.valmis.file(file), text).unwrap();
    }

    fn configure(&self) {
        let sections: Vec<_> = self.sections.iter().map(|(key, text)| format!("{key}: {text}\n")).collect();
        self.valmis.configure(&format!("{COMMON}{NO_DISK}{}", sections.concat()));
    }

    async fn reload(&self) {
        let (status, said) = self.valmis.post("/-/reload").await;
        assert_eq!((status, said.as_str()), (StatusCode::OK, ""));
    }

    /// Since when each component has been in its state, once all have one.
    async fn states(&self) -> BTreeMap<String, String> {
        eventually("a state of each component", async || {
            let report = self.valmis.json("/readiness").await;
            let components = report["components"].as_array().unwrap();
            let state = |one: &Value| {
                let settled = one["state"] != "unknown";
                let name = format!("{}/{}", one["component"].as_str()?, one["name"].as_str()?);
                settled.then(|| (name, one["since"].to_string()))
            };
            let states: Option<BTreeMap<_, _>> = components.iter().map(state).collect();
            states.ok_or_else(|| format!("{report:#}"))
        })
        .await
    }

    /// Waits until the page and the store have and have not these series.
    async fn shows(&self, what: &str, present: &[Series<'_>], absent: &[Series<'_>]) {
        eventually(what, async || {
            let (_, page) = self.valmis.get("/metrics").await;
            for ((metric, label), expected) in
                present.iter().map(|series| (series, true)).chain(absent.iter().map(|series| (series, false)))
            {
                let begins = format!("{metric}{{");
                let shown = page.lines().any(|line| line.starts_with(&begins) && line.contains(label));
                let query: String =
                    url::form_urlencoded::byte_serialize(format!("{metric}{{{label}}}").as_bytes()).collect();
                let answer = self.valmis.json(&format!("/api/v1/query?query={query}")).await;
                let stored = answer["data"]["result"].as_array().is_some_and(|found| !found.is_empty());
                if (shown, stored) != (expected, expected) {
                    return Err(format!(
                        "{metric}{{{label}}}: shown {shown}, stored {stored}\n{}",
                        self.valmis.log()
                    ));
                }
            }
            Ok(())
        })
        .await;
    }

    async fn change(&mut self, change: Change<'_>) {
        let Change { what, section: (key, text), appears, disappears, begins_anew } = change;
        let before = self.states().await;
        self.shows(what, &disappears, &appears).await;
        self.sections.insert(key, text);
        self.configure();
        self.reload().await;
        self.shows(what, &appears, &disappears).await;
        let after = self.states().await;
        for (name, since) in &before {
            let anew = begins_anew.contains(&name.as_str());
            if let Some(now) = after.get(name).filter(|_| !anew) {
                assert_eq!(now, since, "{what}: {name} has lost its state");
            }
        }
    }

    /// Has a fault in a file, by reload and by signal, and then mends it.
    async fn refuses(&self, file: &str, bad: &str, place: &str) {
        let (states, good) = (self.states().await, fs::read_to_string(self.valmis.file(file)).unwrap());
        self.write(file, bad);
        let (status, said) = self.valmis.post("/-/reload").await;
        assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR, "{bad}");
        assert!(said.contains(place), "{bad}: {said}");
        let refused = |log: &str| log.matches("the previous one stays in force").count();
        let before = refused(&self.valmis.log());
        self.valmis.signal(Signal::HUP);
        eventually("the refusal of what the signal brought", async || {
            let log = self.valmis.log();
            if refused(&log) > before { Ok(()) } else { Err(log) }
        })
        .await;
        assert_eq!(self.states().await, states, "{bad}");
        self.write(file, &good);
        self.reload().await;
        assert_eq!(self.states().await, states, "{bad}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_changes_comes_and_goes_and_all_else_keeps_its_state() {
    let _turn = turn().await;
    let (app, server) = (App::start().await, TlsServer::start().await);
    let files = tempfile::tempdir().unwrap();
    server.write_certificate(&files.path().join("server.pem"));
    fs::write(files.path().join("backup.prom"), "backup_last_success_timestamp_seconds 7\n").unwrap();
    let folder = files.path().display();
    let postgres = |ports: &[u16]| {
        let server =
            |port: &u16| format!("{{name: p{port}, dsn: 'postgres://u@127.0.0.1:{port}/d', interval: 1s}}");
        format!("[{}]", ports.iter().map(server).collect::<Vec<_>>().join(", "))
    };
    let probe = |module: &str, targets: &[&str]| {
        format!(
            "[{{name: alive, module: {module}, targets: [{}], readiness: true, interval: 1s}}]",
            targets.join(", ")
        )
    };
    let (one, other) = (app.address.to_string(), server.address.to_string());
    let sections = BTreeMap::from([
        ("apps", format!("[{{name: shop, url: '{}', interval: 1s}}]", app.url("/health"))),
        ("blackbox", "{config_file: modules.yml}".to_owned()),
        ("certificates", format!("[{{name: files, file: '{folder}/*.pem', interval: 1s}}]")),
        ("machine", format!("{{interval: 1s, textfile_directory: '{folder}'}}")),
        ("postgres", postgres(&[1])),
        ("probes", probe("alive", &[&one])),
        ("redis", "[{name: cache, address: '127.0.0.1:1', interval: 1s}]".to_owned()),
    ]);
    let mut watched = Watched::start(sections).await;
    let instance = |address: &str| format!("instance=\"{address}\"");
    let (of_one, of_other) = (instance(&one), instance(&other));
    let localhost = format!("localhost:{}", server.address.port());
    let of_localhost = instance(&localhost);
    let (backup, load) =
        (("backup_last_success_timestamp_seconds", "job=\"node\""), ("node_load1", "job=\"node\""));
    let network = ("node_network_receive_bytes_total", "device=\"lo\"");
    let changes = [
        Change {
            what: "a server more",
            section: ("postgres", postgres(&[1, 2])),
            appears: vec![("pg_up", "instance=\"127.0.0.1:2\"")],
            disappears: vec![],
            begins_anew: &[],
        },
        Change {
            what: "a server less",
            section: ("postgres", postgres(&[2])),
            appears: vec![],
            disappears: vec![("pg_up", "instance=\"127.0.0.1:1\"")],
            begins_anew: &[],
        },
        Change {
            what: "a target more, which gives the probe of the other another name",
            section: ("probes", probe("alive", &[&one, &other])),
            appears: vec![("probe_success", &of_other)],
            disappears: vec![],
            begins_anew: &[],
        },
        Change {
            what: "a target less",
            section: ("probes", probe("alive", &[&one])),
            appears: vec![],
            disappears: vec![("probe_success", &of_other)],
            begins_anew: &[],
        },
        Change {
            what: "a server instead of files",
            section: (
                "certificates",
                format!(
                    "[{{name: served, url: '{localhost}', interval: 1s, tls: {{insecure_skip_verify: true}}}}]"
                ),
            ),
            appears: vec![("probe_ssl_earliest_cert_expiry", &of_localhost)],
            disappears: vec![("x509_source_up", "source_name=\"files\"")],
            begins_anew: &[],
        },
        Change {
            what: "a collector less",
            section: (
                "machine",
                format!("{{interval: 1s, textfile_directory: '{folder}', disabled_collectors: [netdev]}}"),
            ),
            appears: vec![],
            disappears: vec![network],
            begins_anew: &["machine/host"],
        },
        Change {
            what: "no files of jobs",
            section: ("machine", "{interval: 1s, disabled_collectors: [netdev]}".to_owned()),
            appears: vec![],
            disappears: vec![backup],
            begins_anew: &[],
        },
        Change {
            what: "nothing of the machine",
            section: ("machine", "{enabled: false}".to_owned()),
            appears: vec![],
            disappears: vec![load],
            begins_anew: &[],
        },
        Change {
            what: "no cache",
            section: ("redis", "[]".to_owned()),
            appears: vec![],
            disappears: vec![("redis_up", "job=\"redis\"")],
            begins_anew: &[],
        },
    ];
    watched.shows("what was there all the time", &[backup, load, ("probe_success", &of_one)], &[]).await;
    for change in changes {
        watched.change(change).await;
        watched.shows("what was there all the time", &[("probe_success", &of_one)], &[]).await;
    }

    // The file of modules is part of the configuration, with its faults.
    watched.write(
        "modules.yml",
        "modules: {alive: {prober: tcp, tcp: {query_response: [{expect: never}]}, timeout: 500ms}}\n",
    );
    watched.reload().await;
    eventually("the other module", async || {
        let component = watched.valmis.component("probe", "alive").await;
        if component["state"] == "not_ready" { Ok(()) } else { Err(format!("{component:#}")) }
    })
    .await;
    watched.refuses("modules.yml", "modules: {alive: {prober: tcpp}}\n", "modules.yml:1:27: ").await;
    watched.refuses("valmis.yaml", "postgres: [{name: a, dsn: 7}]\n", "valmis.yaml:1:27: ").await;
    watched.refuses("valmis.yaml", "machine: {procfs: proc}\n", "valmis.yaml:1:19: ").await;
    watched.refuses("valmis.yaml", "certificates: [{name: a}]\n", "valmis.yaml:1:16: ").await;
    let missing = "alertmanagers: [{url: 'https://a/', tls: {ca_file: /nowhere}}]\npostgres: []\n";
    watched.refuses("valmis.yaml", missing, "/nowhere").await;
    watched.shows("what was there all the time", &[("pg_up", "instance=\"127.0.0.1:2\"")], &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_web_configuration_is_reloaded_with_all_else_or_refused_with_it() {
    let _turn = turn().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("web.yml");
    fs::write(&file, WEB).unwrap();
    let configuration =
        |more: &str| format!("{COMMON}{NO_DISK}web: {{config_file: '{}'}}\n{more}", file.display());
    let valmis = Valmis::start(&configuration("")).await;
    let frame = async || {
        let answer =
            crate::real::http().get(format!("http://{}/health", valmis.address)).send().await.unwrap();
        answer.headers()["x-frame-options"].to_str().unwrap().to_owned()
    };
    let names = async || {
        let report = valmis.json("/readiness").await;
        let components = report["components"].as_array().unwrap();
        components.iter().map(|one| one["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(frame().await, "deny");
    fs::write(&file, WEB.replace("deny", "sameorigin")).unwrap();
    assert_eq!(valmis.post("/-/reload").await.0, StatusCode::OK);
    assert_eq!(frame().await, "sameorigin");

    let before = names().await;
    valmis.configure(&configuration("redis: [{name: cache, address: '127.0.0.1:1'}]\n"));
    for (bad, expected) in [
        ("rate_limit: {interval: soon, burst: 1}\n", "web.yml:1:24: "),
        ("http_server_config: {headers: {X-Frame-Options: no}}\n", "web.yml:1:"),
    ] {
        fs::write(&file, bad).unwrap();
        let (status, said) = valmis.post("/-/reload").await;
        assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR, "{said}");
        assert!(said.contains(expected), "{bad}: {said}");
        assert_eq!((frame().await.as_str(), names().await), ("sameorigin", before.clone()), "{bad}");
    }
    fs::write(&file, WEB).unwrap();
    assert_eq!(valmis.post("/-/reload").await.0, StatusCode::OK);
    assert_eq!(frame().await, "deny");
    assert_eq!(names().await.len(), before.len() + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_and_the_step_of_subqueries_change_with_the_configuration() {
    let _turn = turn().await;
    let rules = "groups: [{name: g, interval: 1s, rules: [{alert: A, expr: 'vector(1)', annotations: {link: '{{ externalURL }}'}}]}]\n";
    let files = [("rules.yaml".to_owned(), rules.to_owned())];
    let configuration = |url: &str, interval: &str| {
        format!("{NO_DISK}rules: [./rules/*.yaml]\nexternal_url: {url}\nevaluation_interval: {interval}\n")
    };
    let valmis = Valmis::start_with(&configuration("http://one.example", "10s"), &files).await;
    let shows = async |url: &str, instants: &str| {
        eventually("what the configuration says", async || {
            let alerts = valmis.json("/api/v1/alerts").await;
            let link = alerts["data"]["alerts"][0]["annotations"]["link"].clone();
            let query = "count_over_time(vector(1)%5B1m:%5D)";
            let answer = valmis.json(&format!("/api/v1/query?query={query}")).await;
            let count = answer["data"]["result"][0]["value"][1].clone();
            if (link.as_str(), count.as_str()) == (Some(url), Some(instants)) {
                Ok(())
            } else {
                Err(format!("{link} {count}"))
            }
        })
        .await;
    };
    shows("http://one.example", "6").await;
    let since = valmis.json("/api/v1/alerts").await["data"]["alerts"][0]["activeAt"].clone();
    valmis.configure(&configuration("http://two.example", "30s"));
    assert_eq!(valmis.post("/-/reload").await, (StatusCode::OK, String::new()));
    shows("http://two.example", "2").await;
    assert_eq!(valmis.json("/api/v1/alerts").await["data"]["alerts"][0]["activeAt"], since);
}
