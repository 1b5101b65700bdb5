//! How valmis reaches its own pages, which it scrapes and probes like others.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context, Result};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use tokio::net::TcpListener;
use url::Url;

use crate::client::{HttpAuth, SecretSource};
use crate::config::AppConfig;
use crate::listener::Door;
use crate::model::Secret;

/// Where valmis' own pages are, as seen from itself.
#[derive(Debug, Clone)]
pub(super) struct OwnPages {
    url: Url,
    /// What it identifies itself with, and the address that others know it by.
    guarded: Option<(Secret, SocketAddr)>,
}

impl OwnPages {
    /// On the listener that serves everybody.
    pub(super) fn public(address: SocketAddr) -> Result<Self> {
        let url =
            Url::parse(&url_of("http", address)).context("the address that is listened on makes no URL")?;
        Ok(Self { url, guarded: None })
    }

    /// On a listener of their own. That for everybody may ask for a password of which valmis knows the
    /// hash alone, or for a client's certificate: this one is for this machine, and for who knows a token
    /// that nobody is told.
    pub(super) async fn guarded(public: SocketAddr) -> Result<(Self, TcpListener, Door)> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .context("cannot listen on this machine for its own scrapes")?;
        let address = listener.local_addr().context("cannot tell the address that is listened on")?;
        let mut random = [0_u8; 32];
        aws_lc_rs::rand::fill(&mut random).context("the system has no random numbers")?;
        let token = Secret::new(BASE64_URL_SAFE_NO_PAD.encode(random));
        let door = Door::Own(std::sync::Arc::new(token.clone()));
        let pages = Self { guarded: Some((token, public)), ..Self::public(address)? };
        Ok((pages, listener, door))
    }

    /// The URL of a page.
    pub(super) fn page(&self, path: &'static str) -> Url {
        self.url.join(path).expect("a constant path")
    }

    /// What the pages ask for.
    pub(super) fn auth(&self) -> Option<HttpAuth> {
        self.guarded.as_ref().map(|(token, _)| HttpAuth::Bearer(SecretSource::Value(token.clone())))
    }

    /// Labels that keep series the same over restarts: a listener of their own has another port each time.
    pub(super) fn labels(&self) -> BTreeMap<String, String> {
        let instance = self.guarded.as_ref().map(|(_, public)| ("instance".to_owned(), public.to_string()));
        instance.into_iter().collect()
    }

    /// Has the built-in configuration watch these pages.
    pub(super) fn redirect(&self, itself: &mut AppConfig) {
        itself.url = Some(self.page("/health"));
        itself.auth = self.auth();
    }
}

/// The address as something to click on: "all interfaces" is this machine, seen from here.
pub(super) fn url_of(scheme: &str, address: SocketAddr) -> String {
    if address.ip().is_unspecified() {
        format!("{scheme}://127.0.0.1:{}", address.port())
    } else {
        format!("{scheme}://{address}")
    }
}
