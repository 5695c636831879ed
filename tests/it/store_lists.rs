//! The contract of both stores for lists and filters.

use qunfa::domain::{Accounts, DeliveryState, Job, MsgId, Outcome};
use qunfa::store::{DeliveryFilter, DeliveryKey, JobFilter, JobKey, Page, Store};

use crate::support::events::{self, arrival, arrival_as, at, not_understood};
use crate::support::{Backend, Event, on_both_stores};

/// The first millisecond that a time can hold; no row and not every calendar goes back that far.
const FIRST: i64 = -377_705_116_800_000;

async fn jobs(
    store: &dyn Store,
    filter: &JobFilter,
    after: Option<JobKey>,
    limit: u32,
) -> Vec<Job> {
    store.jobs(filter, &Page { after, limit }).await.unwrap()
}

/// (account, id) of every job that matches, in order.
async fn keys(store: &dyn Store, filter: &JobFilter) -> Vec<(String, i64)> {
    let jobs = jobs(store, filter, None, 1000).await;
    jobs.iter()
        .map(|job| (job.account.to_string(), job.result.msg_id.get()))
        .collect()
}

async fn record(store: &dyn Store, account: &str, event: &Event, millisecond: i64) {
    store
        .record(&[arrival(account, event.xml(), millisecond)], None)
        .await
        .unwrap();
}

fn copyright(check_state: i64) -> String {
    format!("<CopyrightCheckResult><CheckState>{check_state}</CheckState></CopyrightCheckResult>")
}

on_both_stores! {
    async fn jobs_descend_by_finish_then_account_bytewise_then_number(backend: Backend) {
        let database = backend.database().await;
        let store = database.store().await;
        let expected = [
            ("a", 7, 60), ("a_b", 5, 50), ("a1", 5, 50), ("a0", 5, 50), ("a-b", 5, 50), ("a", 100, 50), ("a", 20, 50),
            ("a", 9, 50), ("-", 5, 50), ("z", 1, 40), ("z", 8, 0),
        ];
        for (position, (account, msg_id, finished)) in expected.iter().enumerate() {
            // Neither the order of arrival nor its time plays a part.
            let millisecond = i64::try_from(position * 7 % 11).unwrap();
            record(&*store, account, &Event::new(*msg_id, *finished), millisecond).await;
        }
        let expected = expected.map(|(account, msg_id, _)| (account.to_owned(), msg_id));
        assert_eq!(keys(&*store, &JobFilter::default()).await, expected);

        for limit in 1..=4 {
            let (mut seen, mut after) = (Vec::new(), None);
            loop {
                let page = jobs(&*store, &JobFilter::default(), after, limit).await;
                let Some(last) = page.last() else { break };
                after = Some(JobKey::from(last));
                seen.extend(page.iter().map(|job| (job.account.to_string(), job.result.msg_id.get())));
            }
            assert_eq!(seen, expected, "limit {limit}");
        }
    }

    async fn a_page_goes_on_where_the_last_one_ended_while_rows_arrive(backend: Backend) {
        let database = backend.database().await;
        let store = database.store().await;
        for msg_id in 1..=9 {
            record(&*store, "a", &Event::new(msg_id, 50), msg_id).await;
        }
        let (mut seen_jobs, mut seen_deliveries) = (Vec::new(), Vec::new());
        let (mut job_key, mut delivery_key) = (None::<JobKey>, None::<DeliveryKey>);
        for new in 0..6 {
            let page = jobs(&*store, &JobFilter::default(), job_key.clone(), 2).await;
            job_key = page.last().map(JobKey::from).or(job_key);
            seen_jobs.extend(page.iter().map(|job| job.result.msg_id.get()));
            let page = Page { after: delivery_key.clone(), limit: 2 };
            let page = store.deliveries(&DeliveryFilter::default(), &page).await.unwrap();
            delivery_key = page.last().map(DeliveryKey::from).or(delivery_key);
            seen_deliveries.extend(page.iter().map(|delivery| delivery.msg_id.unwrap().get()));
            record(&*store, "b", &Event::new(100 + new, 70), 100 + new).await;
        }
        let expected: Vec<i64> = (1..=9).rev().collect();
        assert_eq!(seen_jobs, expected);
        assert_eq!(seen_deliveries, expected);
    }

    async fn every_filter_of_jobs_takes_what_it_names(backend: Backend) {
        let database = backend.database().await;
        let store = database.store().await;
        record(&*store, "a", &Event::new(1, 10), 1000).await;
        record(&*store, "a", &Event::new(2, 20).status("send fail"), 2000).await;
        record(&*store, "b", &Event::new(3, 30).status("err(10001)").rest(&copyright(2)), 3000).await;
        record(&*store, "b", &Event::new(4, 40).status("err(0)").rest(&copyright(-1)), 4000).await;
        record(&*store, "b", &Event::new(1, 50).status("?"), 5000).await;
        let any = JobFilter::default;
        let outcome = |outcome| JobFilter { outcome: Some(outcome), ..any() };
        let code = |code| JobFilter { code: Some(code), ..any() };
        let check_state = |check_state| JobFilter { check_state: Some(check_state), ..any() };
        let between = |from, to| JobFilter { from: Some(at(from)), to: Some(at(to)), ..any() };
        let updated_after = |time| JobFilter { updated_after: Some(at(time)), ..any() };
        for (filter, expected) in [
            (any(), &[("b", 1), ("b", 4), ("b", 3), ("a", 2), ("a", 1)][..]),
            (JobFilter { account: Some("a".parse().unwrap()), ..any() }, &[("a", 2), ("a", 1)]),
            (JobFilter { account: Some("c".parse().unwrap()), ..any() }, &[]),
            (outcome(Outcome::Sent), &[("a", 1)]),
            (outcome(Outcome::Failed), &[("a", 2)]),
            (outcome(Outcome::Rejected), &[("b", 4), ("b", 3)]),
            (outcome(Outcome::Unknown), &[("b", 1)]),
            (code(10001), &[("b", 3)]),
            (code(0), &[("b", 4)]),
            (code(7), &[]),
            (check_state(2), &[("b", 3)]),
            (check_state(-1), &[("b", 4)]),
            (check_state(0), &[]),
            (between(20_000, 40_000), &[("b", 3), ("a", 2)]),
            (between(20_001, 40_001), &[("b", 4), ("b", 3)]),
            (between(40_000, 20_000), &[]),
            (between(FIRST, 20_000), &[("a", 1)]),
            (between(0, FIRST), &[]),
            (updated_after(FIRST), &[("b", 1), ("b", 4), ("b", 3), ("a", 2), ("a", 1)]),
            (updated_after(3999), &[("b", 1), ("b", 4)]),
            (updated_after(4000), &[("b", 1)]),
            (JobFilter { msg_id: MsgId::new(1), ..any() }, &[("b", 1), ("a", 1)]),
            (JobFilter { account: Some("b".parse().unwrap()), msg_id: MsgId::new(1), ..between(0, 60_000) }, &[("b", 1)]),
            (JobFilter { account: Some("a".parse().unwrap()), ..outcome(Outcome::Unknown) }, &[]),
        ] {
            let expected: Vec<_> = expected.iter().map(|(account, id)| ((*account).to_owned(), *id)).collect();
            assert_eq!(keys(&*store, &filter).await, expected, "{filter:?}");
            let jobs = i64::try_from(expected.len()).unwrap();
            assert_eq!(store.stats(&filter).await.unwrap().jobs, jobs, "{filter:?}");
        }
    }

    async fn every_filter_of_deliveries_takes_what_it_names(backend: Backend) {
        let database = backend.database().await;
        let store = database.store().await;
        let other = |name: &str| Event::new(9, 10).xml().replace("MASSSENDJOBFINISH", name);
        record(&*store, "a", &Event::new(1, 10), 1000).await;
        events::record(&*store, arrival("a", other("PublishJobFinish"), 2000)).await.unwrap();
        events::record(&*store, arrival("b", other("PUBLISHJOBFINISH"), 3000)).await.unwrap();
        events::record(&*store, arrival_as("b", [0xff, 0x00], 4000, not_understood)).await.unwrap();
        // One more copy does not make it newer.
        record(&*store, "a", &Event::new(1, 10), 9000).await;
        let any = DeliveryFilter::default;
        let account = |name: &str| DeliveryFilter { account: Some(name.parse().unwrap()), ..any() };
        let state = |state| DeliveryFilter { state: Some(state), ..any() };
        let event = |name: &str| DeliveryFilter { event: Some(name.to_owned()), ..any() };
        let between = |from, to| DeliveryFilter { from: Some(at(from)), to: Some(at(to)), ..any() };
        for (filter, expected) in [
            (any(), &[4000, 3000, 2000, 1000][..]),
            (account("b"), &[4000, 3000]),
            (state(DeliveryState::Stored), &[3000, 2000, 1000]),
            (state(DeliveryState::Unparsed), &[4000]),
            (event("publishjobfinish"), &[3000, 2000]),
            (event("MassSendJobFinish"), &[1000]),
            (event("%"), &[]),
            (between(2000, 4000), &[3000, 2000]),
            (between(2001, 4001), &[4000, 3000]),
            (between(4000, 2000), &[]),
            (DeliveryFilter { account: Some("a".parse().unwrap()), ..event("PUBLISHJOBFINISH") }, &[2000]),
        ] {
            let page = Page { after: None, limit: 100 };
            let found = store.deliveries(&filter, &page).await.unwrap();
            let found: Vec<_> = found.iter().map(|delivery| delivery.received_at.milliseconds()).collect();
            assert_eq!(found, expected, "{filter:?}");
        }
    }

    async fn a_set_of_accounts_is_paged_as_the_whole_list_is(backend: Backend) {
        let database = backend.database().await;
        let store = database.store().await;
        for msg_id in 1..=60 {
            // Ties of the time between accounts, and accounts that are not in the set.
            let account = ["a", "b", "c", "d"][usize::try_from(msg_id % 4).unwrap()];
            record(&*store, account, &Event::new(msg_id, msg_id / 7), msg_id).await;
        }
        let all = keys(&*store, &JobFilter::default()).await;
        // So many that they are not read one by one.
        let many: Vec<String> = (0..60).map(|number| format!("x{number}")).collect();
        for names in [&[][..], &["a"], &["a", "c"], &["d", "b", "nobody", "a"]] {
            for filler in [&[][..], &many] {
                let wanted = names.iter().copied().chain(filler.iter().map(String::as_str));
                let accounts = Accounts::only(wanted.map(|name| name.parse().unwrap()));
                let filter = JobFilter { accounts: accounts.clone(), ..JobFilter::default() };
                let expected: Vec<_> = all.iter().filter(|(name, _)| names.contains(&name.as_str())).cloned().collect();
                let (mut seen, mut after) = (Vec::new(), None);
                loop {
                    let page = jobs(&*store, &filter, after, 4).await;
                    let Some(last) = page.last() else { break };
                    after = Some(JobKey::from(last));
                    seen.extend(page.iter().map(|job| (job.account.to_string(), job.result.msg_id.get())));
                }
                assert_eq!(seen, expected, "{names:?}");
                let total = store.stats(&filter).await.unwrap().jobs;
                assert_eq!(usize::try_from(total).unwrap(), expected.len(), "{names:?}");

                let filter = DeliveryFilter { accounts, ..DeliveryFilter::default() };
                let (mut seen, mut after) = (0, None);
                loop {
                    let page = store.deliveries(&filter, &Page { after, limit: 4 }).await.unwrap();
                    let Some(last) = page.last() else { break };
                    after = Some(DeliveryKey::from(last));
                    seen += page.len();
                    assert!(page.iter().all(|delivery| names.contains(&delivery.account.as_str())));
                }
                assert_eq!(seen, expected.len(), "{names:?}");
            }
        }
    }

    async fn a_list_of_many_changes_is_complete_and_in_order(backend: Backend) {
        let database = backend.database().await;
        let store = database.store().await;
        // Of 4000 jobs, 2450 have changed; none for a stretch that is longer than what is looked
        // through first.
        let is_changed = |number: i64| !(1200..2400).contains(&number) && number % 8 != 0;
        let is_failed = |number: i64| number % 5 == 0;
        let deliveries: Vec<_> = (0..4000)
            .map(|number| {
                let status = if is_failed(number) { "send fail" } else { "send success" };
                let event = Event::new(number + 1, number / 3).status(status);
                let account = if number % 2 == 0 { "a" } else { "b" };
                arrival(account, event.xml(), if is_changed(number) { 5000 } else { 1000 })
            })
            .collect();
        for batch in deliveries.chunks(500) {
            store.record(batch, None).await.unwrap();
        }
        for (outcome, account) in [(None, None), (Some(Outcome::Failed), None), (None, Some("b"))] {
            let filter = JobFilter {
                outcome,
                account: account.map(|name| name.parse().unwrap()),
                updated_after: Some(at(4999)),
                ..JobFilter::default()
            };
            let mut expected: Vec<_> = (0..4000)
                .filter(|number| is_changed(*number) && (outcome.is_none() || is_failed(*number)))
                .filter(|number| account.is_none() || number % 2 == 1)
                .map(|number| (number / 3, if number % 2 == 0 { "a" } else { "b" }, number + 1))
                .collect();
            expected.sort_unstable();
            let expected: Vec<_> = expected.into_iter().rev().map(|(_, _, msg_id)| msg_id).collect();
            let (mut seen, mut after) = (Vec::new(), None);
            loop {
                let page = jobs(&*store, &filter, after, 300).await;
                let Some(last) = page.last() else { break };
                after = Some(JobKey::from(last));
                seen.extend(page.iter().map(|job| job.result.msg_id.get()));
            }
            assert_eq!(seen, expected, "{outcome:?} {account:?}");
        }
    }

    async fn an_account_outside_of_the_set_has_nothing(backend: Backend) {
        let database = backend.database().await;
        let store = database.store().await;
        record(&*store, "a", &Event::new(1, 10), 1000).await;
        record(&*store, "b", &Event::new(2, 10), 1000).await;
        let accounts = || Accounts::only(["a".parse().unwrap()]);
        for (name, expected) in [("a", 1), ("b", 0)] {
            let account = Some(name.parse().unwrap());
            let filter = JobFilter { account, accounts: accounts(), ..JobFilter::default() };
            assert_eq!(keys(&*store, &filter).await.len(), expected);
            assert_eq!(store.stats(&filter).await.unwrap().jobs, i64::try_from(expected).unwrap());
            let filter = DeliveryFilter { account: filter.account, accounts: accounts(), ..DeliveryFilter::default() };
            let page = Page { after: None, limit: 10 };
            assert_eq!(store.deliveries(&filter, &page).await.unwrap().len(), expected);
        }
    }

    async fn deliveries_of_one_millisecond_descend_by_id(backend: Backend) {
        let database = backend.database().await;
        let store = database.store().await;
        for msg_id in 1..=5 {
            record(&*store, "a", &Event::new(msg_id, 10), 1000).await;
        }
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let page = store.deliveries(&DeliveryFilter::default(), &Page { after, limit: 2 }).await.unwrap();
            let Some(last) = page.last() else { break };
            after = Some(DeliveryKey::from(last));
            seen.extend(page.iter().map(|delivery| delivery.msg_id.unwrap().get()));
        }
        assert_eq!(seen, [5, 4, 3, 2, 1]);
    }
}
