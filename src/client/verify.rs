//! Verifying certificates less, or otherwise, than rustls does by itself.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, SignatureScheme};

/// What is wanted of a server's certificate. That the server holds its key is verified in any case.
#[derive(Debug)]
pub enum Demand {
    /// Nothing: the connection is to be encrypted, whoever is at the other end.
    Nothing,
    /// A chain to an authority, and this name instead of the connection's.
    Name(Arc<WebPkiServerVerifier>, ServerName<'static>),
    /// A chain to an authority, whatever the name.
    AnyName(Arc<WebPkiServerVerifier>),
}

/// Verifies what is demanded.
#[derive(Debug)]
pub struct Verifier {
    demand: Demand,
    provider: Arc<CryptoProvider>,
}

impl Verifier {
    /// A verifier for the configuration of a client.
    pub fn new(demand: Demand, provider: Arc<CryptoProvider>) -> Arc<Self> {
        Arc::new(Self { demand, provider })
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match &self.demand {
            Demand::Nothing => Ok(ServerCertVerified::assertion()),
            Demand::Name(inner, name) => {
                inner.verify_server_cert(end_entity, intermediates, name, ocsp_response, now)
            }
            Demand::AnyName(inner) => {
                match inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
                    // The name is looked at last, after chain and validity: everything else is in order.
                    Err(rustls::Error::InvalidCertificate(
                        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
                    )) => Ok(ServerCertVerified::assertion()),
                    result => result,
                }
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
