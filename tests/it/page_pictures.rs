//! Screenshots of every view of the page, in both languages, light and dark, on a wide screen and a
//! phone, for review. They are written to `TEST_SCREENSHOTS`, or to `target/screenshots`.

use std::path::{Path, PathBuf};

use qunfa::domain::Time;
use qunfa::simulator::Sample;

use crate::support::browser::Browser;
use crate::support::{Account, Backend, Event, PLAIN, Server, Setup, fixture};

const DAY: i64 = 86_400;

const CITY_NEWS: Account = Account {
    name: "city-news",
    ..PLAIN
};
const CAMPUS_DAILY: Account = Account {
    name: "campus-daily",
    ..PLAIN
};
const BOOK_CLUB: Account = Account {
    name: "book-club",
    ..PLAIN
};
const OLD_CINEMA: Account = Account {
    name: "old-cinema",
    ..PLAIN
};

/// A deterministic pseudo-random generator.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: i64) -> i64 {
        // The multiplier of Knuth's MMIX; its upper bits are good enough.
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        i64::try_from(self.0 >> 33).unwrap() % limit
    }
}

/// Thirty days of plausible results of a few accounts, one of which has fallen silent.
async fn with_a_month() -> Server {
    let accounts = [CITY_NEWS, CAMPUS_DAILY, BOOK_CLUB, OLD_CINEMA];
    let server = Setup::default()
        .accounts(&accounts)
        .start(Backend::Sqlite)
        .await;
    let now = Time::now().seconds();
    let mut random = Random(4);
    for (account, followers) in accounts.iter().zip([820_000, 120_000, 9_400, 41_000]) {
        for day in 0..30 {
            if account.name == OLD_CINEMA.name && day < 11 {
                continue;
            }
            for nth in 0..=random.below(3) {
                let msg_id = 1_200_000_000 + (30 - day) * 10 + nth;
                let finished = now - day * DAY - random.below(40_000) - 60;
                server
                    .accepts(account, result(msg_id, finished, followers, &mut random))
                    .await;
            }
        }
    }
    let articles = fixture("events/articles.xml");
    server.accepts(&BOOK_CLUB, Sample::Rejected.xml()).await;
    server.accepts(&BOOK_CLUB, &articles).await;
    server.accepts(&BOOK_CLUB, &articles).await;
    server
        .accepts(&CAMPUS_DAILY, b"\xff\xfe no text at all")
        .await;
    server
        .accepts(&CITY_NEWS, "<xml><MsgType>event</MsgType></xml>")
        .await;
    server
}

fn result(msg_id: i64, finished: i64, followers: i64, random: &mut Random) -> String {
    let left = followers - followers * random.below(7) / 100;
    let lost = left * (1 + random.below(20)) / 1_000;
    let event = Event::new(msg_id, finished);
    let codes = [30003, 30003, 10001, 20008, 40002, 20431];
    let code = codes[usize::try_from(random.below(6)).unwrap()];
    match random.below(40) {
        0 => event.status("send fail").counts([followers, left, 0, left]),
        1..=3 => event.status(&format!("err({code})")).counts([0; 4]),
        4 => event
            .status("send halted")
            .counts([followers, left, left / 2, 0]),
        _ => event.counts([followers, left, left - lost - random.below(4), lost]),
    }
    .xml()
}

fn folder() -> PathBuf {
    let folder = std::env::var_os("TEST_SCREENSHOTS").map_or_else(
        || Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("screenshots"),
        PathBuf::from,
    );
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_view_has_its_picture() {
    let server = with_a_month().await;
    let folder = folder();
    let browser = Browser::start().await;
    let views = [
        ("overview", "#/overview", ".chart canvas"),
        ("jobs", "#/jobs", "tbody tr"),
        ("job-sent", "#/jobs/book-club/3147483999", "pre"),
        (
            "job-rejected",
            "#/jobs/book-club/1000000042",
            ".originality",
        ),
        ("received", "#/received?state=unparsed", "pre"),
        ("docs", "docs", "section.operation"),
        ("empty", "#/jobs?account=nobody", ".state.empty"),
        ("error", "#/jobs?account=NOBODY", ".state.error"),
    ];
    for language in ["en", "zh"] {
        browser.open(&server.url("/livez")).await;
        browser.until("location.pathname === '/livez'").await;
        let choice = format!("localStorage.setItem('qunfa.language', '{language}')");
        browser.eval(&choice).await;
        for scheme in ["light", "dark"] {
            browser.prefers(scheme).await;
            for (width, size) in [(1280, "wide"), (360, "phone")] {
                for (name, hash, sign) in views {
                    browser.width(width).await;
                    browser.open(&server.url(&format!("/{hash}"))).await;
                    browser
                        .until(&format!("document.querySelector({sign:?})"))
                        .await;
                    browser
                        .until("!document.querySelector('[aria-busy], .loading')")
                        .await;
                    browser.eval("document.querySelectorAll('article details').forEach(details => details.open = true)").await;
                    let path = folder.join(format!("{name}-{language}-{scheme}-{size}.png"));
                    browser.picture(width, &path).await;
                    assert!(std::fs::metadata(&path).unwrap().len() > 5_000);
                }
            }
        }
    }
}
