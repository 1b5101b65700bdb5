//! What valmis is for: something breaks, somebody is told once; it is repaired, somebody is told once.
//! All parts are real: the things that break, valmis as a process, Alertmanager, and a webhook at its end.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use valmis::clock::{Clock as _, SystemClock};
use valmis::model::{Labels, Sample};

use crate::real::alertmanager::Alertmanager;
use crate::real::app::{App, Mood};
use crate::real::disk::Disk;
use crate::real::postgres::Cluster;
use crate::real::tls_server::TlsServer;
use crate::real::valmis::{COMMON, FOR_SECONDS, NO_DISK, Valmis, all_quick_rules, quick_rules};
use crate::real::webhook::{Notification, Webhook};
use crate::real::{eventually, remote_write, say, turn};

/// What a busy machine may add to the times that follow from the configuration.
const SLACK: Duration = Duration::from_secs(8);

/// valmis, an Alertmanager and a webhook.
struct Line {
    webhook: Webhook,
    alertmanager: Alertmanager,
    valmis: Valmis,
}

impl Line {
    /// Starts all of them; valmis watches what `components` says and finds nothing wrong with it.
    async fn start(components: &str, rules: &[(String, String)]) -> Option<Self> {
        let webhook = Webhook::start().await;
        let alertmanager = Alertmanager::start(&webhook).await?;
        let url = format!("alertmanagers: [{{url: 'http://{}'}}]\n", alertmanager.address);
        let valmis = Valmis::start_with(&format!("{COMMON}{url}{components}"), rules).await;
        valmis.wait_all_ready().await;
        webhook.wait_for("firing", "Watchdog").await;
        valmis.wait_two_evaluations().await;
        assert_eq!(valmis.alerts().await, [], "nothing is wrong yet");
        Some(Self { webhook, alertmanager, valmis })
    }

    /// Waits for the page and says how long after `since` it came.
    async fn paged(&self, alert: &str, since: Instant) -> Duration {
        let page = self.webhook.wait_for("firing", alert).await;
        page.received.duration_since(since)
    }

    /// Waits until everything has come out, and checks that it was this, in this order.
    async fn ends_with(&self, story: &[&str]) {
        self.webhook.wait_for(story[story.len() - 1].split(' ').next().unwrap(), last_word(story)).await;
        self.valmis.wait_two_evaluations().await;
        self.alertmanager.flush(&self.webhook).await;
        assert_eq!(self.webhook.story(), story, "{:#?}", self.webhook.all());
    }
}

fn last_word<'a>(story: &[&'a str]) -> &'a str {
    story[story.len() - 1].rsplit(' ').next().unwrap()
}

/// The page has to come within the time that follows from the configuration: the next probe, the hold
/// duration, two evaluations (one that finds the fault and one that finds that it has held).
fn check_delay(alert: &str, delay: Duration) {
    let due = Duration::from_secs(1 + FOR_SECONDS + 2);
    say(&format!(
        "{alert}: paged {:.1} s after the fault (due within {} s)",
        delay.as_secs_f64(),
        due.as_secs()
    ));
    assert!(delay <= due + SLACK, "{alert}: {delay:?}");
}

fn app_configuration(app: &App) -> String {
    format!("{NO_DISK}apps: [{{name: backend, url: '{}', interval: 1s}}]\n", app.url("/health"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_app_that_goes_down_pages_once_and_its_return_is_told_once() {
    let _turn = turn().await;
    let mut app = App::start().await;
    let Some(line) = Line::start(&app_configuration(&app), &quick_rules()).await else { return };
    let broken = Instant::now();
    app.stop().await;
    check_delay("ApplicationDown", line.paged("ApplicationDown", broken).await);
    app.restart().await;
    line.ends_with(&["firing ApplicationDown", "resolved ApplicationDown"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_ladder_of_severities_one_step_fires_at_a_time() {
    let _turn = turn().await;
    let rule = "groups: [{name: ladder, rules: [{alert: Full, expr: used_percent > 80, annotations: \
                {valmis_severities: 'warning > 80, critical > 95'}}]}]";
    let mut rules = quick_rules();
    rules.push(("ladder.yaml".to_owned(), rule.to_owned()));
    let components = format!("{NO_DISK}storage: {{remote_write_receiver: true}}\n");
    let Some(line) = Line::start(&components, &rules).await else { return };
    let report = async |percent: f64| {
        let labels = Labels::from_pairs([("__name__", "used_percent"), ("disk", "a")]);
        let now = SystemClock.now();
        remote_write::send(line.valmis.address, &[Sample::new(labels, now, percent)]).await;
    };
    let told = async |status: &str, severity: &str| {
        let is_it = |one: &Notification| {
            one.alert() == "Full" && one.status == status && one.labels["severity"] == severity
        };
        line.webhook.wait_until(&format!("{status} with severity {severity}"), is_it).await
    };
    report(85.0).await;
    let warning = told("firing", "warning").await;
    report(99.0).await;
    let critical = told("firing", "critical").await;
    assert_eq!(critical.starts_at, warning.starts_at, "it is the same incident");
    told("resolved", "warning").await;
    report(10.0).await;
    told("resolved", "critical").await;
    line.valmis.wait_two_evaluations().await;
    line.alertmanager.flush(&line.webhook).await;
    assert_eq!(line.webhook.all().len(), 4, "{:#?}", line.webhook.all());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failing_requests_page_once_and_their_end_is_told_once() {
    let _turn = turn().await;
    let app = App::start().await;
    let components = format!(
        "{NO_DISK}apps: [{{name: backend, interval: 1s, url: '{}', metrics: '{}'}}]\n",
        app.url("/health"),
        app.url("/metrics")
    );
    let Some(line) = Line::start(&components, &quick_rules()).await else { return };
    let broken = Instant::now();
    app.set(Mood::Erring);
    let delay = line.paged("HighErrorRate", broken).await;
    say(&format!("HighErrorRate: paged {:.1} s after the fault", delay.as_secs_f64()));
    app.set(Mood::Healthy);
    line.ends_with(&["firing HighErrorRate", "resolved HighErrorRate"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_killed_pages_once_and_its_return_is_told_once() {
    let _turn = turn().await;
    let Some(mut cluster) = Cluster::start("").await else { return };
    cluster.execute("CREATE ROLE monitor LOGIN PASSWORD 'right'; GRANT pg_monitor TO monitor;").await;
    let components = format!(
        "{NO_DISK}postgres: [{{name: appdb, interval: 1s, password: right, dsn: \"host=localhost hostaddr=127.0.0.1 \
         port={} user=monitor dbname=postgres sslmode=verify-full sslrootcert={}\"}}]\n",
        cluster.port,
        cluster.authority().display()
    );
    let Some(line) = Line::start(&components, &quick_rules()).await else { return };
    let broken = Instant::now();
    cluster.kill();
    check_delay("DatabaseDown", line.paged("DatabaseDown", broken).await);
    cluster.restart().await;
    line.ends_with(&["firing DatabaseDown", "resolved DatabaseDown"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_fills_up_pages_once_and_its_clearing_is_told_once() {
    let _turn = turn().await;
    let Some(disk) = Disk::mount() else { return };
    let components = format!("disks: [{{path: '{}', interval: 1s}}]\n", disk.path().display());
    let mut rules = quick_rules();
    if disk.in_memory {
        for (_, text) in &mut rules {
            *text = text.replace("\"tmpfs|", "\"");
        }
    }
    let Some(line) = Line::start(&components, &rules).await else { return };
    let broken = Instant::now();
    disk.fill();
    check_delay("DiskAlmostFull", line.paged("DiskAlmostFull", broken).await);
    disk.clear();
    line.ends_with(&["firing DiskAlmostFull", "resolved DiskAlmostFull"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_expires_pages_once_and_its_renewal_is_told_once() {
    let _turn = turn().await;
    let server = TlsServer::start().await;
    let folder = tempfile::tempdir().unwrap();
    let authority = folder.path().join("ca.pem");
    server.write_authority(&authority);
    let components = format!(
        "{NO_DISK}certificates: [{{name: web, url: 'https://localhost:{}', interval: 1s, tls: {{ca_file: '{}'}}}}]\n",
        server.address.port(),
        authority.display()
    );
    let Some(line) = Line::start(&components, &quick_rules()).await else { return };
    let broken = Instant::now();
    server.expire();
    check_delay("CertificateExpired", line.paged("CertificateExpired", broken).await);
    server.renew();
    line.ends_with(&["firing CertificateExpired", "resolved CertificateExpired"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_while_an_alert_is_pending_does_not_begin_its_hold_duration_again() {
    let _turn = turn().await;
    let app = App::start().await;
    // Long enough for a restart on a busy machine.
    let rules = [("app.yaml".to_owned(), app_down_after("12s"))];
    let Some(mut line) = Line::start(&app_configuration(&app), &rules).await else { return };
    app.set(Mood::Failing);
    let pending = line.valmis.wait_for_alert("pending", "ApplicationDown").await;
    let since = Instant::now();
    line.valmis.wait_two_evaluations().await;
    line.valmis.kill_9();
    line.valmis.restart().await;
    let after = line.valmis.wait_for_alert("pending", "ApplicationDown").await;
    assert_eq!(after["activeAt"], pending["activeAt"]);
    let delay = line.paged("ApplicationDown", since).await;
    say(&format!("kill -9 while pending: paged {:.1} s after pending (for: 12s)", delay.as_secs_f64()));
    // The time without evaluations does not count, and nothing else is lost.
    assert!((10.0..12.0 + SLACK.as_secs_f64()).contains(&delay.as_secs_f64()), "{delay:?}");
    app.set(Mood::Healthy);
    line.ends_with(&["firing ApplicationDown", "resolved ApplicationDown"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_while_an_alert_fires_is_not_noticed_at_the_other_end() {
    let _turn = turn().await;
    let app = App::start().await;
    let Some(mut line) = Line::start(&app_configuration(&app), &quick_rules()).await else { return };
    app.set(Mood::Failing);
    let page = line.webhook.wait_for("firing", "ApplicationDown").await;
    let before = line.alertmanager.known("ApplicationDown").await.expect("it has told of it");
    let firing = line.valmis.wait_for_alert("firing", "ApplicationDown").await;
    line.valmis.kill_9();
    line.valmis.restart().await;
    // Alertmanager would not tell if the alert began anew; valmis itself does.
    let seen = eventually("alert after the restart", async || {
        let alerts = line.valmis.alerts().await;
        if alerts.is_empty() { Err("no alert") } else { Ok(alerts) }
    })
    .await;
    assert_eq!(seen, [("firing".to_owned(), "ApplicationDown".to_owned())]);
    let still = line.valmis.wait_for_alert("firing", "ApplicationDown").await;
    assert_eq!(still["activeAt"], firing["activeAt"]);
    let after = eventually("alert that is sent again", async || {
        let known = line.alertmanager.known("ApplicationDown").await;
        match known {
            Some(known) if known.updated_at != before.updated_at => Ok(known),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    assert_eq!(after.starts_at, before.starts_at);
    assert_eq!(line.webhook.story(), ["firing ApplicationDown"]);
    app.set(Mood::Healthy);
    line.ends_with(&["firing ApplicationDown", "resolved ApplicationDown"]).await;
    let resolved = line.webhook.wait_for("resolved", "ApplicationDown").await;
    assert_eq!(resolved.starts_at, page.starts_at);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_waits_for_an_alertmanager_that_is_away() {
    let _turn = turn().await;
    let app = App::start().await;
    let Some(mut line) = Line::start(&app_configuration(&app), &quick_rules()).await else { return };
    line.alertmanager.kill();
    app.set(Mood::Failing);
    line.valmis.wait_for_alert("firing", "ApplicationDown").await;
    line.valmis.wait_two_evaluations().await;
    line.alertmanager.restart().await;
    let back = Instant::now();
    let page = line.webhook.wait_for("firing", "ApplicationDown").await;
    let delay = page.received.saturating_duration_since(back);
    say(&format!("an Alertmanager that is back is told within {:.1} s", delay.as_secs_f64()));
    assert!(delay < Duration::from_secs(2) + SLACK, "{delay:?}");
    app.set(Mood::Healthy);
    line.ends_with(&["firing ApplicationDown", "resolved ApplicationDown"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_alertmanager_has_not_heard_survives_a_crash() {
    let _turn = turn().await;
    let app = App::start().await;
    let Some(mut line) = Line::start(&app_configuration(&app), &quick_rules()).await else { return };
    app.set(Mood::Failing);
    line.webhook.wait_for("firing", "ApplicationDown").await;
    line.alertmanager.terminate(&line.webhook).await;
    app.set(Mood::Healthy);
    line.valmis.wait_for_end("ApplicationDown").await;
    line.valmis.kill_9();
    line.valmis.restart().await;
    line.alertmanager.restart().await;
    line.ends_with(&["firing ApplicationDown", "resolved ApplicationDown"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_alertmanager_that_never_answers_delays_no_other() {
    let _turn = turn().await;
    let app = App::start().await;
    // It accepts connections, as far as the kernel does so in its stead, and nothing more.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let webhook = Webhook::start().await;
    let Some(alertmanager) = Alertmanager::start(&webhook).await else { return };
    let configuration = format!(
        "{COMMON}alertmanagers: [{{url: 'http://{}'}}, {{url: 'http://{}'}}]\n{}",
        silent.local_addr().unwrap(),
        alertmanager.address,
        app_configuration(&app)
    );
    let valmis = Valmis::start(&configuration).await;
    valmis.wait_all_ready().await;
    let line = Line { webhook, alertmanager, valmis };
    line.webhook.wait_for("firing", "Watchdog").await;
    let broken = Instant::now();
    app.set(Mood::Failing);
    check_delay("ApplicationDown", line.paged("ApplicationDown", broken).await);
    app.set(Mood::Healthy);
    line.ends_with(&["firing ApplicationDown", "resolved ApplicationDown"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failing_deliveries_page_through_the_other_alertmanager() {
    let _turn = turn().await;
    let app = App::start().await;
    // As above, until it begins to answer.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let webhook = Webhook::start().await;
    let Some(alertmanager) = Alertmanager::start(&webhook).await else { return };
    let configuration = format!(
        "{COMMON}alertmanagers: [{{url: 'http://{}', timeout: 1s}}, {{url: 'http://{}'}}]\n{}",
        silent.local_addr().unwrap(),
        alertmanager.address,
        app_configuration(&app)
    );
    let valmis = Valmis::start_with(&configuration, &all_quick_rules()).await;
    let line = Line { webhook, alertmanager, valmis };
    line.webhook.wait_for("firing", "NotificationsFailing").await;
    silent.set_nonblocking(true).unwrap();
    let listener = tokio::net::TcpListener::from_std(silent).unwrap();
    tokio::spawn(async { axum::serve(listener, axum::Router::new().fallback(async || "")).await });
    line.ends_with(&["firing NotificationsFailing", "resolved NotificationsFailing"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_under_valmis_itself_keeps_no_page_from_going_out() {
    let _turn = turn().await;
    let (Some(disk), app) = (Disk::mount(), App::start().await) else { return };
    let components =
        format!("storage: {{path: '{}'}}\n{}", disk.path().join("data").display(), app_configuration(&app));
    let Some(line) = Line::start(&components, &all_quick_rules()).await else { return };
    disk.fill_up();
    line.webhook.wait_for("firing", "StateNotSaved").await;
    let broken = Instant::now();
    app.set(Mood::Failing);
    check_delay("ApplicationDown", line.paged("ApplicationDown", broken).await);
    app.set(Mood::Healthy);
    line.webhook.wait_for("resolved", "ApplicationDown").await;
    disk.clear();
    line.ends_with(&[
        "firing StateNotSaved",
        "firing ApplicationDown",
        "resolved ApplicationDown",
        "resolved StateNotSaved",
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_under_valmis_itself_that_hangs_keeps_no_page_from_going_out() {
    let _turn = turn().await;
    let (Some(disk), app) = (Disk::mount(), App::start().await) else { return };
    let components =
        format!("storage: {{path: '{}'}}\n{}", disk.path().join("data").display(), app_configuration(&app));
    // Every commit takes ten seconds to fail, and rules wait for theirs: a longer window than usual.
    let seldom = |text: &str| {
        text.replace("valmis_state_commit_failures_total[15s]", "valmis_state_commit_failures_total[1m]")
    };
    let rules: Vec<_> = all_quick_rules().iter().map(|(name, text)| (name.clone(), seldom(text))).collect();
    let Some(line) = Line::start(&components, &rules).await else { return };
    let Some(frozen) = disk.freeze() else { return };
    app.set(Mood::Failing);
    let broken = Instant::now();
    say(&format!(
        "with a disk that hangs the page came after {:?}",
        line.paged("ApplicationDown", broken).await
    ));
    line.webhook.wait_for("firing", "StateNotSaved").await;
    app.set(Mood::Healthy);
    line.webhook.wait_for("resolved", "ApplicationDown").await;
    drop(frozen);
    let before = line.valmis.get("/metrics").await.1;
    let commits = |page: &str| {
        page.lines().find(|line| line.starts_with("valmis_state_commits_total ")).map(str::to_owned)
    };
    app.set(Mood::Failing);
    eventually("commits again", async || {
        let (_, page) = line.valmis.get("/metrics").await;
        if commits(&page) == commits(&before) { Err(page) } else { Ok(()) }
    })
    .await;
}

/// A rule with the hold duration that a test needs.
fn app_down_after(hold: &str) -> String {
    format!(
        "groups:\n- name: app\n  rules:\n  - {{alert: Watchdog, expr: vector(1)}}\n\
         \x20 - {{alert: ApplicationDown, expr: 'probe_success{{job=\"app\"}} == 0', for: {hold}}}\n"
    )
}

/// Alerts that a pause would make fire or end if it were taken for evidence: of series that are absent and
/// were not before, of a condition that has to hold, and of one that has been firing.
const PAUSED_RULES: &str = r#"
groups:
- name: pause
  interval: 1s
  rules:
  - {alert: Absent, expr: 'absent(up{job="backend"}) and on () count(last_over_time(up{job="backend"}[1m]))'}
  - {alert: Standing, expr: 'up{job="backend"} == 1'}
  - {alert: Held, expr: 'up{job="backend"} == 1 and on () vector(time()) > 0', for: 20s}
"#;

/// How long the process stands still: longer than a sample counts as the newest one, so that the store has
/// nothing that is not out of date, and shorter than Alertmanager waits for an alert to be sent again.
const STOPPED: Duration = Duration::from_secs(14);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_stands_still_pages_nobody_and_ends_nothing() {
    let _turn = turn().await;
    let app = App::start().await;
    let webhook = Webhook::start().await;
    let Some(alertmanager) = Alertmanager::start(&webhook).await else { return };
    let configuration = format!(
        "{COMMON}query: {{lookback_delta: 5s}}\n{NO_DISK}alertmanagers: [{{url: 'http://{}'}}]\napps: \
         [{{name: backend, interval: 1s, timeout: 1s, metrics: '{}'}}]\n",
        alertmanager.address,
        app.url("/metrics")
    );
    let rules = [("pause.yaml".to_owned(), PAUSED_RULES.to_owned())];
    let valmis = Valmis::start_with(&configuration, &rules).await;
    webhook.wait_for("firing", "Standing").await;
    let before = webhook.story();
    let pending = Instant::now();
    valmis.signal(Signal::STOP);
    tokio::time::sleep(STOPPED).await;
    valmis.signal(Signal::CONT);
    let held = webhook.wait_for("firing", "Held").await.received;
    say(&format!(
        "an alert that had to hold for 20 s fired {:?} after a stop of {STOPPED:?} began",
        held - pending
    ));
    // At most a few seconds had passed before the stop, and they count.
    assert!(held - pending + SLACK > STOPPED + Duration::from_secs(20), "{:?}", held - pending);
    alertmanager.flush(&webhook).await;
    let news = &webhook.story()[before.len()..];
    assert_eq!(news, ["firing Held"], "{:#?}\n{}", webhook.all(), valmis.log());
    assert!(valmis.log().contains("The process did not run for"), "{}", valmis.log());
}
