//! The address under which WeChat reaches this server.

use std::fmt;
use std::str::FromStr;

use url::Url;

/// A checked public address: `http` or `https`, a host, perhaps a port and a path; no slash at its
/// end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicUrl(Url);

impl PublicUrl {
    /// Without a slash at its end, so that a path can be appended.
    pub fn as_str(&self) -> &str {
        self.0.as_str().trim_end_matches('/')
    }

    /// The host: a name or an address, an IPv6 address in brackets.
    pub fn host(&self) -> Option<&str> {
        self.0.host_str()
    }

    /// The port, unless it is one of the two that WeChat calls.
    pub(super) fn unusual_port(&self) -> Option<u16> {
        self.0
            .port_or_known_default()
            .filter(|port| ![80, 443].contains(port))
    }
}

impl FromStr for PublicUrl {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        if !text.starts_with("http://") && !text.starts_with("https://") {
            return Err("must start with `http://` or `https://`");
        }
        let url = Url::parse(text)
            .map_err(|_| "is not a valid URL, for example `https://wx.example.com`")?;
        if url.query().is_some() || url.fragment().is_some() {
            return Err("must end with its host or path, without `?` and `#`");
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("must not contain a user name or password");
        }
        Ok(Self(url))
    }
}

impl fmt::Display for PublicUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slash_at_the_end_is_cut() {
        for (text, shown) in [
            ("https://wx.example.com", "https://wx.example.com"),
            ("https://wx.example.com/", "https://wx.example.com"),
            ("http://[::1]:8080/a/b/", "http://[::1]:8080/a/b"),
        ] {
            let url: PublicUrl = text.parse().expect(text);
            assert_eq!(url.as_str(), shown);
        }
    }

    #[test]
    fn anything_but_a_bare_web_address_is_refused() {
        for text in [
            "",
            "wx.example.com",
            "ftp://wx.example.com",
            "https:wx.example.com",
            "https://",
            "https://:80",
            "https://a b/",
            "https://wx.example.com?",
            "https://wx.example.com/?a=b",
            "https://wx.example.com#a",
            "https://user@wx.example.com",
            "https://:secret@wx.example.com",
        ] {
            assert!(text.parse::<PublicUrl>().is_err(), "{text}");
        }
    }

    #[test]
    fn only_the_two_standard_ports_are_usual() {
        for (text, port) in [
            ("https://a", None),
            ("http://a", None),
            ("http://a:443", None),
            ("https://a:80", None),
            ("https://a:8443", Some(8443)),
        ] {
            let url: PublicUrl = text.parse().expect(text);
            assert_eq!(url.unusual_port(), port, "{text}");
        }
    }
}
