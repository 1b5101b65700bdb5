//! Names that the machine's own table knows, as hosts(5) has it: for them no resolver has to be asked, which
//! would take a thread and a fifth of the time of a probe (`cargo bench --bench blackbox`).

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};
use std::{fs, io};

use crate::client::Lookups;
use crate::probe::outcome::waiting_here;

/// How long the table is taken to be as it was. Source: Go's `net/hosts.go`, `cacheMaxAge`.
const UNCHANGED_FOR: Duration = Duration::from_secs(5);

/// Which addresses a name has.
#[derive(Debug, Default)]
struct Table(BTreeMap<String, Vec<SocketAddr>>);

/// The addresses that the machine's table gives a host, with port 0; nothing if it has to be looked up.
pub(super) async fn addresses(host: &str) -> Option<Vec<SocketAddr>> {
    static READ: Mutex<Option<(Instant, Arc<Table>)>> = Mutex::new(None);
    static LOADS: LazyLock<Lookups<(), Arc<Table>>> = LazyLock::new(|| Lookups::new(1));
    let read = || READ.lock().unwrap_or_else(PoisonError::into_inner);
    let fresh = read().clone().filter(|(at, _)| at.elapsed() < UNCHANGED_FOR);
    if let Some((_, table)) = fresh {
        return table.addresses(host);
    }
    let load = |(): &()| {
        let table = Table::load(Path::new("/etc/nsswitch.conf"), Path::new("/etc/hosts"));
        // Where the table cannot be read the system's resolver has the last word, as with no table.
        Arc::new(table.unwrap_or_default())
    };
    let table = waiting_here("reading `/etc/hosts`", LOADS.look_up((), load)).await.ok()?;
    *read() = Some((Instant::now(), table.clone()));
    table.addresses(host)
}

impl Table {
    fn load(switch: &Path, hosts: &Path) -> io::Result<Self> {
        let switch = match fs::read_to_string(switch) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error),
        };
        if asks_table_first(&switch) {
            fs::read_to_string(hosts).map(|text| Self::parse(&text))
        } else {
            Ok(Self::default())
        }
    }

    /// A line has an address and its names; `#` begins a comment. Names on lines with addresses that are
    /// not plain (with a zone) are left to the system's resolver.
    fn parse(text: &str) -> Self {
        let mut table: BTreeMap<String, Vec<SocketAddr>> = BTreeMap::new();
        let mut not_plain = Vec::new();
        for line in text.lines() {
            let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
            let Some(address) = words.next() else { continue };
            let names = words.map(str::to_ascii_lowercase);
            match address.parse::<IpAddr>() {
                Ok(address) => {
                    for name in names {
                        table.entry(name).or_default().push((address, 0).into());
                    }
                }
                Err(_) => not_plain.extend(names),
            }
        }
        for name in not_plain {
            table.remove(&name);
        }
        Self(table)
    }

    fn addresses(&self, host: &str) -> Option<Vec<SocketAddr>> {
        self.0.get(host.to_ascii_lowercase().as_str()).cloned()
    }
}

/// Whether the table is asked before any service, so that it alone decides about the names in it. Without a
/// word about hosts it is. Source: nsswitch.conf(5).
fn asks_table_first(switch: &str) -> bool {
    let services = switch.lines().find_map(|line| line.trim_start().strip_prefix("hosts:"));
    services.is_none_or(|services| services.split_whitespace().next() == Some("files"))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;

    fn loopback() -> SocketAddr {
        ([127, 0, 0, 1], 0).into()
    }

    #[test]
    fn a_table_has_names_comments_and_addresses_of_both_versions() {
        let table = Table::parse(
            "# all of this machine\n\
             127.0.0.1\tlocalhost  Here.Example # of old\n\
             \n\
             ::1 localhost\n\
             fe80::1%lo zoned\n\
             127.0.0.1 zoned\n\
             no-address broken\n",
        );
        assert_eq!(table.addresses("LOCALHOST"), Some(vec![loopback(), (Ipv6Addr::LOCALHOST, 0).into()]));
        assert_eq!(table.addresses("here.example"), Some(vec![loopback()]));
        for left_to_the_resolver in ["zoned", "broken", "other", "of"] {
            assert_eq!(table.addresses(left_to_the_resolver), None, "{left_to_the_resolver}");
        }
    }

    #[test]
    fn the_table_decides_where_it_is_asked_first() {
        assert!(asks_table_first(""));
        assert!(asks_table_first("passwd: files\nhosts:          files dns\n"));
        assert!(!asks_table_first("hosts: mymachines resolve [!UNAVAIL=return] files\n"));
        assert!(!asks_table_first("hosts:\n"));
    }

    #[test]
    fn without_a_table_all_is_left_to_the_resolver() {
        let folder = tempfile::tempdir().unwrap();
        let (switch, hosts) = (folder.path().join("nsswitch.conf"), folder.path().join("hosts"));
        assert!(Table::load(&switch, &hosts).is_err());
        fs::write(&hosts, "127.0.0.1 here\n").unwrap();
        assert_eq!(Table::load(&switch, &hosts).unwrap().addresses("here"), Some(vec![loopback()]));
        fs::write(&switch, "hosts: dns files\n").unwrap();
        assert_eq!(Table::load(&switch, &hosts).unwrap().addresses("here"), None);
    }
}
