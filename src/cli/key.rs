//! `qunfa key create|list`.

use std::collections::BTreeMap;
use std::io::{self, Write};

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::Outcome;
use crate::app::open_existing;
use crate::config::{Api, Config, Settings};
use crate::domain::{AccountName, Accounts, ApiClient, ApiKeyHash, Time};

/// Prints a key of 256 random bits, and the hash that stands for it in the configuration.
pub(super) fn create() -> Outcome {
    let mut random = [0; 32];
    getrandom::fill(&mut random).context("the system gave no random bytes")?;
    let key = format!("qunfa_{}", URL_SAFE_NO_PAD.encode(random));
    writeln!(io::stdout(), "{key}\n{}", ApiKeyHash::of(&key))
        .context("cannot write to standard output")?;
    eprintln!(
        "the first line is the key, shown this once: clients send it as `Authorization: Bearer KEY`"
    );
    eprintln!(
        "the second line goes into `api.keys` of the configuration, or is the `key` of a client there"
    );
    Ok(())
}

/// Shows the keys with full access, then every client.
pub(super) async fn list(settings: &Settings) -> Outcome {
    let config = settings.check()?;
    let uses = uses(&config).await;
    print(&config.api, uses.as_ref().ok()).context("cannot write to standard output")?;
    if config.api.is_open() {
        eprintln!("no key is configured: whoever reaches the API may read it");
    }
    Ok(uses.map(drop)?)
}

/// When each client has last used its key.
async fn uses(config: &Config) -> anyhow::Result<BTreeMap<String, Time>> {
    let store = open_existing(config).await?;
    let uses = store.client_uses().await;
    store.close().await;
    uses.context("cannot read when keys were used")
}

/// Without `uses`, nobody knows them.
fn print(api: &Api, uses: Option<&BTreeMap<String, Time>>) -> io::Result<()> {
    let mut output = io::stdout().lock();
    for key in &api.keys {
        writeln!(output, "key {key}")?;
    }
    for client in &api.clients {
        let last_use = match uses {
            Some(uses) => time(uses.get(client.name.as_str()).copied()),
            None => "?".to_owned(),
        };
        writeln!(output, "{}", line(client, &last_use, Time::now()))?;
    }
    Ok(())
}

fn time(time: Option<Time>) -> String {
    time.map_or_else(|| "-".to_owned(), |time| time.to_string())
}

/// A client in words: `-` stands for what there is not, `*` for every account.
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
