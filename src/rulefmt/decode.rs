//! From the YAML tree to typed groups, with every fault on the way reported.
//!
//! Messages of the checks that Prometheus has too are word for word its own
//! (`model/rulefmt/rulefmt.go`).

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use super::instructions::{Instructions, RESOLVE_EXPR, is_instruction};
use super::types::{Rule, RuleFile, RuleGroup, RuleKind, RulePlaces};

use crate::diag::{Diagnostic, closest};
use crate::model::{LineColumn, METRIC_NAME, SEVERITY_LABEL, parse_duration_ms};
use crate::promql::{self, Expr, Features, ValueType};
use crate::template::Template;
use crate::yaml::compose::{self, Entry, Node, NodeKind, Placement, Scalar, Source};

const FILE_FIELDS: [&str; 1] = ["groups"];
const GROUP_FIELDS: [&str; 6] = ["name", "interval", "query_offset", "limit", "labels", "rules"];
/// A field of a group that is Thanos', and that PrometheusRule objects may have.
const THANOS_FIELD: &str = "partial_response_strategy";
/// What templates of labels cannot use: it depends on what they yield.
const UNKNOWN_IN_LABELS: [&str; 4] = ["$activeAt", "$alertID", "$resolvedValue", "$status"];
const RULE_FIELDS: [&str; 7] = ["record", "alert", "expr", "for", "keep_firing_for", "labels", "annotations"];

/// Reads rule files: plain ones, and manifests with PrometheusRule objects, alone or in a list. Of a
/// manifest's other objects nothing is read. `file` is the name by which messages call it.
///
/// With an error among the findings the files are not to be used: they lack what could not be read.
pub fn parse(file: &str, text: &str, features: Features) -> (Vec<RuleFile>, Vec<Diagnostic>) {
    let (documents, faults) = compose::read(text);
    let mut decoder =
        Decoder { file, source: Source::new(text), features, findings: Vec::new(), in_manifest: false };
    for (at, fault) in faults {
        decoder.report(Diagnostic::error(fault.code(), fault.to_string()), at);
    }
    let mut files = Vec::new();
    let mut plain: Option<RuleFile> = None;
    let mut names = HashSet::new();
    for document in &documents {
        match object_kind(document) {
            Some(kind) => decoder.object(document, &kind, &mut files),
            None => {
                if document.is_null() {
                    continue;
                }
                if plain.is_some() {
                    decoder.report(
                        Diagnostic::warning(
                            "multiple-documents",
                            "this is not the first document of the file, and Prometheus reads no other",
                        )
                        .hint("put all groups into one document"),
                        document.at,
                    );
                }
                let groups = decoder.document(document, &mut names);
                plain
                    .get_or_insert_with(|| RuleFile {
                        name: file.to_owned(),
                        path: file.to_owned(),
                        groups: Vec::new(),
                    })
                    .groups
                    .extend(groups);
            }
        }
    }
    files.extend(plain);
    decoder.findings.sort_by_key(|finding| finding.place);
    (files, decoder.findings)
}

/// The kind of a Kubernetes object; `None` for anything else.
fn object_kind(node: &Node) -> Option<String> {
    let version = node.get("apiVersion")?;
    let kind = node.get("kind")?.scalar()?;
    version.scalar().map(|_| kind.text.clone())
}

struct Decoder<'a> {
    file: &'a str,
    source: Source<'a>,
    features: Features,
    findings: Vec<Diagnostic>,
    in_manifest: bool,
}

/// A value of a mapping of texts.
struct Text<'n> {
    value: &'n str,
    /// The byte at which its key begins.
    key_at: usize,
    scalar: &'n Scalar,
}

/// Which rule a finding is about, as Prometheus says it.
struct Context<'a> {
    group: &'a str,
    number: usize,
    rule: &'a str,
}

impl Context<'_> {
    fn message(&self, message: &str) -> String {
        format!("group {:?}, rule {}, {:?}: {message}", self.group, self.number, self.rule)
    }
}

impl Decoder<'_> {
    fn report(&mut self, finding: Diagnostic, at: usize) {
        let place = self.source.place(at);
        self.report_at(finding, place);
    }

    fn report_at(&mut self, finding: Diagnostic, place: LineColumn) {
        self.findings.push(finding.at(self.file, Some(place)));
    }

    fn error(&mut self, code: &'static str, message: impl Into<String>, at: usize) {
        self.report(Diagnostic::error(code, message), at);
    }

    fn object(&mut self, node: &Node, kind: &str, files: &mut Vec<RuleFile>) {
        match kind {
            "PrometheusRule" => {
                self.in_manifest = true;
                let text = |node: Option<&Node>, key| {
                    let found = node.and_then(|node| node.get(key)).and_then(Node::scalar);
                    found.map_or("", |scalar: &Scalar| &scalar.text).to_owned()
                };
                let metadata = node.get("metadata");
                let (namespace, name) = (text(metadata, "namespace"), text(metadata, "name"));
                let groups = match node.get("spec") {
                    Some(spec) => self.document(spec, &mut HashSet::new()),
                    None => Vec::new(),
                };
                files.push(RuleFile {
                    name: format!("{}#{namespace}/{name}", self.file),
                    path: self.file.to_owned(),
                    groups,
                });
                self.in_manifest = false;
            }
            "List" | "PrometheusRuleList" => {
                for item in node.get("items").map(|items| self.sequence(items)).unwrap_or_default() {
                    if let Some(kind) = object_kind(item) {
                        self.object(item, &kind, files);
                    }
                }
            }
            _ => {}
        }
    }

    fn document<'n>(&mut self, node: &'n Node, names: &mut HashSet<&'n str>) -> Vec<RuleGroup> {
        let fields = self.fields(node, "a rule file", &FILE_FIELDS);
        let groups = fields.get("groups").map(|groups| self.sequence(groups)).unwrap_or_default();
        groups.iter().filter_map(|group| self.group(group, names)).collect()
    }

    fn group<'n>(&mut self, node: &'n Node, names: &mut HashSet<&'n str>) -> Option<RuleGroup> {
        let fields = self.fields(node, "a group", &GROUP_FIELDS);
        if !matches!(node.kind, NodeKind::Mapping(_)) {
            return None;
        }
        let name = fields.get("name").and_then(|node| self.text(node, "name")).unwrap_or_default();
        if name.is_empty() {
            self.error("group-name", "Groupname must not be empty", node.at);
        } else if !names.insert(name) {
            let message = format!("groupname: {name:?} is repeated in the same file");
            self.error("duplicate-group", message, node.at);
        }
        let interval_ms = fields.get("interval").and_then(|node| self.duration(node, "interval"));
        let query_offset_ms = fields.get("query_offset").and_then(|node| self.duration(node, "query_offset"));
        let limit = fields.get("limit").map_or(0, |node| self.limit(node));
        let labels = fields.get("labels").map(|node| self.texts(node, "labels")).unwrap_or_default();
        for (label, text) in &labels {
            self.label_name(label, text.key_at, |message| message);
        }
        let labels = owned(&labels);
        let rules = fields.get("rules").map(|rules| self.sequence(rules)).unwrap_or_default();
        let rules = rules.iter().enumerate();
        let rules = rules.filter_map(|(index, rule)| self.rule(rule, name, index + 1, &labels)).collect();
        Some(RuleGroup {
            name: name.to_owned(),
            // Prometheus takes an interval of 0 for none.
            interval_ms: interval_ms.filter(|interval| *interval > 0),
            query_offset_ms,
            limit,
            labels,
            rules,
            place: self.source.place(node.at),
        })
    }

    fn rule(
        &mut self,
        node: &Node,
        group: &str,
        number: usize,
        group_labels: &BTreeMap<String, String>,
    ) -> Option<Rule> {
        let fields = self.fields(node, "a rule", &RULE_FIELDS);
        if !matches!(node.kind, NodeKind::Mapping(_)) {
            return None;
        }
        let mut named = |key: &str| {
            let node = fields.get(key)?;
            self.text(node, key).filter(|text| !text.is_empty()).map(|text| (text, node.at))
        };
        let (record, alert) = (named("record"), named("alert"));
        let rule = alert.or(record).map_or("", |(name, _)| name);
        let context = Context { group, number, rule };

        match (record, alert) {
            (Some((_, at)), Some(_)) => {
                let message = context.message("only one of 'record' and 'alert' must be set");
                self.error("record-and-alert", message, at);
            }
            (None, None) => {
                let message = context.message("one of 'record' or 'alert' must be set");
                self.error("no-record-or-alert", message, node.at);
            }
            _ => {}
        }
        let expr = self.expr(fields.get("expr").copied(), node.at, &context);
        let expr_scalar = fields.get("expr").and_then(|node| node.scalar());
        let hold = fields.get("for").map(|node| (self.duration(node, "for"), node.at));
        let keep_firing =
            fields.get("keep_firing_for").map(|node| (self.duration(node, "keep_firing_for"), node.at));
        let labels = fields.get("labels").map(|node| self.texts(node, "labels")).unwrap_or_default();
        let annotations =
            fields.get("annotations").map(|node| self.texts(node, "annotations")).unwrap_or_default();

        if let Some((record, at)) = record {
            self.recording_name(record, at, &context);
            let set = |field: &Option<(Option<i64>, usize)>| {
                field.filter(|(value, _)| value.is_some_and(|ms| ms != 0)).map(|(_, at)| at)
            };
            let first_annotation = annotations.values().map(|text| text.key_at).min();
            for (field, at) in [
                ("annotations", first_annotation),
                ("for", set(&hold)),
                ("keep_firing_for", set(&keep_firing)),
            ] {
                if let Some(at) = at {
                    let message = format!("invalid field '{field}' in recording rule");
                    self.error("recording-rule-field", context.message(&message), at);
                }
            }
        }
        for (label, text) in &labels {
            self.label_name(label, text.key_at, |message| context.message(&message));
        }
        for (name, text) in &annotations {
            if name.is_empty() {
                let message = context.message(&format!("invalid annotation name: {name}"));
                self.error("annotation-name", message, text.key_at);
            }
        }
        if alert.is_some() {
            for (kind, texts) in [("label", &labels), ("annotation", &annotations)] {
                for (name, text) in texts {
                    self.template(kind, name, text, &context);
                }
            }
        }

        let mut all_labels = group_labels.clone();
        all_labels.extend(owned(&labels));
        let instructions = match alert {
            Some(_) => self.instructions(&annotations, expr.as_ref(), &context),
            None => Instructions::default(),
        };
        if instructions.severities.is_some()
            && let Some(text) = labels.get(SEVERITY_LABEL).filter(|text| text.value.contains("{{"))
        {
            let message = "label \"severity\" is a template; `valmis_severities` decides about it already";
            self.error("instruction", context.message(message), text.key_at);
        }
        let kind = match (alert, record) {
            (Some((alert, _)), _) => RuleKind::Alerting {
                alert: alert.to_owned(),
                hold_ms: hold.and_then(|(ms, _)| ms).unwrap_or(0),
                keep_firing_ms: keep_firing.and_then(|(ms, _)| ms).unwrap_or(0),
                annotations: owned(&annotations),
            },
            (None, Some((record, _))) => RuleKind::Recording { record: record.to_owned() },
            (None, None) => return None,
        };
        Some(Rule {
            kind,
            expr: Arc::new(expr?),
            labels: all_labels,
            instructions,
            place: self.source.place(node.at),
            places: RulePlaces {
                name: self.source.place(alert.or(record).map_or(node.at, |(_, at)| at)),
                expr: self.source.placement(expr_scalar?),
                labels: self.placements(&labels),
                annotations: self.placements(&annotations),
            },
        })
    }

    /// What the annotations tell the evaluator to do.
    fn instructions(
        &mut self,
        annotations: &BTreeMap<&str, Text<'_>>,
        expr: Option<&Expr>,
        context: &Context<'_>,
    ) -> Instructions {
        let mut instructions = Instructions::default();
        for (name, text) in annotations.iter().filter(|(name, _)| is_instruction(name)) {
            if *name == RESOLVE_EXPR {
                instructions.resolve_expr = self.resolve_expr(text, context).map(Arc::new);
            }
            if let Err(fault) = instructions.set(name, text.value, expr) {
                let mut finding = Diagnostic::error("instruction", context.message(&fault.to_string()));
                finding.hint = fault.hint();
                self.report(finding, text.key_at);
            }
        }
        instructions
    }

    fn resolve_expr(&mut self, text: &Text<'_>, context: &Context<'_>) -> Option<Expr> {
        let expr =
            self.promql(text.value, text.scalar, &format!("annotation \"{RESOLVE_EXPR}\": "), context)?;
        if expr.value_type() != ValueType::Vector {
            let message = format!("annotation \"{RESOLVE_EXPR}\": the expression must be an instant vector");
            self.error("instruction", context.message(&message), text.key_at);
            return None;
        }
        Some(expr)
    }

    fn placements(&self, texts: &BTreeMap<&str, Text<'_>>) -> BTreeMap<String, Placement> {
        let place = |text: &Text<'_>| self.source.placement(text.scalar);
        texts.iter().map(|(name, text)| ((*name).to_owned(), place(text))).collect()
    }

    fn expr(&mut self, node: Option<&Node>, rule_at: usize, context: &Context<'_>) -> Option<Expr> {
        let text = match node {
            Some(node) => self.text(node, "expr")?,
            None => "",
        };
        let (Some(scalar), false) = (node.and_then(Node::scalar), text.is_empty()) else {
            let at = node.map_or(rule_at, |node| node.at);
            self.error("no-expr", context.message("field 'expr' must be set in rule"), at);
            return None;
        };
        self.promql(text, scalar, "", context)
    }

    /// `what` goes before messages, if the expression is not that of the rule.
    fn promql(&mut self, text: &str, scalar: &Scalar, what: &str, context: &Context<'_>) -> Option<Expr> {
        match promql::parse_with(text, self.features) {
            Ok(expr) => Some(expr),
            Err(errors) => {
                for error in errors {
                    let message = format!("{what}could not parse expression: parse error: {}", error.message);
                    let mut finding = Diagnostic::error("promql", context.message(&message));
                    finding.hint = error.hint;
                    let place = self.source.placement(scalar).place(error.span.start);
                    self.report_at(finding, place);
                }
                None
            }
        }
    }

    fn recording_name(&mut self, record: &str, at: usize, context: &Context<'_>) {
        if record.contains(['{', '}']) {
            let message =
                format!("braces present in the recording rule name; should it be in expr?: {record}");
            self.error("recording-rule-name", context.message(&message), at);
        }
    }

    fn label_name(&mut self, name: &str, at: usize, message: impl FnOnce(String) -> String) {
        if name.is_empty() || name == METRIC_NAME {
            self.error("label-name", message(format!("invalid label name: {name}")), at);
        }
    }

    /// Parses a text as the template that it is; only whether it is one matters here.
    fn template(&mut self, kind: &str, name: &str, text: &Text<'_>, context: &Context<'_>) {
        let placement = self.source.placement(text.scalar);
        let (place, message) = match Template::parse(&format!("__alert_{}", context.rule), text.value) {
            Err(error) => {
                let lines = text.value.split_inclusive('\n').take(error.line - 1);
                let offset = lines.map(str::len).sum::<usize>() + error.column - 1;
                (placement.place(offset), error.to_string())
            }
            Ok(_) if kind != "label" => return,
            Ok(template) => {
                let facts = template.references().facts;
                let Some(fact) = UNKNOWN_IN_LABELS.into_iter().find(|fact| facts.contains(fact)) else {
                    return;
                };
                (placement.start(), format!("`{fact}` is known only when all labels of the alert are"))
            }
        };
        let message = context.message(&format!("{kind} {name:?}: {message}"));
        self.report_at(Diagnostic::error("template", message), place);
    }

    /// The fields of a mapping; reports those that are not known.
    fn fields<'n>(
        &mut self,
        node: &'n Node,
        what: &str,
        known: &[&'static str],
    ) -> BTreeMap<&'n str, &'n Node> {
        let NodeKind::Mapping(entries) = &node.kind else {
            if !node.is_null() {
                self.error(
                    "wrong-type",
                    format!("expected {what}, a mapping, but found {}", node.what()),
                    node.at,
                );
            }
            return BTreeMap::new();
        };
        let mut fields = BTreeMap::new();
        for Entry { key, at, value } in entries {
            let allowed = known.contains(&key.as_str()) || self.in_manifest && key == THANOS_FIELD;
            if allowed {
                fields.insert(key.as_str(), &**value);
                continue;
            }
            let mut finding = Diagnostic::error("unknown-field", format!("unknown field `{key}` in {what}"));
            finding.hint =
                closest(key, known.iter().copied()).map(|found| format!("did you mean `{found}`?"));
            self.report(finding, *at);
        }
        fields
    }

    fn sequence<'n>(&mut self, node: &'n Node) -> &'n [Arc<Node>] {
        match &node.kind {
            NodeKind::Sequence(nodes) => nodes,
            _ if node.is_null() => &[],
            _ => {
                self.error("wrong-type", format!("expected a list, but found {}", node.what()), node.at);
                &[]
            }
        }
    }

    /// A text; numbers and booleans count as such, nothing as the empty one.
    fn text<'n>(&mut self, node: &'n Node, field: &str) -> Option<&'n str> {
        match node.scalar() {
            Some(scalar) if scalar.is_null() => Some(""),
            Some(scalar) => Some(&scalar.text),
            None => {
                let message = format!("expected a text for `{field}`, but found {}", node.what());
                self.error("wrong-type", message, node.at);
                None
            }
        }
    }

    /// A mapping of texts.
    fn texts<'n>(&mut self, node: &'n Node, field: &str) -> BTreeMap<&'n str, Text<'n>> {
        let NodeKind::Mapping(entries) = &node.kind else {
            if !node.is_null() {
                let message = format!("expected a mapping for `{field}`, but found {}", node.what());
                self.error("wrong-type", message, node.at);
            }
            return BTreeMap::new();
        };
        let texts = entries.iter().filter_map(|Entry { key, at, value }| {
            let text = self.text(value, key)?;
            value.scalar().map(|scalar| (key.as_str(), Text { value: text, key_at: *at, scalar }))
        });
        texts.collect()
    }

    fn duration(&mut self, node: &Node, field: &str) -> Option<i64> {
        let text = self.text(node, field)?;
        // Prometheus skips a field that is there without a value.
        if node.is_null() {
            return None;
        }
        match parse_duration_ms(text) {
            Ok(ms) => Some(ms),
            Err(error) => {
                let finding = Diagnostic::error("duration", format!("`{field}`: {error}"))
                    .hint("a duration is written like `30s`, `5m` or `1h30m`");
                self.report(finding, node.at);
                None
            }
        }
    }

    /// Prometheus takes a negative limit for none.
    fn limit(&mut self, node: &Node) -> usize {
        if node.is_null() {
            return 0;
        }
        let Some(text) = self.text(node, "limit") else { return 0 };
        match text.parse::<i64>() {
            Ok(limit) => usize::try_from(limit).unwrap_or(0),
            Err(_) => {
                self.error(
                    "wrong-type",
                    format!("expected a whole number for `limit`, but found `{text}`"),
                    node.at,
                );
                0
            }
        }
    }
}

fn owned(texts: &BTreeMap<&str, Text<'_>>) -> BTreeMap<String, String> {
    texts.iter().map(|(name, text)| ((*name).to_owned(), text.value.to_owned())).collect()
}
