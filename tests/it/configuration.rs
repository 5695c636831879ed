//! Sources of the configuration (files, variables, secret files), their precedence, and what is
//! shown.

use crate::support::SAFE;
use crate::support::workplace::{Workplace, permissions};

/// Used wherever a secret can be.
const CANARY: &str = "CANARY";

#[test]
fn the_written_configuration_is_private_and_good_and_never_written_over() {
    let place = Workplace::new();
    place.run(&["config", "init"]).with_code(0);
    assert_eq!(permissions(&place.path("config.toml")), 0o600);
    place.run(&["config", "check"]).with_code(0);
    let written = place.read("config.toml");
    assert!(written.contains("[server]") && written.contains("data_dir"));
    // Even if there is another file.
    for text in [written.as_str(), "mine"] {
        place.write("config.toml", text);
        let again = place.run(&["config", "init"]).with_code(1);
        assert_eq!(again.output, "");
        assert!(again.talk.contains("config.toml"), "{again:?}");
        assert_eq!(place.read("config.toml"), text);
    }

    for (variables, arguments, name) in [
        (&[] as &[_], &["config", "init", "a.toml"] as &[_], "a.toml"),
        (&[], &["--config", "b.toml", "config", "init"], "b.toml"),
        (&[("QUNFA_CONFIG", "c.toml")], &["config", "init"], "c.toml"),
    ] {
        place.run_with(variables, arguments).with_code(0);
        assert_eq!(place.read(name), written, "{name}");
        place
            .run(&["config", "check", "--config", name])
            .with_code(0);
    }
    place
        .run(&["config", "init", "no/such/directory"])
        .with_code(1);
}

#[test]
fn the_flag_wins_over_the_variable_and_that_over_the_standard_file() {
    let place = Workplace::new();
    for name in ["flag", "variable"] {
        place.write(&format!("{name}.toml"), format!("data_dir = \"{name}\""));
    }
    let dir = |variables: &[(&str, &str)], arguments: &[&str]| {
        let shown = place.run_with(variables, arguments).with_code(0).output;
        let line = shown.lines().find(|line| line.starts_with("data_dir"));
        line.unwrap().to_owned()
    };
    let variable = [("QUNFA_CONFIG", "variable.toml")];
    let show = ["config", "show"];
    assert_eq!(dir(&[], &show), r#"data_dir = "data"  # default"#);
    assert_eq!(
        dir(&[("QUNFA_CONFIG", "")], &show),
        r#"data_dir = "data"  # default"#
    );
    place.write("config.toml", "data_dir = \"standard\"");
    assert_eq!(dir(&[], &show), r#"data_dir = "standard"  # config.toml"#);
    assert_eq!(
        dir(&variable, &show),
        r#"data_dir = "variable"  # variable.toml"#
    );
    for arguments in [
        &["--config", "flag.toml", "config", "show"],
        &["config", "--config", "flag.toml", "show"],
        &["config", "show", "--config", "flag.toml"],
    ] {
        assert_eq!(
            dir(&variable, arguments),
            r#"data_dir = "flag"  # flag.toml"#
        );
    }
    let wins = [variable[0], ("QUNFA_DATA_DIR", "environment")];
    assert_eq!(
        dir(&wins, &show),
        r#"data_dir = "environment"  # QUNFA_DATA_DIR"#
    );
    // A file given explicitly must exist.
    for (variables, arguments) in [
        (&[("QUNFA_CONFIG", "none.toml")] as &[_], &show as &[_]),
        (&[], &["config", "check", "--config", "none.toml"]),
        (&[], &["serve", "--config", "none.toml"]),
    ] {
        let ended = place.run_with(variables, arguments).with_code(2);
        assert!(ended.talk.contains("none.toml"), "{ended:?}");
    }
}

#[test]
fn every_key_can_stand_in_the_file_and_in_the_environment() {
    let place = Workplace::new();
    let text = format!(
        "data_dir = \"d\"\n[server]\nlisten = \"[::1]:80\"\npublic_url = \"https://wx.example.com\"\n\
         body_limit = 1\ntimestamp_tolerance = 1\nmax_connections = 1\ntrusted_proxies = [\"127.0.0.1\", \"10.0.0.0/8\"]\n[store]\nmigrate = false\n\
         url = \"postgres://u:CANARY@h/d\"\nbudget_ms = 100\nkeep_raw_days = 1\n[api]\nkeys = [\"sha256:{}\"]\n\
         timezone = \"UTC\"\nlisten = \"127.0.0.1:81\"\ncors_origins = [\"https://dash.example.com\"]\n[api.clients.grafana]\nkey = \"sha256:{}\"\n\
         scopes = [\"read\", \"export\"]\naccounts = [\"main\"]\nexpires = \"2099-01-01T00:00:00Z\"\n[metrics]\nlisten = \"\"\n[log]\nformat = \"json\"\nlevel = \"warn\"\n{}\
         original_id = \"gh_0a1b2c3d4e5f\"\nprevious_token = \"CANARYPREVIOUS\"\n\
         previous_encoding_aes_key = \"{}\"\nkeep_events = [\"PUBLISHJOBFINISH\", \"B\"]\n",
        "1".repeat(64),
        "2".repeat(64),
        SAFE.toml(),
        SAFE.aes_key,
    );
    place.write("config.toml", &text);
    let from_file = place.run(&["config", "show"]).with_code(0).output;
    assert!(!from_file.contains("default"), "{from_file}");

    let table: toml::Table = text.parse().unwrap();
    let mut variables = Vec::new();
    flatten("QUNFA", &toml::Value::Table(table), &mut variables);
    let variables: Vec<_> = variables
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let elsewhere = Workplace::new();
    let from_environment = elsewhere
        .run_with(&variables, &["config", "show"])
        .with_code(0)
        .output;
    for (in_file, in_environment) in from_file.lines().zip(from_environment.lines()) {
        let (value, origin) = in_file.rsplit_once("  # ").unwrap();
        assert_eq!(origin, "config.toml");
        let (same, variable) = in_environment.rsplit_once("  # ").unwrap();
        assert_eq!(same, value);
        assert!(variable.starts_with("QUNFA_"), "{in_environment}");
    }
    assert_eq!(from_file.lines().count(), from_environment.lines().count());
    for secret in [CANARY, SAFE.token, SAFE.aes_key] {
        assert!(!from_file.contains(secret) && !from_environment.contains(secret));
    }
    assert!(from_file.contains("postgres://u:***@h/d"), "{from_file}");
}

/// The variables equivalent to the table.
fn flatten(path: &str, value: &toml::Value, variables: &mut Vec<(String, String)>) {
    let text = match value {
        toml::Value::Table(table) => {
            for (name, value) in table {
                let joint = if path == "QUNFA" { "_" } else { "__" };
                let name = name.to_ascii_uppercase();
                flatten(&format!("{path}{joint}{name}"), value, variables);
            }
            return;
        }
        toml::Value::Array(entries) => entries
            .iter()
            .map(|entry| entry.as_str().unwrap())
            .collect::<Vec<_>>()
            .join(","),
        toml::Value::String(text) => text.clone(),
        toml::Value::Integer(number) => number.to_string(),
        toml::Value::Boolean(value) => value.to_string(),
        other => panic!("{path} is {other:?}"),
    };
    variables.push((path.to_owned(), text));
}

#[test]
fn secrets_are_read_from_files_and_the_environment_wins_over_both_forms() {
    let place = Workplace::new();
    // Only one line break is ignored, so a file with two has no valid token.
    for (content, code) in [
        ("CANARYCANARYCANARY", 0),
        ("CANARYCANARYCANARY\n", 0),
        ("CANARYCANARYCANARY\r\n", 0),
        ("CANARYCANARYCANARY\n\n", 2),
        (" CANARYCANARYCANARY", 2),
        ("", 2),
    ] {
        let path = place.write("secrets/token", content);
        let text = format!(
            "[accounts.main]\nmode = \"plain\"\ntoken_file = \"{}\"",
            path.display()
        );
        place.write("config.toml", text);
        let ended = place.run(&["config", "check"]).with_code(code);
        assert!(!ended.talk.contains(CANARY), "{ended:?}");
    }
    place.write("secrets/token", "CANARYCANARYCANARY\n");
    for (in_file, variable, origin) in [
        (
            "token_file = \"secrets/token\"",
            None,
            "config.toml (token_file)",
        ),
        (
            "token = \"abcdef\"",
            Some(("TOKEN", "ghijkl")),
            "QUNFA_ACCOUNTS__MAIN__TOKEN",
        ),
        (
            "token = \"abcdef\"",
            Some(("TOKEN_FILE", "secrets/token")),
            "QUNFA_ACCOUNTS__MAIN__TOKEN_FILE",
        ),
        (
            "token_file = \"/nowhere\"",
            Some(("TOKEN", "ghijkl")),
            "QUNFA_ACCOUNTS__MAIN__TOKEN",
        ),
        (
            "token_file = \"/nowhere\"",
            Some(("TOKEN_FILE", "secrets/token")),
            "QUNFA_ACCOUNTS__MAIN__TOKEN_FILE",
        ),
    ] {
        place.write(
            "config.toml",
            format!("[accounts.main]\nmode = \"plain\"\n{in_file}"),
        );
        let variables: Vec<_> = variable
            .iter()
            .map(|(name, value)| (format!("QUNFA_ACCOUNTS__MAIN__{name}"), *value))
            .collect();
        let variables: Vec<_> = variables
            .iter()
            .map(|(name, value)| (name.as_str(), *value))
            .collect();
        let shown = place
            .run_with(&variables, &["config", "show"])
            .with_code(0)
            .output;
        let line = format!("accounts.main.token = \"********\"  # {origin}\n");
        assert!(shown.contains(&line), "{in_file} {variables:?}: {shown}");
    }
}
