//! The parser and the verification are fed anything, and never panic.

use proptest::collection::vec;
use proptest::prelude::*;
use qunfa::domain::{Reading, Time};
use qunfa::simulator::Sample;
use qunfa::wechat::{Account, AppId, EncodingAesKey, Encryption, Mode, Query, Token, read};

use crate::support::{COMPATIBLE, PLAIN, SAFE, fixture};

/// Bodies that parse, to be damaged.
fn samples() -> Vec<Vec<u8>> {
    let mut samples: Vec<_> = Sample::ALL
        .iter()
        .map(|sample| sample.xml().into())
        .collect();
    samples.push(fixture("events/articles.json"));
    samples.push(fixture("documentation/documentation-current.xml"));
    samples
}

/// Pieces that mean something to a parser.
const PIECES: [&str; 28] = [
    "<",
    ">",
    "/",
    "</",
    "/>",
    "<![CDATA[",
    "]]>",
    "<!--",
    "-->",
    "<?",
    "?>",
    "<!DOCTYPE x [",
    "&",
    ";",
    "&#0;",
    "&#x41;",
    "\"",
    "'",
    "=",
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\\u0000",
    "\0",
    "\u{feff}",
];

#[derive(Clone, Debug)]
enum Damage {
    Cut(prop::sample::Index),
    Remove(prop::sample::Index, usize),
    Repeat(prop::sample::Index, usize),
    Piece(prop::sample::Index, &'static str),
    Byte(prop::sample::Index, u8),
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        any::<prop::sample::Index>().prop_map(Damage::Cut),
        (any::<prop::sample::Index>(), 1..40_usize)
            .prop_map(|(at, length)| Damage::Remove(at, length)),
        (any::<prop::sample::Index>(), 1..200_usize)
            .prop_map(|(at, length)| Damage::Repeat(at, length)),
        (
            any::<prop::sample::Index>(),
            prop::sample::select(&PIECES[..])
        )
            .prop_map(|(at, piece)| Damage::Piece(at, piece)),
        (any::<prop::sample::Index>(), any::<u8>()).prop_map(|(at, byte)| Damage::Byte(at, byte)),
    ]
}

fn apply(body: &mut Vec<u8>, damage: &Damage) {
    if body.is_empty() {
        return;
    }
    match damage {
        Damage::Cut(at) => body.truncate(at.index(body.len())),
        Damage::Remove(at, length) => {
            let start = at.index(body.len());
            body.drain(start..(start + length).min(body.len()));
        }
        Damage::Repeat(at, length) => {
            let start = at.index(body.len());
            let piece = body[start..(start + length).min(body.len())].to_vec();
            body.splice(start..start, piece);
        }
        Damage::Piece(at, piece) => {
            let at = at.index(body.len());
            body.splice(at..at, piece.bytes());
        }
        Damage::Byte(at, byte) => {
            let at = at.index(body.len());
            body[at] = *byte;
        }
    }
}

/// Reads the body, and holds the reading to what every reading promises.
fn check(body: &[u8]) {
    let push = read(body);
    match &push.reading {
        Reading::Result { result, note, .. } => {
            assert!(result.msg_id.get() >= 1);
            assert!(result.articles.is_sorted_by(|a, b| a.idx < b.idx));
            assert_ne!(note.as_deref(), Some(""));
        }
        Reading::Unparsed { error, .. } => assert!(!error.is_empty() && !error.contains('\0')),
        Reading::Other { .. } => {}
    }
    if let Some(event) = push.reading.event() {
        assert!(!event.contains('\0') && !event.is_empty() && event.trim() == event);
    }
    assert_eq!(read(body), push);
}

fn accounts() -> Vec<Account> {
    let account = |account: &crate::support::Account, mode| Account {
        name: account.name.parse().unwrap(),
        mode,
        token: Token::new(account.token).unwrap(),
        previous_token: Some(Token::new("TokenBeforeTheChange1").unwrap()),
        original_id: Some("gh_0a1b2c3d4e5f".to_owned()),
    };
    let encryption = |account: &crate::support::Account| Encryption {
        app_id: AppId::new(account.app_id).unwrap(),
        key: EncodingAesKey::new(account.aes_key).unwrap(),
        previous_key: None,
    };
    vec![
        account(&PLAIN, Mode::Plain),
        account(&COMPATIBLE, Mode::Compatible(encryption(&COMPATIBLE))),
        account(&SAFE, Mode::Safe(encryption(&SAFE))),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_read(body in vec(any::<u8>(), 0..400)) {
        check(&body);
    }

    #[test]
    fn any_bytes_that_begin_like_a_message_are_read(
        start in prop::sample::select(&["<", "<xml>", "<xml><Event>", "{", "{\"", "{\"MsgID\":", "\u{feff}<"][..]),
        body in vec(any::<u8>(), 0..200),
    ) {
        check(&[start.as_bytes(), &body].concat());
    }

    #[test]
    fn any_heap_of_pieces_is_read(pieces in vec(prop::sample::select(&PIECES[..]), 0..60)) {
        check(pieces.concat().as_bytes());
        check(format!("<xml>{}", pieces.concat()).as_bytes());
        check(format!("{{\"a\":{}", pieces.concat()).as_bytes());
    }

    #[test]
    fn any_damaged_sample_is_read(
        sample in prop::sample::select(samples()),
        damages in vec(damage(), 1..6),
    ) {
        let mut body = sample;
        for damage in &damages {
            apply(&mut body, damage);
        }
        check(&body);
    }

    #[test]
    fn no_query_and_body_open_an_account(
        query in "([a-z_]{0,4}|signature|msg_signature|timestamp|nonce|echostr|%[0-9a-f]{1,2}|[=&+]|[0-9a-f]{40}){0,12}",
        encrypt in "[A-Za-z0-9+/]{0,90}={0,2}",
        body in vec(any::<u8>(), 0..100),
    ) {
        let envelope = format!("<xml><Encrypt>{encrypt}</Encrypt></xml>").into_bytes();
        for account in accounts() {
            prop_assert!(account.check_url(Query::parse(&query)).is_err());
            for body in [&body, &envelope] {
                prop_assert!(account.open(&Query::parse(&query), body.clone(), Time::now(), 600).is_err());
            }
        }
    }

    #[test]
    fn any_signed_ciphertext_is_refused_or_opened(
        encrypt in "[A-Za-z0-9+/]{0,120}={0,2}",
        random in any::<[u8; 16]>(),
        message in vec(any::<u8>(), 0..100),
    ) {
        let account = accounts().remove(2);
        let key = EncodingAesKey::new(SAFE.aes_key).unwrap();
        let sealed = key.seal(&message, &AppId::new(SAFE.app_id).unwrap(), random);
        for (encrypt, opens) in [(encrypt, false), (sealed, true)] {
            let query = Query::parse(&SAFE.sign_encrypt(&encrypt, "1", "2"));
            let body = format!("<xml><Encrypt>{encrypt}</Encrypt></xml>").into_bytes();
            let opened = account.open(&query, body, Time::now(), 600).map(|opened| opened.body);
            prop_assert_eq!(opened.ok(), opens.then(|| message.clone()));
        }
    }
}
