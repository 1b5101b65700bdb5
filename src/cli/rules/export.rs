//! `valmis rules export`

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::artifacts::{self, Artifact, PrometheusRule, with_links};
use crate::cli::export::{chosen, write};
use crate::cli::{Exit, Output};

/// Print or write the bundled rules, for a Prometheus to evaluate.
///
/// Without `--output` they are printed as one rule file, or as one manifest of several objects.
#[derive(Debug, clap::Args)]
pub(crate) struct Export {
    /// Which rule files [default: all]
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// For whom.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Write one file each into this folder.
    #[arg(long, short, value_name = "FOLDER")]
    output: Option<PathBuf>,
    /// The address below which the runbooks are [default: that of the program that evaluates]
    #[arg(long, value_name = "URL")]
    runbooks: Option<String>,
    /// The address of the Grafana that shows the dashboards.
    #[arg(long, value_name = "URL")]
    grafana: Option<String>,
    /// The namespace of PrometheusRule objects.
    #[arg(long)]
    namespace: Option<String>,
    /// A label of PrometheusRule objects, such as the one by which a Prometheus selects its rules; may be
    /// given several times.
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
}

/// What rules are exported as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
enum Format {
    /// Rule files of Prometheus.
    #[default]
    Prometheus,
    /// PrometheusRule objects, which the Prometheus operator reads.
    #[value(name = "prometheusrule")]
    PrometheusRule,
}

fn label(text: &str) -> Result<(String, String)> {
    let (name, value) = text.split_once('=').context("a label is `name=value`")?;
    Ok((name.to_owned(), value.to_owned()))
}

pub(super) fn run(args: &Export, out: &mut Output) -> Result<Exit> {
    let files = chosen(artifacts::rules(), &args.names, "rule file")?;
    let labels: Vec<(&str, &str)> =
        args.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let object = PrometheusRule {
        namespace: args.namespace.as_deref(),
        labels: &labels,
        runbooks: args.runbooks.as_deref(),
        grafana: args.grafana.as_deref(),
    };
    let text = |file: &Artifact| match args.format {
        Format::Prometheus => with_links(file.text, object.runbooks, object.grafana),
        Format::PrometheusRule => object.manifest(file),
    };
    let texts: Vec<(&str, String)> = files.into_iter().map(|file| (file.name, text(file))).collect();
    if let Some(folder) = &args.output {
        write(out, folder, "yaml", &texts)?;
        return Ok(Exit::Fine);
    }
    let texts = texts.iter().map(|(_, text)| text.as_str());
    out.text(&match args.format {
        Format::Prometheus => one_file(texts),
        Format::PrometheusRule => texts.collect::<Vec<_>>().join("---\n"),
    })?;
    Ok(Exit::Fine)
}

/// The groups of all files in one: Prometheus reads only the first document of a file. Each bundled file
/// is a mapping whose only key, `groups`, has a line of its own.
fn one_file<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    let mut lines = Vec::new();
    for text in texts {
        let seen = lines.contains(&"groups:");
        lines.extend(text.lines().filter(|line| !(seen && *line == "groups:")));
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::promql::Features;
    use crate::rulefmt::parse;

    #[test]
    fn all_bundled_groups_fit_into_one_file() {
        let groups = |text: &str| {
            let (files, findings) = parse("rules.yaml", text, Features::default());
            assert!(findings.is_empty(), "{findings:?}");
            files.iter().flat_map(|file| &file.groups).map(|group| group.name.clone()).collect::<Vec<_>>()
        };
        let separate: Vec<String> =
            artifacts::rules().iter().flat_map(|artifact| groups(artifact.text)).collect();
        assert_eq!(groups(&one_file(artifacts::rules().iter().map(|artifact| artifact.text))), separate);
    }
}
