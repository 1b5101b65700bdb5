//! Who may have what probed. Pure.

use super::pattern::{HostPattern, Subject, TargetPattern};
use crate::probe::Reach;

/// Which targets whoever asks over `/probe` may name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// What is allowed; nothing else is.
    pub allow: Vec<Allowance>,
    /// Where the addresses of such targets may be. This machine is within reach all the same of targets
    /// that an allowance writes down as such (`http://localhost:8080/`).
    pub reach: Reach,
}

/// A pair of modules and targets that is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowance {
    /// The module.
    pub module: ModuleName,
    /// Its targets.
    pub targets: Vec<TargetPattern>,
    /// The values that the parameter `hostname` may have.
    pub hostnames: Vec<HostPattern>,
}

/// Which modules are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModuleName {
    /// Every module without credentials: those go to the targets only that are allowed for the module by its
    /// name.
    Any,
    /// The module of this name.
    Is(String),
}

/// Private networks are within reach, for that is where most of what is probed stands; this machine,
/// metadata services and what is no single machine are not.
impl Default for Policy {
    fn default() -> Self {
        let reach = Reach { private: true, loopback: false, link_local: false, special: false };
        Self { allow: Vec::new(), reach }
    }
}

/// Why a target may not be probed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Denied {
    /// No allowance names it.
    Target,
    /// The target is allowed, but for modules without credentials alone.
    Credentials,
    /// The target is allowed, but not under this host name.
    Hostname,
}

/// Who asks for what.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) module: &'a str,
    /// Whether the module holds credentials.
    pub(super) credentials: bool,
    /// The target; `None` if it cannot be taken apart.
    pub(super) subject: Option<&'a Subject>,
    pub(super) hostname: Option<&'a str>,
}

impl Policy {
    /// Where the probe may lead, if it is allowed at all.
    pub(super) fn judge(&self, asked: Asked<'_>) -> Result<Reach, Denied> {
        let mut denied = Denied::Target;
        for allowance in &self.allow {
            let withheld = match &allowance.module {
                ModuleName::Any => asked.credentials,
                ModuleName::Is(name) if name == asked.module => false,
                ModuleName::Is(_) => continue,
            };
            for pattern in &allowance.targets {
                // What is no target harms nobody, but only who may ask for everything learns what is
                // wrong with it.
                let matches = match asked.subject {
                    Some(subject) => pattern.matches(subject),
                    None => pattern.is_everything(),
                };
                if !matches {
                    continue;
                }
                if withheld {
                    if denied == Denied::Target {
                        denied = Denied::Credentials;
                    }
                    continue;
                }
                let allowed = |name| allowance.hostnames.iter().any(|pattern| pattern.matches(name));
                if asked.hostname.is_none_or(allowed) {
                    let loopback = self.reach.loopback || pattern.names_loopback();
                    return Ok(Reach { loopback, ..self.reach });
                }
                denied = Denied::Hostname;
            }
        }
        Err(denied)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowance(module: &str, targets: &[&str], hostnames: &[&str]) -> Allowance {
        Allowance {
            module: if module == "*" { ModuleName::Any } else { ModuleName::Is(module.to_owned()) },
            targets: targets.iter().map(|text| TargetPattern::parse(text).unwrap()).collect(),
            hostnames: hostnames.iter().map(|text| HostPattern::parse(text).unwrap()).collect(),
        }
    }

    fn url(text: &str) -> Subject {
        Subject::Url(url::Url::parse(text).unwrap())
    }

    #[test]
    fn only_pairs_that_are_allowed_are_probed() {
        let policy = Policy {
            allow: vec![
                allowance("site", &["https://*.example.org/*"], &["*.example.com"]),
                allowance("*", &["http://a.example/"], &[]),
                allowance("login", &["http://b.example/"], &[]),
            ],
            ..Policy::default()
        };
        let check = |module: &str, target: &str, hostname: Option<&str>, expected: Result<(), Denied>| {
            let subject = url(target);
            let credentials = module == "login";
            let asked = Asked { module, credentials, subject: Some(&subject), hostname };
            assert_eq!(policy.judge(asked).map(drop), expected, "{module} {target} {hostname:?}");
        };
        check("site", "https://www.example.org/x", None, Ok(()));
        check("site", "https://www.example.org/x", Some("a.example.com"), Ok(()));
        check("site", "https://www.example.org/x", Some("a.example.net"), Err(Denied::Hostname));
        check("site", "https://www.example.net/", None, Err(Denied::Target));
        check("other", "https://www.example.org/x", None, Err(Denied::Target));
        check("other", "http://a.example/", None, Ok(()));
        check("other", "http://a.example/", Some("b"), Err(Denied::Hostname));
        check("login", "http://a.example/", None, Err(Denied::Credentials));
        check("login", "http://b.example/", None, Ok(()));
        check("login", "http://c.example/", None, Err(Denied::Target));
        assert_eq!(
            Policy::default().judge(Asked {
                module: "site",
                credentials: false,
                subject: Some(&url("http://a/")),
                hostname: None
            }),
            Err(Denied::Target)
        );
    }

    #[test]
    fn this_machine_is_within_reach_of_who_wrote_it_down() {
        let policy = Policy {
            allow: vec![allowance("*", &["http://localhost:8080/", "*"], &[])],
            ..Policy::default()
        };
        let loopback = |target: &str| {
            let subject = url(target);
            let asked = Asked { module: "m", credentials: false, subject: Some(&subject), hostname: None };
            policy.judge(asked).unwrap().loopback
        };
        assert!(loopback("http://localhost:8080/"));
        assert!(!loopback("http://localhost:8081/"));
        assert!(!loopback("http://127.0.0.1:8080/"));
    }

    #[test]
    fn what_is_no_target_may_be_asked_for_where_everything_may() {
        let asked = Asked { module: "m", credentials: false, subject: None, hostname: None };
        let judge = |targets: &[&str]| {
            Policy { allow: vec![allowance("m", targets, &[])], ..Policy::default() }.judge(asked).map(drop)
        };
        assert_eq!(judge(&["*"]), Ok(()));
        assert_eq!(judge(&["http://*/*"]), Err(Denied::Target));
    }
}
