//! The structure of the source: layers import downwards only, and every file belongs to a module.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Which top-level modules each module may import, beside itself. A new edge is a design change and
/// gets a commit of its own.
const ALLOWED: &[(&str, &[&str])] = &[
    // The vocabulary.
    ("model", &[]),
    ("diag", &["model"]),
    // Seams.
    ("clock", &["model"]),
    ("client", &["model"]),
    ("schedule", &["model", "clock"]),
    ("storage", &["model"]),
    ("yaml", &["model", "diag"]),
    // Engines: they never import one another.
    ("promql", &["model", "diag", "storage"]),
    ("tsdb", &["model", "storage", "clock"]),
    ("exposition", &["model"]),
    ("template", &["model"]),
    ("relabel", &["model"]),
    ("dns", &[]),
    ("probe", &["model", "client", "clock", "dns"]),
    // Services.
    ("query", &["model", "client", "clock", "storage", "promql"]),
    ("discovery", &["model", "clock", "dns"]),
    ("scrape", &["model", "client", "clock", "schedule", "storage", "exposition", "relabel", "discovery"]),
    ("rulefmt", &["model", "diag", "yaml", "promql", "template"]),
    ("lint", &["model", "diag", "yaml", "promql", "template", "rulefmt"]),
    ("listener", &["model", "diag", "clock", "client", "yaml"]),
    ("state", &["model", "clock"]),
    ("rules", &["model", "clock", "schedule", "storage", "promql", "template", "query", "rulefmt", "state"]),
    (
        "ruletest",
        &["model", "diag", "yaml", "clock", "storage", "promql", "query", "rulefmt", "rules", "state"],
    ),
    ("blackbox", &["model", "diag", "yaml", "client", "clock", "dns", "probe"]),
    ("backtest", &["model", "clock", "storage", "promql", "tsdb", "query", "rulefmt", "rules", "state"]),
    ("notifier", &["model", "client", "clock", "relabel", "discovery", "rules", "state"]),
    ("drill", &["model", "clock", "schedule", "exposition", "promql", "rulefmt", "rules", "notifier"]),
    ("write_back", &["model", "client", "storage", "exposition"]),
    ("heartbeat", &["model", "client", "clock", "state"]),
    ("readiness", &["model", "clock", "schedule", "storage", "probe"]),
    ("textfile", &["model", "exposition", "probe"]),
    ("artifacts", &[]),
];

/// Modules that sit above the services; `api` and `web` get handles and never import `app`.
const EDGES: &[&str] = &["config", "api", "web"];

#[test]
fn modules_import_downwards_only() {
    let services: BTreeSet<&str> = ALLOWED.iter().map(|(name, _)| *name).collect();
    let mut faults = Vec::new();
    for (file, module) in source_files() {
        let text = fs::read_to_string(&file).expect("a source file can be read");
        for (number, line) in text.lines().enumerate() {
            for target in imports(line) {
                let allowed = target == module
                    || match module.as_str() {
                        "lib" | "main" | "app" | "cli" | "telemetry" => true,
                        edge if EDGES.contains(&edge) => services.contains(target) || EDGES.contains(&target),
                        other => {
                            ALLOWED.iter().any(|(name, targets)| *name == other && targets.contains(&target))
                        }
                    };
                if !allowed {
                    faults.push(format!("{}:{}: {module} -> {target}", file.display(), number + 1));
                }
            }
        }
    }
    assert!(faults.is_empty(), "imports that the layers do not allow:\n{}", faults.join("\n"));
}

#[test]
fn every_source_file_belongs_to_a_module() {
    let all: BTreeSet<PathBuf> = source_files().into_iter().map(|(file, _)| file).collect();
    let mut stray = Vec::new();
    for file in &all {
        let stem = file.file_stem().and_then(|s| s.to_str()).expect("a UTF-8 file name");
        let folder = file.parent().expect("a file has a folder");
        let (name, parent) = if stem == "mod" {
            (folder.file_name().and_then(|s| s.to_str()), folder.parent())
        } else {
            (Some(stem), Some(folder))
        };
        let (Some(name), Some(parent)) = (name, parent) else { continue };
        if name == "lib" || name == "main" || name == "src" {
            continue;
        }
        let parents = ["mod.rs", "lib.rs", "main.rs"].map(|root| parent.join(root));
        let sibling = parent.with_extension("rs");
        let declared = parents.iter().chain([&sibling]).any(|root| {
            fs::read_to_string(root)
                .is_ok_and(|text| text.lines().any(|line| line.trim_end().ends_with(&format!("mod {name};"))))
        });
        if !declared {
            stray.push(file.display().to_string());
        }
    }
    assert!(stray.is_empty(), "files that no `mod` names:\n{}", stray.join("\n"));
}

/// The top-level modules that a line names as `crate::x`.
fn imports(line: &str) -> impl Iterator<Item = &str> {
    let code = line.split("//").next().unwrap_or_default();
    code.match_indices("crate::").map(|(at, found)| {
        let rest = &code[at + found.len()..];
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        &rest[..end]
    })
}

/// All files under `src/` with the top-level module each belongs to.
fn source_files() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("src/ can be listed") {
            let path = entry.expect("an entry can be read").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let relative = path.strip_prefix(&root).expect("below src/");
                let first = relative.components().next().expect("a file has a name");
                let module = first.as_os_str().to_string_lossy().trim_end_matches(".rs").to_owned();
                files.push((path, module));
            }
        }
    }
    files
}
