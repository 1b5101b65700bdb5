//! Where alerts go.

use std::time::Duration;

use url::Url;

use crate::client::HttpConfig;
use crate::discovery::{self, TargetGroup};
use crate::model::Labels;
use crate::relabel;

/// Where alerts go.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Config {
    /// The Alertmanagers; each gets every alert.
    pub alertmanagers: Vec<AlertmanagerSet>,
    /// Labels that every alert gets unless it has one of that name.
    pub external_labels: Labels,
    /// What is done to the labels of every alert, external labels included.
    pub alert_relabel: Vec<relabel::Rule>,
    /// How often each Alertmanager has to acknowledge something, be it that there is nothing to tell; never
    /// unless somebody wants to know.
    pub proof_interval: Option<Duration>,
}

/// Alertmanagers that are found and reached in the same way. The fields are those of Prometheus'
/// `alertmanager_config`.
#[derive(Debug, Clone, PartialEq)]
pub struct AlertmanagerSet {
    /// Where they are found.
    pub discovery: discovery::Config,
    /// `http` or `https`.
    pub scheme: String,
    /// What the path of the API begins with.
    pub path_prefix: String,
    /// Time a delivery may take.
    pub timeout: Duration,
    /// How they are reached, and as whom.
    pub http: HttpConfig,
    /// What is done to the labels of what was found; they say where it is, and some are left out.
    pub relabel: Vec<relabel::Rule>,
    /// What is done to the labels of the alerts for these, after what is done for all.
    pub alert_relabel: Vec<relabel::Rule>,
}

impl Default for AlertmanagerSet {
    /// Source: Prometheus 3.14 `config/config.go`, `DefaultAlertmanagerConfig`.
    fn default() -> Self {
        Self {
            discovery: discovery::Config::default(),
            scheme: "http".to_owned(),
            path_prefix: String::new(),
            timeout: Duration::from_secs(10),
            http: HttpConfig::default(),
            relabel: Vec::new(),
            alert_relabel: Vec::new(),
        }
    }
}

impl AlertmanagerSet {
    /// The one with this base URL. A user or password in it is not used.
    pub fn of_url(url: &Url) -> Self {
        let host = url.host_str().unwrap_or_default();
        let address = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        let groups = vec![TargetGroup::of([address])];
        Self {
            discovery: discovery::Config { groups, ..discovery::Config::default() },
            scheme: url.scheme().to_owned(),
            path_prefix: url.path().to_owned(),
            ..Self::default()
        }
    }
}
