//! From settings and what lies in files to what rustls works with.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig};

use super::client_auth::ClientPolicy;
use super::config::{ClientAuth, Pem, PemSource, TlsSettings};
use super::curves::P521;
use crate::client::system_certificates;
use crate::model::LineColumn;

/// Something that TLS cannot be spoken with, and the place that it comes from.
pub(super) type Fault = (LineColumn, String);

/// Reads a file.
pub(super) type ReadFile<'a> = dyn FnMut(&Path) -> io::Result<Vec<u8>> + 'a;

/// Settings for rustls, or everything that is wrong with what the settings name.
pub(super) fn server_config(
    settings: &TlsSettings,
    read: &mut ReadFile<'_>,
) -> Result<Arc<ServerConfig>, Vec<Fault>> {
    let mut provider = default_provider();
    provider.cipher_suites.clone_from(&settings.cipher_suites);
    if settings.curves.is_empty() {
        provider.kx_groups.push(&P521);
    } else {
        provider.kx_groups.clone_from(&settings.curves);
    }
    let provider = Arc::new(provider);

    let chain = text(&settings.cert, "cert_file", read).and_then(|pem| certificates(&settings.cert, &pem));
    let key = text(&settings.key, "key_file", read).and_then(|pem| {
        // The reason may quote what it could not read.
        let fault = |_| (settings.key.place, "no private key in PEM".to_owned());
        PrivateKeyDer::from_pem_slice(&pem).map_err(fault)
    });
    let client = client_verifier(settings, provider.clone(), read);
    let (chain, key, client) = match (chain, key, client) {
        (Ok(chain), Ok(key), Ok(client)) => (chain, key, client),
        (chain, key, client) => {
            return Err([chain.err(), key.err(), client.err()].into_iter().flatten().collect());
        }
    };
    let setup = |error: rustls::Error| vec![(settings.cert.place, format!("cannot set up TLS: {error}"))];
    let builder = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&settings.versions)
        .map_err(setup)?;
    let builder = match client {
        None => builder.with_no_client_auth(),
        Some(verifier) => builder.with_client_cert_verifier(verifier),
    };
    let mut config = builder.with_single_cert(chain, key).map_err(|error| {
        vec![(settings.cert.place, format!("certificate and key cannot be used together: {error}"))]
    })?;
    config.ignore_client_order = settings.prefer_server_cipher_suites;
    config.alpn_protocols =
        if settings.http2 { vec![b"h2".into(), b"http/1.1".into()] } else { vec![b"http/1.1".into()] };
    Ok(Arc::new(config))
}

fn client_verifier(
    settings: &TlsSettings,
    provider: Arc<rustls::crypto::CryptoProvider>,
    read: &mut ReadFile<'_>,
) -> Result<Option<Arc<dyn ClientCertVerifier>>, Fault> {
    let authorities = match &settings.client_ca {
        Some(pem) => certificates(pem, &text(pem, "client_ca_file", read)?)?,
        None => Vec::new(),
    };
    let (verified, mandatory) = match settings.client_auth {
        ClientAuth::NoClientCert => return Ok(None),
        ClientAuth::RequestClientCert => (false, false),
        ClientAuth::RequireAnyClientCert => (false, true),
        ClientAuth::VerifyClientCertIfGiven => (true, false),
        ClientAuth::RequireAndVerifyClientCert => (true, true),
    };
    let chain = if verified {
        let mut roots = RootCertStore::empty();
        let place = settings.client_ca.as_ref().map_or(settings.cert.place, |pem| pem.place);
        if settings.client_ca.is_some() {
            for certificate in &authorities {
                roots
                    .add(certificate.clone())
                    .map_err(|error| (place, format!("not an authority: {error}")))?;
            }
        } else {
            roots.add_parsable_certificates(system_certificates().iter().cloned());
        }
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
        let fault = |error| (place, format!("cannot verify certificates of clients: {error}"));
        Some(builder.allow_unauthenticated().build().map_err(fault)?)
    } else {
        None
    };
    let allowed_names = settings.client_allowed_sans.clone();
    Ok(Some(Arc::new(ClientPolicy { chain, authorities, mandatory, allowed_names, provider })))
}

fn text(pem: &Pem, key: &str, read: &mut ReadFile<'_>) -> Result<Vec<u8>, Fault> {
    match &pem.source {
        PemSource::Inline(text) => Ok(text.expose().as_bytes().to_vec()),
        PemSource::File(path) => read(path)
            .map_err(|error| (pem.place, format!("failed to read {key} (`{}`): {error}", path.display()))),
    }
}

fn certificates(pem: &Pem, text: &[u8]) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        // The reason may quote what it could not read, which may be a key.
        Ok(_) | Err(_) => Err((pem.place, "no certificate in PEM".to_owned())),
    }
}
