//! Assertions by which a client proves who it is: JSON Web Tokens signed with RSA.
//! Source: RFC 7523, section 3; RFC 7519; what stands in them by default: `prometheus/common`,
//! `config/oauth_assertion.go`.

use aws_lc_rs::rand::{self, SystemRandom};
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RsaEncoding, RsaKeyPair};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Map, Value, json};

use super::config::{AssertionConfig, OAuth2Config};
use crate::model::{Secret, TimestampMs};

/// How long an assertion is good for.
const LIFETIME_SECONDS: i64 = 10 * 60;

/// How a key signs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SigningAlgorithm {
    /// RSA with SHA-256.
    #[default]
    Rs256,
    /// RSA with SHA-384.
    Rs384,
    /// RSA with SHA-512.
    Rs512,
}

impl SigningAlgorithm {
    const ALL: [Self; 3] = [Self::Rs256, Self::Rs384, Self::Rs512];

    /// Its name. Source: RFC 7518, section 3.1.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
        }
    }

    /// The algorithm of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.as_str() == name)
    }

    fn encoding(self) -> &'static dyn RsaEncoding {
        match self {
            Self::Rs256 => &RSA_PKCS1_SHA256,
            Self::Rs384 => &RSA_PKCS1_SHA384,
            Self::Rs512 => &RSA_PKCS1_SHA512,
        }
    }
}

/// Why there is no assertion. Without anything of the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum AssertionError {
    #[error("the client's key is no private key in PEM")]
    NotPem,
    #[error("the client's key is no RSA key of 2048 to 8192 bits")]
    NotRsa,
    #[error("signing failed")]
    Signing,
}

/// Proves at `now`, with the private key `key` in PEM, that this is the client. Signing takes a millisecond
/// or several.
pub(super) fn sign(
    client: &OAuth2Config,
    terms: &AssertionConfig,
    key: &Secret,
    now: TimestampMs,
) -> Result<Secret, AssertionError> {
    let key = PrivateKeyDer::from_pem_slice(key.expose().as_bytes()).map_err(|_| AssertionError::NotPem)?;
    let key = match &key {
        PrivateKeyDer::Pkcs1(der) => RsaKeyPair::from_der(der.secret_pkcs1_der()),
        PrivateKeyDer::Pkcs8(der) => RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()),
        _ => return Err(AssertionError::NotRsa),
    };
    let key = key.map_err(|_| AssertionError::NotRsa)?;
    let mut header = json!({"alg": terms.algorithm.as_str(), "typ": "JWT"});
    if let Some(id) = &terms.key_id {
        header["kid"] = id.as_str().into();
    }
    let encoded = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", encoded(&header), encoded(&claims(client, terms, now).into()));
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(terms.algorithm.encoding(), &SystemRandom::new(), signed.as_bytes(), &mut signature)
        .map_err(|_| AssertionError::Signing)?;
    Ok(Secret::new(format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))))
}

/// What is asserted; the configured claims come last and win.
fn claims(client: &OAuth2Config, terms: &AssertionConfig, now: TimestampMs) -> Map<String, Value> {
    let now = now.div_euclid(1000);
    let mut claims = Map::new();
    let mut claim = |name: &str, value: Value| claims.insert(name.to_owned(), value);
    claim("iss", terms.issuer.as_deref().unwrap_or(&client.client_id).into());
    claim("sub", client.client_id.as_str().into());
    claim("aud", terms.audience.as_deref().unwrap_or(client.token_url.as_str()).into());
    claim("jti", unique().into());
    claim("iat", now.into());
    claim("exp", (now + LIFETIME_SECONDS).into());
    if !client.scopes.is_empty() {
        claim("scope", client.scopes.join(" ").into());
    }
    claims.extend(terms.claims.clone());
    claims
}

/// A text that is never used again.
fn unique() -> String {
    let mut bytes = [0; 16];
    rand::fill(&mut bytes).expect("the system's random numbers do not fail once they are there");
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{
        KeyPair, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512,
        UnparsedPublicKey,
    };
    use rcgen::PKCS_RSA_SHA256;

    use super::*;
    use crate::client::SecretSource;
    use crate::probe::http::{Grant, ProxyConfig};
    use crate::probe::tls::TlsConfig;

    fn client() -> OAuth2Config {
        OAuth2Config {
            client_id: "me".to_owned(),
            grant: Grant::ClientSecret(SecretSource::Value(Secret::new(""))),
            token_url: "https://tokens.example/token".parse().unwrap(),
            scopes: vec!["read".to_owned(), "write".to_owned()],
            endpoint_params: Vec::new(),
            tls: TlsConfig::default(),
            proxy: ProxyConfig::default(),
        }
    }

    fn terms() -> AssertionConfig {
        AssertionConfig {
            key: SecretSource::Value(Secret::new("")),
            key_id: None,
            algorithm: SigningAlgorithm::default(),
            issuer: None,
            audience: None,
            claims: Map::new(),
        }
    }

    #[test]
    fn an_assertion_says_who_asks_and_what_for() {
        let mut found = claims(&client(), &terms(), 1_000_999);
        assert_eq!(found.remove("jti").unwrap().as_str().unwrap().len(), 22);
        let expected = json!({
            "iss": "me", "sub": "me", "aud": "https://tokens.example/token", "iat": 1000, "exp": 1600,
            "scope": "read write",
        });
        assert_eq!(Value::from(found), expected);
        let claims_given = json!({"sub": "someone", "team": ["a"]});
        let other = AssertionConfig {
            issuer: Some("they".to_owned()),
            audience: Some("us".to_owned()),
            claims: claims_given.as_object().unwrap().clone(),
            ..terms()
        };
        let found = Value::from(claims(&client(), &other, 0));
        for (name, expected) in
            [("iss", json!("they")), ("aud", json!("us")), ("sub", json!("someone")), ("team", json!(["a"]))]
        {
            assert_eq!(found[name], expected, "{name}");
        }
    }

    #[test]
    fn it_is_signed_with_the_key_in_each_algorithm() {
        let key = rcgen::KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap();
        let pem = Secret::new(key.serialize_pem());
        let public = RsaKeyPair::from_pkcs8(&key.serialize_der()).unwrap().public_key().clone();
        let check = |algorithm: SigningAlgorithm, verification| {
            let terms = AssertionConfig { algorithm, key_id: Some("k1".to_owned()), ..terms() };
            let token = sign(&client(), &terms, &pem, 0).unwrap();
            let (signed, signature) = token.expose().rsplit_once('.').unwrap();
            let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).unwrap();
            let key = UnparsedPublicKey::new(verification, &public);
            assert!(key.verify(signed.as_bytes(), &signature).is_ok(), "{algorithm:?}");
            let header = BASE64_URL_SAFE_NO_PAD.decode(signed.split('.').next().unwrap()).unwrap();
            let header: Value = serde_json::from_slice(&header).unwrap();
            assert_eq!(header, json!({"alg": algorithm.as_str(), "typ": "JWT", "kid": "k1"}));
            assert_eq!(SigningAlgorithm::from_name(algorithm.as_str()), Some(algorithm));
        };
        check(SigningAlgorithm::Rs256, &RSA_PKCS1_2048_8192_SHA256);
        check(SigningAlgorithm::Rs384, &RSA_PKCS1_2048_8192_SHA384);
        check(SigningAlgorithm::Rs512, &RSA_PKCS1_2048_8192_SHA512);
        let refused = |key: &str| sign(&client(), &terms(), &Secret::new(key), 0).unwrap_err();
        assert_eq!(refused("hunter2"), AssertionError::NotPem);
        let elliptic = rcgen::KeyPair::generate().unwrap().serialize_pem();
        assert_eq!(refused(&elliptic), AssertionError::NotRsa);
    }
}
