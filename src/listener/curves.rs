//! Groups for the key exchange, under Go's names. P-521 is missing in rustls: aws-lc has it.

use aws_lc_rs::agreement::{self, ECDH_P521, EphemeralPrivateKey, UnparsedPublicKey};
use aws_lc_rs::rand::SystemRandom;
use rustls::crypto::aws_lc_rs::kx_group;
use rustls::crypto::{ActiveKeyExchange, SharedSecret, SupportedKxGroup};
use rustls::ffdhe_groups::FfdheGroup;
use rustls::{Error, NamedGroup, PeerMisbehaved};

/// The group of this name. Source: exporter-toolkit `web/tls_config.go`, `curves`.
pub(super) fn named(name: &str) -> Option<&'static dyn SupportedKxGroup> {
    match name {
        "CurveP256" => Some(kx_group::SECP256R1),
        "CurveP384" => Some(kx_group::SECP384R1),
        "CurveP521" => Some(&P521),
        "X25519" => Some(kx_group::X25519),
        _ => None,
    }
}

/// All names, for messages.
pub(super) const NAMES: [&str; 4] = ["CurveP256", "CurveP384", "CurveP521", "X25519"];

/// Elliptic-curve Diffie-Hellman over P-521.
#[derive(Debug)]
pub(super) struct P521;

/// How long an uncompressed point is: a byte that says so, and two coordinates of 521 bits.
const POINT_BYTES: usize = 1 + 2 * 66;
/// What an uncompressed point begins with. Source: RFC 8446, 4.2.8.2.
const UNCOMPRESSED: u8 = 4;

struct Exchange {
    private: EphemeralPrivateKey,
    public: agreement::PublicKey,
}

impl SupportedKxGroup for P521 {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        let private = EphemeralPrivateKey::generate(&ECDH_P521, &SystemRandom::new())
            .map_err(|_| Error::FailedToGetRandomBytes)?;
        let public = private.compute_public_key().map_err(|_| Error::FailedToGetRandomBytes)?;
        Ok(Box::new(Exchange { private, public }))
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        None
    }

    fn name(&self) -> NamedGroup {
        NamedGroup::secp521r1
    }
}

impl ActiveKeyExchange for Exchange {
    fn complete(self: Box<Self>, peer: &[u8]) -> Result<SharedSecret, Error> {
        let invalid = Error::PeerMisbehaved(PeerMisbehaved::InvalidKeyShare);
        if peer.len() != POINT_BYTES || peer[0] != UNCOMPRESSED {
            return Err(invalid);
        }
        let peer = UnparsedPublicKey::new(&ECDH_P521, peer);
        agreement::agree_ephemeral(self.private, peer, invalid, |secret| Ok(SharedSecret::from(secret)))
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        None
    }

    fn pub_key(&self) -> &[u8] {
        self.public.as_ref()
    }

    fn group(&self) -> NamedGroup {
        NamedGroup::secp521r1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_sides_agree_on_a_secret_over_p521() {
        let (one, other) = (P521.start().unwrap(), P521.start().unwrap());
        let (of_one, of_other) = (one.pub_key().to_vec(), other.pub_key().to_vec());
        let (mine, yours) = (one.complete(&of_other).unwrap(), other.complete(&of_one).unwrap());
        assert_eq!(mine.secret_bytes(), yours.secret_bytes());
        assert_eq!(mine.secret_bytes().len(), 66);
    }

    #[test]
    fn what_is_no_point_is_refused() {
        for share in [vec![], vec![UNCOMPRESSED; 10], vec![UNCOMPRESSED; POINT_BYTES], vec![2; 67]] {
            assert!(P521.start().unwrap().complete(&share).is_err(), "{share:?}");
        }
    }
}
