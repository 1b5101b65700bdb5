//! `/metrics`: the latest results of all probes and valmis' own metrics, and the same for those who
//! expect one exporter only.
//!
//! Nothing here waits: probes run on their own schedule, and what they found last is shown.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use super::Handles;
use super::collectors::{Exporter, Selection};
use super::error::{ApiError, ErrorType};
use super::params::Params;
use crate::exposition::{Entry, Format, Metadata, MetricType, Negotiated, Page, Parser};
use crate::probe;
use crate::readiness::{Family, Kind};

/// What takes the place of another exporter: the part of the metrics that this exporter would serve.
struct Persona {
    name: &'static str,
    /// Prefixes of the metrics it serves.
    prefixes: &'static [&'static str],
    /// Of what sort of component it serves whatever that tells: what jobs left in files, what queries of the
    /// user found.
    kind: Option<Kind>,
    /// Prefixes of the metrics of valmis itself that it serves.
    own: &'static [&'static str],
    /// Whose collectors may be chosen.
    exporters: &'static [Exporter],
}

impl Persona {
    fn serves(&self, family: &Family) -> bool {
        let whole_kind = self.kind.is_some() && family.kind == self.kind;
        whole_kind || begins_with(&family.name, self.prefixes)
    }
}

const NOTHING: Persona = Persona { name: "", prefixes: &[], kind: None, own: &[], exporters: &[] };

const ALL: Persona =
    Persona { prefixes: &[""], own: &[""], exporters: &[Exporter::Node, Exporter::Postgres], ..NOTHING };

/// Source of the names: `blackbox_exporter`, `postgres_exporter`, `redis_exporter`, `node_exporter`, and
/// `x509-certificate-exporter` with `ssl_exporter`; `valmis` is everything about valmis itself, without what
/// probes found.
const PERSONAS: &[Persona] = &[
    Persona {
        name: "blackbox",
        prefixes: &["probe_", "valmis_probe_unknown", "valmis_tls_"],
        own: &["blackbox_"],
        ..NOTHING
    },
    Persona {
        name: "postgres",
        prefixes: &["pg_", "pgbouncer_", "postgres_exporter_", "valmis_postgres_"],
        kind: Some(Kind::Postgres),
        exporters: &[Exporter::Postgres],
        ..NOTHING
    },
    Persona { name: "redis", prefixes: &["redis_"], ..NOTHING },
    Persona {
        name: "node",
        prefixes: &["node_", "valmis_node_", "valmis_filesystem_"],
        kind: Some(Kind::Machine),
        exporters: &[Exporter::Node],
        ..NOTHING
    },
    Persona {
        name: "certificates",
        prefixes: &["x509_", "probe_ssl_", "ssl_", "valmis_tls_", "valmis_certificate_"],
        ..NOTHING
    },
    Persona { name: "valmis", own: &[""], ..NOTHING },
];

pub(super) async fn all(State(handles): State<Arc<Handles>>, headers: HeaderMap, params: Params) -> Response {
    render(&handles, &ALL, &headers, &params)
}

pub(super) async fn persona(
    State(handles): State<Arc<Handles>>,
    Path(name): Path<String>,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, ApiError> {
    let persona = PERSONAS.iter().find(|persona| persona.name == name).ok_or_else(|| {
        let known: Vec<&str> = PERSONAS.iter().map(|persona| persona.name).collect();
        let message = format!("no metrics `{name}`; there are {}", known.join(", "));
        ApiError { kind: ErrorType::NotFound, message }
    })?;
    Ok(render(&handles, persona, &headers, &params))
}

fn render(handles: &Handles, persona: &Persona, headers: &HeaderMap, params: &Params) -> Response {
    let named = |parameter: &str| params.all(parameter).map(str::to_owned).collect();
    let selection = match Selection::new(named("collect[]"), named("exclude[]"), persona.exporters) {
        Ok(selection) => selection,
        Err(error) => return (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
    };
    let mut page = Page::default();
    for family in handles.readiness.samples() {
        if persona.serves(&family)
            && let Some(family) = selection.keep(family)
        {
            add_family(&mut page, family);
        }
    }
    if !persona.own.is_empty() && selection.keeps_own() {
        add_own(&mut page, &handles.registry, persona.own);
    }
    negotiated(&page, headers)
}

fn begins_with(name: &str, prefixes: &[&str]) -> bool {
    prefixes.iter().any(|prefix| name.starts_with(prefix))
}

/// A page in the format that the asker prefers.
pub(super) fn negotiated(page: &Page, headers: &HeaderMap) -> Response {
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok());
    let negotiated = Negotiated::from_accept(accept);
    let text = page.write(negotiated.format, negotiated.escaping);
    let content_type = HeaderValue::try_from(negotiated.content_type()).expect("a constant of ASCII");
    ([(CONTENT_TYPE, content_type)], text).into_response()
}

/// A page in the text format.
pub(super) fn classic(page: &Page) -> String {
    let negotiated = Negotiated::from_accept(None);
    page.write(negotiated.format, negotiated.escaping)
}

/// Says of a metric of probes what it is.
pub(super) fn describe(page: &mut Page, name: &str) {
    if page.is_described(name) {
        return;
    }
    let known = probe::metadata();
    let Ok(at) = known.binary_search_by_key(&name, |(name, ..)| name) else { return };
    let (_, kind, help) = known[at];
    page.describe(name, Metadata::new(metric_type(kind), help));
}

fn metric_type(text: &str) -> MetricType {
    match text {
        "gauge" => MetricType::Gauge,
        "counter" => MetricType::Counter,
        "histogram" => MetricType::Histogram,
        "summary" => MetricType::Summary,
        _ => MetricType::Unknown,
    }
}

fn add_family(page: &mut Page, family: Family) {
    page.describe(&family.name, Metadata::new(metric_type(family.metric_type), family.help));
    for sample in family.samples {
        page.add(sample.labels, sample.value, None);
    }
}

/// The client library writes OpenMetrics only; reading that back gives both formats from one writer.
fn add_own(page: &mut Page, registry: &prometheus_client::registry::Registry, prefixes: &[&str]) {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, registry).expect("writing to a String cannot fail");
    let mut parser = Parser::new(text.as_bytes(), Format::OpenMetrics).expect("a String is UTF-8");
    let (mut name, mut metadata) = (String::new(), Metadata::default());
    let mut describe = |page: &mut Page, family: &str, change: &dyn Fn(&mut Metadata)| {
        if name != family {
            family.clone_into(&mut name);
            metadata = Metadata::default();
        }
        change(&mut metadata);
        if begins_with(&name, prefixes) {
            page.describe(&name, metadata.clone());
        }
    };
    while let Some(entry) = parser.next() {
        match entry.expect("the client library writes valid OpenMetrics") {
            Entry::Help { family, help } => {
                describe(page, &family, &|metadata| metadata.help = help.clone().into_owned().into());
            }
            Entry::Type { family, kind } => describe(page, &family, &|metadata| metadata.kind = kind),
            Entry::Unit { family, unit } => {
                describe(page, &family, &|metadata| unit.clone_into(&mut metadata.unit));
            }
            Entry::Sample(sample) => {
                let labels = parser.labels();
                if begins_with(labels.metric_name(), prefixes) {
                    page.add(labels, sample.value, None);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_of_a_probe_has_a_page_of_its_own() {
        let served = |name: &str| PERSONAS.iter().any(|persona| begins_with(name, persona.prefixes));
        let nowhere: Vec<_> =
            probe::metadata().iter().map(|(name, ..)| *name).filter(|name| !served(name)).collect();
        assert_eq!(nowhere, Vec::<&str>::new());
    }
}
