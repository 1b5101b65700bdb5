//! From what was discovered to the URLs that alerts are posted to.
//! Source: Prometheus 3.14 `notifier/alertmanager.go`, `AlertmanagerFromGroup`.

use url::Url;

use super::AlertmanagerSet;
use crate::discovery::TargetGroup;
use crate::model::Labels;
use crate::relabel::relabel;

/// The label with the path that alerts are posted to.
const PATH_LABEL: &str = "__alerts_path__";

/// What discovery stands for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Targets {
    /// Where alerts go.
    pub(super) active: Vec<Url>,
    /// What relabelling left out, as it would have been.
    pub(super) dropped: Vec<String>,
    /// What cannot be used, and why.
    pub(super) faults: Vec<String>,
}

impl Targets {
    /// The Alertmanagers that `groups` stand for, each once.
    pub(super) fn resolve<'a>(
        set: &AlertmanagerSet,
        groups: impl IntoIterator<Item = &'a TargetGroup>,
    ) -> Self {
        let mut targets = Self::default();
        for group in groups {
            for address in &group.targets {
                let mut labels = Labels::from_pairs(&group.labels).builder();
                labels.set("__address__", address).set("__scheme__", &set.scheme);
                labels.set(PATH_LABEL, &post_path(&set.path_prefix));
                let labels = labels.build();
                match relabel(&set.relabel, &labels) {
                    None => targets.dropped.push(text_of(&labels)),
                    Some(labels) => match url_of(&labels) {
                        Ok(url) if targets.active.contains(&url) => {}
                        Ok(url) => targets.active.push(url),
                        Err(fault) => targets.faults.push(fault),
                    },
                }
            }
        }
        targets
    }
}

/// The path of Alertmanager's API below a prefix.
fn post_path(prefix: &str) -> String {
    let parts = prefix.split('/').filter(|part| !part.is_empty()).chain(["api", "v2", "alerts"]);
    parts.fold(String::new(), |path, part| path + "/" + part)
}

fn text_of(labels: &Labels) -> String {
    format!("{}://{}{}", labels.get("__scheme__"), labels.get("__address__"), labels.get(PATH_LABEL))
}

fn url_of(labels: &Labels) -> Result<Url, String> {
    let (address, text) = (labels.get("__address__"), text_of(labels));
    if address.is_empty() {
        return Err("an Alertmanager has no address".to_owned());
    }
    // A user or password would be shown, and a path has its own label.
    if address.contains(['/', '?', '#', '@']) {
        return Err(format!("{address:?} is not a valid hostname"));
    }
    match Url::parse(&text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => Ok(url),
        Ok(_) => Err(format!("`{text}` must begin with `http://` or `https://`")),
        Err(error) => Err(format!("`{text}` is not a usable URL: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::relabel::{Rule, Spec};

    fn group(targets: &[&str], labels: &[(&str, &str)]) -> TargetGroup {
        let labels: BTreeMap<_, _> =
            labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        TargetGroup { labels, ..TargetGroup::of(targets.iter().copied()) }
    }

    fn rule(action: &str, source: &str, regex: &str, target: &str) -> Rule {
        let spec = Spec {
            action: Some(action.to_owned()),
            source_labels: Some(vec![source.to_owned()]),
            regex: Some(regex.to_owned()),
            target_label: (!target.is_empty()).then(|| target.to_owned()),
            ..Spec::default()
        };
        Rule::new(&spec).expect("usable")
    }

    #[track_caller]
    fn check(set: &AlertmanagerSet, groups: &[TargetGroup], active: &[&str], dropped: &[&str]) -> Targets {
        let targets = Targets::resolve(set, groups);
        assert_eq!(targets.active.iter().map(Url::as_str).collect::<Vec<_>>(), active);
        assert_eq!(targets.dropped, dropped);
        targets
    }

    #[test]
    fn addresses_become_urls_with_scheme_and_prefix() {
        let mut set = AlertmanagerSet::default();
        let groups = [group(&["a:9093", "b:9093"], &[]), group(&["a:9093", "[::1]:1"], &[])];
        check(
            &set,
            &groups,
            &["http://a:9093/api/v2/alerts", "http://b:9093/api/v2/alerts", "http://[::1]:1/api/v2/alerts"],
            &[],
        );
        set.scheme = "https".to_owned();
        for prefix in ["am/x", "/am/x/", "//am//x"] {
            set.path_prefix = prefix.to_owned();
            check(
                &set,
                &groups[..1],
                &["https://a:9093/am/x/api/v2/alerts", "https://b:9093/am/x/api/v2/alerts"],
                &[],
            );
        }
    }

    #[test]
    fn discovered_alertmanagers_are_relabelled_and_dropped() {
        let set = AlertmanagerSet {
            relabel: vec![
                rule("drop", "__address__", "b:.*", ""),
                rule("replace", "tenant", "(.+)", PATH_LABEL),
                rule("replace", "tls", "(https)", "__scheme__"),
            ],
            ..AlertmanagerSet::default()
        };
        let labels = [("tenant", "/t/alerts"), ("tls", "https")];
        let groups = [group(&["a:1", "b:1"], &[]), group(&["c:1"], &labels)];
        check(
            &set,
            &groups,
            &["http://a:1/api/v2/alerts", "https://c:1/t/alerts"],
            &["http://b:1/api/v2/alerts"],
        );
    }

    #[test]
    fn an_address_that_is_none_is_left_out_with_a_reason() {
        let groups = [group(&["http://a:1", "", "a:port", "u:p@h", "good:1"], &[])];
        let targets = check(&AlertmanagerSet::default(), &groups, &["http://good:1/api/v2/alerts"], &[]);
        assert_eq!(
            targets.faults,
            [
                "\"http://a:1\" is not a valid hostname",
                "an Alertmanager has no address",
                "`http://a:port/api/v2/alerts` is not a usable URL: invalid port number",
                "\"u:p@h\" is not a valid hostname",
            ]
        );
    }
}
