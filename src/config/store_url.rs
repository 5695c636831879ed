//! Where the database is.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use secrecy::{ExposeSecret, SecretString};
use url::Url;

/// The address of the database. `Debug` hides and `Display` redacts: it may hold a password.
#[derive(Clone, Debug)]
pub enum StoreUrl {
    /// `sqlite://PATH`: the file.
    Sqlite(PathBuf),
    /// `postgres://…`: the whole address, for the driver.
    Postgres(SecretString),
}

/// The parameters that hold nothing private. Others of the driver may: `password`, `options`.
const SHOWN_PARAMETERS: [&str; 7] = [
    "sslmode",
    "sslrootcert",
    "host",
    "port",
    "dbname",
    "user",
    "application_name",
];

impl FromStr for StoreUrl {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        if let Some(path) = text.strip_prefix("sqlite:") {
            sqlite(path.strip_prefix("//").unwrap_or(path))
        } else if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            postgres(text)
        } else {
            Err("must start with `sqlite://`, `postgres://` or `postgresql://`")
        }
    }
}

fn sqlite(path: &str) -> Result<StoreUrl, &'static str> {
    if path.contains(":memory:") || path.starts_with("file:") {
        return Err("must be a file: a database in memory is lost when the program ends");
    }
    if path.contains('?') {
        return Err("must not have parameters after a SQLite path");
    }
    if path.is_empty() || path.contains(char::is_control) {
        return Err("must be `sqlite://PATH`, with a path without control characters");
    }
    Ok(StoreUrl::Sqlite(path.into()))
}

fn postgres(text: &str) -> Result<StoreUrl, &'static str> {
    let url = Url::parse(text)
        .map_err(|_| "is not a valid URL, for example `postgres://user:password@host/database`")?;
    // A bare `/`, `?` or `#` ends the part with the password, the rest of which would count as
    // public.
    let is_ambiguous = url.fragment().is_some()
        || url.path().contains('@')
        || url.query_pairs().any(|(name, _)| name.contains('@'));
    if is_ambiguous {
        return Err(
            "is ambiguous; write `/`, `?`, `#` and `@` in the user name and password as %2F, %3F, %23 and %40",
        );
    }
    Ok(StoreUrl::Postgres(text.into()))
}

impl fmt::Display for StoreUrl {
    /// As given, with `***` for the password and for parameters that may be private.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(formatter, "sqlite://{}", path.display()),
            Self::Postgres(text) => match Url::parse(text.expose_secret()) {
                Ok(url) => formatter.write_str(redacted(url).as_str()),
                Err(_) => formatter.write_str("postgres://***"),
            },
        }
    }
}

/// The values of `sslmode` with which the driver may fall back to an unencrypted connection.
const UNPROTECTED: [&str; 2] = ["allow", "prefer"];

impl StoreUrl {
    /// True if PostgreSQL is reached over a network and neither the URL nor the environment
    /// enforces encryption. The driver then encrypts only if the server, or whoever answers in its
    /// place, offers it.
    pub(super) fn is_unprotected(&self) -> bool {
        let Self::Postgres(text) = self else {
            return false;
        };
        let Ok(url) = Url::parse(text.expose_secret()) else {
            return false;
        };
        let parameter = |names: &[&str]| {
            let mut pairs = url
                .query_pairs()
                .filter(|(name, _)| names.contains(&name.as_ref()));
            pairs.next().map(|(_, value)| value.into_owned())
        };
        let variable = |name| std::env::var(name).ok();
        let host = parameter(&["host", "hostaddr"])
            .or_else(|| {
                url.host_str()
                    .filter(|host| !host.is_empty())
                    .map(str::to_owned)
            })
            .or_else(|| variable("PGHOST"));
        let mode = parameter(&["sslmode", "ssl-mode"]).or_else(|| variable("PGSSLMODE"));
        host.is_some_and(|host| !is_local(&host))
            && mode.is_none_or(|mode| UNPROTECTED.contains(&&*mode.to_ascii_lowercase()))
    }
}

/// True if the host is this machine: by name, by address, or as the directory of a Unix socket.
fn is_local(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || host.starts_with('/')
        || host.to_ascii_lowercase().starts_with("%2f")
        || address
            .parse::<IpAddr>()
            .is_ok_and(|address| address.to_canonical().is_loopback())
}

fn redacted(mut url: Url) -> Url {
    if url.password().is_some() {
        // Fails only where there is no host, and then there is no password.
        let _ = url.set_password(Some("***"));
    }
    let names: Vec<_> = url
        .query_pairs()
        .map(|(name, value)| match name.as_ref() {
            shown if SHOWN_PARAMETERS.contains(&shown) => format!("{name}={value}"),
            _ => format!("{name}=***"),
        })
        .collect();
    if !names.is_empty() {
        url.set_query(Some(&names.join("&")));
    }
    url.set_fragment(None);
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_without_sslmode_is_unprotected() {
        let is_unprotected = |text: &str| text.parse::<StoreUrl>().expect(text).is_unprotected();
        for text in [
            "postgres://u:p@db/x",
            "postgres://u:p@10.0.0.7:5432/x",
            "postgresql://u:p@[2001:db8::1]/x",
            "postgres://u:p@db/x?sslmode=prefer",
            "postgres://u:p@db/x?ssl-mode=Allow",
            "postgres:///x?host=db",
        ] {
            assert!(is_unprotected(text), "{text}");
        }
        for text in [
            "sqlite://x.db",
            "postgres://u:p@localhost/x",
            "postgres://u:p@127.0.0.1:5432/x",
            "postgres://u:p@[::1]/x",
            "postgres://u:p@db/x?sslmode=verify-full",
            "postgres://u:p@db/x?sslmode=require",
            "postgres://u:p@db/x?sslmode=disable",
            "postgres:///x?host=/run/postgresql",
            "postgres://%2Frun%2Fpostgresql/x",
        ] {
            assert!(!is_unprotected(text), "{text}");
        }
    }

    #[test]
    fn sqlite_is_a_file() {
        for (text, path) in [
            ("sqlite://data/qunfa.db", "data/qunfa.db"),
            ("sqlite:data/qunfa.db", "data/qunfa.db"),
            ("sqlite:///var/x.db", "/var/x.db"),
            ("sqlite:/var/x.db", "/var/x.db"),
            ("sqlite://a b#1%20.db", "a b#1%20.db"),
        ] {
            match text.parse() {
                Ok(StoreUrl::Sqlite(found)) => assert_eq!(found, PathBuf::from(path)),
                other => panic!("{text}: {other:?}"),
            }
        }
    }

    #[test]
    fn only_durable_databases_are_accepted() {
        for (text, problem) in [
            ("sqlite::memory:", "memory"),
            ("sqlite://:memory:", "memory"),
            ("sqlite:file::memory:?cache=shared", "memory"),
            ("sqlite://file:x", "memory"),
            ("sqlite://x.db?mode=memory", "parameters"),
            ("sqlite:", "path"),
            ("sqlite://", "path"),
            ("sqlite://x.db\n", "path"),
            ("", "must start with"),
            ("data/qunfa.db", "must start with"),
            ("mysql://host/db", "must start with"),
            ("postgres:host/db", "must start with"),
            ("postgres://host:port/db", "not a valid URL"),
            ("postgres://user:12#34@host/db", "ambiguous"),
            ("postgres://user:12?34@host/db", "ambiguous"),
            ("postgres://user:12/34@host/db", "ambiguous"),
        ] {
            let refused = text.parse::<StoreUrl>().expect_err(text);
            assert!(refused.contains(problem), "{text}: {refused}");
        }
    }

    #[test]
    fn passwords_are_neither_shown_nor_debugged() {
        for (text, shown) in [
            ("sqlite:data/x.db", "sqlite://data/x.db"),
            ("postgres://host/db", "postgres://host/db"),
            (
                "postgresql://user@host:5433/db",
                "postgresql://user@host:5433/db",
            ),
            (
                "postgres://user:CANARY@host/db",
                "postgres://user:***@host/db",
            ),
            (
                "postgres://user:CANARY@CANARY@host/db",
                "postgres://user:***@host/db",
            ),
            ("postgres:///db?host=/run/pg", "postgres:///db?host=/run/pg"),
            (
                "postgres://user@host/db?sslmode=require&password=CANARY&p%61ssword=CANARY",
                "postgres://user@host/db?sslmode=require&password=***&password=***",
            ),
            (
                "postgres://host/db?sslmode=verify-full&sslrootcert=/etc/ca.pem&sslkey=CANARY",
                "postgres://host/db?sslmode=verify-full&sslrootcert=/etc/ca.pem&sslkey=***",
            ),
            (
                "postgres://host/db?options=-c%20x=CANARY&Password=CANARY",
                "postgres://host/db?options=***&Password=***",
            ),
        ] {
            let url: StoreUrl = text.parse().expect(text);
            assert_eq!(url.to_string(), shown);
            assert!(!format!("{url:?}").contains("CANARY"));
        }
    }
}
