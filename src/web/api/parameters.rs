//! Query parameters of the API, read strictly: one that is unknown, doubled, empty or malformed is an error that names it.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

use axum::http::Uri;
use url::form_urlencoded;

use super::problem::Problem;
use crate::domain::Time;

pub(super) const ACCOUNT: &str = "1 to 64 of a-z, 0-9, `_` and `-`, without `__`";
pub(super) const TIME: &str =
    "RFC 3339, such as 2026-01-01T08:00:00+08:00 with + written as %2B, or milliseconds since 1970";

/// The parameters of one request.
#[derive(Debug)]
pub(super) struct Parameters(BTreeMap<&'static str, String>);

impl Parameters {
    /// Takes the query apart; only names in the lists of `allowed` may stand in it.
    pub(super) fn read(uri: &Uri, allowed: &[&[&'static str]]) -> Result<Self, Problem> {
        let allowed = allowed.concat();
        let mut values = BTreeMap::new();
        for (name, value) in form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()) {
            let Some(&name) = allowed.iter().find(|allowed| **allowed == name) else {
                let name: String = name.escape_debug().take(64).collect();
                return Err(invalid(format_args!(
                    "`{name}` is no parameter here; allowed: {}",
                    match &allowed[..] {
                        [] => "none".to_owned(),
                        names => names.join(", "),
                    }
                )));
            };
            if value.is_empty() {
                return Err(invalid(format_args!("`{name}` is empty")));
            }
            if values.insert(name, value.into_owned()).is_some() {
                return Err(invalid(format_args!("`{name}` stands twice")));
            }
        }
        Ok(Self(values))
    }

    /// A value that its type reads; `expected` says what is allowed.
    pub(super) fn get<T: FromStr>(
        &self,
        name: &'static str,
        expected: &str,
    ) -> Result<Option<T>, Problem> {
        self.get_with(name, expected, |text| text.parse().ok())
    }

    /// A value that `convert` reads; `expected` says what is allowed.
    pub(super) fn get_with<T>(
        &self,
        name: &'static str,
        expected: &str,
        convert: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, Problem> {
        let Some(text) = self.0.get(name) else {
            return Ok(None);
        };
        match convert(text) {
            Some(value) => Ok(Some(value)),
            None => Err(invalid(format_args!("`{name}` must be {expected}"))),
        }
    }
}

/// `from` and `to`: a time between two milliseconds counts as the later one, so that no job before it is in.
pub(super) fn bound(text: &str) -> Option<Time> {
    Time::parse_rounding_up(text).ok()
}

fn invalid(detail: impl Display) -> Problem {
    Problem::InvalidParameter(detail.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str) -> Result<Parameters, Problem> {
        let uri = format!("/x?{query}").parse().expect("it is a URI");
        Parameters::read(&uri, &[&["limit"], &["account"]])
    }

    #[test]
    fn known_parameters_are_read_and_decoded() {
        let parameters = read("limit=5&account=a%2Db").expect("they are good");
        assert_eq!(parameters.get::<u32>("limit", "a number"), Ok(Some(5)));
        assert_eq!(parameters.0["account"], "a-b");
        assert_eq!(read("").map(|parameters| parameters.0.len()), Ok(0));
    }

    #[test]
    fn anything_else_is_named_and_refused() {
        for (query, part) in [
            ("limits=5", "allowed: limit, account"),
            ("limit=5&limit=5", "`limit` stands twice"),
            ("limit=", "`limit` is empty"),
            ("limit", "`limit` is empty"),
        ] {
            let Err(Problem::InvalidParameter(detail)) = read(query) else {
                panic!("{query} was taken");
            };
            assert!(detail.contains(part), "{detail}");
        }
        let wrong = read("limit=x").expect("it is well-formed");
        assert_eq!(
            wrong.get::<u32>("limit", "a number"),
            Err(Problem::InvalidParameter(
                "`limit` must be a number".to_owned()
            ))
        );
    }
}
