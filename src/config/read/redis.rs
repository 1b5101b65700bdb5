//! Redis servers.

use super::Context;
use crate::config::RedisConfig;
use crate::probe::redis::RedisAddress;
use crate::yaml::Node;

impl Context<'_> {
    pub(super) fn redis(&mut self, node: &Node) -> Option<RedisConfig> {
        let mut fields = self.reader.fields("a Redis server", node);
        let name = fields.require(&mut self.reader, "name").and_then(|node| self.name(node));
        let address = fields.require(&mut self.reader, "address").and_then(|node| {
            let text = self.reader.text("address", node)?;
            // The error does not repeat the text, which may hold a password.
            let read = RedisAddress::parse(text);
            if let Err(error) = &read {
                let hint = "write `host:port`, or `rediss://host:port` for TLS; user and password have keys of their own";
                self.reader.error_with_hint("bad-address", node.place, format!("`address`: {error}"), hint);
            }
            read.ok()
        });
        let username = fields.take("username").and_then(|node| self.reader_text("username", node));
        let password = self.secret(&mut fields, ["password", "password_file", "password_env"]);
        let tls = self.tls(&mut fields);
        let pace = self.pace(&mut fields);
        fields.finish(&mut self.reader);
        Some(RedisConfig { name: name?, address: address?, username, password, tls, pace })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::{Surroundings, read};

    #[test]
    fn a_server_is_read_and_a_faulty_one_refused_without_its_password() {
        let surroundings = Surroundings { environment: &|_| None, folder: Path::new("/etc") };
        let text =
            "redis:\n  - {name: cache, address: 'rediss://cache:6380', username: watch, password: s3cret}\n";
        let (config, findings) = read("valmis.yaml", text, &surroundings);
        assert_eq!(findings, []);
        let server = &config.redis[0];
        assert_eq!((server.address.to_string().as_str(), server.address.tls), ("cache:6380", true));
        assert_eq!(server.username.as_deref(), Some("watch"));
        assert!(!format!("{config:?}").contains("s3cret"));

        let text = "redis:\n  - {name: cache, address: 'redis://u:s3cret@cache'}\n  - {name: b}\n";
        let (_, findings) = read("valmis.yaml", text, &surroundings);
        let codes: Vec<_> = findings.iter().map(|finding| finding.code).collect();
        assert_eq!(codes, ["bad-address", "missing-key"]);
        assert!(!format!("{findings:?}").contains("s3cret"));
    }
}
