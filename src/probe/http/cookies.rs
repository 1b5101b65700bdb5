//! Cookies within one probe: a login page that sets one and redirects wants it back.
//!
//! Simpler than a browser, and stricter: a cookie goes back to exactly the host that set it.

use hyper::header::{HeaderMap, HeaderValue, InvalidHeaderValue, SET_COOKIE};
use jiff::fmt::rfc2822::DateTimeParser;
use url::Url;

use crate::model::TimestampMs;

/// How many cookies a probe keeps.
const MAX_COOKIES: usize = 50;

/// The cookies that servers have set in this probe.
#[derive(Debug, Default)]
pub(super) struct CookieJar(Vec<Cookie>);

#[derive(Debug)]
struct Cookie {
    host: String,
    path: String,
    secure: bool,
    name: String,
    value: String,
}

impl CookieJar {
    /// Keeps what the response to `url` sets. What cannot be read, or has expired, is not kept.
    pub(super) fn store(&mut self, url: &Url, headers: &HeaderMap, now: TimestampMs) {
        let texts = headers.get_all(SET_COOKIE).into_iter().filter_map(|value| value.to_str().ok());
        for (cookie, expired) in texts.filter_map(|text| Cookie::parse(url, text, now)) {
            let same = |old: &Cookie| {
                (&old.host, &old.path, &old.name) == (&cookie.host, &cookie.path, &cookie.name)
            };
            self.0.retain(|old| !same(old));
            if !expired && self.0.len() < MAX_COOKIES {
                self.0.push(cookie);
            }
        }
    }

    /// The value of the header `Cookie` for a request to `url`, if there is any cookie for it: those of the
    /// configuration, of which servers have set no other, and then those that servers have set. Source: Go
    /// `net/http`, `makeHeadersCopier` and `Client.send`.
    pub(super) fn header<'a>(
        &self,
        url: &Url,
        configured: impl Iterator<Item = &'a HeaderValue>,
    ) -> Result<Option<HeaderValue>, InvalidHeaderValue> {
        let set: Vec<&Cookie> = self.0.iter().filter(|cookie| cookie.matches(url)).collect();
        let is_set = |pair: &&[u8]| {
            let name = pair.split(|byte| *byte == b'=').next().unwrap_or_default();
            set.iter().any(|cookie| cookie.name.as_bytes() == name)
        };
        let mut pairs: Vec<Vec<u8>> = configured
            .flat_map(|value| value.as_bytes().split(|byte| *byte == b';'))
            .map(<[u8]>::trim_ascii)
            .filter(|pair| !pair.is_empty() && !is_set(pair))
            .map(<[u8]>::to_vec)
            .collect();
        pairs.extend(set.iter().map(|cookie| format!("{}={}", cookie.name, cookie.value).into_bytes()));
        if pairs.is_empty() {
            return Ok(None);
        }
        let mut value = HeaderValue::from_bytes(&pairs.join(b"; ".as_slice()))?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

impl Cookie {
    /// The cookie and whether it is to be forgotten. Source: RFC 6265, sections 5.2 and 5.3.
    fn parse(url: &Url, text: &str, now: TimestampMs) -> Option<(Self, bool)> {
        let mut parts = text.split(';');
        let (name, value) = parts.next()?.split_once('=')?;
        let default_path = url.path().rsplit_once('/').map_or("/", |(folder, _)| folder);
        let mut cookie = Self {
            host: url.host_str()?.to_owned(),
            path: if default_path.is_empty() { "/" } else { default_path }.to_owned(),
            secure: false,
            name: name.trim().to_owned(),
            value: value.trim().to_owned(),
        };
        // How long it lives counts more than when it ends.
        let (mut by_age, mut by_date) = (None, None);
        for attribute in parts {
            let (key, value) = attribute.split_once('=').unwrap_or((attribute, ""));
            match key.trim().to_ascii_lowercase().as_str() {
                "path" if value.trim().starts_with('/') => value.trim().clone_into(&mut cookie.path),
                "secure" => cookie.secure = true,
                "max-age" => by_age = value.trim().parse::<i64>().ok().map(|seconds| seconds <= 0),
                "expires" => by_date = date(value).map(|end| end <= now),
                _ => {}
            }
        }
        (!cookie.name.is_empty()).then_some((cookie, by_age.or(by_date).unwrap_or(false)))
    }

    fn matches(&self, url: &Url) -> bool {
        let below = url.path().strip_prefix(self.path.as_str());
        let path_matches =
            below.is_some_and(|rest| rest.is_empty() || self.path.ends_with('/') || rest.starts_with('/'));
        url.host_str() == Some(&self.host) && path_matches && (!self.secure || url.scheme() == "https")
    }
}

/// A date as servers write it, also with dashes. Source: Go `net/http`, `readSetCookies`.
fn date(text: &str) -> Option<TimestampMs> {
    let text = text.trim().replace('-', " ");
    DateTimeParser::new().parse_timestamp(&text).ok().map(jiff::Timestamp::as_millisecond)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 1 June 2026.
    const NOW: TimestampMs = 1_780_315_200_000;

    #[test]
    fn configured_cookies_and_those_that_servers_set_go_together() {
        let check = |configured: &[&'static str], set: &[&'static str], expected: Option<&str>| {
            let mut jar = CookieJar::default();
            let mut headers = HeaderMap::new();
            for text in set {
                headers.append(SET_COOKIE, HeaderValue::from_static(text));
            }
            let url = Url::parse("http://a.example/").unwrap();
            jar.store(&url, &headers, NOW);
            let configured: Vec<_> = configured.iter().map(|text| HeaderValue::from_static(text)).collect();
            let found = jar.header(&url, configured.iter()).unwrap();
            let found = found.as_ref().map(|value| value.to_str().unwrap());
            assert_eq!(found, expected, "{configured:?} {set:?}");
        };
        check(&["a=1; b=2"], &["id=3"], Some("a=1; b=2; id=3"));
        check(&["a=1", "b=2"], &[], Some("a=1; b=2"));
        check(&["a=1; b=2"], &["a=3"], Some("b=2; a=3"));
        check(&["a"], &["a=3"], Some("a=3"));
        check(&[], &["id=3"], Some("id=3"));
        check(&[], &[], None);
    }

    #[test]
    fn a_cookie_goes_back_to_where_it_came_from() {
        let check = |set: &[&str], ask: &str, expected: Option<&str>| {
            let mut jar = CookieJar::default();
            for text in set {
                let mut headers = HeaderMap::new();
                headers.append(SET_COOKIE, HeaderValue::from_str(text).unwrap());
                jar.store(&Url::parse("http://a.example/app/login").unwrap(), &headers, NOW);
            }
            let found = jar.header(&Url::parse(ask).unwrap(), [].iter()).unwrap();
            let found = found.as_ref().map(|value| value.to_str().unwrap());
            assert_eq!(found, expected, "{set:?} {ask}");
        };
        check(&["id=1; HttpOnly"], "http://a.example/app/home", Some("id=1"));
        check(&["id=1"], "http://a.example/app", Some("id=1"));
        check(&["id=1"], "http://a.example/apple", None);
        check(&["id=1; Path=/"], "http://a.example/", Some("id=1"));
        check(&["id=1; Path=/", "b = 2 ; Path=/"], "http://a.example/x", Some("id=1; b=2"));
        check(&["id=1; Path=/", "id=2; path=/"], "http://a.example/", Some("id=2"));
        check(&["id=1; Path=/", "id=; path=/; Max-Age=0"], "http://a.example/", None);
        let past = "id=; path=/; expires=Thu, 01 Jan 1970 00:00:00 GMT";
        check(&["id=1; Path=/", past], "http://a.example/", None);
        check(
            &["id=1; Path=/", "id=; path=/; Expires=Thu, 01-Jan-1970 00:00:00 GMT"],
            "http://a.example/",
            None,
        );
        let future = "id=2; path=/; Expires=Tue, 01 Jan 2030 00:00:00 GMT";
        check(&["id=1; Path=/", future], "http://a.example/", Some("id=2"));
        check(&["id=1; Path=/; Expires=soon"], "http://a.example/", Some("id=1"));
        let both = "id=2; path=/; Max-Age=60; Expires=Thu, 01 Jan 1970 00:00:00 GMT";
        check(&[both], "http://a.example/", Some("id=2"));
        check(&["id=1; Path=/; Domain=example"], "http://b.example/", None);
        check(&["id=1; Path=/; Secure"], "http://a.example/", None);
        check(&["id=1; Path=/; Secure"], "https://a.example/", Some("id=1"));
        check(&["nonsense"], "http://a.example/app/", None);
    }
}
