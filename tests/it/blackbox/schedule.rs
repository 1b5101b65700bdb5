//! Probes on a schedule, and what is kept of results.

use std::fs;

use serde_json::json;

use super::*;
use crate::real::eventually;

const MODULES: &str = "
modules:
  http_2xx: {prober: http, timeout: 900ms}
  tcp_connect: {prober: tcp}
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn configured_probes_have_job_instance_and_labels_everywhere() {
    let target = target().await;
    let probes = format!(
        "probes:\n- {{name: site, module: http_2xx, targets: ['http://{target}/a', 'http://{target}/slow'], \
         labels: {{team: web}}, interval: 1s, timeout: 1s}}\n- {{name: port, module: tcp_connect, target: \
         '{target}', interval: 1s, readiness: true}}\n"
    );
    let fixture = Fixture::start(MODULES, "", &probes).await;
    let (_, page) = fixture.valmis.get("/metrics").await;
    for (series, value) in [
        (format!("probe_success{{instance=\"http://{target}/a\",job=\"site\",team=\"web\"}}"), "1"),
        (format!("probe_success{{instance=\"http://{target}/slow\",job=\"site\",team=\"web\"}}"), "0"),
        (format!("probe_timeout_seconds{{instance=\"http://{target}/a\",job=\"site\",team=\"web\"}}"), "0.9"),
        (format!("probe_success{{instance=\"{target}\",job=\"port\"}}"), "1"),
        ("valmis_component_ready{component=\"probe\",name=\"port\"}".to_owned(), "1"),
    ] {
        let line = format!("{series} {value}");
        assert!(page.lines().any(|found| found == line), "no {line} in {page}");
    }
    // What does not count has no state, and its failures make nothing unready.
    assert!(!page.contains("name=\"site"), "{page}");
    let components = fixture.valmis.json("/readiness").await;
    let names: Vec<_> = components["components"].as_array().unwrap().iter().map(|one| &one["name"]).collect();
    assert_eq!(names, [&json!("/dev/shm"), &json!("host"), &json!("port")]);
    eventually("samples in the store", async || {
        let answer = fixture.valmis.json("/api/v1/query?query=sum(probe_success)by(job,team)").await;
        let found = answer["data"]["result"].as_array().map_or(0, Vec::len);
        if found == 2 { Ok(()) } else { Err(answer.to_string()) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failures_are_kept_longer_than_successes_each_with_its_log() {
    let target = target().await;
    let more = format!("{OPEN}  history: {{successes: 2, failures: 3}}\n");
    let fixture = Fixture::start(MODULES, &more, "").await;
    let (good, bad) = (format!("http://{target}/"), format!("http://{target}/to?url=ftp://a/"));
    for _ in 0..4 {
        fixture.probe(&[("target", &bad)]).await;
    }
    for _ in 0..4 {
        fixture.probe(&[("target", &good)]).await;
    }
    let list = async |query: &str| {
        let answer = fixture.valmis.json(&format!("/api/v1/probes?module=http_2xx{query}")).await;
        answer["data"].as_array().unwrap().clone()
    };
    let all = list("").await;
    let successes: Vec<bool> = all.iter().map(|one| one["success"].as_bool().unwrap()).collect();
    assert_eq!(successes, [true, true, false, false, false], "{all:#?}");
    assert_eq!(list("&success=false").await.len(), 3);
    let failed = &list("&limit=1&success=false").await[0];
    assert_eq!((failed["target"].as_str(), failed["origin"].as_str()), (Some(bad.as_str()), Some("asked")));
    assert!(failed["reason"].as_str().unwrap().contains("ftp"), "{failed}");
    let id = failed["id"].as_u64().unwrap();
    let details = fixture.valmis.json(&format!("/api/v1/probes/{id}")).await["data"].clone();
    assert!(details["log"].as_array().unwrap().len() > 1, "{details}");
    let success = details["samples"]
        .as_array()
        .unwrap()
        .iter()
        .find(|sample| sample["metric"]["__name__"] == "probe_success");
    assert_eq!(success.unwrap()["value"], "0");
    let (status, page) = fixture.valmis.get("/probes?success=false").await;
    assert_eq!(status, StatusCode::OK);
    assert!(page.contains(&format!("/logs?id={id}")), "{page}");
    // blackbox exporter's own page of a result.
    let (status, log) = fixture.valmis.get(&format!("/logs?id={id}")).await;
    assert_eq!(status, StatusCode::OK);
    assert!(log.contains("probe_success 0\n") && log.contains("Module configuration:\n"), "{log}");
    for (path, status, text) in [
        ("/logs", 400, "Probe id or target must be defined as http query parameters\n"),
        ("/logs?id=1&target=x", 400, "Probe id and target can't be defined at the same time\n"),
        ("/logs?id=1&module=x", 400, "Probe module filter only works in conjunction with target parameter\n"),
        ("/logs?id=999999", 404, "Probe id not found\n"),
        ("/logs?target=x&module=y", 404, "Probe target not found\n"),
    ] {
        let (found, said) = fixture.valmis.get(path).await;
        assert_eq!((found.as_u16(), said.as_str()), (status, text), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_watched_anyway_has_a_history_too() {
    let app = target().await;
    let apps = format!("apps: [{{name: backend, url: 'http://{app}/', interval: 1s}}]\n");
    let fixture = Fixture::start(MODULES, "", &apps).await;
    let found = fixture.valmis.json("/api/v1/probes?module=app&target=backend").await;
    let first = &found["data"][0];
    assert_eq!(
        (first["success"].as_bool(), first["origin"].as_str()),
        (Some(true), Some("scheduled")),
        "{found}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_probe_whose_module_changes_is_probed_the_new_way() {
    let target = target().await;
    let probes =
        format!("probes: [{{name: site, module: http_2xx, target: 'http://{target}/', interval: 1s}}]\n");
    let fixture = Fixture::start(MODULES, "", &probes).await;
    let text = "modules: {http_2xx: {prober: http, http: {valid_status_codes: [404]}}}\n";
    fs::write(fixture.module_file(), text).unwrap();
    assert_eq!(fixture.valmis.post("/-/reload").await.0, StatusCode::OK);
    let series = format!("probe_success{{instance=\"http://{target}/\",job=\"site\"}} 0");
    eventually("failure", async || {
        let (_, page) = fixture.valmis.get("/metrics").await;
        if page.lines().any(|line| line == series) { Ok(()) } else { Err(page) }
    })
    .await;
}
