//! The basis of the tests: a real database, the real program over real HTTP, and WeChat's side of
//! the protocol.

pub(crate) mod accounts;
pub(crate) mod browser;
pub(crate) mod clock;
pub(crate) mod cluster;
pub(crate) mod database;
pub(crate) mod events;
pub(crate) mod faults;
pub(crate) mod load;
pub(crate) mod pooler;
pub(crate) mod process;
pub(crate) mod proxy;
pub(crate) mod server;
pub(crate) mod sse;
pub(crate) mod stub;
pub(crate) mod unparsed;
pub(crate) mod wire;
pub(crate) mod workplace;

pub(crate) use accounts::{Account, COMPATIBLE, PLAIN, SAFE};
pub(crate) use database::{Backend, Database};
pub(crate) use events::Event;
pub(crate) use proxy::{Cut, End, Moment, Proxy, Way};
pub(crate) use server::{Server, Setup};

use std::path::{Path, PathBuf};
use std::process::Command;

use qunfa::domain::MsgId;
use qunfa::simulator::{Sample, with_msg_id};

/// Makes one test for each store out of an `async fn(Backend)`.
macro_rules! on_both_stores {
    ($(async fn $name:ident($backend:ident: Backend) $body:block)+) => {
        $(
            mod $name {
                use super::*;

                async fn run($backend: Backend) $body

                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn on_sqlite() {
                    run(Backend::Sqlite).await;
                }

                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn on_postgres() {
                    run(Backend::Postgres).await;
                }
            }
        )+
    };
}
pub(crate) use on_both_stores;

/// A file under `tests/fixtures`.
pub(crate) fn fixture(path: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(path);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Compiles a library for `LD_PRELOAD` from a source under `tests/fixtures`.
pub(crate) fn preload(source: &str, directory: &Path) -> PathBuf {
    let library = directory.join(source).with_extension("so");
    let source = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(source);
    let compiler = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .args([&library, &source])
        .output()
        .unwrap();
    assert!(compiler.status.success(), "{compiler:?}");
    library
}

/// An authentic job result, as XML.
pub(crate) fn event(msg_id: i64) -> String {
    let msg_id = MsgId::new(msg_id).unwrap();
    with_msg_id(Sample::Success.xml(), msg_id).unwrap()
}

/// Polls until the condition holds; fails after a minute.
pub(crate) async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_mins(1);
    while !condition().await {
        assert!(
            std::time::Instant::now() < deadline,
            "waited in vain: {what}"
        );
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}
