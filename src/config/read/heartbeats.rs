//! Who is told that all works, and who tells that it has run.

use std::time::Duration;

use url::Url;

use super::Context;
use crate::client::SecretSource;
use crate::heartbeat::{Expected, Ties, Told};
use crate::probe::http::Method;
use crate::yaml::{Fields, Node};

/// How often somebody is told.
const INTERVAL: Duration = Duration::from_mins(1);
/// How long that may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How much later than its period a job may run.
const GRACE: Duration = Duration::from_mins(5);

impl Context<'_> {
    pub(super) fn heartbeat(&mut self, node: &Node) -> Option<Told> {
        let mut fields = self.reader.fields("a heartbeat", node);
        let name = fields.require(&mut self.reader, "name").and_then(|node| self.name(node));
        let url = self.secret(&mut fields, ["url", "url_file", "url_env"]);
        if url.is_none() {
            let hint = "`url_file` and `url_env` keep it out of this file: who knows it can pretend that all is well";
            self.reader.error_with_hint(
                "missing-key",
                node.place,
                "a heartbeat needs a value for `url`",
                hint,
            );
        }
        if let Some(SecretSource::Value(url)) = &url {
            let usable = Url::parse(url.expose())
                .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
            if !usable {
                // The message does not show it.
                let message = "`url` is not a usable URL: it must begin with `http://` or `https://`";
                self.reader.error("bad-url", node.place, message);
            }
        }
        let method = fields.take("method").and_then(|node| self.method(node)).unwrap_or(Method::GET);
        let interval = self.span(&mut fields, "interval").unwrap_or(INTERVAL);
        let timeout = self.span(&mut fields, "timeout").unwrap_or(TIMEOUT);
        let http = self.http(&mut fields);
        let ties =
            fields.take("tied_to").map_or(Ties { evaluation: true, delivery: true }, |node| self.ties(node));
        fields.finish(&mut self.reader);
        Some(Told { name: name?, url: url?, method, interval, timeout, http, ties })
    }

    fn ties(&mut self, node: &Node) -> Ties {
        let mut ties = Ties { evaluation: false, delivery: false };
        for item in self.reader.items("tied_to", node) {
            match self.reader.text("tied_to", item) {
                Some("evaluation") => ties.evaluation = true,
                Some("delivery") => ties.delivery = true,
                Some(other) => {
                    let message = format!("`tied_to` knows nothing of `{other}`");
                    let hint = "there are `evaluation` and `delivery`";
                    self.reader.error_with_hint("bad-entry", item.place, message, hint);
                }
                None => {}
            }
        }
        ties
    }

    pub(super) fn ping(&mut self, node: &Node) -> Option<Expected> {
        let mut fields = self.reader.fields("a ping", node);
        let name = fields.require(&mut self.reader, "name");
        let place = name.map(|node| node.place);
        let name = name.and_then(|node| self.name(node));
        if let (Some(place), Some(name)) = (place, &name) {
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            if !name.chars().all(plain) {
                let message = format!("`{name}` cannot be part of a path");
                let hint = "use letters, digits, `-`, `_` and `.`";
                self.reader.error_with_hint("bad-name", place, message, hint);
            }
        }
        let period = fields.require(&mut self.reader, "period");
        let period = period.and_then(|node| self.reader.duration("period", node));
        let grace = self.span(&mut fields, "grace").unwrap_or(GRACE);
        fields.finish(&mut self.reader);
        Some(Expected { name: name?, period: period?, grace })
    }

    pub(super) fn span(&mut self, fields: &mut Fields<'_>, key: &'static str) -> Option<Duration> {
        fields.take(key).and_then(|node| self.reader.duration(key, node))
    }
}
