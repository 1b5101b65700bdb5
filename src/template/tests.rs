//! Templates from outside. What is expected is what Prometheus prints.

use proptest::prelude::*;

use super::{Context, Facts, QueryFn, References, Template};
use crate::model::{Labels, TimestampMs};

/// Answers every query with the same rows, except for `fail`.
struct Rows(Vec<(Labels, f64)>);

impl QueryFn for Rows {
    fn query(&self, expression: &str, at: TimestampMs) -> Result<Vec<(Labels, f64)>, String> {
        assert_eq!(at, AT);
        if expression == "fail" { Err("query timed out".to_owned()) } else { Ok(self.0.clone()) }
    }
}

/// 2012-11-24 11:14:12 UTC
const AT: TimestampMs = 1_353_755_652_000;

fn expand_value(text: &str, value: f64, rows: &Rows) -> Result<String, String> {
    let labels = Labels::from_pairs([("instance", "a:9090"), ("job", "api"), ("empty", "")]);
    let external_labels = Labels::from_pairs([("cluster", "eu")]);
    let context = Context {
        labels: &labels,
        external_labels: &external_labels,
        external_url: "http://testhost:9090/path/prefix",
        value,
        at: AT,
        facts: Facts {
            status: "resolved",
            resolved_value: 0.25,
            active_at: AT - 90_500,
            hold_ms: 300_000,
            expr: "up == 0",
            alert_id: u64::MAX,
            group_id: 7,
            interval_ms: 15_000,
        },
        query: rows,
    };
    let template = Template::parse("test", text).map_err(|e| e.to_string())?;
    template.expand(&context).map_err(|e| e.to_string())
}

fn expand(text: &str) -> Result<String, String> {
    let rows = Rows(vec![
        (Labels::from_pairs([("__name__", "metric"), ("instance", "b"), ("__value__", "raw")]), 21.0),
        (Labels::from_pairs([("__name__", "metric"), ("instance", "a")]), 11.5),
    ]);
    expand_value(text, 0.5, &rows)
}

fn check(text: &str, expected: &str) {
    assert_eq!(expand(text).as_deref(), Ok(expected), "{text}");
}

fn check_error(text: &str, expected: &str) {
    assert_eq!(expand(text).expect_err(text), expected, "{text}");
}

#[test]
fn templates_know_where_their_alert_stands() {
    check(
        "{{ $status }} {{ .Status }} {{ if eq $status \"resolved\" }}over{{ end }}",
        "resolved resolved over",
    );
    check("{{ $resolvedValue }} {{ .ResolvedValue | humanizePercentage }}", "0.25 25%");
    check("{{ $activeAt }}", "2012-11-24 11:12:41.5 +0000 UTC");
    check("{{ (now | toTime).Sub $activeAt }} {{ .ActiveAt.Unix }}", "1m30.5s 1353755561");
    check("{{ $for }} {{ $interval }} {{ .For.Seconds }} {{ .Interval }}", "5m0s 15s 300 15s");
    check("{{ $expr }} {{ .Expr }} {{ $type }} {{ .Type }}", "up == 0 up == 0 prometheus prometheus");
    check("{{ $alertID }} {{ .GroupID }}", "18446744073709551615 7");
    check("{{ $status := \"mine\" }}{{ $status }}", "mine");
    check_error(
        "{{ .Unknown }}",
        "error executing template test: template: test:1:3: executing \"test\" at <.Unknown>: can't evaluate field Unknown in type struct { Labels map[string]string; ExternalLabels map[string]string; ExternalURL string; Value interface {} }",
    );
    let facts = |text: &str| Template::parse("test", text).unwrap().references().facts;
    let found = facts(
        "{{ if eq .Status \"x\" }}{{ range query $expr }}{{ .For }}{{ end }}{{ $.ResolvedValue }}{{ end }}",
    );
    assert_eq!(found.into_iter().collect::<Vec<_>>(), ["$expr", "$resolvedValue", "$status"]);
}

#[test]
fn text_and_values_are_printed() {
    check("plain text", "plain text");
    check("", "");
    check("{{ 1 }} {{ 1.5 }} {{ \"a\" }} {{ `b\\n` }} {{ true }} {{ 'x' }} {{ 0x10 }} {{ 1e3 }}", {
        "1 1.5 a b\\n true 120 16 1000"
    });
    check("{{ $labels.instance }} is {{ $value }}", "a:9090 is 0.5");
    check("{{ .Labels.job }}{{ .Value }}{{ $.ExternalURL }}{{ $externalURL }}", {
        "api0.5http://testhost:9090/path/prefixhttp://testhost:9090/path/prefix"
    });
    check("{{ $externalLabels.cluster }}{{ .ExternalLabels.cluster }}", "eueu");
    check("{{ $labels }}", "map[instance:a:9090 job:api]");
    check("[{{ $labels.missing }}{{ $labels.empty }}]", "[]");
    check("{{ args 1 }} {{ (args 1).arg1 }}", "map[arg0:1] <no value>");
}

#[test]
fn values_are_printed_as_go_prints_floats() {
    let check = |value: f64, expected: &str| {
        assert_eq!(expand_value("{{ $value }}", value, &Rows(Vec::new())).as_deref(), Ok(expected));
    };
    check(1.0, "1");
    check(100_000.0, "100000");
    check(1e6, "1e+06");
    check(1_234_567.0, "1.234567e+06");
    check(1e21, "1e+21");
    check(0.000_01, "1e-05");
    check(f64::INFINITY, "+Inf");
    check(f64::NEG_INFINITY, "-Inf");
    check(f64::NAN, "NaN");
    let float_of_a_whole_number = expand_value("{{ le $value 1.5 }}", 1.0, &Rows(Vec::new()));
    assert_eq!(float_of_a_whole_number.as_deref(), Ok("true"));
}

#[test]
fn queries_are_asked() {
    check("{{ query \"metric\" | first | value }}", "21");
    check("{{ query \"metric\" | first | label \"instance\" }}", "b");
    check("{{ query \"metric\" | first | label \"nope\" }}", "");
    check("{{ query \"metric\" | first | strvalue }}", "raw");
    check("{{ $x := query \"metric\" | first }}{{ $x.Labels.nope }}{{ $x.Value }}", "21");
    check(
        "{{ range query \"metric\" | sortByLabel \"instance\" }}{{ .Labels.instance }}:{{ .Value }}: {{ end }}",
        "a:11.5: b:21: ",
    );
    check("{{ with query \"metric\" }}{{ . | first | value | humanize }}{{ end }}", "21");
    check("{{ len (query \"metric\") }} {{ (index (query \"metric\") 1).Value }}", "2 11.5");
    check("{{ printf \"metric{instance='%s'}\" $labels.instance | query | first | value }}", "21");
    check("{{ query \"metric\" | first }}", "{map[__name__:metric __value__:raw instance:b] 21}");
    check_error("{{ query \"fail\" }}", {
        "error executing template test: template: test:1:3: executing \"test\" at <query \"fail\">: \
         error calling query: query timed out"
    });
    let empty = expand_value("{{ query \"missing\" | first }}", 0.0, &Rows(Vec::new()));
    assert_eq!(empty.expect_err("no rows"), {
        "error executing template test: template: test:1:21: executing \"test\" at <first>: \
         error calling first: first() called on vector with no elements"
    });
    let none = expand_value("{{ range query \"x\" }}a{{ else }}none{{ end }}", 0.0, &Rows(Vec::new()));
    assert_eq!(none.as_deref(), Ok("none"));
}

#[test]
fn control_actions_control() {
    check("{{ if true }}a{{ else }}b{{ end }}", "a");
    check("{{ if eq 1 2 }}a{{ else if eq 1 1 }}b{{ else }}c{{ end }}", "b");
    check("{{ if false }}a{{ else if false }}b{{ else }}c{{ end }}", "c");
    check("{{ with $labels.job }}{{ . }}{{ end }}{{ with $labels.nope }}x{{ else }}none{{ end }}", "apinone");
    check("{{ with 0 }}a{{ else with 1 }}b{{ . }}{{ else }}c{{ end }}", "b1");
    check("{{ range $i, $x := query \"m\" }}{{ $i }}={{ $x.Value }} {{ end }}", "0=21 1=11.5 ");
    check("{{ range $x := query \"m\" }}{{ $x.Value }} {{ end }}", "21 11.5 ");
    check(
        "{{ range $name, $value := $labels }}{{ $name }}={{ $value }};{{ end }}",
        "instance=a:9090;job=api;",
    );
    check("{{ range 3 }}{{ . }}{{ end }}{{ range $i := 2 }}{{ $i }}{{ else }}x{{ end }}", "01201");
    check(
        "{{ range 5 }}{{ if eq . 1 }}{{ continue }}{{ end }}{{ if eq . 3 }}{{ break }}{{ end }}{{ . }}{{ end }}",
        "02",
    );
    check("{{ range 2 }}{{ range 2 }}{{ break }}{{ end }}{{ . }}{{ end }}", "01");
    check("{{ range 0 }}a{{ else }}none{{ end }}", "none");
    check("{{ $x := 1 }}{{ if true }}{{ $x = 2 }}{{ $y := 3 }}{{ end }}{{ $x }}", "2");
    check("{{ $x := 1 }}{{ if true }}{{ $x := 2 }}{{ end }}{{ $x }}", "1");
    check("{{ $s := 0 }}{{ range $s = 3 }}{{ end }}{{ $s }}", "2");
    check("{{ define \"x\" }}{{ .arg0 }} {{ .arg1 }}{{ end }}{{ template \"x\" (args 1 \"2\") }}", "1 2");
    check("{{ define \"x\" }}<{{ . }}>{{ end }}{{ template \"x\" }}", "<<no value>>");
    check("{{ block \"b\" $labels.job }}[{{ . }}]{{ end }}{{ template \"b\" 1 }}", "[api][1]");
    check(
        "{{ define \"r\" }}{{ if . }}{{ len . }}{{ template \"r\" (slice . 1) }}{{ end }}{{ end }}{{ template \"r\" \"abc\" }}",
        "321",
    );
}

#[test]
fn blanks_and_comments_leave_no_trace() {
    check("a {{- 1 -}} b", "a1b");
    check("a {{- /* a comment */ -}} b{{/* b */}}c", "abc");
    check("a\n{{- if true }}\n  b\n{{- end }}\nc", "a\n  b\nc");
    check("{{-1}}", "-1");
    check("{{\n  printf\n    \"%d\"\n    1\n}}", "1");
    check("{{1}}{{- 2 -}} {{3}}", "123");
}

#[test]
fn pipelines_pass_their_value_on() {
    check("{{ \"a\" | printf \"%s%s\" \"b\" }}", "ba");
    check("{{ \"abc\" | toUpper | printf \"%q\" }}", "\"ABC\"");
    check("{{ (printf \"%d\" 1) | printf \"%s\" }}", "1");
    check("{{ $value | printf \"%.1f\" }}{{ with $x := 5 }}{{ $x }}{{ end }}", "0.55");
    check("{{ and 1 0 (query \"fail\") }}{{ or 0 \"x\" (query \"fail\") }}{{ not 1 }}", "0xfalse");
    check("{{ and true 2 }}{{ or false \"\" }}|{{ 0 | or 1 }}{{ 0 | and 1 }}", "2|10");
}

#[test]
fn functions_do_what_they_say() {
    check("{{ humanize 1234567.0 }} {{ humanize \".12\" }} {{ humanize 0 }}", "1.235M 120m 0");
    check(
        "{{ humanize1024 1048576 }} {{ humanizeDuration 899.99 }} {{ humanizePercentage \"0.12345\" }}",
        "1Mi 14m 59s 12.35%",
    );
    check("{{ 1435065584.128 | humanizeTimestamp }}|{{ humanizeTimestamp \"NaN\" }}", {
        "2015-06-23 13:19:44.128 +0000 UTC|NaN"
    });
    check("{{ (1435065584.128 | toTime).Format \"2006\" }} {{ (1800 | toDuration).String }}", "2015 30m0s");
    check(
        "{{ now }} {{ (now | toTime).Format \"Mon Jan 2 15:04:05 2006\" }}",
        "1.353755652e+09 Sat Nov 24 11:14:12 2012",
    );
    check("{{ (\"-30m\" | parseDuration | toDuration | (now | toTime).Add).UnixMilli }}", "1353753852000");
    check("{{ now | toTime }} {{ toDuration 1.5 }}", "2012-11-24 11:14:12 +0000 UTC 1.5s");
    check("{{ title \"aa bb CC\" }} {{ toUpper \"aB\" }} {{ toLower \"aB\" }}", "Aa Bb CC AB ab");
    check("{{ match \"a+\" \"baa\" }} {{ match \"^a\" \"b\" }}", "true false");
    check(
        "{{ reReplaceAll \"(a)b\" \"x$1\" \"ab\" }} {{ reReplaceAll \"(.*):(.*)\" \"$2\" $labels.instance }}",
        "xa 9090",
    );
    check("{{ stripPort $labels.instance }} {{ stripDomain \"a.b:80\" }}", "a a:80");
    check(
        "{{ graphLink \"up > 1\" }} {{ tableLink \"up\" }}",
        "/graph?g0.expr=up+%3E+1&g0.tab=0 /graph?g0.expr=up&g0.tab=1",
    );
    check(
        "{{ externalURL }} {{ pathPrefix }} {{ urlQueryEscape \"a b\" }}",
        "http://testhost:9090/path/prefix /path/prefix a+b",
    );
    check(
        "{{ printf \"%0.2f\" (parseDuration \"-1h2m10ms\") }} {{ parseDuration \"1d\" }}",
        "-3720.01 86400",
    );
    check(
        "{{ safeHtml \"<b>\" }}{{ html \"<b>\" }}{{ js \"'\" }}{{ urlquery \"a b\" 1 }}",
        "<b>&lt;b&gt;\\'a+b1",
    );
    check("{{ print 1 2 \"a\" }}|{{ println 1 \"a\" }}|{{ printf \"%5.1f%%\" 99.55 }}", "1 2a|1 a\n| 99.5%");
    check(
        "{{ len \"héllo\" }} {{ len $labels }} {{ index $labels \"job\" }}{{ index $labels \"nope\" }} {{ slice \"abcd\" 1 3 }}",
        "6 2 api bc",
    );
    check(
        "{{ eq 1 1 }} {{ eq $labels.job \"x\" \"api\" }} {{ ne \"a\" \"b\" }} {{ lt 1 2 }} {{ le 2 2 }} {{ gt 1.5 1.0 }} {{ ge \"a\" \"b\" }}",
        "true true true true true true false",
    );
}

#[test]
fn errors_while_parsing_are_those_of_go() {
    let check = |text: &str, line: usize, expected: &str| {
        check_error(text, &format!("error parsing template test: template: test:{line}: {expected}"));
    };
    check("{{", 1, "unclosed action");
    check("a\n{{ 1", 2, "unclosed action");
    check("{{\u{a0}}}", 1, "unrecognized character in action: U+00A0");
    check("{{ nope 1 }}", 1, "function \"nope\" not defined");
    check("{{ $x }}", 1, "undefined variable \"$x\"");
    check("{{ if true }}{{ $x := 1 }}{{ end }}{{ $x }}", 1, "undefined variable \"$x\"");
    check("{{ define \"x\" }}{{ $labels.a }}{{ end }}", 1, "undefined variable \"$labels\"");
    check("{{ if true }}a", 1, "unexpected EOF");
    check("{{ end }}", 1, "unexpected {{end}}");
    check("{{ else }}", 1, "unexpected {{else}}");
    check("{{ if }}a{{ end }}", 1, "missing value for if");
    check("{{ }}", 1, "missing value for command");
    check("{{ 1 | 2 }}", 1, "non executable command in pipeline stage 2");
    check("{{ (1 }}", 1, "unclosed left paren");
    check("{{ 1) }}", 1, "unexpected right paren");
    check("{{ \"a }}", 1, "unterminated quoted string");
    check("{{ `a }}", 1, "unterminated raw quoted string");
    check("{{/* a */ 1 }}", 1, "comment ends before closing delimiter");
    check("{{/* a", 1, "unclosed comment");
    check("{{ $x : 1 }}", 1, "expected :=");
    check("{{ 1a }}", 1, "bad number syntax: \"1a\"");
    check("{{ 99999999999999999999 }}", 1, "integer overflow: \"99999999999999999999\"");
    check("{{ a!b }}", 1, "bad character U+0021 '!'");
    check("{{ break }}", 1, "{{break}} outside {{range}}");
    check("{{ range 1 }}{{ break 1 }}{{ end }}", 1, "unexpected \"1\" in {{break}}");
    check("{{ 1 , 2 }}", 1, "unexpected \",\" in operand");
    check("{{ $a, $b := 1 }}", 1, "too many declarations in command");
    check("{{ range $a, $b, $c := 1 }}{{ end }}", 1, "too many declarations in range");
    check("{{ range $a, 1 }}{{ end }}", 1, "range can only initialize variables");
    check("{{ \"a\".b }}", 1, "unexpected . after term \"\\\"a\\\"\"");
    check("{{ template 1 }}", 1, "unexpected \"1\" in template clause");
    check("{{ if true }}{{ define \"x\" }}{{ end }}{{ end }}", 1, "unexpected <define> in command");
    check(
        "{{ define \"x\" }}a{{ end }}{{ define \"x\" }}b{{ end }}",
        1,
        "template: multiple definition of template \"x\"",
    );
    check("{{ if 1 }}{{ else }}{{ else }}{{ end }}", 1, "expected end; found {{else}}");
}

#[test]
fn errors_while_executing_are_those_of_go() {
    let check = |text: &str, place: &str, expected: &str| {
        check_error(text, &format!("error executing template test: template: test:{place}: {expected}"));
    };
    check("{{ humanize \"one\" }}", "1:3", {
        "executing \"test\" at <humanize \"one\">: error calling humanize: strconv.ParseFloat: parsing \"one\": invalid syntax"
    });
    check("{{ \"one\" | humanizePercentage }}", "1:11", {
        "executing \"test\" at <humanizePercentage>: error calling humanizePercentage: strconv.ParseFloat: parsing \"one\": invalid syntax"
    });
    check("{{ (query \"metric\").banana }}", "1:10", {
        "executing \"test\" at <\"metric\">: can't evaluate field banana in type template.queryResult"
    });
    check("{{ if gt $value 5 }}{{ end }}", "1:6", {
        "executing \"test\" at <gt $value 5>: error calling gt: incompatible types for comparison"
    });
    check("a\n {{ $labels.job.x }}", "2:11", {
        "executing \"test\" at <$labels.job.x>: can't evaluate field x in type string"
    });
    check("{{ .Nope }}", "1:3", {
        "executing \"test\" at <.Nope>: can't evaluate field Nope in type struct { Labels map[string]string; ExternalLabels map[string]string; ExternalURL string; Value interface {} }"
    });
    check("{{ toUpper $value }}", "1:11", {
        "executing \"test\" at <$value>: wrong type for value; expected string; got float64"
    });
    check("{{ toUpper 1 }}", "1:11", "executing \"test\" at <1>: expected string; found 1");
    check("{{ $value | toUpper }}", "1:12", {
        "executing \"test\" at <toUpper>: wrong type for value; expected string; got float64"
    });
    check(
        "{{ toUpper }}",
        "1:3",
        "executing \"test\" at <toUpper>: wrong number of args for toUpper: want 1 got 0",
    );
    check("{{ printf }}", "1:3", {
        "executing \"test\" at <printf>: wrong number of args for printf: want at least 1 got 0"
    });
    check("{{ match \"(\" \"a\" }}", "1:3", {
        "executing \"test\" at <match \"(\" \"a\">: error calling match: error parsing regexp: missing closing ): `(`"
    });
    check("{{ reReplaceAll \"(\" \"\" \"a\" }}", "1:3", {
        "executing \"test\" at <reReplaceAll \"(\" \"\" \"a\">: error calling reReplaceAll: regexp: Compile(`(`): error parsing regexp: missing closing ): `(`"
    });
    check("{{ nil }}", "1:3", "executing \"test\" at <nil>: nil is not a command");
    check("{{ 1 2 }}", "1:3", "executing \"test\" at <1>: can't give argument to non-function 1");
    check(
        "{{ $labels.job 1 }}",
        "1:10",
        "executing \"test\" at <$labels.job>: job is not a method but has arguments",
    );
    check(
        "{{ range \"abc\" }}{{ end }}",
        "1:9",
        "executing \"test\" at <\"abc\">: range can't iterate over abc",
    );
    check("{{ template \"nope\" }}", "1:3", {
        "executing \"test\" at <{{template \"nope\"}}>: template \"nope\" not defined"
    });
    check("{{ index \"abc\" 3 }}", "1:3", {
        "executing \"test\" at <index \"abc\" 3>: error calling index: index out of range: 3"
    });
    check("{{ humanizeTimestamp 1e19 }}", "1:3", {
        "executing \"test\" at <humanizeTimestamp 1e19>: error calling humanizeTimestamp: 1e+19 cannot be represented as a nanoseconds timestamp since it overflows int64"
    });
    check("{{ humanize (toDuration 1) }}", "1:3", {
        "executing \"test\" at <humanize (toDuration 1)>: error calling humanize: can't convert *time.Duration to float"
    });
}

#[test]
fn no_template_runs_away() {
    let fails = |text: &str, why: &str| {
        let message = expand(text).expect_err(text);
        assert!(message.contains(why), "{message}");
    };
    fails(
        "{{ define \"r\" }}{{ template \"r\" }}{{ end }}{{ template \"r\" }}",
        "exceeded maximum template depth",
    );
    fails("{{ range 1000000000 }}{{ end }}", "more than 1000000 steps");
    fails("{{ range 100000 }}{{ range 100000 }}{{ end }}{{ end }}", "more than 1000000 steps");
    fails("{{ $x := \"ab\" }}{{ range 64 }}{{ $x = print $x $x }}{{ end }}", "longer than");
    fails("{{ range 100000 }}{{ printf \"%1000d\" 1 }}{{ end }}", "longer than");
    fails(&format!("{{{{ {}1{} }}}}", "(".repeat(50_000), ")".repeat(50_000)), "nested too deeply");
    fails(&"{{ if true }}".repeat(50_000), "nested too deeply");
    fails(&format!("{{{{ if true }}}}{}", "{{ else if true }}".repeat(50_000)), "nested too deeply");
}

#[test]
fn the_deepest_allowed_template_runs() {
    let text = format!("{}x{}", "{{ if true }}".repeat(99), "{{ end }}".repeat(99));
    check(&text, "x");
    let text = format!("{{{{ {}1{} }}}}", "(".repeat(99), ")".repeat(99));
    check(&text, "1");
}

#[test]
fn references_tell_what_a_template_uses() {
    let found = |text: &str| Template::parse("test", text).expect("valid").references();
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let at = |places: &[(&str, usize)]| places.iter().map(|(name, at)| ((*name).to_owned(), *at)).collect();
    assert_eq!(
        found(
            "{{ $labels.a }}{{ .Labels.b | title }}{{ index $labels \"c\" }}{{ $.Labels.d }}{{ $externalLabels.e }}\
             {{ if $labels.a }}{{ end }}{{ with query \"up\" }}{{ .Labels.inner }}{{ . | first | value | humanize }}{{ end }}\
             {{ \"down\" | query | len }}{{ $value }}"
        ),
        References {
            functions: names(&["title", "index", "query", "first", "value", "humanize", "len"]),
            labels: at(&[("a", 10), ("b", 25), ("c", 47), ("d", 65)]),
            tested_labels: names(&["a"]),
            external_labels: at(&[("e", 95)]),
            facts: [].into(),
            whole_labels: false,
            value_printed: true,
            queries: vec!["up".to_owned(), "down".to_owned()],
            computed_queries: false,
        }
    );
    let computed = found("{{ printf \"up{job='%s'}\" $labels.job | query | len }}{{ $labels }}");
    assert!(computed.computed_queries && computed.whole_labels && computed.queries.is_empty());
    assert!(found("{{ query (print \"a\" \"b\") }}").computed_queries);
    assert_eq!(found("no actions"), References::default());
}

proptest! {
    #[test]
    fn any_text_has_an_answer(
        parts in prop::collection::vec(prop::sample::select(vec![
            "{{", "}}", "{{-", "-}}", " ", "if", "else", "end", "range", "with", "define", "\"x\"", "$x", ":=", "=",
            "$labels", ".a", ".", "|", "(", ")", "1", "1.5", "printf", "query", "first", "len", ",", "nil", "break",
            "template", "text", "`", "/*", "*/", "é", "$", "index", "slice", "-1", "eq", "\"%d%s\"",
        ]), 0..40),
    ) {
        let text = parts.concat();
        if let Err(message) = expand(&text) {
            prop_assert!(message.contains("template: test:"), "{}", message);
        }
    }
}
