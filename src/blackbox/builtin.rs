//! Modules that exist where the configuration names none.

use std::path::Path;
use std::sync::Arc;

use super::module::Modules;
use super::read::{Surroundings, read_file};

/// Those of blackbox exporter's `blackbox.yml`, by the same names and with the same meaning, with the usual
/// forms of TLS besides.
const MODULES: &str = r#"
modules:
  http_2xx: {prober: http}
  http_post_2xx: {prober: http, http: {method: POST}}
  tcp_connect: {prober: tcp}
  tls_connect: {prober: tcp, tcp: {tls: true}}
  pop3s_banner: {prober: tcp, tcp: {query_response: [{expect: "^+OK"}], tls: true}}
  ssh_banner: {prober: tcp, tcp: {query_response: [{expect: "^SSH-2.0-"}, {send: "SSH-2.0-blackbox-ssh-check"}]}}
  postgres_tls: {prober: tcp, tcp: {starttls: postgres}}
  smtp_starttls: {prober: tcp, tcp: {starttls: smtp}}
  imap_starttls: {prober: tcp, tcp: {starttls: imap}}
  ldap_starttls: {prober: tcp, tcp: {starttls: ldap}}
  grpc: {prober: grpc, grpc: {tls: true}}
  grpc_plain: {prober: grpc}
  icmp: {prober: icmp}
  icmp_ttl5: {prober: icmp, timeout: 5s, icmp: {ttl: 5}}
"#;

/// The modules.
pub fn builtin() -> Modules {
    let none = |_: &str| None;
    let surroundings = Surroundings { environment: &none, folder: Path::new("/") };
    let (modules, findings) = read_file("built-in modules", MODULES, surroundings);
    debug_assert!(findings.is_empty(), "{findings:?}");
    modules.into_iter().map(|module| (module.name().to_owned(), Arc::new(module))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_modules_are_in_order() {
        assert_eq!(builtin().len(), 14);
    }
}
