//! What the lints say about themselves: for the terminal, for programs, for docs/lints.md.

use std::fmt::Write as _;

use serde::Serialize;

use super::{Lint, all};

/// One lint in full.
pub fn explain(lint: &Lint) -> String {
    let Lint { name, severity, what, why, fix, bad, good, .. } = lint;
    let mut text = format!("{name} ({}{})\n\n{what}\n\n", severity.as_str(), server(lint));
    let _ =
        write!(text, "Why: {why}\n\nFix: {fix}\n\nBad:\n\n{}\nGood:\n\n{}\n", indented(bad), indented(good));
    let _ = writeln!(text, "To disable it for a rule: # valmis:disable {name} -- reason");
    text
}

/// All lints, a line each.
pub fn list() -> String {
    let width = all().iter().map(|lint| lint.name.len()).max().unwrap_or(0);
    let line = |lint: &&Lint| format!("{:width$}  {:7}  {}\n", lint.name, lint.severity.as_str(), lint.what);
    all().iter().map(line).collect()
}

/// All lints as one JSON array, one lint a line.
pub fn to_json<'l>(lints: impl IntoIterator<Item = &'l Lint>) -> String {
    #[derive(Serialize)]
    struct Wire<'l> {
        name: &'l str,
        severity: &'l str,
        needs_server: bool,
        what: &'l str,
        why: &'l str,
        fix: &'l str,
        bad: &'l str,
        good: &'l str,
        pint: &'l [&'l str],
    }
    let object = |lint: &'l Lint| {
        let wire = Wire {
            name: lint.name,
            severity: lint.severity.as_str(),
            needs_server: lint.needs_server(),
            what: lint.what,
            why: lint.why,
            fix: lint.fix,
            bad: lint.bad,
            good: lint.good,
            pint: lint.pint,
        };
        serde_json::to_string(&wire).expect("texts are always JSON")
    };
    let objects: Vec<String> = lints.into_iter().map(object).collect();
    format!("[\n{}\n]\n", objects.join(",\n"))
}

const INTRODUCTION: &str = "\
# Lints

What `valmis rules check` reports about rules beyond what Prometheus would refuse. This page is written by
`valmis explain --format markdown`.

A finding's severity is `error` where a rule can never do what it is for, `warning` where it probably does
something else than was meant, `info` where it could be simpler or safer. The exit code is 1 if there is an
error; `--fail-on` and `--severity` change what counts and what is shown. Lints marked *server* look only with
`--source URL`.

A comment disables a lint:

```yaml
# valmis:disable-file missing-comparison -- all alerts of this file are about series that exist only when it burns
groups:
  - name: example
    rules:
      # valmis:disable absent-without-for, template-label -- why
      - alert: Example
```

In a rule, or directly above it, the comment holds for the rule; in a group before its rules, for the group.
Comments of [pint](https://cloudflare.github.io/pint/) (`# pint disable …`, `# pint file/disable …`) hold for
the lints that do the same work.

| Lint | Severity | Finds | pint |
| --- | --- | --- | --- |
";

/// docs/lints.md
pub fn to_markdown() -> String {
    let mut text = INTRODUCTION.to_owned();
    for lint in all() {
        let Lint { name, severity, what, pint, .. } = lint;
        let pint: Vec<String> = pint.iter().map(|check| format!("`{check}`")).collect();
        let what = what.replace('|', "\\|");
        let _ = writeln!(
            text,
            "| [`{name}`](#{name}) | {}{} | {what} | {} |",
            severity.as_str(),
            server(lint),
            pint.join(", ")
        );
    }
    for lint in all() {
        let Lint { name, what, why, fix, bad, good, .. } = lint;
        let _ = write!(
            text,
            "\n## {name}\n\n{what}\n\n**Why:** {why}\n\n**Fix:** {fix}\n\n```yaml\n# bad\n{bad}```\n\n```yaml\n# good\n{good}```\n"
        );
    }
    text
}

fn server(lint: &Lint) -> &'static str {
    if lint.needs_server() { ", server" } else { "" }
}

fn indented(text: &str) -> String {
    text.lines().fold(String::new(), |text, line| text + "  " + line + "\n")
}
