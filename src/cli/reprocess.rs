//! `qunfa reprocess`.

use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};

use super::{Failure, Outcome, ReprocessArgs, print, with_store};
use crate::app::{DEMO, ReprocessSums, reprocess, set_original_ids, unset_original_ids};
use crate::config::{Config, Settings};
use crate::domain::{AccountName, Delivery, DeliveryState, Reading};
use crate::store::{DeliveryFilter, Reprocessed, Store, Verdict};
use crate::wechat;

const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);

/// Reprocesses stored deliveries and prints those that changed.
pub(super) async fn run(settings: &Settings, arguments: ReprocessArgs) -> Outcome {
    let config = settings.check()?;
    if let Some(account) = &arguments.account
        && !is_configured(&config, account)
    {
        return Err(Failure::usage(anyhow!(
            "there is no account `{account}` in the configuration"
        )));
    }
    let states: &[_] = if arguments.all {
        &[None]
    } else {
        &[Some(DeliveryState::Sealed), Some(DeliveryState::Unparsed)]
    };
    let filters: Vec<_> = states
        .iter()
        .map(|state| DeliveryFilter {
            account: arguments.account.clone(),
            state: *state,
            ..DeliveryFilter::default()
        })
        .collect();
    let mut progress = Progress::new(arguments.dry_run);
    let reprocessed = with_store(&config, async |store| {
        if arguments.dry_run {
            let unset = unset_original_ids(&*store, &config).await;
            for account in unset.context("cannot read the original ids in the database")? {
                eprintln!(
                    "the database does not know the `original_id` of `{account}` yet: this dry run does not show what it \
                     will change; restart `serve` first"
                );
            }
        } else {
            let set = set_original_ids(&*store, &config).await;
            set.context("cannot set the original ids of accounts")?;
        }
        let outcome = tokio::select! {
            outcome = progress.run(&*store, &config, &filters) => outcome,
            // The current transaction is rolled back.
            _ = tokio::signal::ctrl_c() => {
                Err(anyhow!("interrupted; finished changes are kept, and it can be run again"))
            }
        };
        progress.tell();
        outcome
    });
    Ok(reprocessed.await?)
}

fn is_configured(config: &Config, account: &AccountName) -> bool {
    if config.accounts.is_empty() {
        return account.as_str() == DEMO;
    }
    config.account(account).is_some()
}

/// The verdict of the current parser and configuration on a stored delivery.
fn judge(config: &Config, delivery: &Delivery) -> Verdict {
    let (body, reading) = if delivery.state == DeliveryState::Sealed {
        let Some(account) = config.account(&delivery.account) else {
            return Verdict::Leave;
        };
        match account.open_sealed(&delivery.body) {
            Ok((message, reading)) => (Some(message), reading),
            Err(misfit) => {
                let error = misfit.to_string();
                (None, Reading::Sealed { error })
            }
        }
    } else {
        (None, wechat::read(&delivery.body).reading)
    };
    let account = config.account(&delivery.account);
    let keep_events = account.map_or(&[][..], |account| &account.keep_events);
    if reading.is_kept(keep_events) {
        return Verdict::Keep { body, reading };
    }
    // A delivery that was kept on request stays.
    match delivery.state {
        DeliveryState::Unparsed | DeliveryState::Sealed => Verdict::Forget,
        DeliveryState::Stored => Verdict::Leave,
    }
}

/// The progress printed to standard error.
struct Progress {
    dry_run: bool,
    sums: ReprocessSums,
    printed_at: Instant,
}

impl Progress {
    fn new(dry_run: bool) -> Self {
        Self {
            dry_run,
            sums: ReprocessSums::default(),
            printed_at: Instant::now(),
        }
    }

    async fn run(
        &mut self,
        store: &dyn Store,
        config: &Config,
        filters: &[DeliveryFilter],
    ) -> anyhow::Result<()> {
        let judge = |delivery: &Delivery| judge(config, delivery);
        let dry_run = self.dry_run;
        let report = |sums, changed: &[Reprocessed]| {
            self.sums = sums;
            for line in changed.iter().filter_map(describe) {
                print(format_args!("{line}\n"))?;
            }
            if self.printed_at.elapsed() >= PROGRESS_INTERVAL {
                self.printed_at = Instant::now();
                self.tell();
            }
            Ok::<_, anyhow::Error>(())
        };
        reprocess(store, filters, &judge, dry_run, report).await?;
        Ok(())
    }

    fn tell(&self) {
        let ReprocessSums {
            read,
            changed,
            forgotten,
            unparsed,
            sealed,
        } = self.sums;
        let (change, forget) = if self.dry_run {
            ("would change", "would be forgotten")
        } else {
            ("changed", "forgotten")
        };
        eprintln!(
            "deliveries reprocessed: {read}, {change}: {changed}, not understood: {unparsed}, {forget}: {forgotten}, still sealed: {sealed}"
        );
    }
}

/// A line about a delivery that changed; `None` if it was forgotten.
fn describe(done: &Reprocessed) -> Option<String> {
    let after = done.after.as_ref()?;
    let state = |delivery: &Delivery| match &delivery.error {
        Some(error) => format!("{} ({error})", delivery.state.as_str()),
        None => delivery.state.as_str().to_owned(),
    };
    let (was, is) = (state(&done.before), state(after));
    let states = if was == is {
        is
    } else {
        format!("{was} -> {is}")
    };
    let job = match after.msg_id {
        Some(msg_id) if done.job_changed => format!(", job {msg_id} changed"),
        Some(msg_id) => format!(", msg_id {msg_id}"),
        None => String::new(),
    };
    Some(format!(
        "{} delivery {}: {states}{job}",
        after.account, after.id
    ))
}
