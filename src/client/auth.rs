//! Credentials for HTTP.

use std::io;
use std::path::PathBuf;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::model::Secret;

/// Where a secret comes from. Files are read again whenever the secret is needed, so that it can be
/// rotated.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SecretSource {
    /// The configuration itself, or the environment when the configuration was read.
    Value(Secret),
    /// A file; line ends at its end do not count.
    File(PathBuf),
}

impl SecretSource {
    /// The secret as it is now. An error names the file.
    pub fn resolve(&self) -> io::Result<Secret> {
        match self {
            Self::Value(secret) => Ok(secret.clone()),
            Self::File(path) => {
                let text = std::fs::read_to_string(path)
                    .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
                Ok(Secret::new(text.trim_end_matches(['\r', '\n'])))
            }
        }
    }
}

/// Credentials for HTTP.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HttpAuth {
    /// User and password.
    Basic {
        /// The user.
        username: SecretSource,
        /// The password.
        password: SecretSource,
    },
    /// `Authorization: Bearer …`
    Bearer(SecretSource),
    /// `Authorization: <scheme> …`
    Other {
        /// The scheme.
        scheme: String,
        /// What follows it.
        credentials: SecretSource,
    },
}

impl HttpAuth {
    /// The value of the `Authorization` header as it is now. Source: RFC 7617, RFC 6750.
    pub fn header(&self) -> io::Result<Secret> {
        Ok(Secret::new(match self {
            Self::Basic { username, password } => {
                let pair = format!("{}:{}", username.resolve()?.expose(), password.resolve()?.expose());
                format!("Basic {}", BASE64_STANDARD.encode(pair))
            }
            Self::Bearer(token) => format!("Bearer {}", token.resolve()?.expose()),
            Self::Other { scheme, credentials } => format!("{scheme} {}", credentials.resolve()?.expose()),
        }))
    }

    /// Adds the credentials to a request.
    pub fn apply(&self, request: reqwest::RequestBuilder) -> io::Result<reqwest::RequestBuilder> {
        let header = self.header()?;
        let mut value = reqwest::header::HeaderValue::try_from(header.expose()).map_err(|_| {
            let message = "the credentials hold a character that a header cannot";
            io::Error::new(io::ErrorKind::InvalidData, message)
        })?;
        value.set_sensitive(true);
        Ok(request.header(reqwest::header::AUTHORIZATION, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_become_a_header() {
        let secret = |text: &str| SecretSource::Value(Secret::new(text));
        let check = |auth: HttpAuth, expected: &str| {
            assert_eq!(auth.header().expect("no file is needed").expose(), expected);
        };
        check(HttpAuth::Basic { username: secret("u"), password: secret("p") }, "Basic dTpw");
        check(HttpAuth::Bearer(secret("t0ken")), "Bearer t0ken");
        let other = HttpAuth::Other { scheme: "GenieKey".to_owned(), credentials: secret("k") };
        check(other, "GenieKey k");
    }

    #[test]
    fn a_secret_file_is_read_anew_without_its_line_end() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("password");
        let source = SecretSource::File(path.clone());
        std::fs::write(&path, "one\n").expect("written");
        assert_eq!(source.resolve().expect("readable").expose(), "one");
        std::fs::write(&path, " two \r\n").expect("written");
        assert_eq!(source.resolve().expect("readable").expose(), " two ");
        std::fs::remove_file(&path).expect("removed");
        let error = source.resolve().expect_err("gone").to_string();
        assert!(error.contains("password"), "{error}");
    }
}
