//! Modules for TCP, Unix sockets, DNS, ICMP and gRPC.

use std::num::NonZeroU8;

use super::ModuleReader;
use crate::dns::{Class, Question, RecordType, ResponseCode};
use crate::model::is_legacy_label_name;
use crate::probe::StartTls;
use crate::probe::dialog::{Expect, QueryResponse, TlsStart};
use crate::probe::dns::{DnsConfig, RecordRules, Transport};
use crate::probe::grpc::{GrpcConfig, Metadata};
use crate::probe::icmp::{IcmpConfig, PayloadSize};
use crate::probe::tcp::TcpConfig;
use crate::probe::unix::UnixConfig;
use crate::yaml::{Fields, Node, NodeKind};

impl ModuleReader<'_> {
    pub(super) fn tcp(&mut self, node: &Node) -> TcpConfig {
        let mut fields = self.reader.fields("`tcp`", node);
        let config = TcpConfig {
            addresses: self.addresses(&mut fields),
            source: self.source_address(&mut fields),
            query_response: self.dialog(&mut fields),
            tls_start: self.tls_start(&mut fields),
            tls: self.tls(&mut fields),
        };
        fields.finish(self.reader);
        config
    }

    pub(super) fn unix(&mut self, node: &Node) -> UnixConfig {
        let mut fields = self.reader.fields("`unix`", node);
        let config = UnixConfig {
            query_response: self.dialog(&mut fields),
            tls_start: self.tls_start(&mut fields),
            tls: self.tls(&mut fields),
        };
        fields.finish(self.reader);
        config
    }

    /// `tls` is blackbox exporter's; `starttls`, a protocol by name, is not known there.
    fn tls_start(&mut self, fields: &mut Fields<'_>) -> TlsStart {
        let at_once = self.flag(fields, "tls", false);
        let protocol = fields.take("starttls").and_then(|node| {
            let text = self.reader.text("starttls", node)?;
            let protocol = StartTls::from_name(text);
            if protocol.is_none() {
                let known: Vec<&str> = StartTls::ALL.iter().map(|protocol| protocol.as_str()).collect();
                self.reader.error_with_hint(
                    "bad-protocol",
                    node.place,
                    format!("`starttls` does not know the protocol `{text}`"),
                    format!("there are {}", known.join(", ")),
                );
            } else if at_once {
                let message = "`tls` begins TLS at once, `starttls` later; give one of them";
                self.reader.error("two-names", node.place, message);
            }
            protocol
        });
        match protocol {
            Some(protocol) => TlsStart::Protocol(protocol),
            None if at_once => TlsStart::Immediately,
            None => TlsStart::Dialog,
        }
    }

    fn dialog(&mut self, fields: &mut Fields<'_>) -> Vec<QueryResponse> {
        let Some(node) = fields.take("query_response") else { return Vec::new() };
        let items = self.reader.items("query_response", node);
        items.iter().map(|item| self.step(item)).collect()
    }

    fn step(&mut self, node: &Node) -> QueryResponse {
        let mut fields = self.reader.fields("a step of `query_response`", node);
        let pattern = fields.take("expect").and_then(|node| self.pattern("expect", node));
        let bytes = fields.take("expect_bytes").and_then(|node| self.bytes("expect_bytes", node));
        let labels = self.expect_labels(&mut fields);
        let send = fields.take("send").and_then(|node| self.bytes("send", node)).unwrap_or_default();
        let starttls = self.flag(&mut fields, "starttls", false);
        fields.finish(self.reader);
        let expect = match (pattern, bytes.filter(|bytes| !bytes.is_empty())) {
            (Some(_), Some(_)) => {
                let message = "expect and expect_bytes are mutually exclusive";
                self.reader.error("two-names", node.place, message);
                None
            }
            (Some(pattern), None) => Some(Expect::Line { pattern, labels }),
            (None, Some(bytes)) => Some(Expect::Bytes(bytes)),
            (None, None) => None,
        };
        QueryResponse { expect, send, starttls }
    }

    /// A text, or bytes by `!!binary`.
    pub(super) fn bytes(&mut self, key: &str, node: &Node) -> Option<Vec<u8>> {
        match &node.kind {
            NodeKind::Binary(bytes) => Some(bytes.clone()),
            _ => self.reader.text(key, node).map(|text| text.as_bytes().to_vec()),
        }
    }

    fn expect_labels(&mut self, fields: &mut Fields<'_>) -> Vec<(String, String)> {
        let Some(node) = fields.take("labels") else { return Vec::new() };
        let items = self.reader.items("labels", node);
        let label = |item: &Node| {
            let mut fields = self.reader.fields("a label", item);
            let name = self.text(&mut fields, "name").unwrap_or_default();
            let value = self.text(&mut fields, "value").unwrap_or_default();
            fields.finish(self.reader);
            if !is_legacy_label_name(&name) {
                let message = format!("`{name}` is not the name of a label");
                self.reader.error("bad-entry", item.place, message);
            }
            (name, value)
        };
        items.iter().map(label).collect()
    }

    pub(super) fn dns(&mut self, node: &Node) -> Option<DnsConfig> {
        let mut fields = self.reader.fields("`dns`", node);
        let addresses = self.addresses(&mut fields);
        let source = self.source_address(&mut fields);
        let transport = self.transport(&mut fields);
        let name = fields.take("query_name");
        let class = self.known(&mut fields, "query_class", "query class", Class::from_name);
        let record_type = self.known(&mut fields, "query_type", "query type", RecordType::from_name);
        let recursion_desired = self.flag(&mut fields, "recursion_desired", true);
        let valid_rcodes = fields.take("valid_rcodes").map(|list| self.response_codes(list));
        let validate_answer = self.record_rules(&mut fields, "validate_answer_rrs");
        let validate_authority = self.record_rules(&mut fields, "validate_authority_rrs");
        let validate_additional = self.record_rules(&mut fields, "validate_additional_rrs");
        fields.finish(self.reader);
        let text = name.and_then(|node| self.reader.text("query_name", node)).unwrap_or_default();
        if text.is_empty() {
            self.reader.error("missing-key", node.place, "query name must be set for DNS module");
            return None;
        }
        let (class, record_type) = (class.unwrap_or(Class::IN), record_type.unwrap_or(RecordType::ANY));
        let question = match Question::new(text, record_type, class) {
            Ok(question) => question,
            Err(error) => {
                let at = name.map_or(node.place, |name| name.place);
                self.reader.error("bad-name", at, format!("`query_name`: {error}"));
                return None;
            }
        };
        Some(DnsConfig {
            addresses,
            source,
            transport,
            recursion_desired,
            valid_rcodes: valid_rcodes.unwrap_or_default(),
            validate_answer,
            validate_authority,
            validate_additional,
            ..DnsConfig::new(question)
        })
    }

    fn transport(&mut self, fields: &mut Fields<'_>) -> Transport {
        let over_tls = self.flag(fields, "dns_over_tls", false);
        let tls = self.tls(fields);
        let protocol = fields.take("transport_protocol").and_then(|node| {
            match self.reader.text("transport_protocol", node)? {
                "" => None,
                "udp" => Some((node, Transport::Udp)),
                "tcp" => Some((node, Transport::Tcp)),
                other => {
                    let message = format!("`transport_protocol` must be `udp` or `tcp`, not `{other}`");
                    self.reader.error("bad-protocol", node.place, message);
                    None
                }
            }
        });
        match protocol {
            Some((node, Transport::Udp)) if over_tls => {
                let message = "`dns_over_tls` needs `transport_protocol: tcp`";
                self.reader.error("bad-protocol", node.place, message);
                Transport::Udp
            }
            _ if over_tls => Transport::Tls(tls),
            Some((_, transport)) => transport,
            None => Transport::Udp,
        }
    }

    /// A value that has to be one of those with names; blackbox exporter's words.
    fn known<T>(
        &mut self,
        fields: &mut Fields<'_>,
        key: &'static str,
        what: &str,
        from_name: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let node = fields.take(key)?;
        let text = self.reader.text(key, node).filter(|text| !text.is_empty())?;
        let found = from_name(text);
        if found.is_none() {
            self.reader.error("bad-name", node.place, format!("{what} '{text}' is not valid"));
        }
        found
    }

    fn response_codes(&mut self, list: &Node) -> Vec<ResponseCode> {
        let items = self.reader.items("valid_rcodes", list);
        let code = |item: &Node| {
            let text = self.reader.text("valid_rcodes", item)?;
            let code = ResponseCode::from_name(text);
            if code.is_none() {
                self.reader.error("bad-name", item.place, format!("rcode '{text}' is not valid"));
            }
            code
        };
        items.iter().filter_map(code).collect()
    }

    fn record_rules(&mut self, fields: &mut Fields<'_>, key: &'static str) -> RecordRules {
        let Some(node) = fields.take(key) else { return RecordRules::default() };
        let mut fields = self.reader.fields("rules of records", node);
        let rules = RecordRules {
            fail_if_matches: self.patterns(&mut fields, "fail_if_matches_regexp"),
            fail_if_all_match: self.patterns(&mut fields, "fail_if_all_match_regexp"),
            fail_if_not_matches: self.patterns(&mut fields, "fail_if_not_matches_regexp"),
            fail_if_none_matches: self.patterns(&mut fields, "fail_if_none_matches_regexp"),
        };
        fields.finish(self.reader);
        rules
    }

    pub(super) fn icmp(&mut self, node: &Node) -> IcmpConfig {
        let mut fields = self.reader.fields("`icmp`", node);
        let addresses = self.addresses(&mut fields);
        let source = self.source_address(&mut fields);
        let dont_fragment = self.flag(&mut fields, "dont_fragment", false);
        let payload_size = fields.take("payload_size").and_then(|node| {
            let bytes = self.reader.integer("payload_size", node, 0..=u64::from(PayloadSize::MAX_BYTES))?;
            PayloadSize::new(bytes)
        });
        let ttl = fields.take("ttl").map_or(DEFAULT_TTL, |node| self.ttl(node));
        fields.finish(self.reader);
        let payload_size = payload_size.unwrap_or_default();
        IcmpConfig { addresses, source, dont_fragment, payload_size, ttl }
    }

    /// 0 is the system's default.
    fn ttl(&mut self, node: &Node) -> Option<NonZeroU8> {
        let text = self.reader.text("ttl", node)?;
        let fault = match text.parse::<i64>() {
            Ok(number @ 0..=255) => return u8::try_from(number).ok().and_then(NonZeroU8::new),
            Ok(..0) => "\"ttl\" cannot be negative".to_owned(),
            Ok(_) => "\"ttl\" cannot exceed 255".to_owned(),
            Err(_) => format!("`ttl` must be a whole number, not `{text}`"),
        };
        self.reader.error("bad-number", node.place, fault);
        None
    }

    pub(super) fn grpc(&mut self, node: &Node) -> GrpcConfig {
        let mut fields = self.reader.fields("`grpc`", node);
        let service = self.text(&mut fields, "service").unwrap_or_default();
        let with_tls = self.flag(&mut fields, "tls", false);
        let tls = self.tls(&mut fields);
        let addresses = self.addresses(&mut fields);
        let mut metadata = Metadata::default();
        if let Some(node) = fields.take("metadata") {
            self.entries(node, "metadata", |this, name, values| {
                for value in this.reader.items("metadata", values) {
                    let bytes = this.bytes("metadata", value)?;
                    if let Err(error) = metadata.add(name, &bytes) {
                        this.reader.error("bad-entry", value.place, error.to_string());
                    }
                }
                Some(())
            });
        }
        fields.finish(self.reader);
        GrpcConfig { service, addresses, metadata, tls: with_tls.then_some(tls) }
    }
}

/// Source: blackbox exporter, `DefaultICMPTTL`.
const DEFAULT_TTL: Option<NonZeroU8> = NonZeroU8::new(64);
