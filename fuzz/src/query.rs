//! Query strings: a parameter is read if another parser finds it exactly once, and only a valid
//! signature opens.

use std::collections::BTreeMap;

use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use qunfa::domain::whole_number;
use qunfa::wechat::{Account, Mode, Query};
use url::form_urlencoded;

use super::accounts::{self, TOLERANCE};

const NAMES: [&str; 5] = [
    "signature",
    "msg_signature",
    "timestamp",
    "nonce",
    "echostr",
];

/// Panics unless the invariants of query strings hold for this one.
pub fn check(raw: &[u8]) {
    let Ok(raw) = std::str::from_utf8(raw) else {
        return;
    };
    let mut found = BTreeMap::<_, Vec<_>>::new();
    for (name, value) in form_urlencoded::parse(raw.as_bytes()) {
        found.entry(name).or_default().push(value);
    }
    let query = Query::parse(raw);
    for name in NAMES {
        let expected = match found.get(name).map(Vec::as_slice) {
            Some([value]) => Some(value.clone()),
            _ => None,
        };
        let value = values(&query)
            .get(name)
            .copied()
            .map(String::from_utf8_lossy);
        assert_eq!(value, expected, "{name}");

        let again = Query::parse(&format!("{raw}&{name}=1"));
        let expected = (!found.contains_key(name)).then_some(&b"1"[..]);
        assert_eq!(values(&again).get(name).copied(), expected, "{name} again");
    }
    let written = Query::parse(&write(&query));
    assert_eq!(
        values(&written),
        values(&query),
        "written, it says something else"
    );
    check_opening(raw, &query);
    check_signed(query);
}

/// The values of each parameter.
fn values(query: &Query) -> BTreeMap<&'static str, &[u8]> {
    let values = [
        &query.signature,
        &query.msg_signature,
        &query.timestamp,
        &query.nonce,
        &query.echostr,
    ];
    let present = NAMES.into_iter().zip(values);
    present
        .filter_map(|(name, value)| Some((name, value.as_deref()?)))
        .collect()
}

fn write(query: &Query) -> String {
    let values = values(query).into_iter();
    let pairs =
        values.map(|(name, value)| format!("{name}={}", percent_encode(value, NON_ALPHANUMERIC)));
    pairs.collect::<Vec<_>>().join("&")
}

/// True if the signature was made with one of the account's tokens.
fn is_signed(query: &Query) -> bool {
    let (Some(signature), Some(timestamp), Some(nonce)) =
        (&query.signature, &query.timestamp, &query.nonce)
    else {
        return false;
    };
    [accounts::token(), accounts::previous_token()]
        .into_iter()
        .any(|token| {
            token
                .sign(timestamp, nonce)
                .to_hex()
                .as_bytes()
                .eq_ignore_ascii_case(signature)
        })
}

/// The timestamp, if it is a number.
fn seconds(query: &Query) -> Option<i64> {
    let timestamp = query.timestamp.as_deref()?;
    whole_number(std::str::from_utf8(timestamp).ok()?)
}

/// Only signed requests open.
fn check_opening(raw: &str, query: &Query) {
    let is_signed = is_signed(query);
    let plain = accounts::account(Mode::Plain);
    let safe = accounts::account(Mode::Safe(accounts::encryption()));
    let checked = |account: &Account| {
        account
            .check_url(Query::parse(raw))
            .ok()
            .map(|echo| echo.echostr)
    };
    let echo = query.echostr.clone().filter(|_| is_signed);
    assert_eq!(checked(&safe), echo);
    assert_eq!(checked(&plain), echo.filter(|_| seconds(query).is_some()));
    let opens = plain
        .open(query, Vec::new(), accounts::now(), TOLERANCE)
        .is_ok();
    let skew = seconds(query).map(|seconds| seconds.abs_diff(accounts::NOW));
    assert_eq!(
        opens,
        is_signed && skew.is_some_and(|skew| skew <= TOLERANCE)
    );
    assert!(
        safe.open(query, Vec::new(), accounts::now(), TOLERANCE)
            .is_err()
    );
}

/// With a valid signature, the same timestamp, nonce and echo are accepted.
fn check_signed(query: Query) {
    let timestamp = query.timestamp.unwrap_or_default();
    let nonce = query.nonce.unwrap_or_default();
    let signature = accounts::token()
        .sign(&timestamp, &nonce)
        .to_hex()
        .into_bytes();
    let query = Query {
        signature: Some(signature),
        msg_signature: None,
        timestamp: Some(timestamp),
        nonce: Some(nonce),
        echostr: Some(query.echostr.unwrap_or_default()),
        is_signed: true,
    };
    check_opening(&write(&query), &query);
    assert!(is_signed(&query));
}
