//! The `ToUserName` of each account: the configured `original_id`, or else the one that the
//! database remembers.

use std::sync::Arc;
use std::time::Duration;

use crate::app::open_store;
use crate::config::Config;
use crate::domain::AccountName;
use crate::store::{Migrations, Store, StoreError};
use crate::wechat::Account;

/// The delay before a retry while the database is down.
const BACKOFF: Duration = Duration::from_secs(5);
/// The timeout for a name that a sample can do without.
const TIMEOUT: Duration = Duration::from_secs(5);

pub(in crate::app) fn original_ids(config: &Config) -> Vec<(AccountName, String)> {
    let original_id =
        |account: &Account| Some((account.name.clone(), account.original_id.clone()?));
    config.accounts.iter().filter_map(original_id).collect()
}

/// Writes the configured original ids to the database, as soon as it answers.
pub(in crate::app) async fn follow_original_ids(
    store: Arc<dyn Store>,
    original_ids: Vec<(AccountName, String)>,
) {
    while set(&*store, &original_ids).await.is_err() {
        tokio::time::sleep(BACKOFF).await;
    }
}

/// Writes the configured original ids to the database.
pub async fn set_original_ids(store: &dyn Store, config: &Config) -> Result<(), StoreError> {
    set(store, &original_ids(config)).await
}

/// The accounts whose configured `original_id` is not in the database yet.
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

/// The `ToUserName` of an account in the database; `None` also if the database does not answer.
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
