//! What is probed in other ways: file systems, certificates.

use std::path::PathBuf;

use super::Context;
use crate::config::{CertificateConfig, CertificateSource, DiskConfig, TlsServer};
use crate::probe::certificate::{Glob, ServedCertificateConfig};
use crate::yaml::Node;

impl Context<'_> {
    pub(super) fn disk(&mut self, node: &Node) -> Option<DiskConfig> {
        let mut fields = self.reader.fields("a disk", node);
        let path = fields.require(&mut self.reader, "path").and_then(|node| {
            let path = PathBuf::from(self.reader.text("path", node)?);
            if path.is_relative() {
                let message = format!("`path` must begin with `/`, not `{}`", path.display());
                self.reader.error("relative-path", node.place, message);
            }
            Some(path)
        });
        let pace = self.pace(&mut fields);
        fields.finish(&mut self.reader);
        Some(DiskConfig { path: path?, pace })
    }

    pub(super) fn certificate(&mut self, node: &Node) -> Option<CertificateConfig> {
        let mut fields = self.reader.fields("a certificate", node);
        let name = fields.require(&mut self.reader, "name").and_then(|node| self.name(node));
        let server = fields.take("url").map(|node| self.tls_server(node));
        let files = fields.take("file").map(|node| {
            let pattern = self.reader_text("file", node)?;
            match Glob::parse(&self.absolute(pattern)) {
                Ok(files) => Some(files),
                Err(error) => {
                    self.reader.error("bad-pattern", node.place, format!("`file`: {error}"));
                    None
                }
            }
        });
        let source = match (server, files) {
            (Some(server), None) => server.map(CertificateSource::Server),
            (None, Some(files)) => files.map(CertificateSource::Files),
            (Some(server), Some(files)) => {
                server.zip(files).map(|(server, files)| CertificateSource::ServedFromFiles(server, files))
            }
            (None, None) => {
                let message = "a certificate needs `url` or `file`, or both to have them compared";
                self.reader.error("missing-key", fields.place(), message);
                None
            }
        };
        let tls = self.tls(&mut fields);
        let pace = self.pace(&mut fields);
        fields.finish(&mut self.reader);
        Some(CertificateConfig { name: name?, source: source?, tls, pace })
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
