//! The drainer: moves what is in the spool to the database, oldest first, and opens the gate when the database works again.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use super::backup::Backup;
use super::counters::Counters;
use super::within;
use crate::domain::{NewDelivery, Reading, Time};
use crate::store::{Reader, Store, StoreError, Unit};

/// How long the database may take for a unit. One that is given up is still filed once alone: its ticket tells.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long it may take to say whether it works.
const PING_PATIENCE: Duration = Duration::from_secs(3);
/// The pause after a failure; it doubles up to the longest.
const PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// How often the spool is looked at though nothing is known to be in it: another process may have left something there.
const ROUND: Duration = Duration::from_secs(10);

/// Works until it is told to stop.
pub(super) struct Drainer {
    pub(super) store: Arc<dyn Store>,
    pub(super) filed: Arc<Notify>,
    pub(super) backup: Arc<Backup>,
    pub(super) counters: Arc<Counters>,
    pub(super) read: Reader,
    pub(super) stop: CancellationToken,
}

/// What one step came to.
enum Step {
    /// A unit of so many deliveries was moved, or set aside; there may be more.
    Moved(usize),
    /// The spool is empty, or cannot be read, and the database works.
    Nothing,
}

impl Drainer {
    pub(super) async fn run(self) {
        let mut pause = PAUSE;
        let mut moved = 0;
        loop {
            let wait = match self.step().await {
                Ok(step) => {
                    if self.backup.gate.open() {
                        info!("the database works again");
                    }
                    pause = PAUSE;
                    match step {
                        Step::Moved(deliveries) => {
                            moved += deliveries;
                            Duration::ZERO
                        }
                        Step::Nothing => {
                            if moved > 0 {
                                info!(deliveries = moved, "moved from the spool to the database");
                            }
                            moved = 0;
                            ROUND
                        }
                    }
                }
                Err(error) => {
                    self.backup.note_failure(&error);
                    let wait = pause;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    wait
                }
            };
            let is_failing = self.backup.gate.is_shut();
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
                () = self.backup.gate.until_shut(), if !is_failing => {}
                () = self.backup.filled.notified(), if !is_failing => {}
            }
        }
    }

    /// # Errors
    /// When the database fails. The spool's own failures are told in the log.
    async fn step(&self) -> Result<Step, StoreError> {
        // The database is asked first: while it is away, the spool, which may have become large, is left alone.
        if self.backup.gate.is_shut() {
            within(PING_PATIENCE, self.store.ping()).await?;
        }
        let moved = match self.backup.spool.oldest().await {
            Ok(Some(unit)) => {
                let moved = self.move_unit(&unit).await?;
                moved.map(|()| Step::Moved(unit.deliveries.len()))
            }
            Ok(None) => Ok(Step::Nothing),
            Err(error) => Err(error),
        };
        Ok(match moved {
            Ok(step) => step,
            Err(error) => {
                let cause = error.source().map(ToString::to_string);
                error!(%error, cause, "the spool does not work");
                Step::Nothing
            }
        })
    }

    /// Files a unit and takes it out of the spool; the inner result is the spool's.
    async fn move_unit(&self, unit: &Unit) -> Result<Result<(), StoreError>, StoreError> {
        let now = Time::now();
        let deliveries = unit.deliveries.iter().map(|spooled| NewDelivery {
            account: spooled.account.clone(),
            body: spooled.body.clone(),
            body_sha256: spooled.body_sha256,
            received_at: spooled.received_at,
            filed_at: spooled.received_at.max(now),
            reading: match &spooled.sealed {
                Some(error) => Reading::Sealed {
                    error: error.clone(),
                },
                None => (self.read)(&spooled.body),
            },
        });
        let deliveries: Vec<_> = deliveries.collect();
        let filing = self.store.record(&deliveries, Some(unit.ticket));
        let spool = &self.backup.spool;
        let filed = within(PATIENCE, filing)
            .await
            .inspect_err(|error| self.counters.store_failed(error));
        match filed {
            Ok(_) => {
                self.filed.notify_one();
                Ok(spool.remove(unit).await)
            }
            Err(error) if !error.lies_in_content() => Err(error),
            Err(error) => match &unit.deliveries[..] {
                [alone] => {
                    let refusal = error.source().map(ToString::to_string).unwrap_or_default();
                    error!(
                        refusal,
                        "the database refuses a delivery; it is set aside in the spool"
                    );
                    Ok(spool.refuse(alone, &refusal).await)
                }
                _ => Ok(spool.split(unit).await),
            },
        }
    }
}
