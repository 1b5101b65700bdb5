//! Native histograms from end to end, against a real Prometheus: sent to both, sent by it, scraped from it.

use std::path::PathBuf;
use std::sync::Arc;

use reqwest::StatusCode;
use serde_json::{Value, json};
use valmis::clock::{Clock as _, SystemClock};
use valmis::exposition::remote_write;
use valmis::model::{
    CUSTOM_BUCKETS_SCHEMA, CounterReset, FloatHistogram, HistogramSample, Labels, Sample, TimestampMs,
    stale_nan,
};

use crate::real::prometheus::Prometheus;
use crate::real::valmis::{NO_DISK, Valmis};
use crate::real::{cache, eventually, http, missing, turn};

const FEATURES: &str = "--enable-feature=native-histograms";

/// Time between samples, in milliseconds.
const STEP: TimestampMs = 15_000;

/// How many samples each series gets.
const COUNT: i64 = 40;

/// The folder with a Prometheus that knows native histograms in all forms.
fn prometheus() -> Option<PathBuf> {
    let folder = cache().join("sid/usr/bin");
    if folder.join("prometheus").is_file() {
        return Some(folder);
    }
    missing("prometheus");
    None
}

async fn valmis(further: &str) -> Valmis {
    let configuration =
        format!("evaluation_interval: 1s\n{NO_DISK}storage: {{remote_write_receiver: true}}\n{further}");
    Valmis::start_with(&configuration, &[]).await
}

/// A histogram of these buckets whose totals fit.
fn histogram(positive: &[(i32, f64)], negative: &[(i32, f64)], zero_count: f64) -> FloatHistogram {
    let empty = FloatHistogram::empty(2, [].into());
    let mut histogram = empty.with_buckets(positive.iter().copied(), negative.iter().copied());
    histogram.zero_threshold = 2.0_f64.powi(-128);
    histogram.zero_count = zero_count;
    histogram.count = zero_count + positive.iter().chain(negative).map(|(_, count)| count).sum::<f64>();
    histogram.sum = histogram.count * 1.25;
    histogram
}

/// Series of every kind; `n` counts their samples.
fn series(n: i64) -> Vec<(&'static str, &'static str, FloatHistogram)> {
    let at = n as f64;
    // A reset in the middle, and buckets that come later.
    let since_reset = if n < 25 { at + 3.0 } else { at - 24.0 };
    let mut requests = vec![(1, since_reset * 4.0), (2, since_reset * 7.0), (6, since_reset)];
    if n % 25 > 10 {
        requests.push((9, 2.0));
    }
    let whole = histogram(&requests, &[(3, since_reset * 2.0)], since_reset);
    // Prometheus 3.5 extrapolates histograms beyond zero (its #16828): these are far from it.
    let fractions = histogram(&[(-4, at * 0.25 + 100.5), (7, at * 1.5 + 100.0)], &[], 0.125);
    let mut custom = FloatHistogram::empty(CUSTOM_BUCKETS_SCHEMA, [0.1, 0.25, 1.0, 5.0].into())
        .with_buckets([(0, at), (1, at * 3.0), (2, at + 1.0), (4, 2.0)], []);
    (custom.count, custom.sum) = (at * 5.0 + 3.0, at * 0.375);
    let gauge = histogram(&[(0, 5.0 + (n % 4) as f64), (3, (n % 7) as f64)], &[], 0.0);
    let mut coarser = whole.clone();
    if n >= 30 {
        coarser.schema = 1;
    }
    vec![
        ("requests", "a", whole.clone()),
        ("requests", "b", whole.multiplied(2.0)),
        ("fractions", "a", fractions),
        ("custom", "a", custom),
        ("gauges", "a", gauge.with_counter_reset(CounterReset::Gauge)),
        ("coarser", "a", coarser),
    ]
}

/// The body of a remote-write request with all samples up to `end`.
fn body(end: TimestampMs) -> Vec<u8> {
    let labels = |name, job| Labels::from_pairs([("__name__", name), ("job", job)]);
    let at = |n: i64| end - (COUNT - 1 - n) * STEP;
    let mut histograms: Vec<_> = (0..COUNT)
        .flat_map(|n| series(n).into_iter().map(move |(name, job, histogram)| (n, name, job, histogram)))
        .map(|(n, name, job, histogram)| HistogramSample {
            labels: labels(name, job),
            at: at(n),
            histogram: Arc::new(histogram),
        })
        .collect();
    let ended = HistogramSample {
        labels: labels("ended", "a"),
        at: at(10),
        histogram: Arc::new(histogram(&[(1, 3.0)], &[], 0.0)),
    };
    let marker =
        HistogramSample { at: at(20), histogram: Arc::new(FloatHistogram::stale()), ..ended.clone() };
    histograms.extend([ended, marker]);
    // First floats, then histograms, in one series.
    let mut samples: Vec<_> = (0..20).map(|n| Sample::new(labels("mixed", "a"), at(n), n as f64)).collect();
    samples.push(Sample::new(labels("ended_float", "a"), at(0), 1.0));
    samples.push(Sample::new(labels("ended_float", "a"), at(1), stale_nan()));
    histograms.extend((20..COUNT).map(|n| HistogramSample {
        labels: labels("mixed", "a"),
        at: at(n),
        histogram: Arc::new(histogram(&[(1, n as f64)], &[], 0.0)),
    }));
    histograms.sort_by(|one, other| (&one.labels, one.at).cmp(&(&other.labels, other.at)));
    remote_write::encode_with_histograms(&samples, &histograms)
}

async fn send(address: std::net::SocketAddr, body: Vec<u8>) {
    let request = http().post(format!("http://{address}/api/v1/write")).body(body);
    let request =
        request.header("content-type", "application/x-protobuf").header("content-encoding", "snappy");
    let answer = request.send().await.unwrap();
    let status = answer.status();
    assert_eq!(status, StatusCode::NO_CONTENT, "{}", answer.text().await.unwrap());
}

/// The answer's data with its series in order.
async fn ask(address: std::net::SocketAddr, endpoint: &str, parameters: &[(&str, String)]) -> Value {
    let url = format!("http://{address}/api/v1/{endpoint}");
    let answer = http().post(url).form(parameters).send().await.unwrap();
    let mut answer: Value = answer.json().await.unwrap();
    assert_eq!(answer["status"], "success", "{parameters:?}: {answer:#}");
    if let Some(series) = answer["data"]["result"].as_array_mut() {
        series.sort_by_key(|one| one["metric"].to_string());
    }
    answer["data"].take()
}

/// Whether two answers are the same but for the last digits of numbers: both add up compensated, though
/// not in the same order.
fn alike(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| alike(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one.iter().all(|(key, value)| other.get(key).is_some_and(|other| alike(value, other)))
        }
        (Value::String(one), Value::String(other)) if one != other => {
            let numbers = one.parse::<f64>().ok().zip(other.parse::<f64>().ok());
            numbers.is_some_and(|(one, other)| (one - other).abs() <= 1e-12 * one.abs())
        }
        (one, other) => one == other,
    }
}

const QUERIES: [&str; 25] = [
    "requests",
    "custom",
    "gauges",
    "fractions",
    "mixed",
    "ended",
    "ended_float",
    "histogram_count(requests)",
    "histogram_sum(requests)",
    "histogram_avg(custom)",
    "histogram_quantile(0.9, requests)",
    "histogram_quantile(0.25, sum by (job) (rate(requests[2m])))",
    "histogram_quantile(0.5, rate(custom[3m]))",
    "histogram_fraction(0, 2, rate(requests[2m]))",
    "sum(rate(requests[2m]))",
    "rate(requests[2m])",
    "increase(coarser[3m])",
    "rate(fractions[90s])",
    "histogram_count(rate(requests[1m]))",
    "avg(requests)",
    "requests * 2",
    "sum_over_time(gauges[1m])",
    "delta(gauges[2m])",
    "resets(requests[10m])",
    "count_over_time(mixed[10m])",
];

#[tokio::test]
async fn the_same_histograms_give_the_same_answers_as_in_prometheus() {
    let Some(programs) = prometheus() else { return };
    let _turn = turn().await;
    let arguments = ["--web.enable-remote-write-receiver", FEATURES];
    let reference = Prometheus::start_with(&programs, &json!({}), &arguments).await;
    let valmis = valmis("").await;
    let end = SystemClock.now() / STEP * STEP;
    for address in [reference.address, valmis.address] {
        send(address, body(end)).await;
    }
    let seconds = |at: TimestampMs| format!("{}", at as f64 / 1_000.0);
    let mut differences = Vec::new();
    let mut compare = async |endpoint: &str, parameters: Vec<(&str, String)>| {
        let expected = ask(reference.address, endpoint, &parameters).await;
        let found = ask(valmis.address, endpoint, &parameters).await;
        if !alike(&found, &expected) {
            differences.push(format!("{parameters:?}\n expected {expected}\n found    {found}"));
        }
        expected["result"].as_array().is_some_and(|result| !result.is_empty())
    };
    for query in QUERIES {
        let mut anything = false;
        for n in [1, 12, 21, 24, 26, 31, COUNT - 1] {
            let time = seconds(end - (COUNT - 1 - n) * STEP + 1_000);
            anything |= compare("query", vec![("query", query.to_owned()), ("time", time)]).await;
        }
        let (start, end) = (seconds(end - COUNT * STEP), seconds(end + STEP));
        let range = [("start", start), ("end", end), ("step", "20".to_owned())];
        let parameters = [("query", query.to_owned())].into_iter().chain(range).collect();
        anything |= compare("query_range", parameters).await;
        assert!(anything, "`{query}` has no result to compare");
    }
    assert!(differences.is_empty(), "{} differences:\n{}", differences.len(), differences.join("\n"));
}

/// Queries whose answers hold native histograms that Prometheus has of itself.
const OWN: [&str; 4] = [
    "prometheus_http_request_duration_seconds{handler=\"/metrics\"}",
    "histogram_count(prometheus_http_request_duration_seconds{handler=\"/metrics\"})",
    "histogram_quantile(0.9, rate(prometheus_http_request_duration_seconds{handler=\"/metrics\"}[5s]))",
    "sum(increase(prometheus_http_request_duration_seconds{handler=\"/metrics\"}[5s]))",
];

async fn prometheus_writes_its_histograms(message: &str) {
    let Some(programs) = prometheus() else { return };
    let _turn = turn().await;
    let valmis = valmis("").await;
    let configuration = json!({
        "scrape_configs": [{
            "job_name": "prometheus",
            "scrape_interval": "1s",
            "static_configs": [{"targets": ["127.0.0.1:0"]}],
        }],
        "remote_write": [{
            "url": format!("http://{}/api/v1/write", valmis.address),
            "send_native_histograms": true,
            "protobuf_message": message,
            "queue_config": {"batch_send_deadline": "100ms"},
        }],
    });
    let reference = Prometheus::scraping_itself(&programs, configuration, &[FEATURES]).await;
    let latest = "timestamp(prometheus_http_request_duration_seconds{handler=\"/metrics\"})";
    let until = eventually("histograms in valmis", async || {
        let now = ask(valmis.address, "query", &[("query", latest.to_owned())]).await;
        let at = now["result"][0]["value"][1].as_str().and_then(|at| at.parse::<f64>().ok());
        let first =
            ask(valmis.address, "query", &[("query", format!("count_over_time({}[1m])", OWN[0]))]).await;
        let count = first["result"][0]["value"][1].as_str().and_then(|count| count.parse::<f64>().ok());
        at.filter(|_| count >= Some(6.0)).ok_or_else(|| format!("{now}\n{first}\n{}", reference.log()))
    })
    .await;
    for query in OWN {
        let parameters = [("query", query.to_owned()), ("time", until.to_string())];
        let expected = ask(reference.address, "query", &parameters).await;
        let found = ask(valmis.address, "query", &parameters).await;
        assert!(alike(&found, &expected), "{query}\n expected {expected}\n found    {found}");
        assert_ne!(expected["result"], json!([]), "{query}");
    }
    let failed =
        "prometheus_remote_storage_histograms_failed_total + prometheus_remote_storage_samples_failed_total";
    assert_eq!(reference.value(failed).await, Some(0.0), "{}", reference.log());
    let log = reference.log();
    let complaint = log.lines().find(|line| line.contains("level=ERROR") && line.contains("remote"));
    assert_eq!(complaint, None);
}

#[tokio::test]
async fn prometheus_writes_its_histograms_in_the_first_version() {
    prometheus_writes_its_histograms("prometheus.WriteRequest").await;
}

#[tokio::test]
async fn prometheus_writes_its_histograms_in_the_second_version() {
    prometheus_writes_its_histograms("io.prometheus.write.v2.Request").await;
}

#[tokio::test]
async fn native_histograms_are_scraped_from_prometheus() {
    let Some(programs) = prometheus() else { return };
    let _turn = turn().await;
    let reference = Prometheus::start_with(&programs, &json!({}), &[]).await;
    let job = |name: &str, further: &str| {
        let target = reference.address;
        format!("- {{job: {name}, targets: [\"{target}\"], interval: 1s{further}}}\n")
    };
    let native = ", scrape_native_histograms: true";
    let both = ", scrape_native_histograms: true, always_scrape_classic_histograms: true";
    let scrapes = ["scrapes:\n", &job("plain", ""), &job("native", native), &job("both", both)].concat();
    let valmis = valmis(&scrapes).await;
    let own = "prometheus_http_request_duration_seconds";
    let jobs = async |query: &str| {
        let found = ask(valmis.address, "query", &[("query", query.to_owned())]).await;
        let result = found["result"].as_array().unwrap().iter();
        result.map(|one| one["metric"]["job"].as_str().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    eventually("two scrapes of each kind", async || {
        let query =
            format!("sum by (job) (count_over_time(up{{job!=\"valmis\"}}[1m])) > 2 and on () {own}_count");
        let seen = jobs(&query).await;
        if seen.len() == 3 { Ok(()) } else { Err(format!("{seen:?}\n{}", valmis.log())) }
    })
    .await;
    assert_eq!(jobs(&format!("count by (job) (histogram_count({own}))")).await, ["both", "native"]);
    assert_eq!(jobs(&format!("count by (job) ({own}_bucket)")).await, ["both", "plain"]);
    let same = format!("histogram_count({own}{{job=\"both\"}}) == ignoring (le) {own}_bucket{{le=\"+Inf\"}}");
    assert!(!jobs(&same).await.is_empty());
    let rate =
        format!("histogram_quantile(0.5, rate({own}{{handler=\"/metrics\", job=\"native\"}}[10s])) > 0");
    assert_eq!(jobs(&rate).await, ["native"]);
    let fewer =
        "scrape_samples_scraped{job=\"native\"} < ignoring (job) scrape_samples_scraped{job=\"plain\"}";
    assert_eq!(jobs(fewer).await.len(), 1);
}
