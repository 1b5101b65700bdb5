//! Cipher suites under Go's names.

use rustls::SupportedCipherSuite;
use rustls::crypto::aws_lc_rs::cipher_suite as suite;

/// What a name that Go knows stands for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Known {
    /// A suite of rustls.
    Spoken(SupportedCipherSuite),
    /// One that rustls does not have: those with CBC.
    NotSpoken,
}

/// The suite of this name. Source: Go `crypto/tls`, `CipherSuites`.
pub(super) fn named(name: &str) -> Option<Known> {
    Some(match name {
        "TLS_AES_128_GCM_SHA256" => Known::Spoken(suite::TLS13_AES_128_GCM_SHA256),
        "TLS_AES_256_GCM_SHA384" => Known::Spoken(suite::TLS13_AES_256_GCM_SHA384),
        "TLS_CHACHA20_POLY1305_SHA256" => Known::Spoken(suite::TLS13_CHACHA20_POLY1305_SHA256),
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256" => {
            Known::Spoken(suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256)
        }
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384" => {
            Known::Spoken(suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384)
        }
        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256" => {
            Known::Spoken(suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256)
        }
        "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384" => {
            Known::Spoken(suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384)
        }
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256" => {
            Known::Spoken(suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256)
        }
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256" => {
            Known::Spoken(suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256)
        }
        "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA"
        | "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA"
        | "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA"
        | "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA" => Known::NotSpoken,
        _ => return None,
    })
}

/// The suites of TLS 1.3, of which a configuration excludes none, as in Go.
pub(super) const TLS13: [SupportedCipherSuite; 3] =
    [suite::TLS13_AES_128_GCM_SHA256, suite::TLS13_AES_256_GCM_SHA384, suite::TLS13_CHACHA20_POLY1305_SHA256];

/// Of a list of suites for TLS 1.2, HTTP/2 needs one of these. Source: RFC 9113, 9.2.2.
pub(super) const HTTP2: [SupportedCipherSuite; 2] =
    [suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256];
