//! Messages about a wrong configuration: all mistakes at once, with the key and what is allowed,
//! and without secrets.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

use crate::support::workplace::Workplace;

/// Used wherever a secret can be.
const CANARY: &str = "CANARY";
const HEAD: &str = "[accounts.main]\nmode = \"plain\"\ntoken = \"abcdefghijklmnop\"\n";

/// A configuration file with this key in addition to a good account.
fn account(line: &str) -> String {
    format!("{HEAD}{line}\n")
}

/// A wrong configuration, and parts of its message: the key and what is allowed.
type Case<Bad> = (Bad, &'static [&'static str]);

/// Whole files.
const FILES: &[Case<&str>] = &[
    ("data_dir = ", &["config.toml", "line 1", "quotes"]),
    ("token = \"CANARY", &["config.toml", "line 1"]),
    (
        "data_dir = \"a\"\ndata_dir = \"b\"",
        &["line 2", "only once"],
    ),
    ("colour = 1", &["`colour`", "known: `data_dir`"]),
    ("data_dir = \"\"", &["`data_dir`", "not a path"]),
    ("data_dir = 5", &["`data_dir`", "quoted string"]),
    ("server = 5", &["`server`", "[server]"]),
    (
        "server.listn = \"CANARY\"",
        &["`server.listn`", "did you mean `server.listen`"],
    ),
    (
        "server.listen = \"CANARY\"",
        &["`server.listen`", "127.0.0.1:8080"],
    ),
    (
        "server.listen = \"127.0.0.1\"",
        &["`server.listen`", "port"],
    ),
    (
        "server.public_url = \"CANARY\"",
        &["`server.public_url`", "https://"],
    ),
    (
        "server.public_url = \"https://h/?t=CANARY\"",
        &["`server.public_url`", "`?`"],
    ),
    (
        "server.body_limit = 0",
        &["`server.body_limit`", "from 1 to 16777216"],
    ),
    (
        "server.body_limit = \"64k\"",
        &["`server.body_limit`", "whole number"],
    ),
    (
        "server.timestamp_tolerance = -1",
        &["`server.timestamp_tolerance`", "from 1"],
    ),
    (
        "store.keep_raw_days = 0",
        &["`store.keep_raw_days`", "whole number", "1 to 36500"],
    ),
    (
        "server.max_connections = 1.5",
        &["`server.max_connections`", "whole number"],
    ),
    (
        "store.migrate = \"no\"",
        &["`store.migrate`", "`true` or `false`"],
    ),
    (
        "store.url = \"mysql://u:CANARY@h/d\"",
        &["`store.url`", "`sqlite://`", "`postgres://`"],
    ),
    (
        "store.url = \"sqlite::memory:\"",
        &["`store.url`", "must be a file"],
    ),
    (
        "store.url_file = \"/nowhere/url\"",
        &["`store.url_file`", "/nowhere/url"],
    ),
    (
        "store.url_file = \"postgres://u:CANARY@h/d\"",
        &["`store.url_file`", "give its path"],
    ),
    (
        "[store]\nurl = \"sqlite://CANARY\"\nurl_file = \"x\"",
        &["`store.url_file`", "both `url` and `url_file`", "keep one"],
    ),
    (
        "api.keys = [\"CANARY\"]",
        &["`api.keys`", "sha256:", "`qunfa key create`"],
    ),
    ("api.keys = \"CANARY\"", &["`api.keys`", "list"]),
    (
        "log.format = \"xml\"",
        &["`log.format`", "`text` or `json`"],
    ),
    ("log.level = \"loud\"", &["`log.level`", "`debug`"]),
    ("accounts = 1", &["`accounts`", "[accounts]"]),
    ("[accounts.Main]", &["`accounts.Main`", "a-z, 0-9"]),
    ("[accounts.a__b]", &["`accounts.a__b`", "without `__`"]),
    ("[accounts.\"\"]", &["accounts", "1 to 64"]),
    (
        "[accounts.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa]",
        &["accounts", "1 to 64"],
    ),
    (
        "[accounts.main]",
        &["`accounts.main.mode`", "`accounts.main.token`", "3 to 32"],
    ),
    (
        "[accounts.main]\nmode = \"open\"\ntoken = \"abc\"",
        &["`accounts.main.mode`", "`plain`, `compatible` or `safe`"],
    ),
    (
        "[accounts.main]\nmode = \"safe\"\ntoken = \"abc\"",
        &[
            "`accounts.main.app_id`",
            "`accounts.main.encoding_aes_key`",
            "missing",
        ],
    ),
    (
        "[accounts.main]\nmode = \"compatible\"\ntoken = \"abc\"",
        &[
            "`accounts.main.app_id`",
            "`accounts.main.encoding_aes_key`",
            "missing",
        ],
    ),
    (
        "[accounts.main]\nmode = \"plain\"\ntoken = \"CANARY-CANARY\"",
        &["`accounts.main.token`", "3 to 32 letters and digits"],
    ),
];

/// Lines in addition to a good account.
const LINES: &[Case<&str>] = &[
    (
        "tokn = \"CANARY\"",
        &["`accounts.main.tokn`", "did you mean `accounts.main.token`"],
    ),
    (
        "token_file = \"CANARY\"",
        &["`accounts.main.token_file`", "keep one"],
    ),
    (
        "previous_token = \"CANARYCANARYCANARYCANARYCANARYCANARY\"",
        &["`accounts.main.previous_token`", "3 to 32"],
    ),
    (
        "previous_token = 5",
        &["`accounts.main.previous_token`", "quoted string"],
    ),
    ("app_id = \"CANARY\"", &["`accounts.main.app_id`", "`wx`"]),
    (
        "encoding_aes_key = \"CANARY\"",
        &["`accounts.main.encoding_aes_key`", "43 letters"],
    ),
    (
        "previous_encoding_aes_key = \"CANARY\"",
        &["`accounts.main.previous_encoding_aes_key`", "43 letters"],
    ),
    (
        "encoding_aes_key_file = \"none/key\"",
        &["`accounts.main.encoding_aes_key_file`", "none/key"],
    ),
    (
        "original_id = \"CANARY\"",
        &["`accounts.main.original_id`", "`gh_`"],
    ),
    (
        "keep_events = \"CANARY\"",
        &["`accounts.main.keep_events`", "list"],
    ),
    (
        "keep_events = [\"\"]",
        &["`accounts.main.keep_events`", "entry 1"],
    ),
];

/// Variables.
const VARIABLES: &[Case<&[(&str, &str)]>] = &[
    (&[("QUNFA_COLOUR", CANARY)], &["QUNFA_COLOUR", "unknown"]),
    (
        &[("QUNFA_SERVER_LISTEN", CANARY)],
        &["did you mean `QUNFA_SERVER__LISTEN`"],
    ),
    (
        &[("QUNFA_ACCOUNTS__MAIN__TOKN", CANARY)],
        &["did you mean `QUNFA_ACCOUNTS__MAIN__TOKEN`"],
    ),
    (
        &[("QUNFA_DATA_DIR_FILE", CANARY)],
        &["QUNFA_DATA_DIR_FILE", "unknown"],
    ),
    (
        &[("QUNFA_SERVER__LISTEN", CANARY)],
        &["`server.listen`", "QUNFA_SERVER__LISTEN"],
    ),
    (
        &[("QUNFA_SERVER__BODY_LIMIT", "1e3")],
        &["QUNFA_SERVER__BODY_LIMIT", "from 1 to 16777216"],
    ),
    (
        &[("QUNFA_STORE__MIGRATE", "no")],
        &["QUNFA_STORE__MIGRATE", "`true` or `false`"],
    ),
    (
        &[("QUNFA_API__KEYS", CANARY)],
        &["QUNFA_API__KEYS", "sha256:"],
    ),
    (
        &[("QUNFA_ACCOUNTS__MAIN__TOKEN", "CANARY ")],
        &["QUNFA_ACCOUNTS__MAIN__TOKEN", "3 to 32"],
    ),
    (
        &[("QUNFA_ACCOUNTS__MAIN__TOKEN_FILE", CANARY)],
        &["TOKEN_FILE", "give its path"],
    ),
    (
        &[("QUNFA_ACCOUNTS__MAIN__TOKEN", "")],
        &["QUNFA_ACCOUNTS__MAIN__TOKEN", "is empty"],
    ),
    (
        &[
            ("QUNFA_STORE__URL", "sqlite://CANARY"),
            ("QUNFA_STORE__URL_FILE", "x"),
        ],
        &["QUNFA_STORE__URL_FILE", "both `url` and `url_file`"],
    ),
];

#[test]
fn every_mistake_in_a_file_is_told_with_its_key_and_what_is_right_but_no_secret() {
    let place = Workplace::new();
    let lines = LINES.iter().map(|(line, said)| (account(line), *said));
    let files = FILES.iter().map(|(text, said)| ((*text).to_owned(), *said));
    for (text, said) in files.chain(lines) {
        place.write("config.toml", &text);
        for command in [
            &["config", "check"] as &[_],
            &["serve"],
            &["migrate"],
            &["reprocess"],
        ] {
            let ended = place.run(command);
            assert_eq!(ended.code, Some(2), "{command:?}: {text}: {ended:#?}");
            assert_eq!(ended.output, "", "{text}");
            for words in said {
                assert!(
                    ended.talk.contains(words),
                    "{text}: {words}: {}",
                    ended.talk
                );
            }
            assert!(!ended.talk.contains(CANARY), "{text}: {}", ended.talk);
        }
        let shown = place.run(&["config", "show"]).with_code(2);
        assert!(!shown.output.contains(CANARY), "{text}: {}", shown.output);
    }
    assert!(
        !place.path("data").exists(),
        "a bad configuration makes nothing"
    );
}

#[test]
fn every_mistake_in_the_environment_is_told_with_its_variable_but_no_secret() {
    let place = Workplace::new();
    for (variables, said) in VARIABLES {
        let ended = place.run_with(variables, &["config", "check"]).with_code(2);
        for words in *said {
            assert!(ended.talk.contains(words), "{variables:?}: {}", ended.talk);
        }
        assert!(
            !ended.talk.contains(CANARY),
            "{variables:?}: {}",
            ended.talk
        );
    }
}

#[test]
fn all_mistakes_are_reported_at_once() {
    let place = Workplace::new();
    place.write(
        "config.toml",
        "colour = 1\nserver.listen = \"x\"\nstore.migrate = 1\n[accounts.b]\nmode = \"safe\"\n",
    );
    let variables = [("QUNFA_LOG__LEVEL", "loud"), ("QUNFA_X", "1")];
    let ended = place
        .run_with(&variables, &["config", "check"])
        .with_code(2);
    for key in [
        "`colour`",
        "`server.listen`",
        "`store.migrate`",
        "`log.level`",
        "`QUNFA_X`",
        "`accounts.b.token`",
        "`accounts.b.app_id`",
        "`accounts.b.encoding_aes_key`",
    ] {
        assert_eq!(ended.talk.matches(key).count(), 1, "{key}: {}", ended.talk);
    }
    assert!(ended.talk.contains("8 mistakes"), "{}", ended.talk);
}

#[test]
fn an_open_api_on_an_address_of_others_is_a_mistake() {
    let place = Workplace::new();
    let key = format!("sha256:{}", "0".repeat(64));
    for (listen, code) in [
        ("0.0.0.0:0", 2),
        ("192.0.2.1:0", 2),
        ("[::]:0", 2),
        ("127.0.0.1:0", 0),
        ("127.1.2.3:0", 0),
        ("localhost:0", 0),
        ("[::1]:0", 0),
    ] {
        let listen = ("QUNFA_SERVER__LISTEN", listen);
        let ended = place
            .run_with(&[listen], &["config", "check"])
            .with_code(code);
        if code == 2 {
            assert!(ended.talk.contains("`api.keys`"), "{ended:?}");
            assert!(ended.talk.contains("`qunfa key create`"), "{ended:?}");
            let served = place.run_with(&[listen], &["serve"]).with_code(2);
            assert!(served.talk.contains("`api.keys`"), "{served:?}");
        }
        let keyed = [listen, ("QUNFA_API__KEYS", key.as_str())];
        place.run_with(&keyed, &["config", "check"]).with_code(0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn private_files_that_others_can_use_are_told_before_and_at_the_start() {
    let place = Workplace::new();
    let secret = place.write("token", "abcdefghijklmnopqrst");
    let config = place.write(
        "config.toml",
        "[accounts.main]\nmode = \"plain\"\ntoken_file = \"token\"\n",
    );
    let warned = |talk: &str, name: &str| {
        talk.contains(&format!("`{name}` has mode 0644"))
            || talk.contains(&format!("`{name}` has mode 0755"))
    };
    let checked = place.run(&["config", "check"]).with_code(0);
    assert!(!checked.talk.contains("has mode"), "{checked:?}");

    let serving = place.serve(&[], &[]).await;
    assert!(!serving.talk().contains("has mode"), "{}", serving.talk());
    serving.stop().await;
    let database = place.path("data/qunfa.db");
    for path in [&secret, &config, &database] {
        std::fs::set_permissions(path, Permissions::from_mode(0o644)).unwrap();
    }
    std::fs::set_permissions(place.path("data"), Permissions::from_mode(0o755)).unwrap();
    let names = ["config.toml", "token", "data", "data/qunfa.db"];
    let checked = place.run(&["config", "check"]).with_code(0);
    let serving = place.serve(&[], &[]).await;
    for name in names {
        assert!(warned(&checked.talk, name), "{name}: {checked:?}");
        assert!(warned(&serving.talk(), name), "{name}: {}", serving.talk());
    }
}

#[test]
fn a_database_over_a_network_without_sslmode_is_a_warning() {
    let place = Workplace::new();
    let check = |url: &str| {
        let variables = [("QUNFA_STORE__URL", url)];
        place
            .run_with(&variables, &["config", "check"])
            .with_code(0)
            .talk
    };
    let talk = check("postgres://qunfa:CANARY@db.example.com/qunfa");
    assert!(
        talk.contains("`store.url`") && talk.contains("sslmode=verify-full"),
        "{talk}"
    );
    assert!(!talk.contains(CANARY), "{talk}");
    for url in [
        "postgres://qunfa:CANARY@127.0.0.1/qunfa",
        "postgres://qunfa:CANARY@db.example.com/qunfa?sslmode=verify-full",
    ] {
        let talk = check(url);
        assert!(!talk.contains("sslmode"), "{talk}");
    }
}
