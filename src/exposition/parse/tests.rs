use proptest::prelude::*;

use super::*;
use crate::model::{format_float, normal_nan};

/// A page in a form that can be compared: a line per entry.
fn read(page: &[u8], format: Format) -> Result<Vec<String>, String> {
    let mut parser = Parser::new(page, format).map_err(|error| error.to_string())?;
    let mut lines = Vec::new();
    while let Some(entry) = parser.next() {
        lines.push(match entry.map_err(|error| error.to_string())? {
            Entry::Help { family, help } => format!("HELP {family} {help:?}"),
            Entry::Type { family, kind } => format!("TYPE {family} {kind}"),
            Entry::Unit { family, unit } => format!("UNIT {family} {unit}"),
            Entry::Sample(sample) => {
                let at = sample.at.map(|at| format!(" @{at}")).unwrap_or_default();
                format!("{} {}{at}", parser.labels(), format_float(sample.value))
            }
        });
    }
    Ok(lines)
}

fn check(page: &str, format: Format, expected: &[&str]) {
    assert_eq!(
        read(page.as_bytes(), format),
        Ok(expected.iter().map(ToString::to_string).collect()),
        "{page}"
    );
}

#[test]
fn text_is_read_as_prometheus_reads_it() {
    let check = |page, expected: &[&str]| check(page, Format::Text, expected);
    check("", &[]);
    check("\n\n", &[]);
    check("foo 1", &[r#"{__name__="foo"} 1"#]);
    check("foo 1 -5\n", &[r#"{__name__="foo"} 1 @-5"#]);
    check("  foo\t1  \n", &[r#"{__name__="foo"} 1"#]);
    check("go_goroutines 33  \t123123\n", &[r#"{__name__="go_goroutines"} 33 @123123"#]);
    check("a{quantile=\"0.25\",} 7e-05", &[r#"{__name__="a", quantile="0.25"} 0.00007"#]);
    check("a { b = \"1\" c= \"2\" , } 1", &[r#"{__name__="a", b="1", c="2"} 1"#]);
    check("a{b=\"c\"}1", &[r#"{__name__="a", b="c"} 1"#]);
    check("some:aggregate:rate5m{a_b=\"c\"}\t1", &[r#"{__name__="some:aggregate:rate5m", a_b="c"} 1"#]);
    check(r#"m{label="\"bar\" \\ \n \x"} 1"#, &[r#"{__name__="m", label="\"bar\" \\ \n \\x"} 1"#]);
    check("m{empty=\"\"} NaN", &[r#"{__name__="m"} NaN"#]);
    check("m{a=\"line\nbreak\"} 1", &[r#"{__name__="m", a="line\nbreak"} 1"#]);
    check("m{a=\"abc\0\"} +Inf", &[r#"{__name__="m", a="abc\x00"} +Inf"#]);
}

#[test]
fn text_metadata_is_told_from_comments() {
    let check = |page, expected: &[&str]| check(page, Format::Text, expected);
    check("# Hrandom comment\n#\n#HELP a b\n# HELP\n# HELPa b\n  # TYPEs\n", &[]);
    check("# HELP nohelp\n# HELP nohelp2 \n", &[r#"HELP nohelp """#, r#"HELP nohelp2 """#]);
    check("# \tTYPE a\tsummary\n", &["TYPE a summary"]);
    check("# TYPE a untyped", &["TYPE a unknown"]);
    check(r#"# HELP a \\ \n \" é"#, &[r#"HELP a "\\ \n \\\" é""#]);
    check("# HELP \"go.gc\" A name with a dot.", &[r#"HELP go.gc "A name with a dot.""#]);
}

#[test]
fn bounds_of_histograms_and_summaries_have_one_spelling() {
    check(
        "# TYPE h histogram\nh_bucket{le=\"1\"} 2\nh_bucket{le=\"+Inf\"} 2\n\
         # TYPE s summary\ns{quantile=\"1\",le=\"1\"} 1\n# TYPE g gauge\ng{le=\"1\"} 1\n",
        Format::Text,
        &[
            "TYPE h histogram",
            r#"{__name__="h_bucket", le="1.0"} 2"#,
            r#"{__name__="h_bucket", le="+Inf"} 2"#,
            "TYPE s summary",
            r#"{__name__="s", le="1", quantile="1.0"} 1"#,
            "TYPE g gauge",
            r#"{__name__="g", le="1"} 1"#,
        ],
    );
}

#[test]
fn quoted_names_may_hold_any_character() {
    let page = r#"{"go.gc", quantile="0.5" } 1
{a="b","go.gc"} 2
{"with \"quotes\" and €\n","strange \"name\""="6"} 3
{"alone"} 4"#;
    check(
        page,
        Format::Text,
        &[
            r#"{__name__="go.gc", quantile="0.5"} 1"#,
            r#"{__name__="go.gc", a="b"} 2"#,
            r#"{__name__="with \"quotes\" and €\n", "strange \"name\""="6"} 3"#,
            r#"{__name__="alone"} 4"#,
        ],
    );
}

#[test]
fn open_metrics_is_read_as_prometheus_reads_it() {
    let page = r#"# HELP go_gc_seconds A \"summary\".
# TYPE go_gc_seconds summary
# UNIT go_gc_seconds seconds
go_gc_seconds{quantile="0"} 4.5
go_gc_seconds_count 99
# UNIT nounit 
go_goroutines 33 123.123
# TYPE hh histogram
hh_bucket{le="1"} 1 # {id="x",y="z"} 4
hh_bucket{le="+Inf"} 2 1.5 # {} 4 123.123
{"a.b",c="d",} nan
# EOF
"#;
    check(
        page,
        Format::OpenMetrics,
        &[
            r#"HELP go_gc_seconds "A \"summary\".""#,
            "TYPE go_gc_seconds summary",
            "UNIT go_gc_seconds seconds",
            r#"{__name__="go_gc_seconds", quantile="0.0"} 4.5"#,
            r#"{__name__="go_gc_seconds_count"} 99"#,
            "UNIT nounit ",
            r#"{__name__="go_goroutines"} 33 @123123"#,
            "TYPE hh histogram",
            r#"{__name__="hh_bucket", le="1.0"} 1"#,
            r#"{__name__="hh_bucket", le="+Inf"} 2 @1500"#,
            r#"{__name__="a.b", c="d"} NaN"#,
        ],
    );
    check("# EOF", Format::OpenMetrics, &[]);
}

fn check_fault(page: &[u8], format: Format, expected: &str) {
    let found = read(page, format).expect_err("the page is broken");
    assert_eq!(found, expected, "{}", page.escape_ascii());
}

#[test]
fn faults_of_text_pages_name_place_and_expectation() {
    let check = |page: &[u8], expected: &str| check_fault(page, Format::Text, expected);
    check(b"a", "line 1, column 2: expected a blank or `{` after the metric name, found end of page");
    check(b"a\n", "line 1, column 2: expected a blank or `{` after the metric name, found end of line");
    check(b"a-1\n", "line 1, column 2: expected a blank or `{` after the metric name, found `-`");
    check(b"ok 1\na \n", "line 2, column 3: expected a value, found end of line");
    check(b"a{b='c'} 1\n", "line 1, column 5: expected a label value in double quotes, found `'`");
    check(b"a{b=\n", "line 1, column 5: expected a label value in double quotes, found end of line");
    check(b"ok 1\na{\xff=\"foo\"} 1\n", "line 2, column 3: invalid UTF-8");
    check(b"a{b=\"\xff\"} 1\n", "line 1, column 6: invalid UTF-8");
    check(b"{\"a\", \"b = \"c\"}", "line 1, column 13: expected `=`, found `c`");
    check(b"{\"a\",b\\nc=\"d\"} 1", "line 1, column 7: expected `=`, found `\\`");
    check(b"a true\n", "line 1, column 3: invalid value `true`");
    check(b"a{b=\"", "line 1, column 6: expected a closing double quote, found end of page");
    check(b"a{b=\"\\", "line 1, column 6: expected a closing double quote, found `\\`");
    check(b"a{=\"\"} 0", "line 1, column 3: expected a label name, found `=`");
    check(b"a{\"\"=\"x\"} 0", "line 1, column 3: expected a label name, found `\"\"`");
    check(b"a{,} 0", "line 1, column 3: expected a label name, found `,`");
    check(b"a{b=\"c\",,} 0", "line 1, column 9: expected a label name, found `,`");
    check(b"{A}0", "line 1, column 3: expected `=`, found `}`");
    check(b"foo 1_2\n", "line 1, column 5: invalid value `1_2`");
    check(b"foo 0x1p-3\n", "line 1, column 5: invalid value `0x1p-3`");
    check(b"foo 0 1_2\n", "line 1, column 7: invalid timestamp `1_2`");
    check(b"foo 0 +1\n", "line 1, column 7: expected a timestamp in milliseconds or a new line, found `+`");
    check(b"foo 0 99999999999999999999\n", "line 1, column 7: invalid timestamp `99999999999999999999`");
    check(b"foo 0 1 2\n", "line 1, column 9: expected a new line after the sample, found `2`");
    check(b"{a=\"ok\"} 1", "line 1, column 1: metric name not set");
    check(b"{\"\"} 1", "line 1, column 1: metric name not set");
    check(b"a{\"b\"} 1", "line 1, column 3: metric name already set");
    check(b"{\"a\",\"b\"} 1", "line 1, column 6: metric name already set");
    check(b"# TYPE #\n", "line 1, column 8: expected a metric name, found `#`");
    check(b"# TYPE a counter \n", "line 1, column 10: invalid metric type `counter `");
    check(b"a{b=\"1\",c=\"2\",b=\"3\"} 1", "line 1, column 15: label `b` is not unique");
    check(b"a{__name__=\"b\"} 1", "line 1, column 3: label `__name__` is not unique");
    check(b"a\0{b=\"d\"} 1", "line 1, column 2: expected a blank or `{` after the metric name, found `\\0`");
    check(b"9a 1", "line 1, column 1: expected a metric name, `{` or `#`, found `9`");
}

#[test]
fn faults_of_open_metrics_pages_name_place_and_expectation() {
    let check = |page: &str, expected: &str| check_fault(page.as_bytes(), Format::OpenMetrics, expected);
    check("", "line 1, column 1: data does not end with # EOF");
    check("\n", "line 1, column 1: expected a metric name, `{` or `#`, found end of line");
    check("a 1", "line 1, column 4: data does not end with # EOF");
    check("a 1\n", "line 2, column 1: data does not end with # EOF");
    check(" a 1\n", "line 1, column 1: expected a metric name, `{` or `#`, found ` `");
    check("# TYPE u untyped\n", "line 1, column 10: invalid metric type `untyped`");
    check("# TYPE c  counter\n", "line 1, column 10: invalid metric type ` counter`");
    let comment = "line 1, column 1: expected `# HELP`, `# TYPE`, `# UNIT` or `# EOF`, found `#`";
    check("#  TYPE c counter\n", comment);
    check("# comment\n", comment);
    check(
        "# TYPE m\n",
        "line 1, column 9: expected a space and text after the metric name, found end of line",
    );
    check("# UNIT metric suffix\n", "line 1, column 15: unit `suffix` not a suffix of metric `metric`");
    check("# UNIT asuffix suffix\n", "line 1, column 16: unit `suffix` not a suffix of metric `asuffix`");
    check("a\t1\n", "line 1, column 2: expected a blank or `{` after the metric name, found `\\t`");
    check("a  1\n", "line 1, column 3: expected a value, found ` `");
    check("a 1\t2\n", "line 1, column 4: expected a new line after the sample, found `\\t`");
    check("a 1 2 \n", "line 1, column 6: expected a new line after the sample, found ` `");
    check("a 1 1z\n", "line 1, column 5: invalid timestamp `1z`");
    check("a 1 NaN\n", "line 1, column 5: invalid timestamp `NaN`");
    check("a 1 -Inf\n", "line 1, column 5: invalid timestamp `-Inf`");
    check("a 1 1e300\n", "line 1, column 5: invalid timestamp `1e300`");
    check("# EOF\na 1", "line 1, column 6: unexpected data after # EOF");
    check("# EOF\n\n", "line 1, column 6: unexpected data after # EOF");
    check("a{b=\"c\"d=\"e\"} 1\n", "line 1, column 8: expected `,` or `}`, found `d`");
    check("a{ b=\"c\"} 1\n", "line 1, column 3: expected a label name, found ` `");
    check("a{b=\"\n\"} 1\n", "line 1, column 6: expected a closing double quote, found end of line");
    check("a{b=\"c\"}1\n", "line 1, column 9: expected a space and a value, found `1`");
    let exemplar = |rest: &str, expected: &str| check(&format!("c_total 1 # {rest}"), expected);
    exemplar("{a=b}\n", "line 1, column 16: expected a label value in double quotes, found `b`");
    exemplar("{a=\"b\"}\n", "line 1, column 20: expected a space and a value, found end of line");
    exemplar("{\"a\"} 1\n", "line 1, column 17: expected `=`, found `}`");
    exemplar("{a=\"b\"} true\n", "line 1, column 21: invalid value `true`");
    exemplar("{a=\"b\",a=\"c\"} 1\n", "line 1, column 20: label `a` is not unique");
    exemplar("{a=\"b\"} 4 NaN\n", "line 1, column 23: invalid timestamp `NaN`");
    exemplar("{a=\"b\"} 4", "line 1, column 22: data does not end with # EOF");
}

#[test]
fn the_series_text_is_the_same_on_every_page() {
    let page = "a{b=\"c\"} 1\n  a{b=\"c\"}   2 3\nplain 4";
    let series: Vec<_> = Parser::new(page.as_bytes(), Format::Text)
        .unwrap()
        .map(|entry| match entry.unwrap() {
            Entry::Sample(sample) => sample.series,
            other => panic!("not a sample: {other:?}"),
        })
        .collect();
    assert_eq!(series, ["a{b=\"c\"}", "a{b=\"c\"}", "plain"]);
}

#[test]
fn every_nan_is_prometheus_own() {
    let mut parser = Parser::new(b"a nan", Format::Text).unwrap();
    let Some(Ok(Entry::Sample(sample))) = parser.next() else { panic!("one sample") };
    assert_eq!(sample.value.to_bits(), normal_nan().to_bits());
    assert!(parser.next().is_none());
}

#[test]
fn nothing_follows_an_error() {
    let mut parser = Parser::new(b"a{ 1\nb 2\n", Format::Text).unwrap();
    assert!(parser.next().is_some_and(|entry| entry.is_err()));
    assert!(parser.next().is_none());
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(page: Vec<u8>, open_metrics: bool) {
        let format = if open_metrics { Format::OpenMetrics } else { Format::Text };
        let _ = read(&page, format);
    }

    #[test]
    fn near_misses_never_panic(page in "([a-z_{}=\",#\\\\ \t\n0-9.+]|# HELP |# TYPE |# EOF|é| # \\{){0,60}", open_metrics: bool) {
        let format = if open_metrics { Format::OpenMetrics } else { Format::Text };
        let _ = read(page.as_bytes(), format);
    }
}
