//! `qunfa serve` with an account for each mode, and otherwise default settings.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use anyhow::Context;

use super::process::Server;
use super::pushing::Account;

/// Starts it with its data in that directory; without a URL, on SQLite.
pub(crate) fn serve(directory: &Path, postgres_url: Option<&str>) -> anyhow::Result<Server> {
    fs::create_dir_all(directory)?;
    let log = directory.join("log");
    let mut command = Command::new(super::QUNFA);
    command
        .arg("serve")
        .current_dir(directory)
        .env_clear()
        .env("QUNFA_DATA_DIR", directory)
        .env("QUNFA_SERVER__LISTEN", "127.0.0.1:0")
        .env("QUNFA_METRICS__LISTEN", "")
        .envs(Account::ALL.into_iter().flat_map(Account::environment))
        .stderr(File::create(&log)?);
    if let Some(url) = postgres_url {
        command.env("QUNFA_STORE__URL", url);
    }
    Server::start(&mut command).with_context(|| fs::read_to_string(&log).unwrap_or_default())
}
