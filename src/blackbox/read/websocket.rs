//! Modules for a WebSocket.

use super::ModuleReader;
use crate::probe::http::ProxyConfig;
use crate::probe::websocket::{QueryResponse, WebsocketConfig};
use crate::yaml::{Fields, Node};

impl ModuleReader<'_> {
    pub(super) fn websocket(&mut self, node: &Node) -> WebsocketConfig {
        let mut fields = self.reader.fields("`websocket`", node);
        let mut config = WebsocketConfig::default();
        if let Some(node) = fields.take("http_config") {
            self.http_config(node, &mut config);
        }
        config.headers.extend(self.headers_from(&mut fields, "headers", &[]));
        config.query_response = self.messages(&mut fields);
        config.addresses = self.addresses(&mut fields);
        fields.finish(self.reader);
        config
    }

    /// Prometheus' `http_config`, of which some means nothing here.
    fn http_config(&mut self, node: &Node, config: &mut WebsocketConfig) {
        let mut fields = self.reader.fields("`http_config`", node);
        config.credentials = self.credentials(&mut fields);
        config.tls = self.tls(&mut fields);
        config.headers = self.http_headers(&mut fields);
        if self.proxy(&mut fields) != ProxyConfig::default() {
            let message = "a probe of a WebSocket goes through no proxy: that setting means nothing here";
            self.reader.warning("no-effect", node.place, message);
        }
        self.flag(&mut fields, "follow_redirects", true);
        self.flag(&mut fields, "enable_http2", true);
        fields.finish(self.reader);
    }

    /// The steps of `query_response`; of what other probers know there, some means nothing here.
    fn messages(&mut self, fields: &mut Fields<'_>) -> Vec<QueryResponse> {
        let Some(node) = fields.take("query_response") else { return Vec::new() };
        let items = self.reader.items("query_response", node);
        items.iter().map(|item| self.message(item)).collect()
    }

    fn message(&mut self, node: &Node) -> QueryResponse {
        let mut fields = self.reader.fields("a step of `query_response`", node);
        let expect = fields.take("expect").and_then(|node| self.pattern("expect", node));
        let send = fields.take("send").and_then(|node| self.bytes("send", node)).unwrap_or_default();
        for key in ["expect_bytes", "labels", "starttls"] {
            if let Some(node) = fields.take(key) {
                let message = format!("`{key}` means nothing in a module for WebSockets");
                self.reader.warning("no-effect", node.place, message);
            }
        }
        fields.finish(self.reader);
        QueryResponse { expect, send }
    }
}
