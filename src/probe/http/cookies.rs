//! Cookies within one probe: a login page that sets one and redirects wants it back.
//!
//! Simpler than a browser, and stricter: a cookie goes back to exactly the host that set it.

use hyper::header::{HeaderMap, SET_COOKIE};
use url::Url;

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
    /// Keeps what the response to `url` sets. What cannot be read, or expires at once, is not kept.
    pub(super) fn store(&mut self, url: &Url, headers: &HeaderMap) {
        let texts = headers.get_all(SET_COOKIE).into_iter().filter_map(|value| value.to_str().ok());
        for (cookie, expired) in texts.filter_map(|text| Cookie::parse(url, text)) {
            let same = |old: &Cookie| {
                (&old.host, &old.path, &old.name) == (&cookie.host, &cookie.path, &cookie.name)
            };
            self.0.retain(|old| !same(old));
            if !expired && self.0.len() < MAX_COOKIES {
                self.0.push(cookie);
            }
        }
    }

    /// The value of the header `Cookie` for a request to `url`, if there is any cookie for it.
    pub(super) fn header(&self, url: &Url) -> Option<String> {
        let pairs: Vec<String> = self
            .0
            .iter()
            .filter(|cookie| cookie.matches(url))
            .map(|cookie| format!("{}={}", cookie.name, cookie.value))
            .collect();
        (!pairs.is_empty()).then(|| pairs.join("; "))
    }
}

impl Cookie {
    /// The cookie and whether it is to be forgotten. Source: RFC 6265, sections 5.2 and 5.3.
    fn parse(url: &Url, text: &str) -> Option<(Self, bool)> {
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
        let mut expired = false;
        for attribute in parts {
            let (key, value) = attribute.split_once('=').unwrap_or((attribute, ""));
            match key.trim().to_ascii_lowercase().as_str() {
                "path" if value.trim().starts_with('/') => value.trim().clone_into(&mut cookie.path),
                "secure" => cookie.secure = true,
                "max-age" => expired = value.trim().parse::<i64>().is_ok_and(|seconds| seconds <= 0),
                _ => {}
            }
        }
        (!cookie.name.is_empty()).then_some((cookie, expired))
    }

    fn matches(&self, url: &Url) -> bool {
        let below = url.path().strip_prefix(self.path.as_str());
        let path_matches =
            below.is_some_and(|rest| rest.is_empty() || self.path.ends_with('/') || rest.starts_with('/'));
        url.host_str() == Some(&self.host) && path_matches && (!self.secure || url.scheme() == "https")
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    #[test]
    fn a_cookie_goes_back_to_where_it_came_from() {
        let check = |set: &[&str], ask: &str, expected: Option<&str>| {
            let mut jar = CookieJar::default();
            for text in set {
                let mut headers = HeaderMap::new();
                headers.append(SET_COOKIE, HeaderValue::from_str(text).unwrap());
                jar.store(&Url::parse("http://a.example/app/login").unwrap(), &headers);
            }
            assert_eq!(jar.header(&Url::parse(ask).unwrap()).as_deref(), expected, "{set:?} {ask}");
        };
        check(&["id=1; HttpOnly"], "http://a.example/app/home", Some("id=1"));
        check(&["id=1"], "http://a.example/app", Some("id=1"));
        check(&["id=1"], "http://a.example/apple", None);
        check(&["id=1; Path=/"], "http://a.example/", Some("id=1"));
        check(&["id=1; Path=/", "b = 2 ; Path=/"], "http://a.example/x", Some("id=1; b=2"));
        check(&["id=1; Path=/", "id=2; path=/"], "http://a.example/", Some("id=2"));
        check(&["id=1; Path=/", "id=; path=/; Max-Age=0"], "http://a.example/", None);
        check(&["id=1; Path=/; Domain=example"], "http://b.example/", None);
        check(&["id=1; Path=/; Secure"], "http://a.example/", None);
        check(&["id=1; Path=/; Secure"], "https://a.example/", Some("id=1"));
        check(&["nonsense"], "http://a.example/app/", None);
    }
}
