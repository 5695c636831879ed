//! The check of one account.

use super::checks::MODE_RULE;
use super::keys::{
    AES_KEY, APP_ID, Definition, KEEP_EVENTS, MODE, ORIGINAL_ID, PREVIOUS_AES_KEY, PREVIOUS_TOKEN,
    TOKEN,
};
use super::reader::Reader;
use crate::domain::AccountName;
use crate::wechat::{Account, Encryption, Mode, Token};

impl Reader<'_> {
    pub(super) fn account(&mut self, name: &AccountName) -> Option<Account> {
        self.require(MODE.key, &format!("it {MODE_RULE}"));
        let mode = self.optional(&MODE);
        match mode {
            Some(Some(_)) => {
                for key in [APP_ID.key, AES_KEY.key] {
                    self.require(key, "compatible and safe mode need it");
                }
            }
            Some(None) => self.warn(
                MODE.key,
                "is `plain`, where the signature does not cover the body; use safe mode in production",
            ),
            None => {}
        }
        let app_id = self.optional(&APP_ID);
        let key = self.optional(&AES_KEY);
        let previous_key = self.optional(&PREVIOUS_AES_KEY);
        self.require(TOKEN.key, "a token is 3 to 32 letters and digits");
        let token = self.token(&TOKEN);
        let previous_token = self.token(&PREVIOUS_TOKEN);
        let original_id = self.optional(&ORIGINAL_ID);
        let keep_events = self.list(&KEEP_EVENTS);
        let mode = match mode? {
            None => Mode::Plain,
            Some(encrypted) => encrypted(Encryption {
                app_id: app_id?,
                key: key?,
                previous_key,
            }),
        };
        Some(Account {
            name: name.clone(),
            mode,
            token: token?,
            previous_token,
            original_id,
            keep_events,
        })
    }

    fn token(&mut self, definition: &Definition<Token>) -> Option<Token> {
        let token = self.optional(definition);
        if token.as_ref().is_some_and(Token::is_short) {
            let problem = "has fewer than 16 characters, so it could be guessed";
            self.warn(definition.key, problem);
        }
        token
    }
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
    fn an_account_has_what_is_set() {
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
    fn plain_mode_and_short_tokens_are_warnings() {
        let (_, warnings) =
            checked("mode = 'plain'\ntoken = 'abcdefghijklmno'\nprevious_token = 'abc'");
        assert_eq!(
            warnings,
            [
                "`accounts.main.mode` (config.toml): is `plain`, where the signature does not cover the body; use safe mode in production",
                "`accounts.main.token` (config.toml): has fewer than 16 characters, so it could be guessed",
                "`accounts.main.previous_token` (config.toml): has fewer than 16 characters, so it could be guessed",
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
    fn each_wrong_value_is_one_mistake_in_plain_mode_too() {
        for (key, value, problem) in [
            (
                "previous_token",
                "'ab'",
                "has 2 characters; a token is 3 to 32 letters and digits",
            ),
            (
                "previous_token",
                "'secret-token'",
                "has 12 characters, not all of them letters and digits; a token is 3 to 32 letters and digits",
            ),
            (
                "app_id",
                "'wx'",
                "is not an AppID; an AppID is `wx` and up to 62 letters and digits",
            ),
            (
                "encoding_aes_key",
                "'a'",
                "has 1 character; an EncodingAESKey is 43 letters and digits",
            ),
            (
                "previous_encoding_aes_key",
                "''",
                "has 0 characters; an EncodingAESKey is 43 letters and digits",
            ),
            (
                "original_id",
                "'gh_'",
                "is not an original id: `gh_` and 1 to 61 letters, digits, `_` and `-`",
            ),
            (
                "keep_events",
                "['A', ' ']",
                "entry 2 is empty; it must be the name of an event",
            ),
            ("keep_events", "'A'", "must be a list of quoted strings"),
        ] {
            let text = format!("[accounts.main]\n{PLAIN}{key} = {value}");
            let expected = format!("`accounts.main.{key}` (config.toml): {problem}");
            assert_eq!(mistakes(&text, &[]), [expected]);
        }
    }

    #[test]
    fn accounts_can_come_from_the_environment_and_are_sorted() {
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
