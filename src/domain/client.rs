//! A client of the API that is known by name: what its key allows, and until when.

use std::fmt;
use std::str::FromStr;

use super::{AccountName, ApiKeyHash, Time};

/// A checked client name. Its rule is that of [`AccountName`], as it, too, is a part of a variable's name. Cloning is cheap.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientName(AccountName);

/// The text is not a client name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a client name is 1 to 64 of a-z, 0-9, `_` and `-`, without `__`")]
pub struct InvalidClientName;

/// What a key may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Every answer in JSON, the stream among them.
    Read,
    /// The whole list of jobs in one answer.
    Export,
    /// Everything.
    Admin,
}

/// The accounts that somebody may see.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Accounts {
    /// Any.
    #[default]
    All,
    /// These alone, in order, each once.
    Only(Vec<AccountName>),
}

/// A client and what its key allows.
#[derive(Clone, Debug)]
pub struct ApiClient {
    /// Its name.
    pub name: ClientName,
    /// The hash of its key.
    pub key: ApiKeyHash,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// Whose jobs and deliveries it sees.
    pub accounts: Accounts,
    /// From when on its key is no longer taken; none: never.
    pub expires: Option<Time>,
}

impl ApiClient {
    /// Whether its scopes include that one.
    pub fn may(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope) || self.scopes.contains(&Scope::Admin)
    }

    /// Whether its key is no longer taken.
    pub fn has_expired(&self, now: Time) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }
}

impl Accounts {
    /// These alone.
    pub fn only(names: impl IntoIterator<Item = AccountName>) -> Self {
        let mut names: Vec<_> = names.into_iter().collect();
        names.sort_unstable();
        names.dedup();
        Self::Only(names)
    }

    /// Whether that account is among them.
    pub fn include(&self, account: &AccountName) -> bool {
        match self {
            Self::All => true,
            Self::Only(names) => names.binary_search(account).is_ok(),
        }
    }
}

impl ClientName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 3] = [Self::Read, Self::Export, Self::Admin];

    /// As it is configured.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Export => "export",
            Self::Admin => "admin",
        }
    }
}

impl FromStr for ClientName {
    type Err = InvalidClientName;

    fn from_str(text: &str) -> Result<Self, InvalidClientName> {
        text.parse().map(Self).map_err(|_| InvalidClientName)
    }
}

impl fmt::Display for ClientName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> AccountName {
        text.parse().expect("it is a name")
    }

    #[test]
    fn accounts_are_a_set() {
        let accounts = Accounts::only(["b", "a", "b"].map(name));
        assert_eq!(accounts, Accounts::only(["a", "b"].map(name)));
        assert!(accounts.include(&name("a")) && accounts.include(&name("b")));
        assert!(!accounts.include(&name("c")) && Accounts::All.include(&name("c")));
        assert!(!Accounts::only([]).include(&name("a")));
    }

    #[test]
    fn admin_includes_every_scope_and_no_other_scope_does() {
        for held in Scope::ALL {
            let client = ApiClient {
                name: "c".parse().expect("it is a name"),
                key: ApiKeyHash::of("key"),
                scopes: vec![held],
                accounts: Accounts::All,
                expires: None,
            };
            for scope in Scope::ALL {
                let allowed = held == scope || held == Scope::Admin;
                assert_eq!(client.may(scope), allowed, "{held:?} {scope:?}");
            }
        }
    }

    #[test]
    fn a_key_is_taken_until_the_millisecond_that_it_expires() {
        let at = |time| Time::from_milliseconds(time).expect("it is in range");
        let client = |expires| ApiClient {
            name: "c".parse().expect("it is a name"),
            key: ApiKeyHash::of("key"),
            scopes: Vec::new(),
            accounts: Accounts::All,
            expires,
        };
        assert!(!client(None).has_expired(at(1)));
        assert!(!client(Some(at(2))).has_expired(at(1)));
        assert!(client(Some(at(2))).has_expired(at(2)));
    }
}
