//! `qunfa reprocess`.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};

use super::{Failure, Outcome, ReprocessArgs};
use crate::app::{
    DEMO, ReprocessSums, open_existing, reprocess, set_original_ids, unset_original_ids,
};
use crate::config::{Config, Settings};
use crate::domain::{AccountName, Delivery, DeliveryState, Reading};
use crate::store::{DeliveryFilter, Reprocessed, Store, Verdict};
use crate::wechat;

/// How often a long run says how far it is.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);

/// Reads stored deliveries again and prints those that changed.
pub(super) async fn run(settings: &Settings, arguments: ReprocessArgs) -> Outcome {
    let config = settings.check()?;
    if let Some(account) = &arguments.account
        && !is_configured(&config, account)
    {
        return Err(Failure::usage(anyhow!(
            "there is no account `{account}` in the configuration"
        )));
    }
    let store = open_existing(&config).await?;
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
    let mut report = Report::new(arguments.dry_run);
    let outcome = tokio::select! {
        outcome = report.run(&*store, &config, &filters) => outcome,
        // What is under way is rolled back.
        _ = tokio::signal::ctrl_c() => Err(anyhow!("interrupted; what is done stays done, and it can be run again")),
    };
    report.print();
    store.close().await;
    Ok(outcome?)
}

fn is_configured(config: &Config, account: &AccountName) -> bool {
    if config.accounts.is_empty() {
        return account.as_str() == DEMO;
    }
    config.account(account).is_some()
}

/// What becomes of a stored delivery by today's parser and configuration.
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
    // What was once asked to be kept stays.
    match delivery.state {
        DeliveryState::Unparsed | DeliveryState::Sealed => Verdict::Forget,
        DeliveryState::Stored => Verdict::Leave,
    }
}

/// What is said on standard error.
struct Report {
    dry_run: bool,
    sums: ReprocessSums,
    said_at: Instant,
}

impl Report {
    fn new(dry_run: bool) -> Self {
        Self {
            dry_run,
            sums: ReprocessSums::default(),
            said_at: Instant::now(),
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
        let told = |sums, changed: &[Reprocessed]| {
            self.sums = sums;
            for line in changed.iter().filter_map(describe) {
                writeln!(io::stdout(), "{line}").context("cannot write to standard output")?;
            }
            if self.said_at.elapsed() >= PROGRESS_INTERVAL {
                self.said_at = Instant::now();
                self.print();
            }
            Ok::<_, anyhow::Error>(())
        };
        reprocess(store, filters, &judge, dry_run, told).await?;
        Ok(())
    }

    fn print(&self) {
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
            "deliveries read again: {read}, {change}: {changed}, not understood: {unparsed}, {forget}: {forgotten}, still sealed: {sealed}"
        );
    }
}

/// A delivery that changed; nothing about one that was forgotten.
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
