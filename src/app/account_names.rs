//! The WeChat account that each account stands for: `original_id`, or else what the database remembers.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::open_store;
use crate::config::Config;
use crate::domain::AccountName;
use crate::store::{Migrations, Store, StoreError};
use crate::wechat::Account;

/// The pause before the next try while the database is away.
const PAUSE: Duration = Duration::from_secs(5);
/// How long the database may take to tell a name that a sample could do without.
const TIMEOUT: Duration = Duration::from_secs(5);

pub(super) fn original_ids(config: &Config) -> Vec<(AccountName, String)> {
    let original_id =
        |account: &Account| Some((account.name.clone(), account.original_id.clone()?));
    config.accounts.iter().filter_map(original_id).collect()
}

/// Lets the database follow the configuration, as soon as it answers.
pub(super) async fn follow_original_ids(
    store: Arc<dyn Store>,
    original_ids: Vec<(AccountName, String)>,
    shutdown: CancellationToken,
) {
    while set(&*store, &original_ids).await.is_err() {
        tokio::select! {
            () = tokio::time::sleep(PAUSE) => {}
            () = shutdown.cancelled() => return,
        }
    }
}

/// Lets the database follow the configuration.
///
/// # Errors
/// [`StoreError`] when the database does not take it.
pub async fn set_original_ids(store: &dyn Store, config: &Config) -> Result<(), StoreError> {
    set(store, &original_ids(config)).await
}

/// The accounts whose configured `original_id` the database does not go by yet.
///
/// # Errors
/// [`StoreError`] when the database cannot be asked.
pub async fn unset_original_ids(
    store: &dyn Store,
    config: &Config,
) -> Result<Vec<AccountName>, StoreError> {
    let names = store.account_names().await?;
    let is_set = |account: &Account| {
        let mut names = names.iter();
        let named = names.find(|named| named.account == account.name);
        named.map(|named| &named.name) == account.original_id.as_ref()
    };
    let accounts = config.accounts.iter();
    let unset = accounts.filter(|account| account.original_id.is_some() && !is_set(account));
    Ok(unset.map(|account| account.name.clone()).collect())
}

async fn set(store: &dyn Store, original_ids: &[(AccountName, String)]) -> Result<(), StoreError> {
    for (account, original_id) in original_ids {
        store.set_account_name(account, original_id).await?;
    }
    Ok(())
}

/// The `ToUserName` that the database remembers of an account; none where it cannot be asked.
pub async fn remembered_name(config: &Config, account: &AccountName) -> Option<String> {
    let asked = async {
        let store = open_store(&config.store.url, Migrations::Require)
            .await
            .ok()?;
        let names = store.account_names().await;
        store.close().await;
        let mut names = names.ok()?.into_iter();
        Some(names.find(|named| named.account == *account)?.name)
    };
    tokio::time::timeout(TIMEOUT, asked).await.ok()?
}
