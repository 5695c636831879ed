//! The check of the clients of the API.

use super::check::api_key;
use super::checker::{Checker, Noted};
use super::key::{Address, Key};
use crate::domain::{AccountName, Accounts, ApiClient, ApiKeyHash, ClientName, Scope, Time};

const KEY_RULE: &str = "`qunfa key create` makes one";
const EXPIRES_RULE: &str =
    "is no time; allowed is RFC 3339 with a time of day and an offset: 2027-01-01T00:00:00+08:00";

impl Checker<'_> {
    /// Checks every client, and that no two keys are the same: it would not be clear whose it is.
    pub(super) fn clients(&mut self) -> Result<Vec<ApiClient>, Noted> {
        let names = self.layer.clients();
        let clients: Vec<_> = names.map(|name| self.client(name)).collect();
        let full = self.peek_keys();
        let mut seen: Vec<&ApiClient> = Vec::new();
        let mut outcome = Ok(());
        for client in clients.iter().flatten() {
            let other = seen.iter().find(|other| other.key == client.key);
            let whose = match other {
                Some(other) => Some(format!("api.clients.{}", other.name)),
                None => full.contains(&client.key).then(|| "api.keys".to_owned()),
            };
            if let Some(whose) = whose {
                let at = Address::of_client(&client.name, Key::ClientKey);
                let problem = format!("stands in `{whose}`, too; make one of its own");
                outcome = Err(self.mistake(&at, problem));
            }
            seen.push(client);
        }
        outcome?;
        clients.into_iter().collect()
    }

    fn client(&mut self, name: &ClientName) -> Result<ApiClient, Noted> {
        let at = |key| Address::of_client(name, key);
        let key = self.required(&at(Key::ClientKey), KEY_RULE, api_key);
        let scopes = self.given_list(&at(Key::ClientScopes), scope);
        let accounts = self.given_list(&at(Key::ClientAccounts), account);
        let expires = self.text(&at(Key::ClientExpires), expires);
        Ok(ApiClient {
            name: name.clone(),
            key: key?,
            scopes: scopes?.unwrap_or_else(|| vec![Scope::Read]),
            accounts: accounts?.map_or(Accounts::All, Accounts::only),
            expires: expires?,
        })
    }

    /// The entries of a list that is left out for its default: empty, it would allow nothing, or seem to.
    fn given_list<T>(
        &mut self,
        address: &Address,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Option<Vec<T>>, Noted> {
        let entries = self.list(address, read)?;
        if entries.is_empty() && self.layer.settings.contains_key(address) {
            return Err(self.mistake(address, "is empty; leave it out for the default"));
        }
        Ok((!entries.is_empty()).then_some(entries))
    }

    /// The keys with full access that are good; what is wrong with others is noted elsewhere.
    fn peek_keys(&self) -> Vec<ApiKeyHash> {
        let mut again = Checker::new(self.layer);
        let keys = again.list(&Address::general(Key::ApiKeys), api_key);
        keys.unwrap_or_default()
    }
}

fn scope(text: &str) -> Result<Scope, String> {
    let found = Scope::ALL.into_iter().find(|scope| scope.as_str() == text);
    found.ok_or_else(|| "is no scope; allowed are `read`, `export`, `admin`".to_owned())
}

/// Any name: accounts that are no longer configured still have jobs.
fn account(text: &str) -> Result<AccountName, String> {
    let name = text.parse::<AccountName>();
    name.map_err(|invalid| format!("names no account; {invalid}"))
}

/// A date alone would end at another time in each zone, and milliseconds nobody reads.
fn expires(text: &str) -> Result<Time, &'static str> {
    if !text.contains(['T', 't']) {
        return Err(EXPIRES_RULE);
    }
    Time::parse_rounding_down(text).map_err(|_| EXPIRES_RULE)
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
    fn a_client_reads_every_account_for_ever_unless_it_is_said_otherwise() {
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
    fn what_is_wrong_with_a_client_is_said_without_its_value() {
        for (keys, expected) in [
            (
                "scopes = []",
                "`api.clients.grafana.scopes` (config.toml): is empty; leave it out",
            ),
            (
                "accounts = []",
                "`api.clients.grafana.accounts` (config.toml): is empty; leave it out",
            ),
            (
                "scopes = ['Read']",
                "`api.clients.grafana.scopes` (config.toml): entry 1 is no scope; allowed are `read`",
            ),
            (
                "accounts = ['a', 'A']",
                "`api.clients.grafana.accounts` (config.toml): entry 2 names no account;",
            ),
            (
                "expires = '2027-01-01'",
                "`api.clients.grafana.expires` (config.toml): is no time; allowed is RFC 3339",
            ),
            (
                "expires = '2027-01-01T00:00:00'",
                "`api.clients.grafana.expires` (config.toml): is no time;",
            ),
            (
                "expires = '1800000000000'",
                "`api.clients.grafana.expires` (config.toml): is no time;",
            ),
            (
                "expires = 2027-01-01T00:00:00Z",
                "`api.clients.grafana.expires` (config.toml): must be a text in quotes",
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
                "`api.clients.grafana.key` (config.toml): is no hash;",
            ),
            (
                "[api.clients.Grafana]",
                "`api.clients.Grafana` (config.toml): names no client; a client name is 1 to 64 of",
            ),
            (
                "api.clients = 5",
                "`api.clients` (config.toml): must be a table, as in `[api.clients]`",
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
    fn every_key_is_of_one_client() {
        let two = format!("[api.clients.a]\n{KEY}[api.clients.b]\n{KEY}");
        assert_eq!(
            mistakes(&two, &[]),
            [
                "`api.clients.b.key` (config.toml): stands in `api.clients.a`, too; make one of its own"
            ]
        );
        let full = KEY
            .replace("key = '", "[api]\nkeys = ['")
            .replace("'\n", "']\n");
        assert_eq!(
            mistakes(&format!("{full}[api.clients.a]\n{KEY}"), &[]),
            ["`api.clients.a.key` (config.toml): stands in `api.keys`, too; make one of its own"]
        );
    }
}
