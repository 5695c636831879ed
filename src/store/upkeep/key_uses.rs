//! When clients of the API last used their keys.

use std::collections::BTreeMap;

use async_trait::async_trait;

use crate::domain::{ClientName, Time};
use crate::store::dialect::StoreRow;
use crate::store::{KeyUses, PostgresStore, SqliteStore, StoreError};

/// The latest time wins, as several servers may write at about the same time.
const NOTE: &str = "insert into client_uses (client, last_used_at) values ($1, $2) \
     on conflict (client) do update set last_used_at = excluded.last_used_at \
     where excluded.last_used_at > client_uses.last_used_at";

const ALL: &str = "select client, last_used_at from client_uses";

macro_rules! key_uses {
    ($store:ty) => {
        #[async_trait]
        impl KeyUses for $store {
            async fn note_client_use(
                &self,
                client: &ClientName,
                used_at: Time,
            ) -> Result<(), StoreError> {
                let note = sqlx::query(NOTE).bind(client.as_str()).bind(used_at);
                self.execute(note).await?;
                Ok(())
            }

            async fn client_uses(&self) -> Result<BTreeMap<String, Time>, StoreError> {
                let uses = self
                    .list(sqlx::query(ALL), |row| {
                        Ok((row.value("client")?, row.value("last_used_at")?))
                    })
                    .await?;
                Ok(uses.into_iter().collect())
            }
        }
    };
}

key_uses!(SqliteStore);
key_uses!(PostgresStore);
