//! Which layers between here and an answer work.

use super::dsn::{Dsn, SslMode};
use super::failure::{Failure, Layer};
use super::session::wants_tls;

/// Which layers work, as far as is known. `login` is what became of a new connection, and whether it was
/// encrypted; `answered` says whether the held connection was answered.
pub(super) fn layers(dsn: &Dsn, login: Result<bool, &Failure>, answered: bool) -> Vec<(&'static str, bool)> {
    let mut layers = Vec::new();
    let (reached, failed) = match login {
        Ok(_) => (Layer::Query, None),
        // It was not the network that failed, but what is needed to try.
        Err(failure) if failure.kind == "config" => return vec![("new_connection", false)],
        Err(failure) => (failure.layer, Some(failure)),
    };
    let works = |layer: Layer| layer < reached || failed.is_none();
    layers.push((Layer::Tcp.as_str(), works(Layer::Tcp)));
    let encrypted = login.unwrap_or(dsn.sslmode >= SslMode::Require);
    if reached == Layer::Tls || reached > Layer::Tls && encrypted && wants_tls(dsn) {
        layers.push((Layer::Tls.as_str(), works(Layer::Tls)));
    }
    let authenticated = match failed {
        None => Some(true),
        Some(failure) if failure.layer > Layer::Authentication => Some(true),
        Some(failure) if failure.layer < Layer::Authentication => None,
        // The server looks for the database, and counts connections of the role, once it knows who asks.
        Some(failure) if failure.kind == "no_such_database" => Some(true),
        Some(failure) if matches!(failure.kind, "auth" | "timeout" | "closed") => Some(false),
        // Too many connections, starting up: it did not come to asking who it is.
        Some(_) => None,
    };
    layers.extend(authenticated.map(|works| (Layer::Authentication.as_str(), works)));
    let failed_query = failed.is_some_and(|failure| failure.layer == Layer::Query);
    if failed.is_none() || answered || failed_query {
        layers.push((Layer::Query.as_str(), !failed_query));
    }
    layers.push(("new_connection", failed.is_none()));
    layers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(parameters: &str, login: &Result<bool, Failure>, answered: bool, expected: &str) {
        let dsn = Dsn::parse(&format!("user=u host=h {parameters}")).expect("a valid string");
        let layers = layers(&dsn, login.as_ref().copied(), answered);
        let texts: Vec<String> =
            layers.iter().map(|(layer, up)| format!("{layer}={}", u8::from(*up))).collect();
        assert_eq!(texts.join(" "), expected);
    }

    #[test]
    fn layers_that_were_not_reached_are_absent() {
        let all = "tcp=1 tls=1 authentication=1 query=1 new_connection=1";
        check("sslmode=require", &Ok(true), true, all);
        check("sslmode=disable", &Ok(false), true, "tcp=1 authentication=1 query=1 new_connection=1");
        check("sslmode=prefer", &Ok(false), false, "tcp=1 authentication=1 query=1 new_connection=1");
        let failed = |layer, kind| Err(Failure::new(layer, kind, "why"));
        check("", &failed(Layer::Tcp, "connect"), false, "tcp=0 new_connection=0");
        check("", &failed(Layer::Tcp, "config"), false, "new_connection=0");
        check("sslmode=require", &failed(Layer::Tls, "tls"), false, "tcp=1 tls=0 new_connection=0");
        let refused = "tcp=1 tls=1 authentication=0 new_connection=0";
        check("sslmode=require", &failed(Layer::Authentication, "auth"), false, refused);
        check("", &failed(Layer::Authentication, "auth"), false, "tcp=1 authentication=0 new_connection=0");
        let full = "tcp=1 query=1 new_connection=0";
        check("", &failed(Layer::Authentication, "too_many_connections"), true, full);
        check("", &failed(Layer::Authentication, "starting_up"), false, "tcp=1 new_connection=0");
        let nothing_there = "tcp=1 authentication=1 new_connection=0";
        check("", &failed(Layer::Authentication, "no_such_database"), false, nothing_there);
        let hung = "tcp=1 authentication=1 query=0 new_connection=0";
        check("", &failed(Layer::Query, "timeout"), false, hung);
    }
}
