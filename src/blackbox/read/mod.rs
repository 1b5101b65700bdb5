//! Reading modules: blackbox exporter's configuration file as it is, every fault at once with its place.
//!
//! Source: blackbox exporter `CONFIGURATION.md` and `config/config.go`. Where it has words for a fault, they
//! are used here. All sections of a module are read, also those that its prober does not use.

mod client;
mod http;
mod sockets;
mod values;
mod websocket;

use std::path::Path;

use super::module::{Module, ModuleProber};
use crate::diag::{Diagnostic, closest};
use crate::yaml::{self, Node, NodeKind, Reader};

/// What reading modules needs from outside.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    /// Looks an environment variable up.
    pub environment: &'a dyn Fn(&str) -> Option<String>,
    /// What relative paths are relative to.
    pub folder: &'a Path,
}

/// The probers, as modules name them.
const PROBERS: [&str; 7] = ["http", "tcp", "icmp", "dns", "grpc", "unix", "websocket"];

/// Reads a file of modules. `file` is its name in messages. With errors the modules are not to be used.
pub fn read_file(file: &str, text: &str, surroundings: Surroundings<'_>) -> (Vec<Module>, Vec<Diagnostic>) {
    let (tree, mut findings) = yaml::parse(file, text);
    let mut reader = Reader::new(file);
    let mut fields = reader.fields("the file", &tree);
    let node = fields.take("modules");
    fields.finish(&mut reader);
    let modules = node.map(|node| read_modules(&mut reader, node, surroundings)).unwrap_or_default();
    findings.extend(reader.into_findings());
    findings.sort_by_key(|finding| finding.place);
    (modules, findings)
}

/// Reads modules by their names; those with faults may be left out.
pub fn read_modules(reader: &mut Reader, node: &Node, surroundings: Surroundings<'_>) -> Vec<Module> {
    let mut this = ModuleReader { reader, surroundings };
    this.entries(node, "modules", ModuleReader::module)
}

/// Takes modules apart.
struct ModuleReader<'a> {
    reader: &'a mut Reader,
    surroundings: Surroundings<'a>,
}

impl ModuleReader<'_> {
    fn module(&mut self, name: &str, node: &Node) -> Option<Module> {
        let absent = Node { kind: NodeKind::Null, place: node.place };
        let mut fields = self.reader.fields("a module", node);
        let prober = fields.take("prober");
        let timeout = self.timeout(&mut fields);
        let (http, tcp, icmp) = (fields.take("http"), fields.take("tcp"), fields.take("icmp"));
        let (dns, grpc, unix) = (fields.take("dns"), fields.take("grpc"), fields.take("unix"));
        let websocket = fields.take("websocket");
        fields.finish(self.reader);
        let kind = self.prober(prober.unwrap_or(&absent));
        // What a prober needs is asked for also where its section is missing.
        let or_absent = |name: &str| (kind == name).then_some(&absent);
        let http = http.or(or_absent("http")).map(|node| self.http(node));
        let tcp = tcp.or(or_absent("tcp")).map(|node| self.tcp(node));
        let icmp = icmp.or(or_absent("icmp")).map(|node| self.icmp(node));
        let dns = dns.or(or_absent("dns")).map(|node| self.dns(node));
        let grpc = grpc.or(or_absent("grpc")).map(|node| self.grpc(node));
        let unix = unix.or(or_absent("unix")).map(|node| self.unix(node));
        let websocket = websocket.or(or_absent("websocket")).map(|node| self.websocket(node));
        let prober = match kind {
            "http" => ModuleProber::Http(Box::new(http?)),
            "tcp" => ModuleProber::Tcp(Box::new(tcp?)),
            "icmp" => ModuleProber::Icmp(icmp?),
            "dns" => ModuleProber::Dns(Box::new(dns??)),
            "grpc" => ModuleProber::Grpc(Box::new(grpc?)),
            "unix" => ModuleProber::Unix(Box::new(unix?)),
            "websocket" => ModuleProber::Websocket(Box::new(websocket?)),
            _ => return None,
        };
        Some(Module::new(name, prober, timeout, node))
    }

    /// The prober's name, if there is one of that name; blackbox exporter's words otherwise.
    fn prober(&mut self, node: &Node) -> &'static str {
        let text = match &node.kind {
            NodeKind::Null => "",
            _ => self.reader.text("prober", node).unwrap_or_default(),
        };
        let found = PROBERS.into_iter().find(|known| *known == text);
        found.unwrap_or_else(|| {
            let hint = match closest(text, PROBERS) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("there are {}", PROBERS.join(", ")),
            };
            let message = format!("prober '{text}' is not valid");
            self.reader.error_with_hint("bad-prober", node.place, message, hint);
            ""
        })
    }
}

#[cfg(test)]
mod tests;
