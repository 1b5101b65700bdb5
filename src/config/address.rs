//! Where something listens.

use std::net::{SocketAddr, ToSocketAddrs};

/// Not such an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an address with a port, such as `127.0.0.1:9797`, or `:9797` for all interfaces")]
pub struct AddressError;

/// `127.0.0.1:9797`, `localhost:9797` or, for all interfaces, `:9797`.
pub fn parse_address(text: &str) -> Result<SocketAddr, AddressError> {
    let full = if text.starts_with(':') { format!("[::]{text}") } else { text.to_owned() };
    // A name such as `localhost:9797` resolves from the machine's own table.
    full.parse().ok().or_else(|| full.to_socket_addrs().ok()?.next()).ok_or(AddressError)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_leave_out_the_interface_but_not_the_port() {
        let check = |text: &str, expected: Option<&str>| {
            let expected = expected.map(|text| text.parse().expect("an address"));
            assert_eq!(parse_address(text).ok(), expected, "{text}");
        };
        check("127.0.0.1:9797", Some("127.0.0.1:9797"));
        check("[::1]:9797", Some("[::1]:9797"));
        check(":9797", Some("[::]:9797"));
        check("127.0.0.1", None);
        check(":", None);
        check("9797", None);
        check("", None);
    }
}
