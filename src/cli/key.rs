//! `qunfa key create|list`.

use std::collections::BTreeMap;
use std::io::{self, Write};

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::Outcome;
use crate::app::{migrations, open_store};
use crate::config::{Api, Settings};
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
    let store = open_store(&config.store.url, migrations(&config))
        .await
        .with_context(|| format!("cannot open {}", config.store.url))?;
    let uses = store.client_uses().await;
    store.close().await;
    let uses = uses.context("cannot read when keys were used")?;
    print(&config.api, &uses).context("cannot write to standard output")?;
    if config.api.is_open() {
        eprintln!("no key is configured: whoever reaches the API may read it");
    }
    Ok(())
}

fn print(api: &Api, uses: &BTreeMap<String, Time>) -> io::Result<()> {
    let mut output = io::stdout().lock();
    for key in &api.keys {
        writeln!(output, "key {}", key.shortened())?;
    }
    for client in &api.clients {
        let last_use = uses.get(client.name.as_str()).copied();
        writeln!(output, "{}", line(client, last_use, Time::now()))?;
    }
    Ok(())
}

/// A client in words: `-` stands for what there is not, `*` for every account.
fn line(client: &ApiClient, last_use: Option<Time>, now: Time) -> String {
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
    let time = |time: Option<Time>| time.map_or_else(|| "-".to_owned(), |time| time.to_string());
    let end = if client.has_expired(now) {
        "expired"
    } else {
        "expires"
    };
    format!(
        "client {name} {} scopes {} accounts {accounts} {end} {} last_used {}",
        key.shortened(),
        scopes.join(","),
        time(*expires),
        time(last_use)
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
            line(&client, None, Time::EPOCH),
            "client agency sha256:ba7816bf… scopes read,export accounts * expires - last_used -"
        );
        client.accounts =
            Accounts::only(["b", "a"].map(|name| name.parse().expect("it is a name")));
        client.expires = Some(Time::EPOCH);
        assert_eq!(
            line(&client, Some(Time::EPOCH), Time::EPOCH),
            "client agency sha256:ba7816bf… scopes read,export accounts a,b expired 1970-01-01T00:00:00Z \
             last_used 1970-01-01T00:00:00Z"
        );
    }
}
