//! `simulate load` for a server, and a comparison of its report with the server's data.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

use super::workplace::{Ended, ended};
use super::{Account, Server};

/// `simulate load` for an account of that server.
pub(crate) fn command(server: &Server, account: &Account, arguments: &[&str]) -> Command {
    let mut command = server.command();
    command
        .env("QUNFA_SERVER__LISTEN", server.address.to_string())
        .args(["simulate", "load", "--account", account.name])
        .args(arguments);
    command
}

/// Runs it for one second.
pub(crate) fn load(server: &Server, account: &Account, arguments: &[&str]) -> Ended {
    let arguments = [&["--seconds", "1"], arguments].concat();
    ended(command(server, account, &arguments))
}

/// The values by their names.
pub(crate) struct Values<'a>(BTreeMap<&'a str, &'a str>);

impl<'a> Values<'a> {
    pub(crate) fn new(output: &'a str) -> Self {
        let lines = output.lines().map(|line| line.split_once(' ').unwrap());
        Self(lines.collect())
    }

    pub(crate) fn count(&self, name: &str) -> usize {
        self.0[name].parse().unwrap()
    }

    pub(crate) fn number(&self, name: &str) -> f64 {
        self.0[name].parse().unwrap()
    }
}

/// Every job of an account.
pub(crate) async fn jobs(server: &Server, account: &Account) -> Vec<Value> {
    pages(server, "jobs", account).await
}

/// All items of an account in that list, page by page.
pub(crate) async fn pages(server: &Server, list: &str, account: &Account) -> Vec<Value> {
    let first = format!("/api/v1/{list}?limit=500&account={}", account.name);
    let mut items = Vec::new();
    let mut path = first.clone();
    loop {
        let mut page = server.ok(&path).await;
        items.append(page["items"].as_array_mut().unwrap());
        let Some(cursor) = page["next_cursor"].as_str() else {
            return items;
        };
        path = format!("{first}&cursor={cursor}");
    }
}

/// The ids in a file, in the order of the file.
pub(crate) fn ids(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}

/// The ids of jobs.
pub(crate) fn ids_of(jobs: &[Value]) -> BTreeSet<String> {
    let ids = jobs.iter().map(|job| job["msg_id"].as_str().unwrap());
    ids.map(str::to_owned).collect()
}
