//! The check of one account.

use super::checker::{Checker, Noted};
use super::key::{Address, Key};
use crate::domain::AccountName;
use crate::wechat::{Account, AppId, EncodingAesKey, Encryption, Mode, Token};

const TOKEN_RULE: &str = "allowed are 3 to 32 letters and digits";
const AES_KEY_RULE: &str = "allowed are 43 letters and digits";

/// The account's mode, before it is known whether what it needs is there.
#[derive(Clone, Copy)]
enum ModeWord {
    Plain,
    Compatible,
    Safe,
}

impl Checker<'_> {
    /// Checks everything, so that every mistake is noted, before anything is put together.
    pub(super) fn account(&mut self, name: &AccountName) -> Result<Account, Noted> {
        let at = |key| Address::of(name, key);
        let mode = self.mode(name);
        let token = self.token(&at(Key::Token));
        let token = self.needed(&at(Key::Token), token, TOKEN_RULE);
        let previous_token = self.token(&at(Key::PreviousToken));
        let original_id = self.text(&at(Key::OriginalId), original_id);
        let keep_events = self.list(&at(Key::KeepEvents), event);
        Ok(Account {
            name: name.clone(),
            mode: mode?,
            token: token?,
            previous_token: previous_token?,
            original_id: original_id?,
            keep_events: keep_events?,
        })
    }

    fn mode(&mut self, name: &AccountName) -> Result<Mode, Noted> {
        let at = |key| Address::of(name, key);
        let word = self.word(
            &at(Key::Mode),
            &[
                ("plain", ModeWord::Plain),
                ("compatible", ModeWord::Compatible),
                ("safe", ModeWord::Safe),
            ],
        );
        let app_id = self.text(&at(Key::AppId), app_id);
        let key = self.text(&at(Key::EncodingAesKey), aes_key);
        let previous_key = self.text(&at(Key::PreviousEncodingAesKey), aes_key);

        let in_mode = match word? {
            ModeWord::Plain => {
                let risk =
                    "plain: its signature does not cover the body; use safe mode in production";
                self.warn(&at(Key::Mode), risk);
                return app_id.and(key).and(previous_key).map(|_| Mode::Plain);
            }
            ModeWord::Compatible => Mode::Compatible,
            ModeWord::Safe => Mode::Safe,
        };
        let rule = "compatible and safe mode need it";
        let app_id = self.needed(&at(Key::AppId), app_id, rule);
        let key = self.needed(&at(Key::EncodingAesKey), key, rule);
        Ok(in_mode(Encryption {
            app_id: app_id?,
            key: key?,
            previous_key: previous_key?,
        }))
    }

    fn token(&mut self, address: &Address) -> Result<Option<Token>, Noted> {
        let token = self.text(address, token)?;
        if token.as_ref().is_some_and(Token::is_short) {
            self.warn(
                address,
                "has fewer than 16 characters, so it might be guessed",
            );
        }
        Ok(token)
    }
}

fn token(text: &str) -> Result<Token, String> {
    Token::new(text).map_err(|_| format!("{}; {TOKEN_RULE}", shape(text)))
}

fn aes_key(text: &str) -> Result<EncodingAesKey, String> {
    EncodingAesKey::new(text).map_err(|_| format!("{}; {AES_KEY_RULE}", shape(text)))
}

fn app_id(text: &str) -> Result<AppId, String> {
    AppId::new(text).map_err(|invalid| format!("does not fit; {invalid}"))
}

/// WeChat writes original ids as `gh_` and a few letters and digits.
fn original_id(text: &str) -> Result<String, &'static str> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    text.strip_prefix("gh_")
        .filter(|rest| (1..=61).contains(&rest.len()) && rest.bytes().all(is_allowed))
        .map(|_| text.to_owned())
        .ok_or("does not fit; allowed are `gh_` and 1 to 61 letters, digits, `_` and `-`")
}

fn event(text: &str) -> Result<String, &'static str> {
    match text.trim() {
        "" => Err("is empty; allowed are names of events"),
        event => Ok(event.to_owned()),
    }
}

/// What can be said about a secret that does not fit.
fn shape(secret: &str) -> String {
    let count = secret.chars().count();
    let plural = if count == 1 { "" } else { "s" };
    let alien = if secret.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        ""
    } else {
        ", not all of them letters and digits"
    };
    format!("has {count} character{plural}{alien}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::tests::{mistakes, settings};

    const SAFE: &str = "mode = 'safe'\ntoken = 'abcdefghijklmnop'\napp_id = 'wx0123456789abcdef'\n\
        encoding_aes_key = 'abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG'\n";
    const PLAIN: &str = "mode = 'plain'\ntoken = 'abcdefghijklmnop'\n";

    fn checked(keys: &str) -> (Account, Vec<String>) {
        let settings = settings(&format!("[accounts.main]\n{keys}"), &[]).expect("it is TOML");
        let mut config = settings.check().expect(keys);
        (config.accounts.remove(0), config.warnings)
    }

    #[test]
    fn an_account_is_put_together_as_it_is_set() {
        let (account, warnings) = checked(&format!(
            "{SAFE}original_id = 'gh_0a-1_B'\nprevious_token = 'abcdefghijklmnopq'\n\
             previous_encoding_aes_key = 'abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG'\n\
             keep_events = ['PUBLISHJOBFINISH', ' b ']\n"
        ));
        let encryption = account.mode.encryption().expect("it has a key");
        assert_eq!(
            (account.name.as_str(), account.mode.as_str()),
            ("main", "safe")
        );
        assert_eq!(encryption.app_id.as_str(), "wx0123456789abcdef");
        assert!(encryption.previous_key.is_some() && account.previous_token.is_some());
        assert_eq!(account.original_id.as_deref(), Some("gh_0a-1_B"));
        assert_eq!(account.keep_events, ["PUBLISHJOBFINISH", "b"]);
        assert_eq!(warnings, [""; 0]);

        let (bare, _) = checked(&SAFE.replace("safe", "compatible"));
        assert_eq!(bare.mode.as_str(), "compatible");
        assert!(bare.previous_token.is_none() && bare.keep_events.is_empty());
    }

    #[test]
    fn plain_mode_and_short_tokens_are_warned_of() {
        let (_, warnings) =
            checked("mode = 'plain'\ntoken = 'abcdefghijklmno'\nprevious_token = 'abc'");
        assert_eq!(
            warnings,
            [
                "`accounts.main.mode` (config.toml): plain: its signature does not cover the body; use safe mode in production",
                "`accounts.main.token` (config.toml): has fewer than 16 characters, so it might be guessed",
                "`accounts.main.previous_token` (config.toml): has fewer than 16 characters, so it might be guessed",
            ]
        );
    }

    #[test]
    fn the_encrypted_modes_need_app_id_and_key() {
        for mode in ["compatible", "safe"] {
            assert_eq!(
                mistakes(
                    &format!("[accounts.main]\nmode = '{mode}'\ntoken = 'abc'"),
                    &[]
                ),
                [
                    "`accounts.main.app_id`: is missing; compatible and safe mode need it",
                    "`accounts.main.encoding_aes_key`: is missing; compatible and safe mode need it",
                ]
            );
        }
    }

    #[test]
    fn each_wrong_value_is_one_mistake_also_in_plain_mode() {
        for (key, value, problem) in [
            (
                "previous_token",
                "'ab'",
                "has 2 characters; allowed are 3 to 32 letters and digits",
            ),
            (
                "previous_token",
                "'secret-token'",
                "has 12 characters, not all of them letters and digits; allowed are 3 to 32 letters and digits",
            ),
            (
                "app_id",
                "'wx'",
                "does not fit; an AppID is `wx` and up to 62 letters and digits",
            ),
            (
                "encoding_aes_key",
                "'a'",
                "has 1 character; allowed are 43 letters and digits",
            ),
            (
                "previous_encoding_aes_key",
                "''",
                "has 0 characters; allowed are 43 letters and digits",
            ),
            (
                "original_id",
                "'gh_'",
                "does not fit; allowed are `gh_` and 1 to 61 letters, digits, `_` and `-`",
            ),
            (
                "keep_events",
                "['A', ' ']",
                "entry 2 is empty; allowed are names of events",
            ),
            ("keep_events", "'A'", "must be a list of texts in quotes"),
        ] {
            let text = format!("[accounts.main]\n{PLAIN}{key} = {value}");
            let expected = format!("`accounts.main.{key}` (config.toml): {problem}");
            assert_eq!(mistakes(&text, &[]), [expected]);
        }
        let longest = "a".repeat(61);
        for (id, good) in [
            (longest.clone(), true),
            (longest + "a", false),
            ("a.b".into(), false),
        ] {
            let text = format!("[accounts.main]\n{PLAIN}original_id = 'gh_{id}'");
            assert_eq!(mistakes(&text, &[]).is_empty(), good, "{id}");
        }
    }

    #[test]
    fn accounts_may_come_from_the_environment_alone_and_are_sorted() {
        let variables = [
            ("QUNFA_ACCOUNTS__B__MODE", "plain"),
            ("QUNFA_ACCOUNTS__B__TOKEN", "abcdefghijklmnop"),
            ("QUNFA_ACCOUNTS__A-1__MODE", "plain"),
            ("QUNFA_ACCOUNTS__A-1__TOKEN", "abcdefghijklmnop"),
            ("QUNFA_ACCOUNTS__A-1__KEEP_EVENTS", "A, B"),
        ];
        let settings =
            settings(&format!("[accounts.aa]\n{PLAIN}"), &variables).expect("it is TOML");
        let accounts = settings.check().expect("it is good").accounts;
        let names: Vec<_> = accounts.iter().map(|each| each.name.as_str()).collect();
        assert_eq!(names, ["a-1", "aa", "b"]);
        assert_eq!(accounts[0].keep_events, ["A", "B"]);
    }
}
