//! Certificates: where they are.

use super::Context;
use crate::config::{CertificateConfig, CertificateSource, TlsServer};
use crate::probe::certificate::{CertificateFiles, Glob, ServedCertificateConfig, SourceKind};
use crate::yaml::{Fields, Node, NodeKind};

/// Something was wrong, and was told.
struct Reported;

impl Context<'_> {
    pub(super) fn certificate(&mut self, node: &Node) -> Option<CertificateConfig> {
        let mut fields = self.reader.fields("a certificate", node);
        let name = fields.require(&mut self.reader, "name").and_then(|node| self.name(node));
        let server = fields.take("url").map(|node| self.tls_server(node));
        let files = self.certificate_files(&mut fields).transpose().map(Result::ok);
        let source = match (server, files) {
            (Some(server), None) => server.map(CertificateSource::Server),
            (None, Some(files)) => files.map(CertificateSource::Files),
            (Some(server), Some(files)) => {
                server.zip(files).map(|(server, files)| CertificateSource::ServedFromFiles(server, files))
            }
            (None, None) => {
                let message = "a certificate needs `url`, or one of `file`, `directory` and `kubeconfig`, or \
                               both to have them compared";
                self.reader.error("missing-key", fields.place(), message);
                None
            }
        };
        let tls = self.tls(&mut fields);
        let pace = self.pace(&mut fields);
        fields.finish(&mut self.reader);
        Some(CertificateConfig { name: name?, source: source?, tls, pace })
    }

    /// The files of an entry, if it names any.
    fn certificate_files(&mut self, fields: &mut Fields<'_>) -> Result<Option<CertificateFiles>, Reported> {
        let files = fields.take("file").map(|node| self.globs("file", node, ""));
        let directories = fields.take("directory").map(|node| self.globs("directory", node, "/*"));
        let kubeconfig = fields.take("kubeconfig");
        let kubeconfigs = kubeconfig.map(|node| self.globs("kubeconfig", node, ""));
        let exclude = fields.take("exclude").map(|node| self.globs("exclude", node, ""));
        let password = self.secret(fields, ["password", "password_file", "password_env"]);
        let files = match (files, directories) {
            (Some(files), Some(directories)) => {
                Some(files.zip(directories).map(|both| [both.0, both.1].concat()))
            }
            (files, directories) => files.or(directories),
        };
        let (kind, patterns) = match (files, kubeconfigs) {
            (Some(_), Some(_)) => {
                let place = kubeconfig.map_or_else(|| fields.place(), |node| node.place);
                let message = "`kubeconfig` belongs into an entry of its own, without `file` and `directory`";
                self.reader.error("two-kinds", place, message);
                return Err(Reported);
            }
            (Some(files), None) => (SourceKind::File, files),
            (None, Some(kubeconfigs)) => (SourceKind::Kubeconfig, kubeconfigs),
            (None, None) => {
                if exclude.is_some() || password.is_some() {
                    let message = "`exclude` and a password belong to `file`, `directory` or `kubeconfig`";
                    self.reader.error("missing-key", fields.place(), message);
                }
                return Ok(None);
            }
        };
        let exclude = exclude.unwrap_or_else(|| Some(Vec::new()));
        let (patterns, exclude) = patterns.zip(exclude).ok_or(Reported)?;
        Ok(Some(CertificateFiles { kind, patterns, exclude, password }))
    }

    /// A pattern, or a list of them, each with `ending` after it. `None` if one is wrong.
    fn globs(&mut self, key: &'static str, node: &Node, ending: &str) -> Option<Vec<Glob>> {
        let items = match &node.kind {
            NodeKind::Sequence(items) => items.as_slice(),
            _ => std::slice::from_ref(node),
        };
        let patterns: Vec<Glob> = items
            .iter()
            .filter_map(|item| {
                let text = self.reader_text(key, item)?;
                let pattern = Glob::parse(&format!("{}{ending}", self.absolute(text)));
                let report =
                    |error| self.reader.error("bad-pattern", item.place, format!("`{key}`: {error}"));
                pattern.map_err(report).ok()
            })
            .collect();
        (patterns.len() == items.len()).then_some(patterns)
    }

    /// `https://host`, `https://host:port`, `host:port`, or a URL of another protocol with TLS.
    fn tls_server(&mut self, node: &Node) -> Option<TlsServer> {
        let text = self.reader.text("url", node)?;
        match ServedCertificateConfig::parse(text) {
            Ok(ServedCertificateConfig { host, port, starttls, .. }) => {
                Some(TlsServer { host, port, starttls })
            }
            Err(error) => {
                self.reader.error_with_hint(
                    "bad-url",
                    node.place,
                    format!("`url`: {error}"),
                    "write `https://host:port`",
                );
                None
            }
        }
    }
}
