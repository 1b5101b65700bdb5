//! Where others reach valmis.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::own::{OwnPages, url_of};
use crate::api::{self, Handles};
use crate::clock::SharedClock;
use crate::config::Config;
use crate::listener::{self, Access, Door, Limits, Loaded, Server};

/// The listeners, open but not yet served.
pub(super) struct Front {
    address: SocketAddr,
    main: TcpListener,
    guard: Option<Guard>,
    health: Option<TcpListener>,
    own: OwnPages,
}

/// What a web configuration brings with it.
struct Guard {
    file: PathBuf,
    loaded: Loaded,
    /// For valmis' own scrapes.
    own: (TcpListener, Door),
}

impl Front {
    /// Opens every port that the configuration names.
    pub(super) async fn bind(config: &Config) -> Result<Self> {
        let main = bind(config.listen).await?;
        let address = main.local_addr().context("cannot tell the address that is listened on")?;
        let health = match config.web.health_listen {
            Some(address) => {
                let listener = bind(address).await?;
                let address = listener.local_addr().context("cannot tell the address that is listened on")?;
                info!("health and readiness are served on {}", url_of("http", address));
                Some(listener)
            }
            None => None,
        };
        let (guard, own) = match &config.web.config_file {
            None => (None, OwnPages::public(address)?),
            Some(file) => {
                let loaded = listener::load(file).map_err(|findings| super::explain(&findings))?;
                let (own, listener, door) = OwnPages::guarded(address).await?;
                (Some(Guard { file: file.clone(), loaded, own: (listener, door) }), own)
            }
        };
        Ok(Self { address, main, guard, health, own })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn own(&self) -> &OwnPages {
        &self.own
    }

    /// The URL for people on this machine.
    pub(super) fn url(&self) -> String {
        let https = self.guard.as_ref().is_some_and(|guard| guard.loaded.tls.is_some());
        url_of(if https { "https" } else { "http" }, self.address)
    }

    /// Serves until `stop`. Gives the web configuration, if there is one, and the tasks that serve.
    pub(super) fn serve(
        self,
        handles: &Arc<Handles>,
        clock: SharedClock,
        metrics: &listener::Metrics,
        stop: &CancellationToken,
    ) -> (Option<Arc<Access>>, JoinSet<()>) {
        let mut tasks = JoinSet::new();
        let mut serve = |listener, door, router| {
            let server = Server { door, router, limits: Limits::default(), metrics: metrics.clone() };
            tasks.spawn(server.serve(listener, stop.clone()));
        };
        let router = api::router(handles.clone());
        let mut access = None;
        let door = match self.guard {
            None => Door::Open,
            Some(Guard { file, loaded, own: (listener, door) }) => {
                serve(listener, door, router.clone());
                let guard = Arc::new(Access::new(file, &loaded, clock, metrics.clone()));
                access = Some(guard.clone());
                Door::Guarded(guard)
            }
        };
        serve(self.main, door, router);
        if let Some(listener) = self.health {
            serve(listener, Door::Open, api::health_router(handles.clone()));
        }
        if let Some(access) = access.clone() {
            let stop = stop.clone();
            tasks.spawn(async move { access.watch(stop).await });
        }
        (access, tasks)
    }
}

async fn bind(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))
}
