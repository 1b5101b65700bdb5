use std::time::Duration;

use super::file::MAX_SERIES;
use super::*;

async fn look(folder: &Path) -> ProbeOutcome {
    TextfileProber::new(folder.to_owned()).probe(Deadline::after(Duration::from_secs(20))).await
}

fn value(outcome: &ProbeOutcome, series: &str) -> Option<f64> {
    let found = outcome.samples.iter().find(|sample| sample.labels.to_string() == series);
    found.map(|sample| sample.value)
}

const ERROR: &str = r#"{__name__="node_textfile_scrape_error"}"#;

#[tokio::test]
async fn what_jobs_leave_is_told_with_the_time_of_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("backup.prom");
    fs::write(&file, "# TYPE backup_bytes gauge\nbackup_bytes{db=\"shop\"} 5e9\nbackup_ok 1\n").unwrap();
    fs::write(folder.path().join("backup.prom.tmp"), "half a li").unwrap();
    let outcome = look(folder.path()).await;
    assert_eq!(outcome.result, Ok(()));
    assert_eq!(value(&outcome, r#"{__name__="backup_bytes", db="shop"}"#), Some(5e9));
    assert_eq!(value(&outcome, r#"{__name__="backup_ok"}"#), Some(1.0));
    assert_eq!(value(&outcome, ERROR), Some(0.0));
    let mtime = format!(r#"{{__name__="node_textfile_mtime_seconds", file="{}"}}"#, file.display());
    assert!(value(&outcome, &mtime).unwrap() > 1.6e9, "{:?}", outcome.samples);
    assert_eq!(outcome.samples.len(), 4);
}

#[tokio::test]
async fn a_faulty_file_is_left_out_whole_and_named() {
    let check = async |text: &str, reason: &str| {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.prom"), "good 1\n").unwrap();
        fs::write(folder.path().join("b.prom"), text).unwrap();
        let outcome = look(folder.path()).await;
        assert_eq!(value(&outcome, r#"{__name__="good"}"#), Some(1.0), "{text}");
        assert_eq!(value(&outcome, r#"{__name__="other"}"#), None, "{text}");
        assert_eq!(value(&outcome, ERROR), Some(1.0), "{text}");
        assert!(outcome.log[0].contains("b.prom` ") && outcome.log[0].contains(reason), "{:?}", outcome.log);
    };
    check("other 1\nnot a sample\n", "line 2").await;
    check("other 1 1395066363000\n", "has a timestamp, which is not supported").await;
    check("other 1\ngood 2\n", r#"`{__name__="good"}` occurs twice"#).await;
    let many: Vec<String> = (0..=MAX_SERIES).map(|index| format!("m{index} 1\n")).collect();
    check(&format!("other 1\n{}", many.concat()), "has more series").await;
}

#[tokio::test]
async fn a_folder_that_is_not_there_is_unknown() {
    let outcome = look(Path::new("/nowhere/at/all")).await;
    assert_eq!(value(&outcome, ERROR), Some(1.0));
    let failure = outcome.result.unwrap_err();
    assert!(failure.unknown && failure.reason.contains("`/nowhere/at/all` cannot be listed"), "{failure:?}");
}

#[tokio::test]
async fn a_file_system_that_hangs_is_an_error_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let prober = TextfileProber::new(folder.path().to_owned());
    let _earlier = Arc::clone(&prober.reading).try_acquire_owned().unwrap();
    let outcome = prober.probe(Deadline::after(Duration::from_secs(20))).await;
    assert_eq!(outcome.result.as_ref().map_err(|failure| failure.kind), Err("timeout"));
    assert_eq!(value(&outcome, ERROR), Some(1.0));
}

#[tokio::test]
async fn types_and_help_texts_are_those_of_the_files() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    write(
        "a.prom",
        "# HELP done_total Jobs.\n# TYPE done_total counter\ndone_total 3\n# TYPE took histogram\n\
         took_bucket{le=\"+Inf\"} 2\ntook_sum 1\ntook_count 2\nplain{job=\"a\"} 1\n# HELP unused Nothing.\n",
    );
    write("b.prom", "plain{job=\"b\"} 1\n");
    let prober = TextfileProber::new(folder.path().to_owned());
    assert_eq!(prober.describe("done_total"), None);
    let outcome = prober.probe(Deadline::after(Duration::from_secs(20))).await;
    assert_eq!((value(&outcome, ERROR), &outcome.log[..]), (Some(0.0), &[][..]));
    let (a, b) = (folder.path().join("a.prom"), folder.path().join("b.prom"));
    let check = |name: &str, expected: Option<(&str, String)>| {
        assert_eq!(prober.describe(name), expected, "{name}");
    };
    check("done_total", Some(("counter", "Jobs.".to_owned())));
    check("took", Some(("histogram", format!("Metric read from {}", a.display()))));
    check("took_sum", None);
    check("plain", Some(("untyped", format!("Metric read from {}, {}", a.display(), b.display()))));
    check("unused", None);
    assert_eq!(prober.describe("node_textfile_scrape_error").unwrap().0, "gauge");
}

#[tokio::test]
async fn a_metric_that_means_something_else_in_an_earlier_file_is_left_out_alone() {
    let check = async |first: &str, second: &str, expected: Option<&str>| {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.prom"), format!("{first}\nm{{f=\"a\"}} 1\n")).unwrap();
        fs::write(folder.path().join("b.prom"), format!("{second}\nm{{f=\"b\"}} 1\nother 1\n")).unwrap();
        let outcome = look(folder.path()).await;
        let second = value(&outcome, r#"{__name__="m", f="b"}"#);
        assert_eq!(value(&outcome, r#"{__name__="m", f="a"}"#), Some(1.0));
        assert_eq!(value(&outcome, r#"{__name__="other"}"#), Some(1.0));
        assert_eq!(second.is_none(), expected.is_some(), "{:?}", outcome.log);
        assert_eq!(value(&outcome, ERROR), Some(f64::from(u8::from(expected.is_some()))));
        let said = outcome.log.iter().any(|line| expected.is_some_and(|part| line.contains(part)));
        assert_eq!(said, expected.is_some(), "{:?}", outcome.log);
    };
    check("# HELP m One.", "# HELP m One.", None).await;
    check("# HELP m One.", "", None).await;
    check("", "# HELP m One.", None).await;
    check("# HELP m One.", "# HELP m Two.", Some("b.prom` has `m` with another help text than `")).await;
    check("# TYPE m counter", "# TYPE m gauge", Some("b.prom` has `m` with another type than `")).await;
}
