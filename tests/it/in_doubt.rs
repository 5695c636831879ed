//! A connection breaks during a commit, so that the outcome is unknown: the push counts once all
//! the same.

use std::time::{Duration, Instant};

use crate::support::{
    Backend, Cut, End, Event, Moment, PLAIN, Proxy, SAFE, Server, Setup, Way, eventually,
};

/// Text that only a batch contains.
const BATCH: &str = "MASSSENDJOBFINISH";

async fn server_behind_a_proxy() -> (Server, Proxy) {
    let mut database = Backend::Postgres.database().await;
    let proxy = Proxy::before(&mut database).await;
    (Setup::default().start_on(database), proxy)
}

async fn is_ready(server: &Server) -> bool {
    server.json("/readyz").await.1["status"] == "ready"
}

/// Pushes a job and two revisions of it, with that many exchanges cut for each, and expects each to
/// be acknowledged in time and counted once.
async fn cut_again_and_again(end: End, moment: Moment, times: &[usize]) {
    let (server, proxy) = server_behind_a_proxy().await;
    server.accepts(&PLAIN, Event::new(1, 10).xml()).await;
    for (index, times) in times.iter().enumerate() {
        let msg_id = 10 + i64::try_from(index).unwrap();
        // One statement, then several, because the job shows another content.
        for (revision, text) in [(1, BATCH), (2, "COMMIT"), (3, "COMMIT")] {
            let what = format!("{times} of {text}: {moment:?} {end:?}");
            proxy.cut(*times, Cut { text, moment, end });
            let asked = Instant::now();
            server
                .accepts(&SAFE, Event::new(msg_id, 10 + revision).xml())
                .await;
            assert!(
                asked.elapsed() < Duration::from_secs(5),
                "{what}: {:?}",
                asked.elapsed()
            );
            // A known commit is not repeated.
            let is_done = (text, moment) == ("COMMIT", Moment::Answering);
            let left = if is_done { times - 1 } else { 0 };
            eventually(&what, async || proxy.cuts_left() == left).await;
            proxy.set(Way::Open);
            eventually(&format!("{what}: the spool is empty"), async || {
                let job = server.json(&format!("/api/v1/jobs/safe/{msg_id}")).await.1;
                job["revision"] == revision && is_ready(&server).await
            })
            .await;
            let job = server.job(&SAFE, &msg_id.to_string()).await;
            assert_eq!(job["deliveries"], revision, "{what}: {job}");
        }
    }
    let refused = server.ok("/readyz").await["spool"]["refused"].clone();
    assert_eq!(refused, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_close_before_the_server_has_it() {
    cut_again_and_again(End::Closed, Moment::Asking, &[1, 2, 3, 5]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_close_after_the_server_has_done_it() {
    cut_again_and_again(End::Closed, Moment::Answering, &[1, 2, 3, 5]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reset_before_the_server_has_it() {
    cut_again_and_again(End::Reset, Moment::Asking, &[1, 3]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reset_after_the_server_has_done_it() {
    cut_again_and_again(End::Reset, Moment::Answering, &[1, 3]).await;
}

/// The server holds the locks of a transaction whose end never arrives, and releases them by
/// itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silence_before_the_server_has_it() {
    cut_again_and_again(End::Silent, Moment::Asking, &[1, 2]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silence_after_the_server_has_done_it() {
    cut_again_and_again(End::Silent, Moment::Answering, &[1, 2]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_in_doubt_when_the_server_is_killed_counts_once() {
    let (mut server, proxy) = server_behind_a_proxy().await;
    server.accepts(&PLAIN, Event::new(1, 10).xml()).await;
    // It was committed without our knowledge and is in the spool with its id; now the database is
    // unavailable.
    let cut = Cut {
        text: BATCH,
        moment: Moment::Answering,
        end: End::Closed,
    };
    proxy.cut(1000, cut);
    server.accepts(&SAFE, Event::new(7, 10).xml()).await;
    proxy.set(Way::Refused);
    server.kill();
    server.restart();
    assert_eq!(server.ok("/readyz").await["status"], "degraded");
    proxy.set(Way::Open);
    eventually("the spool is empty", async || is_ready(&server).await).await;
    let job = server.job(&SAFE, "7").await;
    assert_eq!(
        (&job["deliveries"], &job["revision"]),
        (&1.into(), &1.into())
    );
}
