//! `serve` without any configuration creates the account `demo`, and the commands that it prints
//! work.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::support::browser::Browser;
use crate::support::server::client;
use crate::support::workplace::{Ended, Workplace, ended, permissions};

/// The commands in the banner.
fn printed_commands(banner: &str) -> Vec<&str> {
    let indented = banner.lines().filter_map(|line| line.strip_prefix("  "));
    indented.collect()
}

/// Runs a line in a shell, in the same directory and without any variable of ours.
fn typed(place: &Workplace, line: &str) -> Ended {
    let mut shell = Command::new("sh");
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("QUNFA_") {
            shell.env_remove(name);
        }
    }
    shell.current_dir(place.path("")).arg("-c").arg(line);
    ended(shell)
}

async fn jobs(url: &str) -> Vec<Value> {
    let text = client()
        .get(url)
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    let mut page: Value = serde_json::from_str(&text).unwrap();
    serde_json::from_value(page["items"].take()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_start_makes_a_private_demo_account_that_stays() {
    let place = Workplace::new();
    let serving = place.serve(&[], &[]).await;
    let token = place.read("data/demo.token");
    let word = token.trim_end();
    assert!(
        (16..=32).contains(&word.len()) && word.bytes().all(|byte| byte.is_ascii_alphanumeric()),
        "it fits into WeChat's console"
    );
    assert_eq!(permissions(&place.path("data/demo.token")), 0o600);
    assert_eq!(permissions(&place.path("data")), 0o700);
    for suffix in ["", "-wal", "-shm"] {
        let file = place.path(&format!("data/qunfa.db{suffix}"));
        assert_eq!(permissions(&file) & 0o077, 0, "{}", file.display());
    }
    assert!(
        serving
            .output()
            .contains(&format!("{}\n", serving.url("/wechat/demo")))
    );
    place.run(&["config", "show"]).with_code(0);
    for printed in [serving.output(), serving.talk()] {
        assert!(
            !printed.contains(word),
            "the token is never printed: {printed}"
        );
    }
    assert_eq!(serving.stop().await, Some(0));

    let again = place.serve(&[], &[]).await;
    assert_eq!(place.read("data/demo.token"), token);
    drop(again);
    // Another data directory has another account.
    let elsewhere = place.serve(&[("QUNFA_DATA_DIR", "other")], &[]).await;
    assert_ne!(place.read("other/demo.token"), token);
    drop(elsewhere);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_printed_command_pushes_a_sample_as_it_stands() {
    let place = Workplace::new();
    place.write("my conf/it's.toml", "# nothing");
    for (data_dir, arguments) in [
        ("data", &[] as &[&str]),
        ("it's my data", &["--config", "my conf/it's.toml"]),
    ] {
        let serving = place
            .serve(&[("QUNFA_DATA_DIR", data_dir)], arguments)
            .await;
        let banner = serving.output();
        let [push, read] = printed_commands(&banner)[..] else {
            panic!("two commands: {banner}");
        };
        let pushed = typed(&place, push).with_code(0);
        assert!(pushed.output.contains(" 200 success"), "{pushed:?}");
        let url = serving.url("/api/v1/jobs");
        assert_eq!(read, format!("curl {url}"));
        let jobs = jobs(&url).await;
        assert_eq!(jobs.len(), 1, "{jobs:?}");
        assert_eq!(jobs[0]["account"], "demo");
    }
}

/// The commands and the answer of the trial in a README: the answer without ids and times, split at
/// its ellipses.
fn shown_trial(readme: &str) -> (Vec<String>, Vec<String>) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(readme);
    let text = fs::read_to_string(path).unwrap();
    let blocks = text.split("```console\n").skip(1);
    let mut blocks = blocks.map(|block| block.split("```").next().unwrap());
    let pushes = blocks.next().unwrap().lines();
    let pushes = pushes.filter_map(|line| line.strip_prefix("$ target/release/qunfa "));
    let (curl, answer) = blocks.next().unwrap().split_once('\n').unwrap();
    assert_eq!(curl, "$ curl -s http://127.0.0.1:8080/api/v1/jobs");
    let answer: String = answer.lines().map(str::trim).collect();
    let pieces = without_ids_and_times(&answer);
    (
        pushes.map(str::to_owned).collect(),
        pieces
            .split('…')
            .map(|piece| piece.trim().to_owned())
            .collect(),
    )
}

fn without_ids_and_times(json: &str) -> String {
    let mut text = json.to_owned();
    for name in ["msg_id", "finished_at"] {
        let start = format!("\"{name}\":\"");
        let mut parts: Vec<_> = text.split(&start).collect();
        for part in &mut parts[1..] {
            *part = part.split_once('"').unwrap().1;
        }
        text = parts.join(&format!("{start}\""));
    }
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn the_trial_of_the_readmes_comes_out_as_shown_and_fills_the_page() {
    let (pushes, pieces) = shown_trial("README.md");
    assert_eq!(
        (&pushes, &pieces),
        (
            &shown_trial("README.zh-CN.md").0,
            &shown_trial("README.zh-CN.md").1
        )
    );
    assert_eq!(
        (pushes.len(), pieces.len()),
        (2, 5),
        "{pushes:?} {pieces:?}"
    );

    let place = Workplace::new();
    let serving = place.serve(&[], &[]).await;
    let address = serving.address.to_string();
    for push in pushes {
        let arguments: Vec<_> = push.split(' ').collect();
        let pushed = place
            .run_with(&[("QUNFA_SERVER__LISTEN", &address)], &arguments)
            .with_code(0);
        assert!(
            pushed
                .output
                .lines()
                .all(|line| line.contains(" 200 success ")),
            "{pushed:?}"
        );
    }
    let answer = client()
        .get(serving.url("/api/v1/jobs"))
        .send()
        .await
        .unwrap();
    let answer = without_ids_and_times(&answer.text().await.unwrap());
    let mut rest = &*answer;
    for piece in &pieces {
        let (_, after) = rest
            .split_once(piece.as_str())
            .unwrap_or_else(|| panic!("{piece}: {answer}"));
        rest = after;
    }

    let browser = Browser::start().await;
    browser.open(&serving.url("/")).await;
    browser
        .until("document.querySelector('.tile .value')?.textContent === '2'")
        .await;
    browser
        .until("document.querySelectorAll('.chart canvas').length === 2")
        .await;
    browser.shows("Every account had a result").await;
    // Another push is a new job, which appears on the open page.
    place
        .run_with(
            &[("QUNFA_SERVER__LISTEN", &address)],
            &["simulate", "push", "--account", "demo"],
        )
        .with_code(0);
    browser
        .until("document.querySelector('.tile .value')?.textContent === '3'")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configured_account_leaves_no_room_for_demo() {
    let variables = [
        ("QUNFA_ACCOUNTS__SHOP__MODE", "plain"),
        ("QUNFA_ACCOUNTS__SHOP__TOKEN", "CANARYCANARYCANARY"),
        ("QUNFA_SERVER__PUBLIC_URL", "https://wx.example.com/in/"),
    ];
    let place = Workplace::new();
    let serving = place.serve(&variables, &[]).await;
    assert!(!place.path("data/demo.token").exists());
    let banner = serving.output();
    assert!(
        banner.contains(" https://wx.example.com/in/wechat/shop\n"),
        "{banner}"
    );
    assert!(
        !banner.contains("demo") && !banner.contains("CANARY"),
        "{banner}"
    );
    assert!(!serving.talk().contains("CANARY"));
    assert_eq!(printed_commands(&banner), [""; 0]);
    let page =
        "\nthe page, for your colleagues: https://wx.example.com/in/ once the proxy lets them in";
    assert!(banner.contains(page), "{banner}");
    drop(serving);
    // With `api.listen` the page is not at the address of the callback.
    let variables = [
        variables[0],
        variables[1],
        variables[2],
        ("QUNFA_API__LISTEN", "127.0.0.1:0"),
    ];
    let banner = place.serve(&variables, &[]).await.output();
    assert!(!banner.contains("colleagues"), "{banner}");
}

#[test]
fn there_is_no_demo_account_before_serve_has_made_it() {
    let place = Workplace::new();
    let ended = place
        .run(&["simulate", "push", "--account", "demo"])
        .with_code(2);
    assert!(ended.talk.contains("qunfa serve"), "{ended:?}");
    assert!(!place.path("data").exists());
}

#[test]
fn a_broken_token_file_is_told_and_left_alone() {
    let place = Workplace::new();
    place.write("data/demo.token", "CANARY CANARY");
    let ended = place
        .run_with(&[("QUNFA_SERVER__LISTEN", "127.0.0.1:0")], &["serve"])
        .with_code(1);
    assert!(ended.talk.contains("demo.token"), "{ended:?}");
    assert!(!ended.talk.contains("CANARY"), "{ended:?}");
    assert_eq!(place.read("data/demo.token"), "CANARY CANARY");
}
