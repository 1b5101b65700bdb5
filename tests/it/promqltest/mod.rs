//! PromQL behaves as Prometheus' own scripts say, and as ours in `tests/promql/` do.

mod histogram;
mod offsets;
mod reader;
mod runner;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use valmis::promql::EvalOptions;

use runner::{Report, Runner};

/// Where the results are recorded; what passed there must go on passing.
const RECORD: &str = "docs/conformance.md";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[expect(clippy::disallowed_methods, reason = "a test is told by its environment where its data lies")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Where Prometheus' scripts lie, if they are there.
fn prometheus_scripts() -> PathBuf {
    variable("VALMIS_CONFORMANCE")
        .map_or_else(|| root().join("../shared/conformance"), PathBuf::from)
        .join("promqltest")
}

/// The scripts of a folder with their names, in order.
fn scripts(folder: &Path) -> Vec<(String, PathBuf)> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut scripts: Vec<_> = entries
        .map(|entry| entry.expect("an entry can be read").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "test"))
        .map(|path| (path.file_stem().expect("a name").to_string_lossy().into_owned(), path))
        .collect();
    scripts.sort();
    scripts
}

fn run(path: &Path, options: EvalOptions) -> Report {
    let script = fs::read_to_string(path).expect("a script can be read");
    let commands = reader::read(&script).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    Runner::new(options).run(&commands)
}

/// The options of Prometheus' own test engine.
fn options() -> EvalOptions {
    EvalOptions { delayed_name_removal: true, ..EvalOptions::default() }
}

#[test]
fn our_own_scripts_pass() {
    let scripts = scripts(&root().join("tests/promql"));
    assert!(!scripts.is_empty(), "no scripts in tests/promql");
    let mut failures = Vec::new();
    for (name, path) in scripts {
        // Names are dropped at once in scripts that say so, at the end in all others.
        let delayed_name_removal = !name.starts_with("eager");
        let report = run(&path, EvalOptions { delayed_name_removal, ..EvalOptions::default() });
        assert!(report.passed > 0, "{name}: no statement passed: {:?}", report.failures);
        failures.extend(report.failures.into_iter().map(|failure| format!("{name}: {failure}")));
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn prometheus_scripts_pass_as_recorded() {
    let folder = prometheus_scripts();
    let scripts = scripts(&folder);
    if scripts.is_empty() {
        eprintln_skipped(&folder);
        return;
    }
    let reports: BTreeMap<String, Report> =
        scripts.into_iter().map(|(name, path)| (name, run(&path, options()))).collect();
    let update = variable("UPDATE_CONFORMANCE").is_some();
    if update {
        fs::write(root().join(RECORD), render(&reports)).expect("the record can be written");
    }
    let record = fs::read_to_string(root().join(RECORD)).expect("the record can be read");
    let recorded = recorded_passes(&record);
    let mut faults = Vec::new();
    for (name, report) in &reports {
        let floor = recorded.get(name).copied().unwrap_or(0);
        if report.passed < floor || !report.failures.is_empty() {
            let failures = report.failures.join("\n  ");
            faults.push(format!("{name}: {} passed, recorded are {floor}:\n  {failures}", report.passed));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    for name in recorded.keys() {
        assert!(reports.contains_key(name), "{name} is recorded but was not run");
    }
    assert_eq!(record, render(&reports), "{RECORD} is out of date: run with UPDATE_CONFORMANCE=1");
}

/// Scripts with statements that hold only if names are dropped at the end, as Prometheus' test engine
/// does, and how many: they read the name of a function's result, show it in a remark, or compare
/// results that differ in `__type__`, which goes with the name.
const DELAYED_ONLY: [(&str, usize); 4] =
    [("histograms", 6), ("name_label_dropping", 8), ("native_histograms", 11), ("type_and_unit", 4)];

#[test]
fn prometheus_scripts_pass_with_names_dropped_at_once() {
    let delayed_only: BTreeMap<&str, usize> = DELAYED_ONLY.into();
    for (name, path) in scripts(&prometheus_scripts()) {
        let eager = run(&path, EvalOptions::default());
        let delayed = run(&path, options());
        let allowed = delayed.failures.len() + delayed_only.get(name.as_str()).copied().unwrap_or(0);
        assert_eq!(eager.failures.len(), allowed, "{name}:\n{}", eager.failures.join("\n"));
    }
}

#[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
fn eprintln_skipped(folder: &Path) {
    eprintln!("skipped: no scripts in {}", folder.display());
}

/// The number of statements that passed by file, as the record's table has it.
fn recorded_passes(record: &str) -> BTreeMap<String, usize> {
    record
        .lines()
        .filter_map(|line| {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            let [_, name, _, passed, ..] = cells[..] else { return None };
            Some((name.trim_matches('`').to_owned(), passed.parse().ok()?))
        })
        .filter(|(name, _)| name != "all")
        .collect()
}

fn render(reports: &BTreeMap<String, Report>) -> String {
    let mut text = String::from(
        "# Conformance of PromQL\n\n\
         Prometheus' own test scripts (`promql/promqltest/testdata`, 3.14), run by \
         `tests/it/promqltest`. Every instant query also runs with `@` modifiers at other times and as a \
         step of a range query, as in Prometheus.\n\n\
         The test fails if a file falls below this table. To write it anew:\n\n\
         ```\nUPDATE_CONFORMANCE=1 cargo test --test it promqltest\n```\n\n\
         | file | statements | passed | failed |\n\
         | --- | ---: | ---: | ---: |\n",
    );
    let mut line = |name: &str, counts: [usize; 3]| {
        let [statements, passed, failed] = counts;
        // Writing to a String cannot fail.
        let _ = writeln!(text, "| {name} | {statements} | {passed} | {failed} |");
    };
    let mut sums = [0; 3];
    for (name, report) in reports {
        let counts = [report.statements(), report.passed, report.failures.len()];
        line(&format!("`{name}`"), counts);
        sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
    }
    line("all", sums);
    for failure in reports.iter().flat_map(|(name, report)| report.failures.iter().map(move |f| (name, f))) {
        let _ = write!(text, "\n- `{}`, {}", failure.0, failure.1);
    }
    text
}
