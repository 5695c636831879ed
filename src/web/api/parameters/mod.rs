//! Query parameters, read strictly: one that is unknown, given twice, empty or malformed is
//! answered 400 with its name. Each is defined once, in [`tables`], for reading and for the
//! OpenAPI document.

mod kinds;
mod tables;

use std::collections::BTreeMap;
use std::fmt::Display;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use url::form_urlencoded;

use super::auth::Access;
use super::problem::Problem;
use crate::domain::Accounts;
use crate::web::State;
pub(super) use kinds::{ACCOUNT, CURSOR, DEFAULT_LIMIT, Kind, MSG_ID, non_empty};
pub(super) use tables::{
    Bom, DeliveryFilters, JobFilters, Paging, Range, StreamFilter, TimelineOptions, described,
};

/// A set of query parameters.
pub(in crate::web) trait Parameters: Sized {
    fn names() -> Vec<&'static str>;

    fn read(values: &Values) -> Result<Self, Problem>;
}

/// Parameters that choose what a list holds.
pub(in crate::web) trait Filters: Parameters {
    /// The parameters that are set, in their canonical form: the same for every way to write them.
    fn canonical(&self) -> BTreeMap<&'static str, String>;
}

impl Parameters for () {
    fn names() -> Vec<&'static str> {
        Vec::new()
    }

    fn read(_: &Values) -> Result<Self, Problem> {
        Ok(())
    }
}

impl<A: Parameters, B: Parameters> Parameters for (A, B) {
    fn names() -> Vec<&'static str> {
        [A::names(), B::names()].concat()
    }

    fn read(values: &Values) -> Result<Self, Problem> {
        Ok((A::read(values)?, B::read(values)?))
    }
}

/// The parameters of a request. A request with any other parameter is answered 400.
pub(in crate::web) struct Query<P>(pub(super) P);

impl<P: Parameters> FromRequestParts<State> for Query<P> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &State) -> Result<Self, Problem> {
        let query = parts.uri.query().unwrap_or_default();
        let access = parts.extensions.get::<Access>();
        let visible = access.map(Access::accounts).unwrap_or_default();
        P::read(&Values::new(query, &P::names(), visible)?).map(Self)
    }
}

/// The parameters of a request as text, by name.
#[derive(Debug)]
pub(in crate::web) struct Values {
    texts: BTreeMap<&'static str, String>,
    /// The accounts that the key of the request may see.
    pub(super) visible: Accounts,
}

impl Values {
    pub(super) fn new(
        query: &str,
        allowed: &[&'static str],
        visible: Accounts,
    ) -> Result<Self, Problem> {
        let mut texts = BTreeMap::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let Some(&name) = allowed.iter().find(|allowed| **allowed == name) else {
                return Err(unknown(&name, allowed));
            };
            if value.is_empty() {
                return Err(invalid(format_args!("`{name}` is empty")));
            }
            if texts.insert(name, value.into_owned()).is_some() {
                return Err(invalid(format_args!("`{name}` is given twice")));
            }
        }
        Ok(Self { texts, visible })
    }

    pub(super) fn get<T>(&self, name: &str, kind: &Kind<T>) -> Result<Option<T>, Problem> {
        let Some(text) = self.texts.get(name) else {
            return Ok(None);
        };
        match (kind.read)(text) {
            None => Err(kind.refusal(name)),
            value => Ok(value),
        }
    }
}

fn unknown(name: &str, allowed: &[&str]) -> Problem {
    let distance = |allowed: &&&str| strsim::levenshtein(allowed, name);
    let nearest = allowed.iter().min_by_key(distance);
    let nearest = nearest.filter(|nearest| distance(nearest) <= 2);
    let meant = nearest.map_or_else(String::new, |nearest| {
        format!(" (did you mean `{nearest}`?)")
    });
    let allowed = match allowed {
        [] => "this route takes no parameters".to_owned(),
        names => format!("known parameters: {}", names.join(", ")),
    };
    let name: String = name.escape_debug().take(64).collect();
    invalid(format_args!(
        "`{name}` is not a parameter of this route{meant}; {allowed}"
    ))
}

fn invalid(detail: impl Display) -> Problem {
    Problem::InvalidParameter(detail.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str) -> Result<(Range, Paging), Problem> {
        let values = Values::new(query, &<(Range, Paging)>::names(), Accounts::All)?;
        Parameters::read(&values)
    }

    fn detail(query: &str) -> String {
        match read(query) {
            Err(Problem::InvalidParameter(detail)) => detail,
            _ => panic!("{query} was taken"),
        }
    }

    #[test]
    fn known_parameters_are_read_and_decoded() {
        let (range, paging) = read("limit=5&account=a%2Db").expect("they are valid");
        assert_eq!(paging.limit, Some(5));
        assert_eq!(
            range.account.map(|name| name.to_string()),
            Some("a-b".to_owned())
        );
        assert!(read("").is_ok_and(|(range, _)| range.from.is_none()));
    }

    #[test]
    fn anything_else_is_named_and_refused() {
        for (query, expected) in [
            (
                "limits=5",
                "`limits` is not a parameter of this route (did you mean `limit`?); \
                 known parameters: account, from, to, limit, cursor",
            ),
            (
                "color=red",
                "`color` is not a parameter of this route; \
                 known parameters: account, from, to, limit, cursor",
            ),
            ("limit=5&limit=5", "`limit` is given twice"),
            ("limit=", "`limit` is empty"),
            ("limit", "`limit` is empty"),
            ("limit=x", "`limit` must be a number from 1 to 500"),
        ] {
            assert_eq!(detail(query), expected);
        }
        let Err(Problem::InvalidParameter(detail)) =
            Values::new("x=1", &<()>::names(), Accounts::All)
        else {
            panic!("it was taken");
        };
        assert!(
            detail.ends_with("; this route takes no parameters"),
            "{detail}"
        );
    }
}
