//! The account used by the checks, in each mode, with made-up secrets.

use qunfa::domain::Time;
use qunfa::wechat::{Account, AppId, EncodingAesKey, Encryption, Mode, Token};

/// The current time: 2026-01-01T00:00:00Z.
pub const NOW: i64 = 1_767_225_600;
/// The timestamp tolerance in plain mode, in seconds.
pub const TOLERANCE: u64 = 600;
/// The account's original id.
pub const ORIGINAL_ID: &str = "gh_0a1b2c3d4e5f";

pub fn now() -> Time {
    Time::from_create_time(NOW).expect("it is before the year 9999")
}

pub fn token() -> Token {
    Token::new("FuzzingToken2026").expect("it is a token")
}

pub fn previous_token() -> Token {
    Token::new("FuzzingToken2025").expect("it is a token")
}

pub fn app_id() -> AppId {
    AppId::new("wx00000000000000f0").expect("it is an AppID")
}

/// 32 zero bytes, and so is the IV: the fuzzer can encrypt any frame.
pub fn key() -> EncodingAesKey {
    EncodingAesKey::new(&"A".repeat(43)).expect("it is a key")
}

pub fn account(mode: Mode) -> Account {
    Account {
        name: "fuzzed".parse().expect("it is a name"),
        mode,
        token: token(),
        previous_token: Some(previous_token()),
        original_id: None,
        keep_events: Vec::new(),
    }
}

/// The account with the `AppID` of another one.
pub fn wrong_encryption() -> Encryption {
    Encryption {
        app_id: AppId::new("wx00000000000000f1").expect("it is an AppID"),
        ..encryption()
    }
}

pub fn encryption() -> Encryption {
    Encryption {
        app_id: app_id(),
        key: key(),
        previous_key: None,
    }
}
