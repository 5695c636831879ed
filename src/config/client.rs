//! The check of one client of the API.

use super::Api;
use super::keys::{CLIENT_ACCOUNTS, CLIENT_EXPIRES, CLIENT_KEY, CLIENT_SCOPES};
use super::reader::Reader;
use crate::domain::{Accounts, ApiClient, ClientName, Scope};

impl Reader<'_> {
    pub(super) fn client(&mut self, name: &ClientName, api: &Api) -> Option<ApiClient> {
        self.require(CLIENT_KEY.key, "`qunfa key create` makes one");
        let key = self.optional(&CLIENT_KEY);
        // Two clients with one key could not be told apart.
        let mut clients = api.clients.iter();
        let place = match clients.find(|other| Some(other.key) == key) {
            Some(other) => Some(format!("api.clients.{}", other.name)),
            None => api
                .keys
                .iter()
                .any(|full| Some(*full) == key)
                .then(|| "api.keys".to_owned()),
        };
        if let Some(place) = place {
            let problem = format!("is also in `{place}`; create another key for this client");
            self.mistake(CLIENT_KEY.key, problem);
        }
        // An empty list would allow nothing, or seem to.
        for key in [CLIENT_SCOPES.key, CLIENT_ACCOUNTS.key] {
            let texts = self.setting(key).and_then(|setting| setting.texts.as_ref());
            if texts.is_some_and(Vec::is_empty) {
                self.mistake(key, "is empty; omit it to use the default");
            }
        }
        let scopes = self.list(&CLIENT_SCOPES);
        let accounts = self.list(&CLIENT_ACCOUNTS);
        Some(ApiClient {
            name: name.clone(),
            scopes: if scopes.is_empty() {
                vec![Scope::Read]
            } else {
                scopes
            },
            accounts: if accounts.is_empty() {
                Accounts::All
            } else {
                Accounts::only(accounts)
            },
            expires: self.optional(&CLIENT_EXPIRES),
            key: key?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::tests::{mistakes, settings};

    const KEY: &str =
        "key = 'sha256:0000000000000000000000000000000000000000000000000000000000000000'\n";

    fn checked(keys: &str) -> ApiClient {
        let settings = settings(&format!("[api.clients.grafana]\n{KEY}{keys}"), &[]);
        let config = settings.and_then(|settings| settings.check());
        config.expect(keys).api.clients.remove(0)
    }

    #[test]
    fn by_default_a_client_reads_every_account_and_does_not_expire() {
        let client = checked("");
        assert_eq!(client.name.as_str(), "grafana");
        assert_eq!(client.scopes, [Scope::Read]);
        assert_eq!((client.accounts, client.expires), (Accounts::All, None));

        let client = checked(
            "scopes = ['export', 'admin']\naccounts = ['b', 'gone', 'b']\nexpires = '2027-01-01T00:00:00+08:00'\n",
        );
        assert_eq!(client.scopes, [Scope::Export, Scope::Admin]);
        let names = ["b", "gone"].map(|name| name.parse().expect("it is a name"));
        assert_eq!(client.accounts, Accounts::only(names));
        let expires = client.expires.map(|time| time.to_string());
        assert_eq!(expires.as_deref(), Some("2026-12-31T16:00:00Z"));
    }

    #[test]
    fn a_mistake_in_a_client_is_told_without_its_value() {
        for (keys, expected) in [
            (
                "scopes = []",
                "`api.clients.grafana.scopes` (config.toml): is empty; omit it",
            ),
            (
                "accounts = []",
                "`api.clients.grafana.accounts` (config.toml): is empty; omit it",
            ),
            (
                "scopes = ['Read']",
                "`api.clients.grafana.scopes` (config.toml): entry 1 must be `read`, `export` or `admin`",
            ),
            (
                "accounts = ['a', 'A']",
                "`api.clients.grafana.accounts` (config.toml): entry 2 is not an account name;",
            ),
            (
                "expires = '2027-01-01'",
                "`api.clients.grafana.expires` (config.toml): is not a date, time and offset in RFC 3339",
            ),
            (
                "expires = '2027-01-01T00:00:00'",
                "`api.clients.grafana.expires` (config.toml): is not a date, time and offset",
            ),
            (
                "expires = '1800000000000'",
                "`api.clients.grafana.expires` (config.toml): is not a date, time and offset",
            ),
            (
                "expires = 2027-01-01T00:00:00Z",
                "`api.clients.grafana.expires` (config.toml): must be a quoted string",
            ),
            (
                "scope = ['read']",
                "`api.clients.grafana.scope` (config.toml): is unknown (did you mean `api.clients.grafana.scopes`?)",
            ),
        ] {
            let mistakes = mistakes(&format!("[api.clients.grafana]\n{KEY}{keys}\n"), &[]);
            assert!(
                mistakes.len() == 1 && mistakes[0].starts_with(expected),
                "{mistakes:?}"
            );
        }
        for (text, expected) in [
            (
                "[api.clients.grafana]",
                "`api.clients.grafana.key`: is missing; `qunfa key create` makes one",
            ),
            (
                "[api.clients.grafana]\nkey = 'secret'",
                "`api.clients.grafana.key` (config.toml): is not a hash;",
            ),
            (
                "[api.clients.Grafana]",
                "`api.clients.Grafana` (config.toml): is not a client name; a client name is 1 to 64 of",
            ),
            (
                "api.clients = 5",
                "`api.clients` (config.toml): must be a table, `[api.clients]`",
            ),
            (
                "api.clients.grafana = 5",
                "`api.clients.grafana` (config.toml): must be a table",
            ),
        ] {
            let mistakes = mistakes(text, &[]);
            assert!(
                mistakes.len() == 1 && mistakes[0].starts_with(expected),
                "{mistakes:?}"
            );
        }
    }

    #[test]
    fn each_client_has_its_own_key() {
        let two = format!("[api.clients.a]\n{KEY}[api.clients.b]\n{KEY}");
        assert_eq!(
            mistakes(&two, &[]),
            [
                "`api.clients.b.key` (config.toml): is also in `api.clients.a`; create another key for this client"
            ]
        );
        let full = KEY
            .replace("key = '", "[api]\nkeys = ['")
            .replace("'\n", "']\n");
        assert_eq!(
            mistakes(&format!("{full}[api.clients.a]\n{KEY}"), &[]),
            [
                "`api.clients.a.key` (config.toml): is also in `api.keys`; create another key for this client"
            ]
        );
    }
}
