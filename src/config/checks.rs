//! The check of each key's text. What is wrong is said without the text itself: it may be a secret
//! under the wrong key.

use std::fmt::Display;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use tracing::level_filters::LevelFilter;
use url::{Host, Url};

use super::LogFormat;
use crate::domain::{AccountName, ApiKeyHash, InvalidApiKeyHash, Scope, Time, Zone};
use crate::wechat::{AppId, EncodingAesKey, Encryption, Mode, Token};

/// Makes the encrypted mode that was chosen.
pub(super) type EncryptionMode = fn(Encryption) -> Mode;

pub(super) fn parse<T: FromStr<Err: Display>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|invalid: T::Err| invalid.to_string())
}

pub(super) fn path(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() || text.contains(char::is_control) {
        return Err("is not a path; omit it to use the default".to_owned());
    }
    Ok(text.into())
}

pub(super) fn milliseconds(text: &str) -> Result<Duration, String> {
    parse(text).map(Duration::from_millis)
}

pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    let address = match text.strip_prefix("localhost:") {
        Some(port) => format!("127.0.0.1:{port}").parse(),
        None => text.parse(),
    };
    address.map_err(|_| {
        "is not an IP address and port, for example `127.0.0.1:8080` or `[::1]:8080`".to_owned()
    })
}

pub(super) fn optional_address(text: &str) -> Result<Option<SocketAddr>, String> {
    (!text.is_empty()).then(|| address(text)).transpose()
}

pub(super) fn time_zone(text: &str) -> Result<Zone, String> {
    text.parse().map_err(|_| {
        "is not a time zone; use an IANA name such as `Asia/Shanghai` or `UTC`".to_owned()
    })
}

/// An origin as browsers write it, which is compared byte for byte.
pub(super) fn origin(text: &str) -> Result<String, String> {
    let is_safe = |url: &Url| {
        let is_local = match url.host() {
            Some(Host::Domain(name)) => name == "localhost",
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        };
        url.scheme() == "https" || (url.scheme() == "http" && is_local)
    };
    Url::parse(text)
        .ok()
        .filter(|url| is_safe(url) && !text.contains('*'))
        .map(|url| url.origin().ascii_serialization())
        .filter(|origin| origin == text)
        .ok_or_else(|| {
            "is not an origin such as `https://dash.example.com`, in lower case and without a path, \
             or `http://localhost:3000` on this machine"
                .to_owned()
        })
}

pub(super) fn hash(text: &str) -> Result<ApiKeyHash, String> {
    text.parse()
        .map_err(|invalid: InvalidApiKeyHash| format!("is not a hash; {invalid}"))
}

pub(super) fn scope(text: &str) -> Result<Scope, String> {
    let found = Scope::ALL.into_iter().find(|scope| scope.as_str() == text);
    found.ok_or_else(|| "must be `read`, `export` or `admin`".to_owned())
}

/// Any name: accounts that are no longer configured still have jobs.
pub(super) fn account(text: &str) -> Result<AccountName, String> {
    parse(text).map_err(|invalid| format!("is not an account name; {invalid}"))
}

/// A date without a time of day would end at a different moment in each time zone.
pub(super) fn expiry(text: &str) -> Result<Time, String> {
    let has_time = text.contains(['T', 't']);
    let time = has_time.then(|| Time::parse_rounding_down(text).ok());
    time.flatten().ok_or_else(|| {
        "is not a date, time and offset in RFC 3339, for example `2027-01-01T00:00:00+08:00`"
            .to_owned()
    })
}

pub(super) fn log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err("must be `text` or `json`".to_owned()),
    }
}

pub(super) fn log_level(text: &str) -> Result<LevelFilter, String> {
    match text {
        "error" => Ok(LevelFilter::ERROR),
        "warn" => Ok(LevelFilter::WARN),
        "info" => Ok(LevelFilter::INFO),
        "debug" => Ok(LevelFilter::DEBUG),
        "trace" => Ok(LevelFilter::TRACE),
        _ => Err("must be `error`, `warn`, `info`, `debug` or `trace`".to_owned()),
    }
}

pub(super) const MODE_RULE: &str = "must be `plain`, `compatible` or `safe`";

/// None for plain mode.
pub(super) fn mode(text: &str) -> Result<Option<EncryptionMode>, String> {
    match text {
        "plain" => Ok(None),
        "compatible" => Ok(Some(Mode::Compatible)),
        "safe" => Ok(Some(Mode::Safe)),
        _ => Err(MODE_RULE.to_owned()),
    }
}

pub(super) fn token(text: &str) -> Result<Token, String> {
    Token::new(text).map_err(|invalid| format!("{}; {invalid}", shape(text)))
}

pub(super) fn aes_key(text: &str) -> Result<EncodingAesKey, String> {
    EncodingAesKey::new(text).map_err(|invalid| format!("{}; {invalid}", shape(text)))
}

pub(super) fn app_id(text: &str) -> Result<AppId, String> {
    AppId::new(text).map_err(|invalid| format!("is not an AppID; {invalid}"))
}

/// WeChat writes original ids as `gh_` and a few letters and digits.
pub(super) fn original_id(text: &str) -> Result<String, String> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    text.strip_prefix("gh_")
        .filter(|rest| (1..=61).contains(&rest.len()) && rest.bytes().all(is_allowed))
        .map(|_| text.to_owned())
        .ok_or_else(|| {
            "is not an original id: `gh_` and 1 to 61 letters, digits, `_` and `-`".to_owned()
        })
}

pub(super) fn event(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("is empty; it must be the name of an event".to_owned()),
        event => Ok(event.to_owned()),
    }
}

/// What can be said about a secret that has the wrong form.
fn shape(secret: &str) -> String {
    let count = secret.chars().count();
    let plural = if count == 1 { "" } else { "s" };
    let alien = if secret.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        ""
    } else {
        ", not all of them letters and digits"
    };
    format!("has {count} character{plural}{alien}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_numbers_with_a_port_or_localhost() {
        for (text, expected) in [
            ("0.0.0.0:80", "0.0.0.0:80"),
            ("[::]:0", "[::]:0"),
            ("localhost:81", "127.0.0.1:81"),
        ] {
            assert_eq!(address(text).expect(text).to_string(), expected);
        }
        for text in [
            "",
            ":80",
            "127.0.0.1",
            "::1:80",
            "localhost",
            "localhost:+1",
            "host:80",
            "1.1.1.1:65536",
            "9464",
        ] {
            assert!(address(text).is_err(), "{text}");
        }
        assert_eq!(optional_address(""), Ok(None));
    }

    #[test]
    fn origins_are_exact_and_safe() {
        for text in [
            "https://dash.example.com",
            "https://dash.example.com:8443",
            "http://localhost:3000",
            "http://127.0.0.1:3000",
            "http://[::1]:3000",
        ] {
            assert_eq!(origin(text).as_deref(), Ok(text));
        }
        for text in [
            "*",
            "null",
            "",
            "dash.example.com",
            "https://dash.example.com/",
            "https://dash.example.com:443",
            "https://Dash.example.com",
            "https://*.example.com",
            "https://user@dash.example.com",
            "http://dash.example.com",
            "http://localhost.example.com",
            "file:///x",
        ] {
            assert!(origin(text).is_err(), "{text}");
        }
    }

    #[test]
    fn original_ids_have_a_prefix_and_a_length() {
        let longest = format!("gh_{}", "a".repeat(61));
        for (text, good) in [
            ("gh_0a-1_B", true),
            (&longest, true),
            (&format!("{longest}a"), false),
            ("gh_", false),
            ("gh_a.b", false),
        ] {
            assert_eq!(original_id(text).is_ok(), good, "{text}");
        }
    }
}
