//! Which jobs and deliveries a list has, and which part of it.

use crate::domain::{AccountName, Accounts, Delivery, DeliveryState, Job, MsgId, Outcome, Time};

/// Which jobs; `None` means any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobFilter {
    /// Of this account.
    pub account: Option<AccountName>,
    /// Of these accounts.
    pub accounts: Accounts,
    /// With this outcome.
    pub outcome: Option<Outcome>,
    /// Rejected with this code.
    pub code: Option<i32>,
    /// With this `CheckState`.
    pub check_state: Option<i64>,
    /// Finished at or after.
    pub from: Option<Time>,
    /// Finished before.
    pub to: Option<Time>,
    /// Changed after.
    pub updated_after: Option<Time>,
    /// With this id, in any account.
    pub msg_id: Option<MsgId>,
}

impl JobFilter {
    /// The lower bound of `updated_at`, if jobs of all accounts are asked for.
    pub(super) fn changed_in_any_account(&self) -> Option<Time> {
        let in_any = self.account.is_none() && self.accounts == Accounts::All;
        self.updated_after.filter(|_| in_any)
    }
}

/// Which deliveries; `None` means any.
#[derive(Clone, Debug, Default)]
pub struct DeliveryFilter {
    /// Of this account.
    pub account: Option<AccountName>,
    /// Of these accounts.
    pub accounts: Accounts,
    /// In this state.
    pub state: Option<DeliveryState>,
    /// Of this event, whatever its case.
    pub event: Option<String>,
    /// First received at or after.
    pub from: Option<Time>,
    /// First received before.
    pub to: Option<Time>,
}

/// A part of a list: what comes after a key, so that it stays right while rows arrive.
#[derive(Clone, Debug)]
pub struct Page<K> {
    /// The key of the last row seen; none for the beginning.
    pub after: Option<K>,
    /// How many rows at most.
    pub limit: u32,
}

/// Where a job stands in the list of jobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobKey {
    /// Its `finished_at`.
    pub finished_at: Time,
    /// Its account.
    pub account: AccountName,
    /// Its `msg_id`.
    pub msg_id: MsgId,
}

/// Where a delivery stands in the list of deliveries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryKey {
    /// Its `received_at`.
    pub received_at: Time,
    /// Its id.
    pub id: i64,
}

impl From<&Job> for JobKey {
    fn from(job: &Job) -> Self {
        Self {
            finished_at: job.result.finished_at,
            account: job.account.clone(),
            msg_id: job.result.msg_id,
        }
    }
}

impl From<&Delivery> for DeliveryKey {
    fn from(delivery: &Delivery) -> Self {
        Self {
            received_at: delivery.received_at,
            id: delivery.id,
        }
    }
}
