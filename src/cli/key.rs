//! `qunfa key create|list`.

use std::collections::BTreeMap;

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::{Outcome, print, with_store};
use crate::config::{Api, Config, Settings};
use crate::domain::{AccountName, Accounts, ApiClient, ApiKeyHash, Time};

/// Prints a key of 256 random bits, and the hash of it to configure.
pub(super) fn create() -> Outcome {
    let mut random = [0; 32];
    getrandom::fill(&mut random).context("the system gave no random bytes")?;
    let key = format!("qunfa_{}", URL_SAFE_NO_PAD.encode(random));
    print(format_args!("{key}\n{}\n", ApiKeyHash::of(&key)))?;
    eprintln!(
        "the first line is the key, which is not shown again: clients send it as `Authorization: Bearer KEY`"
    );
    eprintln!(
        "the second line goes into the configuration: into `api.keys`, or as the `key` of a client"
    );
    Ok(())
}

/// Shows the keys with full access, then every client.
pub(super) async fn list(settings: &Settings) -> Outcome {
    let config = settings.check()?;
    let uses = uses(&config).await;
    print(lines(&config.api, uses.as_ref().ok()))?;
    if config.api.is_open() {
        eprintln!("no key is configured: anybody who reaches the API may read it");
    }
    Ok(uses.map(drop)?)
}

/// When each client last used its key.
async fn uses(config: &Config) -> anyhow::Result<BTreeMap<String, Time>> {
    with_store(config, async |store| {
        let uses = store.client_uses().await;
        uses.context("cannot read when keys were used")
    })
    .await
}

/// `uses` is `None` if they could not be read.
fn lines(api: &Api, uses: Option<&BTreeMap<String, Time>>) -> String {
    let keys = api.keys.iter().map(|key| format!("key {key}\n"));
    let clients = api.clients.iter().map(|client| {
        let last_use = match uses {
            Some(uses) => time(uses.get(client.name.as_str()).copied()),
            None => "?".to_owned(),
        };
        line(client, &last_use, Time::now()) + "\n"
    });
    keys.chain(clients).collect()
}

fn time(time: Option<Time>) -> String {
    time.map_or_else(|| "-".to_owned(), |time| time.to_string())
}

/// A client as a line: `-` means none, `*` every account.
fn line(client: &ApiClient, last_use: &str, now: Time) -> String {
    let ApiClient {
        name,
        key,
        scopes,
        accounts,
        expires,
    } = client;
    let scopes: Vec<_> = scopes.iter().map(|scope| scope.as_str()).collect();
    let accounts = match accounts {
        Accounts::All => "*".to_owned(),
        Accounts::Only(names) => {
            let names: Vec<_> = names.iter().map(AccountName::as_str).collect();
            names.join(",")
        }
    };
    let end = if client.has_expired(now) {
        "expired"
    } else {
        "expires"
    };
    format!(
        "client {name} {key} scopes {} accounts {accounts} {end} {} last_used {last_use}",
        scopes.join(","),
        time(*expires),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Scope;

    #[test]
    fn a_client_is_a_line() {
        let mut client = ApiClient {
            name: "agency".parse().expect("it is a name"),
            key: ApiKeyHash::of("abc"),
            scopes: vec![Scope::Read, Scope::Export],
            accounts: Accounts::All,
            expires: None,
        };
        assert_eq!(
            line(&client, "-", Time::EPOCH),
            "client agency sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad scopes read,export accounts * expires - last_used -"
        );
        client.accounts =
            Accounts::only(["b", "a"].map(|name| name.parse().expect("it is a name")));
        client.expires = Some(Time::EPOCH);
        assert_eq!(
            line(&client, "?", Time::EPOCH),
            "client agency sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad scopes \
             read,export accounts a,b expired 1970-01-01T00:00:00Z last_used ?"
        );
    }
}
