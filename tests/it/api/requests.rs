//! The same requests to valmis and to a real Prometheus.

use std::net::SocketAddr;

use serde_json::Value;
use valmis::model::{Sample, TimestampMs};

use super::{RECEIVER, Said, pair, recently, send, series};
use crate::real::{http, say, turn};

/// A request, with `{start}`, `{end}` and `{t}` for times in seconds.
#[derive(Clone, Copy)]
struct Request {
    /// Whether the parameters are sent as a form.
    form: bool,
    path: &'static str,
    parameters: &'static str,
    /// Why the answers differ where they do.
    differs: Option<&'static str>,
}

const fn get(path: &'static str, parameters: &'static str) -> Request {
    Request { form: false, path, parameters, differs: None }
}

const fn post(path: &'static str, parameters: &'static str) -> Request {
    Request { form: true, path, parameters, differs: None }
}

const fn differs(request: Request, reason: &'static str) -> Request {
    Request { differs: Some(reason), ..request }
}

const RANGE: &str = "query=m&start={start}&end={end}&step=60";

const REQUESTS: &[Request] = &[
    // Instant queries.
    get("query", "query=m&time={t}"),
    post("query", "query=m&time={t}"),
    get("query", "query=nothing"),
    get("query", "query=nothing&time="),
    get("query", "query=1&time=2026-01-02T03:04:05Z"),
    get("query", "query=1&time=2026-01-02T03:04:05.678%2B02:00"),
    get("query", "query=1&time=2026-01-02 03:04:05Z"),
    get("query", "query=1&time=1.5"),
    get("query", "query=1&time=-1.0005"),
    get("query", "query=1&time=1e3"),
    get("query", "query=1&time=yesterday"),
    differs(get("query", "query=time()&time=-292273086-05-16T16:47:06Z"), "Prometheus' nanoseconds overflow"),
    differs(
        get("query", "query=time()&time=292277025-08-18T07:12:54.999999999Z"),
        "Prometheus' nanoseconds overflow",
    ),
    get("query", "query="),
    get("query", ""),
    get("query", "time={t}"),
    get("query", "query=m{"),
    get("query", "query=sum(m"),
    get("query", "query=nonsense(m)"),
    get("query", "query=m%2Bm("),
    get("query", "query=m[5m]&time={t}"),
    get("query", "query=\"text\"&time={t}"),
    get("query", "query=scalar(m{a=\"1\"})&time={t}"),
    get("query", "query=vector(NaN)&time={t}"),
    get("query", "query=-1/0&time={t}"),
    get("query", "query=1e-7&time={t}"),
    get("query", "query=1e22&time={t}"),
    get("query", "query=sort(m)&time={t}"),
    get("query", "query=nothing&time={t}"),
    get("query", "query=m&time={t}&limit=1"),
    get("query", "query=m&time={t}&limit=0"),
    get("query", "query=m&time={t}&limit=-1"),
    get("query", "query=m&time={t}&limit=x"),
    get("query", "query=m&time={t}&limit=1.5"),
    get("query", "query=m&time={t}&limit=99999999999999999999"),
    get("query", "query=m[1m]&time={t}&limit=1"),
    get("query", "query=1&time={t}&limit=1"),
    get("query", "query=m&time={t}&timeout=10"),
    get("query", "query=m&time={t}&timeout=10s"),
    get("query", "query=m&time={t}&timeout=x"),
    get("query", "query=m&time={t}&timeout="),
    get("query", "query=m&time={late}&lookback_delta=10m"),
    get("query", "query=m&time={late}&lookback_delta=1"),
    get("query", "query=m&time={late}&lookback_delta=0"),
    get("query", "query=m&time={late}&lookback_delta=-5"),
    get("query", "query=m&time={late}&lookback_delta=x"),
    get("query", "query=m&time={late}&lookback_delta=1e30"),
    get("query", "query=quantile(2,m)&time={t}"),
    get("query", "query=rate(m[1m])&time={t}"),
    get("query", "query=m%2Bon(a)group_left m&time={t}"),
    get("query", "query=label_replace(m,\"a\",\"\",\"\",\"\")&time={t}"),
    get("query", "query=label_replace(m,\"a\",\"\",\"b\",\"(\")&time={t}"),
    differs(get("query", "query=m offset step()&time={t}"), "durations are computed since Prometheus 3.14"),
    get("query", "query=count_values(\"v\",m)&time={t}"),
    // Range queries.
    get("query_range", RANGE),
    post("query_range", RANGE),
    get("query_range", "query=m&start={start}&end={end}&step=1m"),
    get("query_range", "query=m&start={start}&end={end}&step=0.5m"),
    get("query_range", "query=m&start={start}&end={end}&step=1e30"),
    get("query_range", "query=m&start={start}&end={end}&step=0"),
    get("query_range", "query=m&start={start}&end={end}&step=-1"),
    get("query_range", "query=m&start={start}&end={end}&step="),
    get("query_range", "query=m&start={start}&end={end}"),
    get("query_range", "query=m&start={start}&end={end}&step=x"),
    get("query_range", "query=m&start={end}&end={start}&step=60"),
    get("query_range", "query=m&end={end}&step=60"),
    get("query_range", "query=m&start={start}&step=60"),
    get("query_range", "query=m&start=x&end={end}&step=60"),
    get("query_range", "query=m&start=0&end=11000&step=1"),
    get("query_range", "query=m&start=0&end=11001&step=1"),
    get("query_range", "query=m[1m]&start={start}&end={end}&step=60"),
    get("query_range", "query=\"a\"&start={start}&end={end}&step=60"),
    get("query_range", "query=1&start={start}&end={end}&step=300"),
    get("query_range", "query=m&start={start}&end={end}&step=60&limit=1"),
    get("query_range", "query=m[0s]&start={start}&end={end}&step=60"),
    get("query_range", "query=histogram_quantile(0.9,h_bucket)&start={start}&end={end}&step=300"),
    get("query_range", "query=rate(m[1m])&start={start}&end={end}&step=300"),
    // Series and labels.
    get("series", "match[]=m"),
    post("series", "match[]=m&match[]=h_bucket"),
    get("series", ""),
    get("series", "match[]="),
    get("series", "match[]={}"),
    get("series", "match[]={a=~\".*\"}"),
    get("series", "match[]=m{"),
    get("series", "match[]=m[5m]"),
    get("series", "match[]=m&limit=1"),
    get("series", "match[]=m&limit=x"),
    get("series", "match[]=m&start={start}&end={end}"),
    get("series", "match[]=m&start=x"),
    get("series", "match[]=m&start=1&end=2"),
    get("series", "match[]=m&start={end}&end={start}"),
    get("labels", "match[]=m"),
    post("labels", "match[]=m&match[]=h_bucket"),
    get("labels", "match[]={}"),
    get("labels", "match[]=m{"),
    get("labels", "match[]=h_bucket&limit=2"),
    get("labels", "match[]=m&limit=-1"),
    get("labels", "match[]=m&end=x"),
    get("label/a/values", "match[]=m"),
    differs(
        get("label/le/values", "match[]=h_bucket&limit=1"),
        "Prometheus takes any value, valmis the first one",
    ),
    get("label/__name__/values", "match[]={job=\"api\"}"),
    get("label/nothing/values", "match[]=m"),
    get("label/a/values", "match[]={}"),
    get("label/a/values", "start=x"),
    get("label/U__a/values", "match[]=m"),
    post("label/a/values", "match[]=m"),
    // Texts.
    get("format_query", "query=sum  by(a)(m)"),
    post("format_query", "query=sum  by(a)(m)"),
    get(
        "format_query",
        "query=sum by(job,a)(rate(some_rather_long_metric_name_for_a_counter[5m]))/on(job,a)group_left sum(other_long_metric_name)",
    ),
    get("format_query", "query=sum("),
    get("format_query", ""),
    get("parse_query", "query=sum("),
    get("query_exemplars", "query=m&start={start}&end={end}"),
    get("query_exemplars", "query=1%2B1"),
    get("query_exemplars", "query=m("),
    get("query_exemplars", "query=m&start={end}&end={start}"),
    get("query_exemplars", "query=m&start=x"),
    // What there is none of.
    get("alerts", ""),
    get("rules", ""),
    get("rules", "type=alert"),
    get("rules", "type=other"),
    get("rules", "exclude_alerts=x"),
    get("rules", "match[]={}"),
    get("rules", "match[]=x{"),
    get("rules", "group_limit=x"),
    get("rules", "group_limit=0"),
    get("rules", "group_limit=99999999999"),
    get("rules", "group_next_token=x"),
    get("rules", "group_limit=1&group_next_token=x"),
    get("alertmanagers", ""),
    get("targets", "state=dropped"),
    get("targets/metadata", "limit=x"),
    get("targets/metadata", "match_target={"),
    get("metadata", "limit=x"),
    get("metadata", "limit_per_metric=x"),
    get("metadata", "metric=nothing"),
    get("metadata", "limit=0"),
    get("status/tsdb", "limit=x"),
    get("status/tsdb", "limit=0"),
    get("status/walreplay", ""),
    get("notifications", ""),
    post("admin/tsdb/snapshot", ""),
];

fn samples(end: TimestampMs) -> Vec<Sample> {
    let up: Vec<f64> = (0..40).map(f64::from).collect();
    let odd = [f64::NAN, f64::INFINITY, -0.0, 1e-9, 1e21, 0.1, f64::NEG_INFINITY, 123_456.789];
    let mut samples = Vec::new();
    samples.extend(series(&[("__name__", "m"), ("a", "1"), ("job", "api")], end, &up));
    samples.extend(series(&[("__name__", "m"), ("a", "2"), ("job", "api")], end, &odd));
    samples.extend(series(&[("__name__", "m"), ("a", "3"), ("job", "\u{e9}<&>\"")], end, &[5.0; 10]));
    for (le, factor) in [("0.1", 1.0), ("1", 3.0), ("+Inf", 4.0)] {
        let values: Vec<f64> = up.iter().map(|value| value * factor).collect();
        samples.extend(series(&[("__name__", "h_bucket"), ("le", le), ("job", "api")], end, &values));
    }
    samples
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_are_answered_as_a_real_prometheus_answers_them() {
    let _turn = turn().await;
    let Some((prometheus, valmis)) = pair(RECEIVER).await else { return };
    let end = recently();
    let samples = samples(end);
    tokio::join!(send(prometheus.address, &samples), send(valmis.address, &samples));
    let mut faults = Vec::new();
    for request in REQUESTS {
        let (theirs, ours) =
            tokio::join!(ask(prometheus.address, request, end), ask(valmis.address, request, end));
        let same = theirs == ours;
        let Request { form, path, parameters, differs } = request;
        let method = if *form { "POST" } else { "GET" };
        match differs {
            None if !same => faults.push(format!("{method} {path}?{parameters}\n  {theirs}\n  {ours}")),
            Some(reason) if same => faults.push(format!("{method} {path}?{parameters}: no longer {reason}")),
            _ => {}
        }
    }
    say(&format!("{} requests were compared", REQUESTS.len()));
    assert!(faults.is_empty(), "{} differences:\n{}", faults.len(), faults.join("\n"));
}

/// What a server answers, as text to compare: without what depends on the moment or on nothing at all.
async fn ask(address: SocketAddr, request: &Request, end: TimestampMs) -> String {
    let seconds = |at: i64| format!("{}", at / 1000);
    let parameters = request
        .parameters
        .replace("{start}", &seconds(end - 10 * 60_000))
        .replace("{end}", &seconds(end))
        .replace("{t}", &seconds(end))
        .replace("{late}", &seconds(end + 7 * 60_000));
    let url = format!("http://{address}/api/v1/{}", request.path);
    let sending = if request.form {
        http().post(url).header("content-type", "application/x-www-form-urlencoded").body(parameters)
    } else {
        http().get(format!("{url}?{parameters}"))
    };
    let Said { status, content_type, mut body } = Said::of(sending.send().await.unwrap()).await;
    // What has no order is compared in one of our own. Only a limit makes another order another answer.
    let ordered = ["sort(", "limit=1"].iter().any(|text| request.parameters.contains(text));
    for place in ["/data", "/data/result"] {
        if let Some(Value::Array(list)) = body.pointer_mut(place).filter(|_| !ordered) {
            list.sort_by_key(Value::to_string);
        }
    }
    format!("{status} {content_type} {body}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statistics_count_samples_as_prometheus_counts_them() {
    let _turn = turn().await;
    let Some((prometheus, valmis)) = pair(RECEIVER).await else { return };
    let end = recently();
    let samples = samples(end);
    tokio::join!(send(prometheus.address, &samples), send(valmis.address, &samples));
    let (start, end) = ((end / 1000 - 540).to_string(), (end / 1000).to_string());
    for query in [
        "1",
        "m",
        "m{a=\"1\"}",
        "sum(m)",
        "m + m",
        "m offset 1m",
        "m @ end()",
        "sum(m @ start()) + m",
        "rate(m[1m])",
        "rate(m[1m] offset 2m)",
        "rate(m[1m] @ end())",
        "sum_over_time(m[2m:30s])",
        "sum_over_time(rate(m[1m])[2m:30s])",
        "max_over_time(sum_over_time(m[1m:15s])[3m:1m])",
        "timestamp(m)",
        "absent(nothing)",
        "histogram_quantile(0.9, rate(h_bucket[2m]))",
    ] {
        let instant = [("query", query), ("time", &*end), ("stats", "true")];
        let range = [("query", query), ("start", &*start), ("end", &*end), ("step", "60"), ("stats", "true")];
        for (path, form) in [("/api/v1/query", instant.as_slice()), ("/api/v1/query_range", &range)] {
            let (theirs, ours) = tokio::join!(
                super::post(prometheus.address, path, form),
                super::post(valmis.address, path, form)
            );
            let stats = |said: &Said| said.body["data"]["stats"].clone();
            let (theirs, ours) = (stats(&theirs), stats(&ours));
            let total = "totalQueryableSamples";
            assert_eq!(theirs["samples"][total], ours["samples"][total], "{path} {query}");
            let peak = ours["samples"]["peakSamples"].as_u64().unwrap();
            assert!(peak <= 10_000, "{path} {query}: {peak}");
            let timings = theirs["timings"].as_object().unwrap();
            for (name, _) in timings {
                assert!(ours["timings"][name].is_number(), "{name}");
            }
        }
    }
}
