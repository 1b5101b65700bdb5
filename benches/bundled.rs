//! One evaluation of all bundled rules over a store of 30,000 series: fetching and computing, as a pass
//! of the rule groups does it.

use std::sync::{Arc, LazyLock};

use divan::{Bencher, black_box};
use futures_util::FutureExt;

use valmis::artifacts;
use valmis::clock::FixedClock;
use valmis::model::{Labels, Sample};
use valmis::promql::{EvalOptions, EvalRange, Expr, Features, eval, prefetch};
use valmis::rulefmt;
use valmis::storage::Appender;
use valmis::tsdb::{Config, Tsdb};

fn main() {
    divan::main();
}

/// The instant of the evaluation, and how much time before it has samples: every 15 s for half an hour.
const NOW: i64 = 1_800_000_000_000;
const STEP_MS: i64 = 15_000;
const STEPS: i64 = 120;
/// Machines and applications: 3,000 of ten series each.
const SUBJECTS: usize = 3_000;

/// What the rules read: up and requests of applications, probes with certificates, disks, databases.
static STORE: LazyLock<Arc<Tsdb>> = LazyLock::new(|| {
    let (store, _) = Tsdb::open(Config::new(Arc::new(FixedClock::at(NOW)))).expect("a store in memory");
    for step in 0..STEPS {
        let at = NOW - (STEPS - 1 - step) * STEP_MS;
        let batch: Vec<Sample> = (0..SUBJECTS).flat_map(|subject| samples(subject, step, at)).collect();
        assert!(store.append_samples(&batch).is_empty(), "every sample is stored");
    }
    store
});

fn samples(subject: usize, step: i64, at: i64) -> Vec<Sample> {
    let instance = format!("10.0.{}.{}:9100", subject / 250, subject % 250);
    let sample = |name: &str, job: &str, more: &[(&str, &str)], value: f64| {
        let own = [("__name__", name), ("job", job), ("instance", instance.as_str())];
        Sample::new(Labels::from_pairs(own.iter().chain(more).copied()), at, value)
    };
    let app = format!("app-{}", subject % 50);
    let elapsed = step as f64;
    let disk = [("device", "/dev/vda1"), ("mountpoint", "/"), ("fstype", "ext4")];
    let ok = [("status_code", "200")];
    let failed = [("status_code", "500")];
    let expiry = (NOW / 1000) as f64 + 90.0 * 86_400.0;
    vec![
        sample("up", &app, &[], 1.0),
        sample("http_requests_total", &app, &ok, elapsed * 30.0),
        sample("http_requests_total", &app, &failed, elapsed * 0.1),
        sample("probe_success", "app", &[], 1.0),
        sample("probe_ssl_earliest_cert_expiry", "app", &[], expiry),
        sample("node_filesystem_avail_bytes", "node", &disk, 5e10 - elapsed * 1e5),
        sample("node_filesystem_size_bytes", "node", &disk, 1e11),
        sample("node_filesystem_readonly", "node", &disk, 0.0),
        sample("node_filesystem_files_free", "node", &disk, 5e6),
        sample("pg_up", "postgres", &[], 1.0),
    ]
}

static EXPRESSIONS: LazyLock<Vec<Expr>> = LazyLock::new(|| {
    let files = artifacts::rules().iter().flat_map(|artifact| {
        let (files, findings) = rulefmt::parse(artifact.name, artifact.text, Features::default());
        assert!(findings.is_empty(), "the bundled rules are in order");
        files
    });
    files
        .flat_map(|file| file.groups)
        .flat_map(|group| group.rules.to_vec())
        .map(|rule| Expr::clone(&rule.expr))
        .collect()
});

/// Evaluates one expression; the result's size keeps the work from being left out.
fn evaluate(expr: &Expr) -> usize {
    let (range, options) = (EvalRange::instant(NOW), EvalOptions::default());
    let fetching = prefetch(expr, &range, &options, &**STORE, None);
    // Outside a runtime the store answers at once.
    let data = fetching.now_or_never().expect("nothing to wait for").expect("within the limits");
    let output = eval(expr, &range, &data, &options).expect("the bundled rules have values");
    format!("{:?}", std::mem::discriminant(&output.value)).len()
}

#[divan::bench(sample_count = 20)]
fn all_bundled_rules_over_30_000_series(bencher: Bencher<'_, '_>) {
    LazyLock::force(&STORE);
    LazyLock::force(&EXPRESSIONS);
    bencher.bench(|| EXPRESSIONS.iter().map(|expr| black_box(evaluate(expr))).sum::<usize>());
}
