//! The configured API keys: those with full access, and those of clients.

use std::sync::Arc;

use crate::domain::{ApiClient, ApiKeyHash, Time};
use crate::web::warnings::OncePerMinute;

pub(in crate::web) struct Clients {
    keys: Vec<ApiKeyHash>,
    clients: Vec<Client>,
}

/// A client, and what is logged or recorded about it once a minute.
pub(in crate::web) struct Client {
    pub(in crate::web) configured: Arc<ApiClient>,
    /// Its expired key is in use.
    pub(in crate::web) expiry: OncePerMinute,
    /// It used its key.
    pub(in crate::web) usage: OncePerMinute,
}

/// The owner of a key.
pub(in crate::web) enum Holder<'a> {
    Full,
    Client(&'a Client),
    /// The key is no longer accepted.
    Expired(&'a Client),
}

impl Clients {
    pub(in crate::web) fn new(keys: Vec<ApiKeyHash>, clients: Vec<ApiClient>) -> Self {
        let client = |configured| Client {
            configured: Arc::new(configured),
            expiry: OncePerMinute::default(),
            usage: OncePerMinute::default(),
        };
        Self {
            keys,
            clients: clients.into_iter().map(client).collect(),
        }
    }

    /// True if no key is configured, so that anybody may read.
    pub(in crate::web) fn is_open(&self) -> bool {
        self.keys.is_empty() && self.clients.is_empty()
    }

    /// The owner of a key. It is compared with every key, whichever matches.
    pub(in crate::web) fn holder(&self, key: &[u8], now: Time) -> Option<Holder<'_>> {
        let hash = ApiKeyHash::of(key);
        let is_full = hash.is_in(&self.keys);
        let mut found = None;
        for client in &self.clients {
            if hash.is_in(&[client.configured.key]) {
                found = Some(client);
            }
        }
        match found {
            _ if is_full => Some(Holder::Full),
            Some(client) if client.configured.has_expired(now) => Some(Holder::Expired(client)),
            Some(client) => Some(Holder::Client(client)),
            None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Accounts, Scope};

    #[test]
    fn a_key_is_accepted_until_it_expires() {
        let client = |name: &str, expires| ApiClient {
            name: name.parse().expect("it is a name"),
            key: ApiKeyHash::of(name),
            scopes: vec![Scope::Read],
            accounts: Accounts::All,
            expires,
        };
        let now = Time::EPOCH;
        let clients = Clients::new(
            vec![ApiKeyHash::of("full"), ApiKeyHash::of("other")],
            vec![client("good", None), client("late", Some(now))],
        );
        let holder = |key: &str| match clients.holder(key.as_bytes(), now) {
            Some(Holder::Full) => "full".to_owned(),
            Some(Holder::Client(client)) => client.configured.name.to_string(),
            Some(Holder::Expired(client)) => format!("{} has expired", client.configured.name),
            None => "nobody".to_owned(),
        };
        for (key, expected) in [
            ("full", "full"),
            ("other", "full"),
            ("good", "good"),
            ("late", "late has expired"),
            ("Full", "nobody"),
            ("", "nobody"),
        ] {
            assert_eq!(holder(key), expected, "{key}");
        }
    }
}
