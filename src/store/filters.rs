//! Filters and pages of lists, and filters as conditions in SQL.

use sqlx::QueryBuilder;

use super::dialect::{Dialect, PushValue};
use crate::domain::{AccountName, Accounts, Delivery, DeliveryState, Job, MsgId, Outcome, Time};

const MAX_MERGED: usize = 50;

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

/// A part of a list: what comes after a key, so that it stays correct while rows arrive.
#[derive(Clone, Debug)]
pub struct Page<K> {
    /// The key of the last row of the page before.
    pub after: Option<K>,
    /// The maximum number of rows.
    pub limit: u32,
}

/// The position of a job in the list of jobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobKey {
    pub finished_at: Time,
    pub account: AccountName,
    pub msg_id: MsgId,
}

/// The position of a delivery in the list of deliveries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryKey {
    pub received_at: Time,
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

pub(super) fn filter_jobs<D: Dialect>(query: &mut QueryBuilder<D>, filter: &JobFilter) {
    filter_accounts(query, filter.account.as_ref(), &filter.accounts);
    if let Some(outcome) = filter.outcome {
        query.push(" and outcome = ").push_value(outcome.as_str());
        // A literal, so that the planner can use the partial index.
        if outcome != Outcome::Sent {
            query.push(" and outcome <> 'sent'");
        }
    }
    if let Some(code) = filter.code {
        query.push(" and code = ").push_value(code);
    }
    if let Some(check_state) = filter.check_state {
        query.push(" and check_state = ").push_value(check_state);
    }
    if let Some(from) = filter.from {
        query.push(" and finished_at >= ").push_value(from);
    }
    if let Some(to) = filter.to {
        query.push(" and finished_at < ").push_value(to);
    }
    if let Some(updated_after) = filter.updated_after {
        query.push(" and updated_at > ").push_value(updated_after);
    }
    if let Some(msg_id) = filter.msg_id {
        query.push(" and msg_id = ").push_value(msg_id.get());
    }
}

/// Pushes a `select` for each account, so that each uses an index on accounts, or one for all if
/// there are more than [`MAX_MERGED`]: then an index on times or changes finds enough rows soon.
pub(super) fn push_for_each_account<D: Dialect>(
    query: &mut QueryBuilder<D>,
    account: Option<&AccountName>,
    allowed: &Accounts,
    push_select: impl Fn(&mut QueryBuilder<D>, Option<&AccountName>),
) {
    let accounts = match allowed {
        Accounts::Only(names) if account.is_none() && (1..=MAX_MERGED).contains(&names.len()) => {
            names.iter().map(Some).collect()
        }
        _ => vec![account],
    };
    for (index, account) in accounts.into_iter().enumerate() {
        query.push(if index == 0 {
            "select * from ("
        } else {
            " union all select * from ("
        });
        push_select(query, account);
        query.push(") as of_one");
    }
}

/// Selects the account if it is allowed; all allowed ones if there is none.
pub(super) fn filter_accounts<D: Dialect>(
    query: &mut QueryBuilder<D>,
    account: Option<&AccountName>,
    allowed: &Accounts,
) {
    match (account, allowed) {
        (Some(account), allowed) if allowed.include(account) => {
            query.push(" and account = ");
            query.push_value(account.as_str());
        }
        (None, Accounts::All) => {}
        (None, Accounts::Only(names)) if !names.is_empty() => {
            query.push(" and account in (");
            for (index, name) in names.iter().enumerate() {
                query.push(if index == 0 { "" } else { ", " });
                query.push_value(name.as_str());
            }
            query.push(")");
        }
        (Some(_), _) | (None, Accounts::Only(_)) => {
            query.push(" and false");
        }
    }
}
