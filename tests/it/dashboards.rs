//! The dashboards and alert rules in `grafana/` use metrics and columns that exist.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use qunfa::simulator::Sample;
use serde_json::Value;

use crate::support::workplace::{Ended, Workplace, ended};
use crate::support::{Account, Backend, Database, PLAIN, SAFE, Server, Setup, event, fixture};

fn file(name: &str) -> PathBuf {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    root.join("grafana").join(name)
}

fn read(name: &str) -> String {
    std::fs::read_to_string(file(name)).unwrap()
}

/// promtool: `TEST_PROMTOOL`, else in `PATH`.
fn promtool(arguments: &[&str], input: impl Into<Stdio>) -> Ended {
    let program = std::env::var("TEST_PROMTOOL").unwrap_or_else(|_| "promtool".to_owned());
    let mut command = Command::new(program);
    command.args(arguments).current_dir(file("")).stdin(input);
    ended(command)
}

/// All texts with that key, at any depth.
fn texts(value: &Value, key: &str, found: &mut Vec<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| texts(item, key, found)),
        Value::Object(entries) => {
            for (name, item) in entries {
                match item {
                    Value::String(text) if name == key => found.push(text.clone()),
                    item => texts(item, key, found),
                }
            }
        }
        _ => {}
    }
}

/// The queries of a dashboard.
fn queries(name: &str, key: &str) -> Vec<String> {
    let dashboard: Value = serde_json::from_str(&read(name)).unwrap();
    let mut found = Vec::new();
    texts(&dashboard, key, &mut found);
    assert!(found.len() > 5, "{name}: {found:?}");
    found
}

/// Words of a text that may be our metrics.
fn metrics_in(text: &str) -> BTreeSet<&str> {
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    let is_ours = |word: &&str| word.starts_with("qunfa_") || word.starts_with("process_");
    words.filter(is_ours).collect()
}

/// A server that has values for all metrics.
async fn telling_server() -> Server {
    let server = Setup::default()
        .with_metrics()
        .start(Backend::Postgres)
        .await;
    server.accepts(&SAFE, event(1)).await;
    server.ok("/api/v1/jobs").await;
    let forged = Account {
        token: "AnotherTokenThanTheServers",
        ..PLAIN
    };
    assert_eq!(server.push(&forged, event(1)).await.0, 403);
    server
}

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_that_is_asked_for_is_told_and_every_one_told_is_documented() {
    let server = telling_server().await;
    let text = server.metrics().await;
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let told: BTreeSet<_> = types.filter_map(|line| line.split(' ').next()).collect();
    let histograms: BTreeSet<_> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" histogram"))
        .collect();
    let is_told = |name: &str| {
        let parts = ["_bucket", "_sum", "_count"].iter();
        let mut whole = parts.filter_map(|part| name.strip_suffix(part));
        told.contains(name) && !histograms.contains(name)
            || whole.any(|name| histograms.contains(name))
    };
    let mut asked = queries("qunfa-metrics.json", "expr").join("\n");
    let rules = read("alerts.yml");
    asked.push_str(&rules);
    let asked = metrics_in(&asked);
    assert!(asked.len() > 15, "{asked:?}");
    for name in &asked {
        assert!(is_told(name), "{name} is not among {told:?}");
    }
    for page in ["docs/OPERATIONS.md", "docs/OPERATIONS.zh-CN.md"] {
        let page = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(page);
        let page = std::fs::read_to_string(page).unwrap();
        let documented = metrics_in(&page);
        let ours = told.iter().filter(|name| name.starts_with("qunfa_"));
        for name in ours {
            assert!(documented.contains(name), "{name} is not documented");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn promtool_has_nothing_to_say_against_the_metrics() {
    let place = Workplace::new();
    let server = telling_server().await;
    let path = place.write("metrics.txt", server.metrics().await);
    let input = std::fs::File::open(path).unwrap();
    let checked = promtool(&["check", "metrics"], input).with_code(0);
    assert_eq!(checked.talk, "");
}

#[test]
fn the_alerts_are_well_formed_and_fire_when_they_should_and_only_then() {
    promtool(&["check", "rules", "alerts.yml"], Stdio::null()).with_code(0);
    promtool(&["test", "rules", "alerts_test.yml"], Stdio::null()).with_code(0);
    let tests = read("alerts_test.yml");
    let rules = read("alerts.yml");
    let alerts = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "));
    for alert in alerts {
        assert!(tests.contains(alert), "{alert} has no test");
    }
}

#[test]
fn every_query_of_the_dashboard_on_metrics_is_well_formed() {
    let mut rules = "groups:\n  - name: dashboard\n    rules:\n".to_owned();
    let queries = queries("qunfa-metrics.json", "expr");
    for (number, query) in queries.iter().enumerate() {
        let query = query
            .replace("$__rate_interval", "5m")
            .replace("$account", ".*")
            .replace("$instance", ".*");
        assert!(!query.contains('$'), "{query}");
        let query = Value::String(query);
        writeln!(
            rules,
            "      - {{ record: \"query:{number}\", expr: {query} }}"
        )
        .unwrap();
    }
    let place = Workplace::new();
    let path = place.write("rules.yml", rules);
    let path = path.to_str().unwrap();
    let checked = promtool(&["check", "rules", path], Stdio::null()).with_code(0);
    let count = format!("{} rules found", queries.len());
    assert!(checked.output.contains(&count), "{checked:?}");
}

/// A query as Grafana sends it.
fn filled_in(query: &str) -> String {
    let mut filled = query
        .replace("${account:sqlstring}", "'plain','safe'")
        .replace("${bucket}", "day")
        .replace("${timezone}", "Asia/Shanghai");
    while let Some(start) = filled.find("$__timeFilter(") {
        let rest = &filled[start..];
        let length = rest.find(')').expect("it is closed") + 1;
        let column = &rest["$__timeFilter(".len()..length - 1];
        let range = format!("{column} between '2000-01-01T00:00:00Z' and '2100-01-01T00:00:00Z'");
        filled.replace_range(start..start + length, &range);
    }
    assert!(!filled.contains('$'), "{filled}");
    filled
}

async fn rows(database: &Database, query: &str) -> usize {
    let filled = filled_in(query);
    database
        .rows(&filled)
        .await
        .unwrap_or_else(|error| panic!("{error}: {filled}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_query_of_the_dashboard_on_postgresql_finds_what_is_there() {
    let server = Server::start(Backend::Postgres).await;
    server.accepts(&SAFE, fixture("events/articles.xml")).await;
    server.accepts(&PLAIN, Sample::Rejected.xml()).await;
    server.accepts(&SAFE, "<xml>").await;
    for query in queries("qunfa-jobs.json", "rawSql") {
        let found = rows(&server.database, &query).await;
        assert!(found > 0, "{query}");
    }
    let dashboard: Value = serde_json::from_str(&read("qunfa-jobs.json")).unwrap();
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    let accounts = variables
        .iter()
        .find(|variable| variable["name"] == "account");
    let query = accounts.unwrap()["query"].as_str().unwrap();
    assert_eq!(rows(&server.database, query).await, 2);
}
