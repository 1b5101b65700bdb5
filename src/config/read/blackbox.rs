//! Modules of probes, who may ask for them, and probes on a schedule.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::Context;
use crate::blackbox::{
    self, Allowance, HostPattern, Module, ModuleName, ModuleTarget, Modules, PatternError, Policy, Settings,
    TargetPattern,
};
use crate::clock::{SharedClock, SystemClock};
use crate::config::ProbeConfig;
use crate::diag::Diagnostic;
use crate::model::{LineColumn, parse_duration_ms};
use crate::probe::{HistoryLimits, Reach};
use crate::yaml::{Fields, Node, NodeKind};

/// Jobs that rules take for something else than an application that is probed.
const RESERVED_JOBS: &[&str] = &["app", "certificates", "node", "postgres", "redis", "valmis"];
/// What an entry of `allow` calls all modules without credentials.
const ANY_MODULE: &str = "*";
/// The least memory of the history: a few results.
const MIN_HISTORY_BYTES: u64 = 64 << 10;

impl Context<'_> {
    pub(super) fn blackbox(&mut self, node: Option<&Node>) -> Settings {
        let mut settings = Settings::default();
        let Some(node) = node else { return Settings { modules: blackbox::builtin(), ..settings } };
        let mut fields = self.reader.fields("`blackbox`", node);
        settings.modules = self.modules(&mut fields);
        if let Some(node) = fields.take("allow") {
            settings.policy.allow = self.allowances(&settings.modules, node);
        }
        if let Some(node) = fields.take("reach") {
            settings.policy.reach = self.reach(node);
        }
        if let Some(offset) = fields.take("timeout_offset").and_then(|node| self.offset(node)) {
            settings.timeout_offset = offset;
        }
        let most = fields.take("max_concurrent_probes");
        let most = most.and_then(|node| self.reader.integer("max_concurrent_probes", node, 1..=10_000));
        if let Some(most) = most.and_then(|most| usize::try_from(most).ok()) {
            settings.max_concurrent_probes = most;
        }
        if let Some(node) = fields.take("history") {
            settings.history = self.history(node);
        }
        fields.finish(&mut self.reader);
        settings
    }

    /// The modules of the file and those beside it; where neither is named, the built-in ones.
    fn modules(&mut self, fields: &mut Fields<'_>) -> Modules {
        let surroundings = blackbox::Surroundings {
            environment: self.surroundings.environment,
            folder: self.surroundings.folder,
        };
        let (file, inline) = (fields.take("config_file"), fields.take("modules"));
        if file.is_none() && inline.is_none() {
            return blackbox::builtin();
        }
        let mut modules = Modules::new();
        for module in file.map(|node| self.modules_of_file(node)).unwrap_or_default() {
            modules.insert(module.name().to_owned(), Arc::new(module));
        }
        if let Some(node) = inline {
            for module in blackbox::read_modules(&mut self.reader, node, surroundings) {
                let name = module.name().to_owned();
                if modules.contains_key(&name) {
                    let message = format!("the module `{name}` is in `config_file` already");
                    self.reader.error("duplicate-name", node.place, message);
                }
                modules.insert(name, Arc::new(module));
            }
        }
        modules
    }

    fn modules_of_file(&mut self, node: &Node) -> Vec<Module> {
        let Some(path) = self.path("config_file", node) else { return Vec::new() };
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) => {
                let message = format!("`config_file`: cannot read `{}`: {error}", path.display());
                self.reader.error("unreadable-file", node.place, message);
                return Vec::new();
            }
        };
        let folder = path.parent().unwrap_or(self.surroundings.folder);
        let surroundings = blackbox::Surroundings { environment: self.surroundings.environment, folder };
        let (modules, findings) = blackbox::read_file(&path.display().to_string(), &text, surroundings);
        self.of_other_files.extend(findings);
        modules
    }

    /// `any`, or a list of pairs.
    fn allowances(&mut self, modules: &Modules, node: &Node) -> Vec<Allowance> {
        if let NodeKind::Scalar(text) = &node.kind {
            if text == "any" {
                let everything = TargetPattern::parse("*").expect("a constant pattern");
                let every_host = HostPattern::parse("*").expect("a constant pattern");
                let (targets, hostnames) = (vec![everything], vec![every_host]);
                return vec![Allowance { module: ModuleName::Any, targets, hostnames }];
            }
        }
        let found = self.list(Some(node), "allow", |this, node| this.allowance(modules, node));
        found.into_iter().map(|(_, allowance)| allowance).collect()
    }

    fn allowance(&mut self, modules: &Modules, node: &Node) -> Option<Allowance> {
        let mut fields = self.reader.fields("an entry of `allow`", node);
        let module = fields.require(&mut self.reader, "module").and_then(|node| {
            let name = self.name(node)?;
            if name == ANY_MODULE {
                return Some(ModuleName::Any);
            }
            if !modules.contains_key(&name) {
                self.unknown_module(&name, node.place, modules);
            }
            Some(ModuleName::Is(name))
        });
        let targets = fields.require(&mut self.reader, "targets");
        let targets = self.patterns(targets, "targets", TargetPattern::parse);
        let hostnames = fields.take("hostnames");
        let hostnames = self.patterns(hostnames, "hostnames", HostPattern::parse);
        fields.finish(&mut self.reader);
        Some(Allowance { module: module?, targets, hostnames })
    }

    fn patterns<T>(
        &mut self,
        list: Option<&Node>,
        what: &'static str,
        parse: impl Fn(&str) -> Result<T, PatternError>,
    ) -> Vec<T> {
        let found = self.list(list, what, |this, node| {
            let text = this.reader.text(what, node)?;
            match parse(text) {
                Ok(pattern) => Some(pattern),
                Err(error) => {
                    this.reader.error("bad-pattern", node.place, format!("`{what}`: {error}"));
                    None
                }
            }
        });
        found.into_iter().map(|(_, pattern)| pattern).collect()
    }

    fn reach(&mut self, node: &Node) -> Reach {
        let default = Policy::default().reach;
        let mut fields = self.reader.fields("`reach`", node);
        let reach = Reach {
            private: self.flag(&mut fields, "private", default.private),
            loopback: self.flag(&mut fields, "loopback", default.loopback),
            link_local: self.flag(&mut fields, "link_local", default.link_local),
            special: default.special,
        };
        fields.finish(&mut self.reader);
        reach
    }

    /// A duration that may be 0.
    fn offset(&mut self, node: &Node) -> Option<Duration> {
        let text = self.reader.text("timeout_offset", node)?;
        match parse_duration_ms(text) {
            Ok(0) => Some(Duration::ZERO),
            _ => self.reader.duration("timeout_offset", node),
        }
    }

    fn history(&mut self, node: &Node) -> HistoryLimits {
        let default = HistoryLimits::default();
        let mut fields = self.reader.fields("`history`", node);
        let mut count = |key: &'static str, default: usize| {
            let count = fields.take(key).and_then(|node| self.reader.integer(key, node, 1..=1000));
            count.and_then(|count| usize::try_from(count).ok()).unwrap_or(default)
        };
        let (successes, failures) =
            (count("successes", default.successes), count("failures", default.failures));
        let max_bytes = fields.take("max_memory").and_then(|node| {
            let bytes = self.reader.size_bytes("max_memory", node)?;
            if bytes < MIN_HISTORY_BYTES {
                self.reader.error("bad-size", node.place, "`max_memory` must be at least `64KiB`");
            }
            usize::try_from(bytes).ok()
        });
        fields.finish(&mut self.reader);
        HistoryLimits { successes, failures, max_bytes: max_bytes.unwrap_or(default.max_bytes) }
    }

    pub(super) fn probe(&mut self, modules: &Modules, node: &Node) -> Option<ProbeConfig> {
        let mut fields = self.reader.fields("a probe", node);
        let name = fields.require(&mut self.reader, "name").and_then(|node| {
            let name = self.name(node)?;
            if RESERVED_JOBS.contains(&name.as_str()) {
                let message = format!("the name `{name}` is that of valmis' own samples in label `job`");
                self.reader.error("reserved-name", node.place, message);
            }
            Some(name)
        });
        let module = fields.require(&mut self.reader, "module").and_then(|node| {
            let name = self.reader.text("module", node)?;
            let module = modules.get(name).cloned();
            if module.is_none() {
                self.unknown_module(name, node.place, modules);
            }
            module
        });
        let (target, targets) = (fields.take("target"), fields.take("targets"));
        let targets = match (target, targets) {
            (Some(target), None) => vec![(target.place, self.reader.text("target", target)?.to_owned())],
            (None, Some(list)) => {
                self.list(Some(list), "targets", |this, node| this.reader_text("targets", node))
            }
            (both, _) => {
                let what = if both.is_some() { "not both" } else { "one of them" };
                let message = format!("a probe needs `target` or `targets`, {what}");
                self.reader.error("missing-key", fields.place(), message);
                Vec::new()
            }
        };
        if let Some(module) = &module {
            self.check_targets(module, &targets);
        }
        let readiness = self.flag(&mut fields, "readiness", false);
        let labels = fields.take("labels").map(|node| self.labels("labels", node)).unwrap_or_default();
        let pace = self.pace(&mut fields);
        fields.finish(&mut self.reader);
        let targets = targets.into_iter().map(|(_, target)| target).collect();
        Some(ProbeConfig { name: name?, module: module?, targets, readiness, labels, pace })
    }

    fn unknown_module(&mut self, name: &str, place: LineColumn, modules: &Modules) {
        let known = || modules.keys().map(String::as_str);
        let hint = match crate::diag::closest(name, known()) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("there are {}", known().collect::<Vec<_>>().join(", ")),
        };
        self.reader.error_with_hint("unknown-module", place, format!("there is no module `{name}`"), hint);
    }

    /// Each target once, and none that the module cannot probe.
    fn check_targets(&mut self, module: &Module, targets: &[(LineColumn, String)]) {
        let clock: SharedClock = Arc::new(SystemClock);
        let mut seen = BTreeSet::new();
        for (place, target) in targets {
            let prober = ModuleTarget::new(module, target, None, &clock);
            if let Some(fault) = prober.fault() {
                self.reader.error("bad-target", *place, format!("target `{target}`: {fault}"));
            }
            if !seen.insert(target) {
                self.reader.error("duplicate-name", *place, format!("target `{target}` is listed twice"));
            }
        }
    }
}

/// The findings of several files: those of `file` first, each file's in its order.
pub(super) fn in_order(file: &str, findings: &mut [Diagnostic]) {
    findings.sort_by(|one, other| {
        let key = |finding: &Diagnostic| (finding.file != file, finding.place);
        key(one).cmp(&key(other))
    });
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Config, Surroundings, read};

    fn read_in(folder: &Path, text: &str) -> (Config, Vec<String>) {
        let surroundings = Surroundings { environment: &|_| None, folder };
        let (config, findings) = read("valmis.yaml", text, &surroundings);
        (config, findings.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn modules_policy_and_probes_are_understood() {
        let text = "
blackbox:
  modules: {site: {prober: http}, port: {prober: tcp}}
  allow:
  - {module: site, targets: ['https://*.example.org/*'], hostnames: ['*.example.org']}
  - {module: '*', targets: ['db:5432']}
  reach: {loopback: true, private: false}
  timeout_offset: 0s
  max_concurrent_probes: 7
  history: {successes: 1, failures: 2, max_memory: 1MiB}
probes:
- {name: a, module: site, targets: [http://a/, http://b/], labels: {x: y}, interval: 30s}
- {name: b, module: port, target: 'db:5432', readiness: true}
";
        let (config, findings) = read_in(Path::new("/"), text);
        assert_eq!(findings, Vec::<String>::new());
        let Settings { modules, policy, timeout_offset, max_concurrent_probes, history } = config.blackbox;
        assert_eq!(modules.keys().collect::<Vec<_>>(), ["port", "site"]);
        let allowed: Vec<String> =
            policy.allow.iter().flat_map(|one| &one.targets).map(ToString::to_string).collect();
        assert_eq!(allowed, ["https://*.example.org/*", "db:5432"]);
        assert_eq!(policy.allow[1].module, ModuleName::Any);
        let reach = Reach { loopback: true, private: false, link_local: false, special: false };
        assert_eq!(policy.reach, reach);
        assert_eq!((timeout_offset, max_concurrent_probes), (Duration::ZERO, 7));
        assert_eq!(history, HistoryLimits { successes: 1, failures: 2, max_bytes: 1 << 20 });
        assert_eq!(config.probes[0].targets, ["http://a/", "http://b/"]);
        assert_eq!((config.probes[0].readiness, config.probes[1].readiness), (false, true));
        let (config, _) = read_in(Path::new("/"), "blackbox: {allow: any}\n");
        assert_eq!(config.blackbox.policy.allow.len(), 1);
        assert!(config.blackbox.modules.contains_key("http_2xx"));
        assert_eq!(read_in(Path::new("/"), "").0.blackbox, Config::default().blackbox);
    }

    #[test]
    fn faults_of_the_module_file_come_with_those_of_the_configuration() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("blackbox.yml");
        std::fs::write(&file, "modules:\n  a: {prober: http}\n  b: {prober: htpp}\n").unwrap();
        let text = "
blackbox:
  config_file: blackbox.yml
  modules: {a: {prober: tcp}, c: {prober: icmp, icmp: {ttl: 256}}}
  allow: [{module: a, targets: ['ftp://x', '']}, {module: aa, targets: [x]}]
  timeout_offset: soon
  histroy: {}
probes:
- {name: one, module: aa, target: x}
- {name: two, module: a, target: 'nowhere', targets: []}
- {name: three, module: a, targets: ['x:1', 'x:1', 'y']}
";
        let (_, findings) = read_in(folder.path(), text);
        let expected = [
            "valmis.yaml:4:12: the module `a` is in `config_file` already".to_owned(),
            "valmis.yaml:4:61: \"ttl\" cannot exceed 255".to_owned(),
            "valmis.yaml:5:33: `targets`: scheme `ftp` is none of `http`, `https`, `ws`, `wss` and `*`"
                .to_owned(),
            "valmis.yaml:5:44: `targets`: a pattern must not be empty".to_owned(),
            "valmis.yaml:5:59: there is no module `aa`\n  hint: did you mean `a`?".to_owned(),
            "valmis.yaml:6:19: `timeout_offset`: ".to_owned(),
            "valmis.yaml:7:3: `blackbox` has no key `histroy`".to_owned(),
            "valmis.yaml:9:23: there is no module `aa`".to_owned(),
            "valmis.yaml:10:3: a probe needs `target` or `targets`, not both".to_owned(),
            "valmis.yaml:11:45: target `x:1` is listed twice".to_owned(),
            "valmis.yaml:11:52: target `y`: `y` is not `host:port`".to_owned(),
            format!("{}:3:15: prober 'htpp' is not valid", file.display()),
        ];
        assert_eq!(findings.len(), expected.len(), "{findings:#?}");
        for (found, expected) in findings.iter().zip(expected) {
            assert!(found.starts_with(&expected), "{found}\n{expected}");
        }
    }
}
