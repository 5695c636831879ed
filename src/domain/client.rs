//! A named client of the API, and what its key allows.

use std::fmt;
use std::str::FromStr;

use super::{AccountName, ApiKeyHash, Time};

/// A checked client name. The rule is that of [`AccountName`], because it is part of an environment
/// variable, too. Cloning is cheap.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientName(AccountName);

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a client name is 1 to 64 of a-z, 0-9, `_` and `-`, without `__`")]
pub struct InvalidClientName;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// All JSON responses, including the stream.
    Read,
    /// Exports of all jobs.
    Export,
    /// Everything.
    Admin,
}

/// The accounts that a client may see.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Accounts {
    #[default]
    All,
    /// Sorted and unique.
    Only(Vec<AccountName>),
}

#[derive(Clone, Debug)]
pub struct ApiClient {
    pub name: ClientName,
    pub key: ApiKeyHash,
    pub scopes: Vec<Scope>,
    pub accounts: Accounts,
    /// When its key expires; `None` means never.
    pub expires: Option<Time>,
}

impl ApiClient {
    pub fn may(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope) || self.scopes.contains(&Scope::Admin)
    }

    pub fn has_expired(&self, now: Time) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }
}

impl Accounts {
    pub fn only(names: impl IntoIterator<Item = AccountName>) -> Self {
        let mut names: Vec<_> = names.into_iter().collect();
        names.sort_unstable();
        names.dedup();
        Self::Only(names)
    }

    pub fn include(&self, account: &AccountName) -> bool {
        match self {
            Self::All => true,
            Self::Only(names) => names.binary_search(account).is_ok(),
        }
    }
}

impl ClientName {
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl Scope {
    pub const ALL: [Self; 3] = [Self::Read, Self::Export, Self::Admin];

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
