//! The language from outside: what is accepted, how it is understood, what is said about the rest.

use proptest::prelude::*;

use super::super::ast::{Expr, ExprKind};
use super::{ParseError, parse, parse_selector, parse_with};
use crate::promql::Features;

fn all(query: &str) -> Expr {
    parse_with(query, Features::ALL).unwrap_or_else(|errors| panic!("{query}: {}", errors[0]))
}

fn first_error(query: &str) -> String {
    match parse_with(query, Features::ALL) {
        Ok(expr) => panic!("{query} was understood as {expr}"),
        Err(errors) => errors[0].to_string(),
    }
}

/// The tree with every node in brackets of its own.
fn shape(expr: &Expr) -> String {
    match &expr.kind {
        ExprKind::Paren(inner) => format!("({})", shape(inner)),
        ExprKind::Unary { op, expr } => format!("[{op} {}]", shape(expr)),
        ExprKind::Binary(binary) => {
            let matching = binary.matching.as_ref().map(ToString::to_string).unwrap_or_default();
            format!("[{} {}{matching} {}]", shape(&binary.left), binary.op, shape(&binary.right))
        }
        ExprKind::Aggregate(aggregate) => {
            let param = aggregate.param.as_ref().map(shape).unwrap_or_default();
            format!("[{} {:?} {param} {}]", aggregate.op, aggregate.grouping, shape(&aggregate.expr))
        }
        ExprKind::Call(call) => {
            let args: Vec<_> = call.args.iter().map(shape).collect();
            format!("[{} {}]", call.function, args.join(" "))
        }
        ExprKind::Subquery(subquery) => {
            format!(
                "[{} : {} {:?}]",
                shape(&subquery.expr),
                subquery.range,
                subquery.step.as_ref().map(|_| ())
            )
        }
        _ => expr.to_string(),
    }
}

#[test]
fn operators_bind_as_in_prometheus() {
    let check = |query, expected: &str| assert_eq!(shape(&all(query)), expected, "{query}");
    check("1 + 2 * 3", "[1 + [2 * 3]]");
    check("1 * 2 + 3", "[[1 * 2] + 3]");
    check("1 - 2 - 3", "[[1 - 2] - 3]");
    check("2 ^ 3 ^ 2", "[2 ^ [3 ^ 2]]");
    check("2 * 3 % 4 atan2 5", "[[[2 * 3] % 4] atan2 5]");
    check("-1 ^ 2", "[- [1 ^ 2]]");
    check("-a ^ 2", "[- [a ^ 2]]");
    check("-a * b", "[[- a] * b]");
    check("2 ^ -1 * 3", "[[2 ^ -1] * 3]");
    check("2 ^ -a ^ 3", "[2 ^ [- [a ^ 3]]]");
    check("- -1", "1");
    check("+-+1", "-1");
    check("-(1)", "[- (1)]");
    check("a or b and c unless d", "[a or [[b and c] unless d]]");
    check("a + b > bool c == d", "[[[a + b] > c] == d]");
    check("a </ 1 >/ 2", "[[a </ 1] >/ 2]");
    check("-rate(a[5m:1m] offset 1m)", "[- [rate [a : 5m Some(())]]]");
    check("a + b offset 5m", "[a + b offset 5m]");
    check("a offset 5m + 3", "[a offset 5m + 3]");
    check("a offset -5m ^ 2", "[a offset -5m ^ 2]");
    check("a offset step() * 2", "[a offset step() * 2]");
    check("a offset (5m) * 2", "a offset (5m) * 2");
    check("a @ 5 + 1", "[a @ 5.000 + 1]");
    check("sum(a) by (x) / on (x) group_left sum by (x) (b)", {
        "[[sum By([\"x\"])  a] / on (x) group_left () [sum By([\"x\"])  b]]"
    });
}

#[test]
fn expressions_are_printed_as_prometheus_prints_them() {
    let check = |query, expected: &str| {
        let printed = all(query).to_string();
        assert_eq!(printed, if expected.is_empty() { query } else { expected }, "{query}");
        assert_eq!(all(&printed).to_string(), printed, "printed again");
    };
    for same in [
        "up",
        "1048576",
        "-5m",
        "5m",
        "up > bool 0",
        "topk(5, a{b=\"c\"})",
        "count_values(\"value\", a)",
        "a - on () b",
        "a{b!=\"c\",d=~\"e\",f!~\"g\"}[1m]",
        "a offset -7m",
        "a[12m] offset -3m",
        "a[1h:5m] offset 1m",
        "a[1h:] @ end() offset 1m",
        "a anchored",
        "a{b=\"c\"}[5m] smoothed @ start() offset 1m",
        "{__name__=\"a\"}",
        "{__name__=\"\",a=\"x\"}",
        "{\"a.b\"=\"c\"}",
        "{\"\"=\"0\"}",
        "sum by (\"ü.ü\", job) (a)",
        "a[-(step())]",
        "a[(5m):(1m)]",
        "a offset -min_of(10s, 20s)",
        "a[200 - min_of(step() + 10s, -max_of(step() ^ 2, 3))]",
        "a + on (b) group_left () fill (-23) c",
        "a + fill_left (-23) fill_right (42) b",
        "limit_ratio(-0.5, a)",
        "label_replace(a, \"b\", \"$1\", \"c\", \"(.*)\")",
    ] {
        check(same, "");
    }
    check("sum by() (a)", "sum(a)");
    check("sum without() (a)", "sum without () (a)");
    check("SUM(a) BY (b,)", "sum by (b) (a)");
    check("a - ignoring() b", "a - b");
    check("a - ignoring() group_left b", "a - ignoring () group_left () b");
    check("a - on(b) group_right(x, y) c", "a - on (b) group_right (x, y) c");
    check("a + fill_right(5) fill_left(5) b", "a + fill (5) b");
    check("a + fill(1e21) b", "a + fill (1e+21) b");
    check("a{z=\"1\", b='2', c=`3`,}", "a{b=\"2\",c=\"3\",z=\"1\"}");
    check("{'a.b', \"_0\"=\"1\"}", "{_0=\"1\",__name__=\"a.b\"}");
    check("a @ 10", "a @ 10.000");
    check("a @ -1.5", "a @ -1.500");
    check("a[300]", "a[5m]");
    check("a[1.5]", "a[1s500ms]");
    check("a[90m] offset 5400", "a[1h30m] offset 1h30m");
    check("a offset 0", "a");
    check("a offset +(5)", "a offset (5)");
    check("a[((5m))]", "a[(5m)]");
    check("a[-step()^+step()+10]", "a[-step() ^ step() + 10]");
    check("0x1F + 0755 + 1e3 + Inf + nan", "31 + 493 + 1000 + +Inf + NaN");
    check("\"a\\tb\\u00e9\" # said so", "\"a\\tbé\"");
    check("-5m30s", "-5m30s");
    check("# first\na # second\n+ b", "a + b");
    check("start + end + step + by + offset + sum + fill", "");
    check("rate(sum[5m])", "");
    check("sum by (by, on, group_left, offset, bool, and, start) (a)", "");
}

#[test]
fn errors_have_prometheus_places_and_words() {
    let check = |query, expected: &str| assert_eq!(first_error(query), expected, "{query}");
    // Nothing, or not enough.
    check("", "unknown position: parse error: no expression found in input");
    check("# nothing\n\n", "1:1: parse error: no expression found in input");
    check("1+", "1:3: parse error: unexpected end of input");
    check("(", "1:2: parse error: unclosed left parenthesis");
    check("sum(rate(", "1:10: parse error: unclosed left parenthesis");
    check("a[", "1:3: parse error: unexpected end of input in duration expression");
    check("a{", "1:3: parse error: unexpected end of input inside braces");
    check("\n a +\n *", "3:2: parse error: unexpected <op:*>");
    // Characters and literals.
    check(".", "1:1: parse error: unexpected character: '.'");
    check("2.5.", "1:1: parse error: bad number or duration syntax: \"2.5.\"");
    check("100..4", "1:1: parse error: bad number or duration syntax: \"100..\"");
    check("0dead", "1:1: parse error: bad number or duration syntax: \"0de\"");
    check(
        "1e999",
        "1:1: parse error: error parsing number: strconv.ParseFloat: parsing \"1e999\": value out of range",
    );
    check("(1))", "1:5: parse error: unexpected right parenthesis ')'");
    check("a]", "1:2: parse error: unexpected right bracket ']'");
    check("1 !~ 1", "1:3: parse error: unexpected character after '!': '~'");
    check("1 =~ 1", "1:3: parse error: unexpected character after '=': '~'");
    check("\"a\nb\"", "1:1: parse error: unterminated quoted string");
    check("`a", "1:1: parse error: unterminated raw string");
    check(r#""\c""#, "1:1: parse error: unknown escape sequence U+0063 'c'");
    check(r#""\x.""#, "1:1: parse error: illegal character U+002E '.' in escape sequence");
    check(r#""\400""#, "1:1: parse error: escape sequence is an invalid Unicode code point");
    check(r#""\"#, "1:1: parse error: escape sequence not terminated");
    check(r#"a{b="\xff"}"#, r#"1:5: parse error: string "\xff" is not valid UTF-8"#);
    check(r#"count_values("\xff", a)"#, r#"1:14: parse error: invalid label name "\xff""#);
    // Tokens where they do not belong.
    check("*1", "1:1: parse error: unexpected <op:*>");
    check("-=", "1:2: parse error: unexpected \"=\"");
    check("a b", "1:3: parse error: unexpected identifier \"b\"");
    check("a b:c", "1:3: parse error: unexpected metric identifier \"b:c\"");
    check("a 5", "1:3: parse error: unexpected number \"5\"");
    check("a \"a long string\"", "1:3: parse error: unexpected string \"\\\"a long st\"...");
    check("a sum", "1:3: parse error: unexpected <aggr:sum>");
    check("a - on(b) ignoring(c) d", "1:11: parse error: unexpected <ignoring>");
    check("a + group_left(b) c", "1:5: parse error: unexpected <group_left>");
    check("sum a", "1:5: parse error: unexpected identifier \"a\"");
    check("sum(a b)", "1:7: parse error: unexpected identifier \"b\" in aggregation");
    check("sum(rate(a b))", "1:12: parse error: unexpected identifier \"b\" in aggregation");
    check("sum by (a) b", "1:12: parse error: unexpected identifier \"b\" in aggregation");
    check("sum(a) by b", "1:11: parse error: unexpected identifier \"b\" in grouping opts, expected \"(\"");
    check(
        "sum(a) by (b c)",
        "1:14: parse error: unexpected identifier \"c\" in grouping opts, expected \",\" or \")\"",
    );
    check(
        "a == on (b) group_right == c",
        "1:25: parse error: unexpected <op:==> in grouping opts, expected \"(\"",
    );
    check(
        "a + on (b) group_left",
        "1:22: parse error: unexpected end of input in grouping opts, expected \"(\"",
    );
    check("sum by (==) (a)", "1:9: parse error: unexpected <op:==> in grouping opts, expected label");
    check("sum by (a,,) (a)", "1:11: parse error: unexpected \",\" in grouping opts, expected label");
    check("sum by (without) (a)", "1:9: parse error: unexpected <without> in grouping opts, expected label");
    check("sum by (\"\") (a)", "1:9: parse error: invalid label name for grouping: \"\"");
    check("topk(a,)", "1:7: parse error: trailing commas not allowed in function call args");
    check("sum()", "1:1: parse error: no arguments for aggregate expression provided");
    // Selectors.
    check("a{b=c}", "1:5: parse error: unexpected identifier \"c\" in label matching, expected string");
    check("a{b}", "1:4: parse error: unexpected \"}\" in label matching, expected label matching operator");
    check("a{,}", "1:3: parse error: unexpected \",\" in label matching, expected identifier or \"}\"");
    check(
        "a{b=\"c\" d}",
        "1:9: parse error: unexpected identifier \"d\" in label matching, expected \",\" or \"}\"",
    );
    check("a{b>\"c\"}", "1:4: parse error: unexpected character inside braces: '>'");
    check("{}", "1:1: parse error: vector selector must contain at least one non-empty matcher");
    check("{a=~\".*\"}", "1:1: parse error: vector selector must contain at least one non-empty matcher");
    check("a{__name__=\"b\"}", "1:1: parse error: metric name must not be set twice: \"a\" or \"b\"");
    check("a{b=~\"(\"}", "1:3: parse error: error parsing regexp: missing closing ): `(`");
    // Ranges, offsets and instants.
    check(
        "a[]",
        "1:3: parse error: unexpected \"]\" in subquery or range selector, expected number, duration, step(), or range()",
    );
    check(
        "a[5m+]",
        "1:6: parse error: unexpected \"]\" in subquery or range selector, expected number, duration, step(), or range()",
    );
    check(
        "a[5m 1m]",
        "1:6: parse error: unexpected duration \"1m\" in subquery or range, expected \":\" or \"]\"",
    );
    check("a[5m:1m 1m]", "1:9: parse error: unexpected duration \"1m\" in subquery selector, expected \"]\"");
    check(
        "a[5m:*]",
        "1:6: parse error: unexpected <op:*> in subquery selector, expected number, duration, step(), range(), or \"]\"",
    );
    check("a[5m x]", "1:6: parse error: unexpected character: 'x', expected ':'");
    check("a[5mm]", "1:3: parse error: bad number or duration syntax: \"5mm\"");
    check("a[5y1hs]", "1:3: parse error: unknown unit \"hs\" in duration \"5y1hs\"");
    check("a[5m1h]", "1:3: parse error: not a valid duration string: \"5m1h\"");
    check("a[0m]", "1:3: parse error: duration must be greater than 0");
    check("a[-1]", "1:3: parse error: duration must be greater than 0");
    check("a[:5m]", "1:4: parse error: unexpected colon before duration in duration expression");
    check("a[5s/0d]", "1:5: parse error: division by zero");
    check("a[9.5e10]", "1:3: parse error: duration out of range");
    check(
        "a offset",
        "1:9: parse error: unexpected end of input in offset, expected number, duration, step(), or range()",
    );
    check("a offset 1m offset 1m", "1:1: parse error: offset may not be set multiple times");
    check("a offset 1m[5m]", "1:12: parse error: no offset modifiers allowed before range");
    check("a @ 1[5m]", "1:6: parse error: no @ modifiers allowed before range");
    check("(a)[5m]", "1:4: parse error: ranges only allowed for vector selectors");
    check(
        "1 offset 1d",
        "1:1: parse error: offset modifier must be preceded by an instant vector selector or range vector selector or a subquery",
    );
    check("a @", "1:4: parse error: unexpected end of input in @, expected timestamp");
    check("a @ start", "1:10: parse error: unexpected end of input in @, expected timestamp");
    check("a @ Inf", "1:1: parse error: timestamp out of bounds for @ modifier: +Inf");
    check("a @ 1 @ 2", "1:1: parse error: @ <timestamp> may not be set multiple times");
    check("a anchored smoothed", "1:1: parse error: anchored and smoothed modifiers cannot be used together");
    // Calls.
    check("nope()", "1:1: parse error: unknown function with name \"nope\"");
    check("RATE(a[5m])", "1:1: parse error: unknown function with name \"RATE\"");
    check("floor()", "1:1: parse error: expected 1 argument(s) in call to \"floor\", got 0");
    check("hour(a, a)", "1:1: parse error: expected at most 1 argument(s) in call to \"hour\", got 2");
    check(
        "label_join(a, \"b\")",
        "1:1: parse error: expected at least 3 argument(s) in call to \"label_join\", got 2",
    );
    check("info(a, b)", "1:9: parse error: expected label selectors only, got vector selector instead");
}

#[test]
fn types_are_checked() {
    let check = |query, expected: &str| assert_eq!(first_error(query), expected, "{query}");
    check(
        "rate(a)",
        "1:6: parse error: expected type range vector in call to function \"rate\", got instant vector",
    );
    check(
        "topk(a, b)",
        "1:6: parse error: expected type scalar in aggregation parameter, got instant vector",
    );
    check(
        "count_values(5, a)",
        "1:14: parse error: expected type string in aggregation parameter, got scalar",
    );
    check("sum(1)", "1:5: parse error: expected type instant vector in aggregation expression, got scalar");
    check(
        "-\"a\"",
        "1:1: parse error: unary expression only allowed on expressions of type scalar or instant vector, got \"string\"",
    );
    check(
        "a + b[5m]",
        "1:5: parse error: binary expression must contain only scalar and instant vector types",
    );
    check("1  ==  1", "1:4: parse error: comparisons between scalars must use BOOL modifier");
    check("a + bool b", "1:3: parse error: bool modifier can only be used on comparison operators");
    check("1 and b", "1:1: parse error: set operator \"and\" not allowed in binary scalar expression");
    check("a == on(b) 1", "1:1: parse error: vector matching only allowed between instant vectors");
    check("a and on(b) group_left c", "1:1: parse error: no grouping allowed for \"and\" operation");
    check("a or fill(0) b", "1:1: parse error: filling in missing series not allowed for set operators");
    check(
        "a + fill(0) 1",
        "1:1: parse error: filling in missing series only allowed between instant vectors",
    );
    check(
        "a * on(b) group_left(b) c",
        "1:3: parse error: label \"b\" must not occur in ON and GROUP clause at once",
    );
    check("a[5m][5m:]", "1:1: parse error: subquery is only allowed on instant vector, got matrix instead");
    all("info(a, {b=~\".*\"})");
    all("1 == bool 1");
}

#[test]
fn experimental_parts_need_their_feature() {
    let check = |query, feature: &str, expected: &str| {
        let errors: Vec<ParseError> =
            parse_with(query, Features { duration_expressions: false, ..Features::default() })
                .expect_err(query);
        assert_eq!(errors[0].message, expected, "{query}");
        assert_eq!(errors[0].hint.as_deref(), Some(format!("enable the feature `{feature}`").as_str()));
        all(query);
    };
    let functions = "promql-experimental-functions";
    check(
        "limitk(1, a)",
        functions,
        "limitk() is experimental and must be enabled with --enable-feature=promql-experimental-functions",
    );
    check("sort_by_label(a, \"b\")", functions, "function \"sort_by_label\" is not enabled");
    check("step()", functions, "function \"step\" is not enabled");
    let ranges = "promql-extended-range-selectors";
    check("a[5m] anchored", ranges, "anchored modifier is experimental and not enabled");
    check("a smoothed", ranges, "smoothed modifier is experimental and not enabled");
    let fill = "promql-binop-fill-modifiers";
    check("a + fill(1) b", fill, "binop fill modifiers are experimental and not enabled");
    let durations = "promql-duration-expr";
    check("a[5m*2]", durations, "experimental duration expression is not enabled");
    check("a offset step()", durations, "experimental duration expression is not enabled");
    assert!(parse("a[5m*2]").is_ok(), "on by default");
}

#[test]
fn a_misspelt_function_has_a_hint() {
    let errors = parse("ratee(a[5m])").expect_err("no such function");
    assert_eq!(errors[0].hint.as_deref(), Some("did you mean `rate`?"));
}

#[test]
fn all_type_errors_are_reported_in_order() {
    let errors = parse("rate(a) + floor(1) + (1 == 1)").expect_err("three faults");
    let places: Vec<usize> = errors.iter().map(|error| error.span.start).collect();
    assert_eq!(places, [5, 16, 24]);
}

#[test]
fn nodes_know_where_they_stand() {
    let check = |query: &str, expected: &[&str]| {
        let mut found = Vec::new();
        let expr = all(query);
        let mut open = vec![&expr];
        while let Some(expr) = open.pop() {
            found.push(&query[expr.span.start..expr.span.end]);
            match &expr.kind {
                ExprKind::Paren(inner) | ExprKind::Unary { expr: inner, .. } => open.push(inner),
                ExprKind::Binary(binary) => open.extend([&binary.right, &binary.left]),
                ExprKind::Aggregate(aggregate) => {
                    open.push(&aggregate.expr);
                    open.extend(&aggregate.param);
                }
                ExprKind::Call(call) => open.extend(call.args.iter().rev()),
                ExprKind::Subquery(subquery) => open.push(&subquery.expr),
                ExprKind::Matrix(matrix) => {
                    found.push(&query[matrix.selector_span.start..matrix.selector_span.end]);
                }
                _ => {}
            }
        }
        assert_eq!(found, expected, "{query}");
    };
    check(" ( a + -b ) ", &["( a + -b )", "a + -b", "a", "-b", "b"]);
    check("sum(a) by (b) ", &["sum(a) by (b)", "a"]);
    check("sum by (b) (a)+1", &["sum by (b) (a)+1", "sum by (b) (a)", "a", "1"]);
    check("topk(3, a{b=\"c\"} offset 5m)", &["topk(3, a{b=\"c\"} offset 5m)", "3", "a{b=\"c\"} offset 5m"]);
    check("rate(a[5m] @ end())", &["rate(a[5m] @ end())", "a[5m] @ end()", "a"]);
    check("rate(a[5m])[1h:] offset 1d", &["rate(a[5m])[1h:] offset 1d", "rate(a[5m])", "a[5m]", "a"]);
}

#[test]
fn selectors_stand_alone_for_the_api() {
    let check = |text: &str, expected: &[&str]| {
        let matchers = parse_selector(text).unwrap_or_else(|errors| panic!("{text}: {}", errors[0]));
        let printed: Vec<String> = matchers.iter().map(ToString::to_string).collect();
        assert_eq!(printed, expected, "{text}");
    };
    check("up", &["__name__=\"up\""]);
    check("up{job=~\"a.*\"}", &["job=~\"a.*\"", "__name__=\"up\""]);
    check("{\"a.b\"}", &["__name__=\"a.b\""]);
    check("{}", &[]);
    check("sum", &["__name__=\"sum\""]);
    let refused = |text: &str, expected: &str| {
        assert_eq!(parse_selector(text).expect_err(text)[0].to_string(), expected);
    };
    refused("", "unknown position: parse error: unexpected end of input");
    refused("up[5m]", "1:3: parse error: unexpected \"[\"");
    refused("1", "1:1: parse error: unexpected number \"1\"");
    refused("up offset 5m", "1:4: parse error: unexpected <offset>");
}

/// Test threads have a stack of 2 MiB; whatever the depth, there is an answer.
#[test]
fn deep_nesting_is_an_error_and_never_overflows() {
    let check = |query: String| {
        let message = first_error(&query);
        assert!(message.contains("expression is nested too deeply"), "{message}");
    };
    check(format!("{}1{}", "(".repeat(20_000), ")".repeat(20_000)));
    check(format!("{}a", "-".repeat(20_000)));
    check(format!("{}a", "sum(".repeat(20_000)));
    check(format!("{}a", "abs(".repeat(20_000)));
    check(format!("a{}", " or a".repeat(20_000)));
    check(format!("2{}", "^2".repeat(20_000)));
    check(format!("a{}", "[1m:]".repeat(20_000)));
    check(format!("({}){}", "-{}-1".repeat(10_000), "[1m:]".repeat(1_000)));
    check(format!("a[{}", "(".repeat(20_000)));
    check(format!("a[1m{}]", "+1m".repeat(20_000)));
    check(format!("a offset {}1m", "-".repeat(20_000)));
}

#[test]
fn the_deepest_allowed_query_is_parsed_printed_and_dropped() {
    let levels = super::MAX_DEPTH - 1;
    let query = format!("{}a{}", "sum(".repeat(levels), ")".repeat(levels));
    assert_eq!(all(&query).to_string(), query);
    let chain = format!("a{}", " or a".repeat(levels));
    assert_eq!(all(&chain).to_string(), chain);
}

/// Texts of instant-vector expressions of all kinds. Where operators that bind more weakly inside would
/// leave a scalar beside `on`, there are parentheses.
fn vectors() -> impl Strategy<Value = String> {
    let label = prop::sample::select(vec!["job", "le", "by", "\"x.y\"", "instance"]);
    let labels = prop::collection::vec(label, 0..3).prop_map(|labels| labels.join(", "));
    let duration = prop_oneof![
        Just("5m".to_owned()),
        Just("90s".to_owned()),
        Just("1d12h".to_owned()),
        Just("300".to_owned()),
        Just("step() * 2 + 1m".to_owned()),
        Just("-(5m) % max_of(range(), 7) ^ 2".to_owned()),
    ];
    let scalar = prop_oneof![
        any::<f64>().prop_map(crate::model::format_float),
        (0_u32..10_000).prop_map(|value| value.to_string()),
        Just("1h30m".to_owned()),
        Just("pi()".to_owned()),
    ];
    let value = "[a-z\"\\\\\n\té.*+ ]{0,6}".prop_map(|text| crate::model::quote(&text).to_string());
    let matcher =
        (prop::sample::select(vec!["a", "b", "\"c.d\""]), prop::sample::select(vec!["=", "!="]), value)
            .prop_map(|(name, op, value)| format!("{name}{op}{value}"));
    let selector =
        (prop::sample::select(vec!["up", "sum", "a:b", "offset"]), prop::collection::vec(matcher, 0..3))
            .prop_map(|(name, matchers)| {
                if matchers.is_empty() {
                    name.to_owned()
                } else {
                    format!("{name}{{{}}}", matchers.join(", "))
                }
            });
    let timing = prop_oneof![
        Just(String::new()),
        (0_u32..5000).prop_map(|minutes| format!(" offset {minutes}m")),
        Just(" offset -(step() + 3)".to_owned()),
        any::<i32>().prop_map(|at| format!(" @ {at}")),
        Just(" @ end() offset 1h".to_owned()),
    ];
    let leaf = prop_oneof![
        4 => (selector.clone(), timing.clone()).prop_map(|(series, timing)| format!("{series}{timing}")),
        1 => (selector, duration.clone(), timing.clone())
            .prop_map(|(series, range, timing)| format!("rate({series}[{range}]{timing})")),
    ];
    leaf.prop_recursive(5, 40, 4, move |inner| {
        let (labels, scalar, duration, timing) =
            (labels.clone(), scalar.clone(), duration.clone(), timing.clone());
        let arithmetic =
            prop::sample::select(vec!["+", "-", "*", "/", "%", "^", "atan2", "==", "> bool", ">/"]);
        let sets = prop::sample::select(vec!["and", "or", "unless"]);
        prop_oneof![
            inner.clone().prop_map(|v| format!("({v})")),
            inner.clone().prop_map(|v| format!("-{v}")),
            (inner.clone(), labels.clone()).prop_map(|(v, l)| format!("sum by ({l}) ({v})")),
            (inner.clone(), labels.clone()).prop_map(|(v, l)| format!("max({v}) without ({l})")),
            (inner.clone(), scalar.clone()).prop_map(|(v, s)| format!("topk({s}, {v})")),
            (inner.clone(), arithmetic.clone(), scalar).prop_map(|(v, op, s)| format!("{v} {op} {s}")),
            (inner.clone(), arithmetic, labels, inner.clone())
                .prop_map(|(a, op, l, b)| format!("({a}) {op} on ({l}) group_left () {b}")),
            (inner.clone(), sets, inner.clone()).prop_map(|(a, op, b)| format!("{a} {op} {b}")),
            (inner, duration.clone(), duration, timing)
                .prop_map(|(v, r, s, t)| format!("avg_over_time(({v})[{r}:{s}]{t})")),
        ]
    })
}

proptest! {
    #[test]
    fn printing_and_parsing_are_inverse(query in vectors()) {
        let first = all(&query);
        let printed = first.to_string();
        let second = all(&printed);
        prop_assert_eq!(shape(&first), shape(&second));
        prop_assert_eq!(printed, second.to_string());
    }

    #[test]
    fn any_text_has_an_answer(query in "[a-z0-9(){}\\[\\]\"'`,:=!~<>+*/%^@#. \\\\é-]{0,40}") {
        if let Err(errors) = parse_with(&query, Features::ALL) {
            prop_assert!(!errors.is_empty());
            for error in errors {
                prop_assert!(error.span.start <= error.span.end && error.span.end <= query.len());
            }
        }
    }
}

#[test]
fn a_query_has_a_bounded_number_of_matchers() {
    let check = |matcher: &str, count: usize, expected: Result<(), &str>| {
        let query = format!("x{{{}}}", vec![matcher; count].join(","));
        let parsed = parse(&query).map(|_| ()).map_err(|errors| errors[0].message.clone());
        assert_eq!(parsed, expected.map_err(ToOwned::to_owned), "{count} of {matcher}");
    };
    check("a='b'", 10_000, Ok(()));
    check("a='b'", 10_001, Err("too many label matchers, at most 10000 are supported"));
    check("a=~'b|c'", 9_999, Ok(()));
    check("a=~'[b-d]e*'", 1_024, Ok(()));
    check("a=~'[b-d]e*'", 1_025, Err("too many or too large regular expressions in the query"));
}
