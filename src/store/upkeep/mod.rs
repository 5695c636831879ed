//! Background work and commands: [`Upkeep`] for both databases.

pub(super) mod copy;
mod key_uses;
pub(super) mod migrate;
pub(super) mod prune;

use std::time::Duration;

use async_trait::async_trait;

use super::dialect::StoreRow;
use super::read::lists;
use super::{
    CopySide, DeliveryFilter, DeliveryKey, Judge, Page, PostgresStore, Prunable, Prune, Pruned,
    Reprocessed, SqliteStore, StoreError, StoredDelivery, Upkeep, names, postgres, row, sqlite,
};
use crate::domain::{AccountName, MsgId, Time};

const WITHDRAW: &str =
    "delete from jobs where account = $1 and msg_id = $2 and shown_sha256 = $3 and revision = 1";

const WITHDRAW_SEALED: &str =
    "delete from other_deliveries where account = $1 and body_sha256 = $2 and state = 'sealed'";

/// What a database says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// Product and version.
    pub version: String,
    /// The settings that durability depends on, as they are for our connections.
    pub settings: Vec<(&'static str, String)>,
    /// Its clock; `None` if that is this machine's.
    pub clock: Option<Time>,
}

macro_rules! upkeep {
    ($store:ty, $database:ident) => {
        #[async_trait]
        impl Upkeep for $store {
            async fn forget_batches(&self, age: Duration, limit: u32) -> Result<u64, StoreError> {
                let forget = sqlx::query($database::FORGET_BATCHES)
                    .bind(i64::try_from(age.as_millis()).unwrap_or(i64::MAX))
                    .bind(i64::from(limit));
                self.execute(forget).await
            }

            async fn roll_up(&self, limit: u32) -> Result<bool, StoreError> {
                $database::roll_up(self, limit).await
            }

            async fn stored(
                &self,
                filter: &DeliveryFilter,
                page: &Page<DeliveryKey>,
            ) -> Result<Vec<StoredDelivery>, StoreError> {
                let mut others = lists::stored_others(filter, page);
                let mut stored = self.list(others.build(), row::stored_other).await?;
                if let Some(mut shown) = lists::stored_shown(filter, page) {
                    stored.extend(self.list(shown.build(), row::stored_shown).await?);
                }
                Ok(StoredDelivery::page(stored, page))
            }

            async fn reprocess(
                &self,
                batch: &[StoredDelivery],
                judge: &Judge<'_>,
                now: Time,
                dry_run: bool,
            ) -> Result<Vec<Option<Reprocessed>>, StoreError> {
                $database::reprocess(self, batch, judge, now, dry_run).await
            }

            async fn prunable(
                &self,
                prune: &Prune,
                page: &Page<DeliveryKey>,
            ) -> Result<Vec<Prunable>, StoreError> {
                let after = page.after.as_ref();
                let prunable = sqlx::query(prune::PRUNABLE)
                    .bind(prune.received_before)
                    .bind(prune.unparsed)
                    .bind(after.map_or(Time::EPOCH, |key| key.received_at))
                    .bind(after.map_or(0, |key| key.id))
                    .bind(i64::from(page.limit))
                    .bind(prune.sealed);
                self.list(prunable, |row| {
                    Ok(Prunable {
                        key: DeliveryKey {
                            received_at: row.value("received_at")?,
                            id: row.value("id")?,
                        },
                        bytes: row.value("bytes")?,
                    })
                })
                .await
            }

            async fn prune(&self, prune: &Prune, limit: u32) -> Result<Pruned, StoreError> {
                let shown = sqlx::query($database::PRUNE_SHOWN)
                    .bind(prune.received_before)
                    .bind(i64::from(limit));
                let others = sqlx::query($database::PRUNE_OTHERS)
                    .bind(prune.received_before)
                    .bind(i64::from(limit))
                    .bind(prune.unparsed)
                    .bind(prune.sealed);
                Ok(Pruned {
                    shown: self.execute(shown).await?,
                    others: self.execute(others).await?,
                })
            }

            async fn copy_source(&self) -> Result<CopySide, StoreError> {
                $database::copy_source(self).await
            }

            async fn copy_target(&self) -> Result<CopySide, StoreError> {
                $database::copy_target(self).await
            }

            async fn withdraw(
                &self,
                account: &AccountName,
                msg_id: MsgId,
                body_sha256: &[u8; 32],
            ) -> Result<bool, StoreError> {
                let withdraw = sqlx::query(WITHDRAW)
                    .bind(account.as_str())
                    .bind(msg_id.get())
                    .bind(&body_sha256[..]);
                Ok(self.execute(withdraw).await? == 1)
            }

            async fn withdraw_sealed(
                &self,
                account: &AccountName,
                body_sha256: &[u8; 32],
            ) -> Result<bool, StoreError> {
                let withdraw = sqlx::query(WITHDRAW_SEALED)
                    .bind(account.as_str())
                    .bind(&body_sha256[..]);
                Ok(self.execute(withdraw).await? == 1)
            }

            async fn set_account_name(
                &self,
                account: &AccountName,
                name: &str,
            ) -> Result<(), StoreError> {
                let set = sqlx::query(names::SET).bind(account.as_str()).bind(name);
                self.execute(set).await?;
                self.names.set(account, name.to_owned());
                Ok(())
            }

            async fn inspect(&self) -> Result<Inspection, StoreError> {
                $database::inspect(self).await
            }
        }
    };
}

upkeep!(SqliteStore, sqlite);
upkeep!(PostgresStore, postgres);
