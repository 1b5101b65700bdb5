use std::fs;
use std::path::{Path, PathBuf};

use super::*;

/// The conformance data, if they are there.
fn folder() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/conformance");
    let folder = beside.join("blackbox-config");
    folder.is_dir().then_some(folder)
}

fn read(name: &str, text: &str) -> (Vec<Module>, Vec<String>) {
    let none = |_: &str| None;
    let surroundings = Surroundings { environment: &none, folder: Path::new("/etc/blackbox") };
    let (modules, findings) = read_file(name, text, surroundings);
    (modules, findings.iter().map(ToString::to_string).collect())
}

#[test]
fn good_files_are_read_whole() {
    let Some(folder) = folder() else { return };
    let check = |file: &str, expected: usize| {
        let text = fs::read_to_string(folder.join(file)).unwrap();
        let (modules, findings) = read(file, &text);
        assert_eq!(findings, Vec::<String>::new(), "{file}");
        assert_eq!(modules.len(), expected, "{file}");
        for module in modules {
            let shown = module.configuration();
            for secret in ["mysecret", "secret_token", "client_secret\"", "Bearer token", "NICK"] {
                assert!(!shown.contains(secret), "{file}: {shown}");
            }
        }
    };
    check("blackbox-good.yml", 11);
    check("example.yml", 27);
}

#[test]
fn bad_files_are_refused_in_blackbox_exporters_words_with_the_place() {
    let Some(folder) = folder() else { return };
    let check = |file: &str, place: &str, expected: &str| {
        let text = fs::read_to_string(folder.join(file)).unwrap();
        let (_, findings) = read(file, &text);
        let start = format!("{file}:{place}: {expected}");
        assert!(findings.iter().any(|finding| finding.starts_with(&start)), "{start}\n{findings:#?}");
    };
    let regex = "\"Could not compile regular expression\" regexp=\":[\"";
    let together = "HTTP/3 and HTTP/2.0/1.1 cannot be used together - only HTTP/3.0 is allowed when enable_http3 \
                    is true";
    let http2 = "when enable_http3 is true, enable_http2 must be set to false";
    check("blackbox-bad.yml", "50:7", "`dns` has no key `invalid_extra_field`");
    check("blackbox-bad2.yml", "8:26", "at most one of bearer_token & bearer_token_file must be configured");
    check("invalid-prober.yml", "3:13", "prober 'invalid' is not valid");
    check("invalid-dns-module.yml", "6:7", "query name must be set for DNS module");
    check("invalid-dns-class.yml", "7:20", "query class 'X' is not valid");
    check("invalid-dns-type.yml", "8:19", "query type 'X' is not valid");
    check("invalid-http-header-match.yml", "7:11", "regexp must be set for HTTP header matchers");
    check("invalid-http-body-match-regexp.yml", "7:11", regex);
    check("invalid-http-body-not-match-regexp.yml", "7:11", regex);
    check("invalid-http-header-match-regexp.yml", "9:19", regex);
    check(
        "invalid-http-compression-mismatch.yml",
        "8:28",
        "invalid configuration \"Accept-Encoding: deflate\", \"compression: gzip\"",
    );
    check(
        "invalid-http-compression-mismatch-special-case.yml",
        "8:28",
        "invalid configuration \"accEpt-enCoding: deflate\", \"compression: gzip\"",
    );
    check(
        "invalid-http-request-compression-reject-all-encodings.yml",
        "10:28",
        "invalid configuration \"Accept-Encoding: *;q=0.0\", \"compression: gzip\"",
    );
    check("invalid-http-http3-http2.yml", "6:7", together);
    check("invalid-http-http3-http2-version.yml", "6:7", together);
    check("invalid-no-versions-http3-enabled.yml", "6:7", http2);
    check("invalid-http-http3-http2-enabled.yml", "6:7", http2);
    check("invalid-icmp-ttl.yml", "5:12", "\"ttl\" cannot be negative");
    check("invalid-icmp-ttl-overflow.yml", "5:12", "\"ttl\" cannot exceed 255");
    check("invalid-tcp-query-response-regexp.yml", "7:19", regex);
    check("invalid-unix-query-response-regexp.yml", "8:19", regex);
    check("invalid-websocket-query-response-regexp.yml", "7:19", regex);
    check("invalid-http-body-config.yml", "6:7", "setting body and body_file both are not allowed");
    // Every fault of a file is reported.
    check("blackbox-bad.yml", "47:7", "query name must be set for DNS module");
    let bad = fs::read_dir(&folder).unwrap().filter(|entry| {
        let name = entry.as_ref().unwrap().file_name().into_string().unwrap();
        name.starts_with("invalid-") || name.starts_with("blackbox-bad")
    });
    assert_eq!(bad.count(), 23, "a file was added that is not tested here");
}

#[test]
fn faults_of_credentials_tls_and_proxies_are_said_in_prometheus_words() {
    let check = |http: &str, expected: &[&str]| {
        let (_, findings) = read("f", &format!("modules: {{m: {{prober: http, http: {http}}}}}"));
        let messages: Vec<&str> =
            findings.iter().map(|text| text.split_once(": ").map_or("", |(_, message)| message)).collect();
        assert_eq!(messages, expected, "{http}");
    };
    check("{basic_auth: {username: u, password_file: /p}, enable_http2: off}", &[]);
    check(
        "{basic_auth: {username: u}, bearer_token: t}",
        &["at most one of basic_auth, oauth2, bearer_token & bearer_token_file must be configured"],
    );
    check(
        "{authorization: {credentials: c}, bearer_token: t}",
        &["authorization is not compatible with bearer_token & bearer_token_file"],
    );
    check(
        "{authorization: {credentials: c}, basic_auth: {username: u}}",
        &["at most one of basic_auth, oauth2 & authorization must be configured"],
    );
    check(
        "{authorization: {type: Basic, credentials: c}}",
        &["authorization type cannot be set to \"basic\", use \"basic_auth\" instead"],
    );
    let jwt =
        "client_id: c, token_url: 'https://t', grant_type: 'urn:ietf:params:oauth:grant-type:jwt-bearer'";
    check(
        &format!(
            "{{oauth2: {{{jwt}, client_certificate_key: k, signature_algorithm: RS384, iss: i, audience: a, \
             claims: {{a: b, c: [d]}}}}}}"
        ),
        &[],
    );
    check(
        &format!("{{oauth2: {{{jwt}, signature_algorithm: ES256}}}}"),
        &["valid signature algorithms are RS256, RS384 and RS512"],
    );
    check(
        &format!("{{oauth2: {{{jwt}, client_certificate_key: k, client_certificate_key_file: /k}}}}"),
        &[
            "at most one of oauth2 client_certificate_key, client_certificate_key_file & client_certificate_key_ref \
           must be configured using grant-type=urn:ietf:params:oauth:grant-type:jwt-bearer",
        ],
    );
    check(
        "{oauth2: {client_id: c, token_url: 'https://t', grant_type: password}}",
        &["`grant_type` must be `client_credentials` or `urn:ietf:params:oauth:grant-type:jwt-bearer`, not \
           `password`"],
    );
    check(
        "{oauth2: {client_secret: s}}",
        &["oauth2 client_id must be configured", "oauth2 token_url must be configured"],
    );
    check(
        "{tls_config: {cert_file: /c}}",
        &["exactly one of key or key_file must be configured when a client certificate is configured"],
    );
    check("{tls_config: {min_version: TLS14}}", &["unknown TLS version: TLS14"]);
    check("{tls_config: {ca: x, ca_file: /x}}", &["at most one of ca, ca_file & ca_ref must be configured"]);
    check("{no_proxy: a}", &["if no_proxy is configured, proxy_url must also be configured"]);
    check(
        "{proxy_from_environment: true, proxy_url: 'http://p'}",
        &["if proxy_from_environment is configured, proxy_url must not be configured"],
    );
    check(
        "{http_headers: {authorization: {values: [x]}}}",
        &["setting header \"Authorization\" is not allowed"],
    );
    check("{headers: {X: \"a\\nb\"}}", &["the value of header `X` has a character that cannot be sent"]);
}

// `TestNewCELProgram` of blackbox exporter has three of these.
#[test]
fn conditions_are_compiled_when_they_are_read() {
    let check = |expression: &str, good: bool| {
        let text = format!(
            "modules: {{m: {{prober: http, http: {{fail_if_body_json_matches_cel: \"{expression}\"}}}}}}"
        );
        let (_, findings) = read("f", &text);
        assert_eq!(findings.is_empty(), good, "{expression}: {findings:?}");
        let words = format!("\"Could not compile CEL program\" expression=\"{expression}\"");
        assert!(good || findings[0].contains(&words), "{findings:?}");
    };
    check("body.foo == 'bar'", true);
    check("foo.bar", false);
    check("", false);
    check("body.foo ==", false);
}

#[test]
fn all_faults_are_found_at_once_and_keys_are_suggested() {
    let text = "modules:\n  a: {prober: htpp}\n  b: {prober: tcp, timeout: 5}\n  c: {prober: icmp, timout: 1s}\nx: 1\n";
    let (_, findings) = read("f", text);
    let expected = [
        "f:2:15: prober 'htpp' is not valid\n  hint: did you mean `http`?",
        "f:3:29: `timeout` must be a duration of at most a day, not `5`\n  hint: write a duration such as `5s`, \
         `1.5s` or `1m30s`",
        "f:4:21: a module has no key `timout`\n  hint: did you mean `timeout`?",
        "f:5:1: the file has no key `x`\n  hint: known keys: modules",
    ];
    assert_eq!(findings, expected);
}

#[test]
fn what_means_nothing_to_a_websocket_is_said() {
    let check = |websocket: &str, credentials: bool, expected: &[&str]| {
        let text = format!("modules: {{m: {{prober: websocket, websocket: {websocket}}}}}");
        let (modules, findings) = read("f", &text);
        let messages: Vec<&str> =
            findings.iter().map(|text| text.split_once(": warning: ").map_or("", |(_, said)| said)).collect();
        assert_eq!(messages, expected, "{websocket}");
        assert_eq!(modules[0].has_credentials(), credentials, "{websocket}");
    };
    check("{}", false, &[]);
    check("{headers: {Host: b, X-A: {values: [a], secrets: [b], files: [c]}}}", true, &[]);
    check("{http_config: {basic_auth: {username: u}, http_headers: {X-A: {values: [a]}}}}", true, &[]);
    check("{query_response: [{expect: a, send: b}, {send: c}], preferred_ip_protocol: ip4}", false, &[]);
    let nothing = |key| format!("`{key}` means nothing in a module for WebSockets");
    check("{query_response: [{expect_bytes: a}]}", false, &[&nothing("expect_bytes")]);
    check("{query_response: [{starttls: true}]}", false, &[&nothing("starttls")]);
    check(
        "{http_config: {proxy_url: 'http://p:1'}}",
        false,
        &["a probe of a WebSocket goes through no proxy: that setting means nothing here"],
    );
}

#[test]
fn a_module_that_says_who_asks_is_told_from_one_that_only_greets() {
    let check = |module: &str, credentials: bool| {
        let (modules, findings) = read("f", &format!("modules: {{m: {{{module}}}}}"));
        assert_eq!(findings, Vec::<String>::new(), "{module}");
        assert_eq!(modules[0].has_credentials(), credentials, "{module}");
    };
    let identity = "tls_config: {cert: c, key: k}";
    check("prober: http, http: {headers: {Accept: text/html, Host: a.example}}", false);
    check("prober: http, http: {headers: {X-Key: k}}", true);
    check("prober: http, http: {basic_auth: {username: u, password: p}}", true);
    check("prober: http, http: {method: POST, body: '{}'}", false);
    check("prober: http, http: {method: POST, body_file: /run/secrets/body}", true);
    check("prober: http, http: {proxy_url: 'http://u:p@proxy:3128'}", false);
    check(&format!("prober: http, http: {{{identity}}}"), true);
    check("prober: tcp, tcp: {query_response: [{send: 'NICK prober'}]}", false);
    check(&format!("prober: tcp, tcp: {{tls: true, {identity}}}"), true);
    check("prober: dns, dns: {query_name: a.example}", false);
    check("prober: dns, dns: {query_name: a.example, transport_protocol: tcp, dns_over_tls: true}", false);
    let dns = format!("query_name: a.example, transport_protocol: tcp, dns_over_tls: true, {identity}");
    check(&format!("prober: dns, dns: {{{dns}}}"), true);
    check("prober: icmp", false);
    check("prober: grpc, grpc: {metadata: {authorization: [a]}}", true);
}
