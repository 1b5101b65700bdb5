//! Queries that mean harm: each is refused with the error that Prometheus has for it or is answered, in
//! bounded time and memory, and meanwhile others are served.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use reqwest::StatusCode;

use super::{RECEIVER, Said, post, recently, send, series};
use crate::real::valmis::Valmis;
use crate::real::{eventually, http, say, turn};

const TOO_MANY: &str = "query processing would load too many samples into memory in query execution";
const TOO_DEEP: &str = "expression is nested too deeply, at most 256 levels are supported";
const TIMED_OUT: &str = "query timed out in expression evaluation";

/// How long an answer may take that needs no computing, on a machine that has much else to do.
const SOON: Duration = Duration::from_secs(10);
/// How long `/health` may take in the meantime.
const RESPONSIVE: Duration = Duration::from_secs(5);
/// How much memory all of this may take beside what the program has anyway.
const MEMORY: u64 = 400 << 20;

/// With limits that a test reaches: 500,000 samples take 8 MB.
async fn limited(more: &str) -> Valmis {
    let limits = format!("query: {{max_samples: 500000, {more}}}\n");
    Valmis::start_with(&format!("{RECEIVER}{limits}"), &[]).await
}

/// 400 series of 40 samples, and what the program writes about itself.
async fn fill(valmis: &Valmis) {
    let end = recently();
    let values: Vec<f64> = (0..40).map(f64::from).collect();
    let one = |number: u32| {
        let instance = number.to_string();
        let labels = [("__name__", "x"), ("instance", &*instance), ("job", "hostile")];
        let own: Vec<f64> = values.iter().map(|value| value + f64::from(number) / 1000.0).collect();
        series(&labels, end, &own)
    };
    let samples: Vec<_> = (0..400).flat_map(one).collect();
    send(valmis.address, &samples).await;
}

/// Looks at `/health` all the time until it is dropped, and gives the longest time that it took.
struct Watch {
    task: tokio::task::JoinHandle<Duration>,
    done: std::sync::Arc<AtomicBool>,
}

impl Watch {
    fn over(valmis: &Valmis) -> Self {
        let done = std::sync::Arc::new(AtomicBool::new(false));
        let (url, over) = (format!("http://{}/health", valmis.address), done.clone());
        let task = tokio::spawn(async move {
            let mut longest = Duration::ZERO;
            while !over.load(Ordering::Relaxed) {
                let began = Instant::now();
                let answer = http().get(&url).send().await.unwrap();
                assert_eq!(answer.status(), StatusCode::OK);
                longest = longest.max(began.elapsed());
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            longest
        });
        Self { task, done }
    }

    async fn end(self) -> Duration {
        self.done.store(true, Ordering::Relaxed);
        self.task.await.unwrap()
    }
}

/// The value where the samples end.
async fn ask(valmis: &Valmis, query: &str) -> Said {
    let at = (recently() / 1000).to_string();
    post(valmis.address, "/api/v1/query", &[("query", query), ("time", &at)]).await
}

/// The values at as many instants as may be asked for at once.
async fn ask_range(valmis: &Valmis, query: &str) -> Said {
    let end = recently() / 1000;
    let (start, end) = (format!("{}.5", end - 550), end.to_string());
    let form = [("query", query), ("start", &start), ("end", &end), ("step", "0.05")];
    post(valmis.address, "/api/v1/query_range", &form).await
}

fn nested(before: &str, inner: &str, after: &str, times: usize) -> String {
    before.repeat(times) + inner + &after.repeat(times)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_query_exceeds_the_limits() {
    let _turn = turn().await;
    let valmis = limited("timeout: 5s").await;
    fill(&valmis).await;
    let before = valmis.peak_memory();
    let watch = Watch::over(&valmis);

    let deep = [
        ("parentheses", nested("(", "1", ")", 20_000)),
        ("signs", nested("-", "x", "", 20_000)),
        ("sums", "1".to_owned() + &"+1".repeat(20_000)),
        ("powers", "1".to_owned() + &"^1".repeat(20_000)),
        ("aggregations", nested("sum(", "x", ")", 20_000)),
        ("calls", nested("abs(", "x", ")", 20_000)),
        ("open parentheses", "(".repeat(20_000)),
        ("durations", format!("x[{}]", nested("(", "5m", ")", 20_000))),
        ("subqueries", nested("max_over_time(", "x", "[1h:1s])", 20_000)),
    ];
    for (what, query) in &deep {
        for path in ["query", "format_query", "parse_query", "query_exemplars"] {
            let said = post(valmis.address, &format!("/api/v1/{path}"), &[("query", query)]).await;
            assert_eq!(said.status, StatusCode::BAD_REQUEST, "{what}: {said:?}");
            assert!(said.error().ends_with(TOO_DEEP), "{what}: {}", said.error());
        }
        let said = post(valmis.address, "/api/v1/series", &[("match[]", query)]).await;
        assert_eq!(said.status, StatusCode::BAD_REQUEST, "{what}: {said:?}");
    }

    // As deep as is allowed, through every part that walks a tree.
    for query in [
        nested("(", "x", ")", 250),
        nested("-", "x", "", 250),
        "x".to_owned() + &" + x".repeat(250),
        "1".to_owned() + &" ^ 1".repeat(250),
        nested("sum(", "x", ")", 250),
        nested("abs(", "x", ")", 250),
        nested("(", "x", ")[1m:30s]", 1),
        nested("max_over_time(", "x", "[1m:30s])", 120),
        nested("(", "x", " or x)", 120),
    ] {
        for path in ["query", "query_range", "format_query", "parse_query"] {
            let form = [("query", &*query), ("start", "0"), ("end", "60"), ("step", "15")];
            let said = post(valmis.address, &format!("/api/v1/{path}"), &form).await;
            let is_answer = said.status == StatusCode::OK
                || said.error().starts_with("invalid parameter \"query\": invalid expression type")
                || [TIMED_OUT, TOO_MANY].contains(&said.error());
            assert!(is_answer, "{path} {query}: {said:?}");
        }
    }

    let costly = [
        ("a range beyond reason", "sum_over_time(vector(1)[100y:1ms])"),
        ("ranges within ranges", "max_over_time(max_over_time(x[1h:1s])[1h:1s])"),
        ("all series", "{__name__=~\".+\"}[1d:1s]"),
        ("a bare range of numbers", "vector(1)[1000000s:1s]"),
        ("each value on its own", "count_values(\"v\", max_over_time(x[1h:5s]))"),
    ];
    for (what, query) in costly {
        let began = Instant::now();
        let said = ask(&valmis, query).await;
        say(&format!("{what}: {} {} after {:?}", said.status, said.error(), began.elapsed()));
        assert!(said.status != StatusCode::OK || began.elapsed() < SOON, "{what}: {said:?}");
        assert!(began.elapsed() < SOON, "{what}: {:?}", began.elapsed());
    }
    let costly_ranges = [
        ("all series at 11,000 instants", "{__name__=~\".+\"}", TOO_MANY),
        ("all windows at 11,000 instants", "rate({__name__=~\".+\"}[10m])", TOO_MANY),
        ("each value of each instant", "count_values without () (\"v\", x)", TOO_MANY),
        ("a sum of everything", "sum without () (x)", TOO_MANY),
        ("everything with everything", "x * on (job, instance) x", TOO_MANY),
        ("everything or everything", "x or x or x", TOO_MANY),
    ];
    for (what, query, error) in costly_ranges {
        let said = ask_range(&valmis, query).await;
        assert_eq!((said.status, said.error()), (StatusCode::UNPROCESSABLE_ENTITY, error), "{what}");
    }
    let took = watch.end().await;
    let memory = valmis.peak_memory() - before;
    say(&format!("/health took {took:?} at most, memory grew by {} MB", memory >> 20));
    assert!(took < RESPONSIVE, "{took:?}");
    assert!(memory < MEMORY, "{memory}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_text_takes_all_the_memory() {
    let _turn = turn().await;
    let valmis = limited("timeout: 5s").await;
    fill(&valmis).await;
    let before = valmis.peak_memory();
    let watch = Watch::over(&valmis);

    // Each level has a label value ten times as long as the level below it.
    let references = "$1".repeat(10);
    let mut query = "x".to_owned();
    for _ in 0..12 {
        query = format!("label_replace({query}, \"instance\", \"{references}\", \"instance\", \"(.*)\")");
    }
    let said = ask(&valmis, &query).await;
    assert_eq!((said.status, said.error()), (StatusCode::UNPROCESSABLE_ENTITY, TOO_MANY));
    let mut query = "x".to_owned();
    for _ in 0..12 {
        query = format!("label_join({query}, \"instance\", \"\"{})", ", \"instance\"".repeat(10));
    }
    let said = ask(&valmis, &query).await;
    assert_eq!((said.status, said.error()), (StatusCode::UNPROCESSABLE_ENTITY, TOO_MANY));

    // Patterns that would be machines of many gigabytes.
    let pattern = "((((a{100}){100}){100}){100})";
    let began = Instant::now();
    let said = ask(&valmis, &format!("x{{instance=~\"{pattern}\"}}")).await;
    assert_eq!(said.status, StatusCode::BAD_REQUEST, "{said:?}");
    let said = ask(&valmis, &format!("label_replace(x, \"a\", \"$1\", \"instance\", \"{pattern}\")")).await;
    assert_eq!(said.status, StatusCode::UNPROCESSABLE_ENTITY, "{said:?}");
    let said =
        post(valmis.address, "/api/v1/series", &[("match[]", &*format!("x{{a=~\"{pattern}\"}}"))]).await;
    assert_eq!(said.status, StatusCode::BAD_REQUEST, "{said:?}");
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());

    // A megabyte of one thing.
    let megabyte = 1 << 20;
    for (what, query) in [
        ("a name", "x".repeat(megabyte)),
        ("a number", "9".repeat(megabyte)),
        ("a string", format!("\"{}\"", "s".repeat(megabyte))),
        ("a value", format!("x{{a=\"{}\"}}", "s".repeat(megabyte))),
        ("a pattern", format!("x{{a=~\"{}\"}}", "s".repeat(megabyte))),
        ("an alternation", format!("x{{a=~\"{}\"}}", "s|".repeat(megabyte / 2))),
        ("matchers", format!("x{{{}}}", "a=\"b\",".repeat(megabyte / 6))),
        ("patterns", format!("x{{{}}}", "a=~\"b.\",".repeat(megabyte / 8))),
        ("arguments", format!("label_join(x, \"a\", \"b\"{})", ",\"c\"".repeat(megabyte / 4))),
        ("labels", format!("sum by ({}) (x)", "a,".repeat(megabyte / 2))),
        ("whitespace", format!("x{}", " ".repeat(megabyte))),
        ("comment", format!("x # {}", "c".repeat(megabyte))),
        ("brackets", "[".repeat(megabyte)),
        ("no text", "\u{0}".repeat(megabyte)),
    ] {
        for path in ["query", "format_query", "parse_query"] {
            let began = Instant::now();
            let said = post(valmis.address, &format!("/api/v1/{path}"), &[("query", &query)]).await;
            let took = began.elapsed();
            say(&format!("{path} of a megabyte of {what}: {} after {took:?}", said.status));
            let timed_out = said.error().starts_with("query timed out in ");
            let is_answer = said.status.is_success() || said.status.is_client_error() || timed_out;
            assert!(is_answer, "{what}: {}", said.status);
            assert!(!said.error().contains("form values"), "{what}: {}", said.error());
            assert!(took < SOON, "{what}: {took:?}");
        }
    }
    let took = watch.end().await;
    let memory = valmis.peak_memory() - before;
    say(&format!("/health took {took:?} at most, memory grew by {} MB", memory >> 20));
    assert!(took < RESPONSIVE, "{took:?}");
    assert!(memory < MEMORY, "{memory}");
}

/// A form of one parameter, as often as `times`.
async fn many(valmis: &Valmis, path: &str, parameter: &str, times: usize) -> Said {
    let url = format!("http://{}/api/v1/{path}", valmis.address);
    let form = http().post(url).header("Content-Type", "application/x-www-form-urlencoded");
    Said::of(form.body(format!("{parameter}&").repeat(times)).send().await.unwrap()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_number_of_selectors_holds_nobody_up() {
    let _turn = turn().await;
    let valmis = limited("timeout: 5s").await;
    fill(&valmis).await;
    let before = valmis.peak_memory();
    let watch = Watch::over(&valmis);
    let pattern = "match[]={a%3D~\"a.\",b%3D~\"b.\"}";
    for (what, path, parameter, times, error) in [
        ("selectors", "series", "match[]=x", 400_000, "too many parameters, at most 10000 are supported"),
        ("no names", "series", "a", 5_000_000, "too many parameters, at most 10000 are supported"),
        ("names", "query", "a=b", 2_000_000, "too many parameters, at most 10000 are supported"),
        (
            "selectors",
            "series",
            "match[]=x",
            1_001,
            "too many match[] parameters, at most 1000 are supported",
        ),
        (
            "selectors",
            "labels",
            "match[]=x",
            1_001,
            "too many match[] parameters, at most 1000 are supported",
        ),
        ("patterns", "series", pattern, 1_000, "too many or too large regular expressions in the query"),
        ("patterns", "labels", pattern, 1_000, "too many or too large regular expressions in the query"),
    ] {
        let began = Instant::now();
        let said = many(&valmis, path, parameter, times).await;
        let took = began.elapsed();
        say(&format!("{times} {what} for {path}: {} after {took:?}", said.status));
        assert_eq!(said.status, StatusCode::BAD_REQUEST, "{what}: {said:?}");
        assert!(said.error().ends_with(error), "{what}: {}", said.error());
        assert!(took < SOON, "{what}: {took:?}");
    }
    // As many as are allowed, all at once.
    let selector = "match[]={job%3D\"hostile\"}";
    let together = ["series", "labels", "series", "labels"].map(|path| many(&valmis, path, selector, 1_000));
    for said in futures_util::future::join_all(together).await {
        let timed_out = said.error().starts_with("query timed out in ");
        assert!(said.status == StatusCode::OK || timed_out, "{said:?}");
    }
    let took = watch.end().await;
    let memory = valmis.peak_memory() - before;
    say(&format!("/health took {took:?} at most, memory grew by {} MB", memory >> 20));
    assert!(took < RESPONSIVE, "{took:?}");
    assert!(memory < MEMORY, "{memory}");
}

/// Computes for a minute if it is not stopped.
fn endless() -> String {
    let term = "quantile_over_time(0.5, vector(time())[11000s:1s])";
    vec![term; 250].join(" + ")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queries_that_take_too_long_stop_and_make_room() {
    let _turn = turn().await;
    let valmis = limited("timeout: 2s, max_concurrency: 2").await;
    let watch = Watch::over(&valmis);
    let (began, query) = (Instant::now(), endless());
    let endless = futures_util::future::join_all((0..2).map(|_| ask_range(&valmis, &query)));
    let waits = eventually("both slots are taken", async || {
        let said = post(valmis.address, "/api/v1/query", &[("query", "1"), ("timeout", "100ms")]).await;
        let is_queued = said.error() == "query timed out in query queue";
        if is_queued { Ok(said.status) } else { Err(format!("{said:?}")) }
    });
    let (answers, queued) = futures_util::future::join(endless, waits).await;
    assert_eq!(queued, StatusCode::SERVICE_UNAVAILABLE);
    for said in answers {
        assert_eq!((said.status, said.error()), (StatusCode::SERVICE_UNAVAILABLE, TIMED_OUT));
    }
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    // Both slots are free again as soon as their threads have noticed.
    eventually("a slot", async || {
        let said = ask(&valmis, "1").await;
        if said.status == StatusCode::OK { Ok(()) } else { Err(said.error().to_owned()) }
    })
    .await;
    let short = [("query", &*query), ("start", "0"), ("end", "11000"), ("step", "1"), ("timeout", "100ms")];
    let began = Instant::now();
    let said = post(valmis.address, "/api/v1/query_range", &short).await;
    assert_eq!(said.status, StatusCode::SERVICE_UNAVAILABLE, "{said:?}");
    assert!(said.error().starts_with("query timed out in "), "{}", said.error());
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    let took = watch.end().await;
    assert!(took < RESPONSIVE, "{took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_whose_asker_has_gone_stops() {
    let _turn = turn().await;
    let valmis = limited("timeout: 10m, max_concurrency: 1").await;
    let query = endless();
    let gone = tokio::time::timeout(Duration::from_millis(500), ask_range(&valmis, &query)).await;
    assert!(gone.is_err(), "it was answered: {gone:?}");
    // The only slot is taken for ten minutes unless the query stops.
    let began = Instant::now();
    let said = ask(&valmis, "1").await;
    assert_eq!(said.status, StatusCode::OK, "{said:?}");
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rules_do_not_wait_for_queries() {
    let _turn = turn().await;
    let rules = "groups: [{name: g, interval: 1s, rules: [{record: r, expr: 'vector(1)'}]}]\n";
    let limits = "query: {timeout: 1m, max_concurrency: 1}\nevaluation_interval: 1s\n";
    let files = [("rules.yaml".to_owned(), rules.to_owned())];
    let valmis = Valmis::start_with(&format!("{RECEIVER}{limits}"), &files).await;
    // The first ones wait until everything was scraped.
    valmis.wait_two_evaluations().await;
    let query = endless();
    tokio::select! {
        said = ask_range(&valmis, &query) => panic!("it ended: {said:?}"),
        () = valmis.wait_two_evaluations() => {}
    }
}
