//! Envelopes: an encrypted message opens to the same message, a modified one is refused, and no
//! signed input panics.

use aes::Aes256;
use aes::cipher::array::Array;
use aes::cipher::{BlockModeEncrypt, KeyIvInit};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use qunfa::domain::Reading;
use qunfa::wechat::{Account, Misfit, Mode, OpenError, Query, read};

use super::accounts::{self, NOW, ORIGINAL_ID, TOLERANCE};

const RANDOM: [u8; 16] = *b"sixteen randoms.";
const NONCE: &str = "1514711492";

/// Panics unless the invariants of envelopes hold for these bytes, used as a message, a frame, a
/// ciphertext and a body.
pub fn check(bytes: &[u8]) {
    check_message(bytes);
    check_frame(bytes);
    check_ciphertext(&String::from_utf8_lossy(bytes));
    check_body(bytes);
    check_plain(bytes);
}

/// Encrypting and opening returns the same message, with any clear text beside it, and with a
/// second `Encrypt`; but not for another account.
fn check_message(message: &[u8]) {
    let encrypt = accounts::key().seal(message, &accounts::app_id(), RANDOM);
    let mut bodies = vec![(safe(), xml("", &encrypt)), (safe(), json("", &encrypt))];
    let clear = String::from_utf8_lossy(message);
    if !clear.contains("Encrypt") {
        let content = format!("\"Content\":{clear},");
        let (element, member) = (
            format!("{clear}<Encrypt>{encrypt}</Encrypt>"),
            format!("{content}\"Encrypt\":\"{encrypt}\","),
        );
        bodies.extend([
            (compatible(), xml(&clear, &encrypt)),
            (compatible(), xml(&element, &encrypt)),
            (compatible(), json(&content, &encrypt)),
            (compatible(), json(&member, &encrypt)),
        ]);
    }
    for (account, body) in &bodies {
        let opened = open(account, &signed(&encrypt), body.as_bytes());
        assert_eq!(opened.as_deref(), Ok(message), "{body}");
    }
    let ours = Account {
        original_id: Some(ORIGINAL_ID.to_owned()),
        ..safe()
    };
    let is_foreign = read(message)
        .to_user_name
        .is_some_and(|name| name != ORIGINAL_ID);
    let opened = open(&ours, &signed(&encrypt), bodies[0].1.as_bytes());
    let expected = if is_foreign {
        Err(OpenError::Foreign)
    } else {
        Ok(message.to_owned())
    };
    assert_eq!(opened, expected);
    check_sealed(message, &encrypt);
    check_changed(message.len(), &encrypt);
}

/// A push that the configuration does not open is sealed, and opens to the same message with the
/// right configuration.
fn check_sealed(message: &[u8], encrypt: &str) {
    let wrong = accounts::account(Mode::Safe(accounts::wrong_encryption()));
    for body in [
        xml("", encrypt),
        xml(&String::from_utf8_lossy(message), encrypt),
    ] {
        let pushed = wrong.open(
            &signed(encrypt),
            body.clone().into_bytes(),
            accounts::now(),
            TOLERANCE,
        );
        let Ok(sealed) = pushed else {
            assert_ne!(body, xml("", encrypt));
            continue;
        };
        assert!(matches!(sealed.reading, Reading::Sealed { .. }), "{body}");
        let opened = safe().open_sealed(&sealed.body);
        assert_eq!(opened, Ok((message.to_owned(), read(message).reading)));
    }
}

/// With one bit flipped in the ciphertext, the timestamp, the nonce or the signature, nothing
/// opens.
fn check_changed(position: usize, encrypt: &str) {
    let change = |text: &mut Vec<u8>| {
        let at = position % text.len();
        // Not the bit of upper and lower case: signatures are accepted in either.
        text[at] ^= 1 << (position % 5);
    };
    let mut changed = encrypt.as_bytes().to_vec();
    change(&mut changed);
    let body = xml("", &String::from_utf8_lossy(&changed));
    let opened = open(&safe(), &signed(encrypt), body.as_bytes());
    assert!(opened.is_err(), "{body}");

    for part in 0..3 {
        let mut query = signed(encrypt);
        let parts = [
            &mut query.timestamp,
            &mut query.nonce,
            &mut query.msg_signature,
        ];
        let part = parts.into_iter().flatten().nth(part);
        part.map(change).expect("it is signed");
        let opened = open(&safe(), &query, xml("", encrypt).as_bytes());
        assert!(opened.is_err(), "position {position}");
    }
}

/// For any frame, the opened message is all of it except the random bytes, the length, the `AppID`
/// and the padding.
fn check_frame(frame: &[u8]) {
    let (blocks, _) = frame.as_chunks::<16>();
    let frame = blocks.as_flattened();
    let mut sealed = frame.to_vec();
    let (blocks, _) = Array::slice_as_chunks_mut(&mut sealed);
    cbc::Encryptor::<Aes256>::new(&[0; 32].into(), &[0; 16].into()).encrypt_blocks(blocks);
    let Ok(message) = accounts::key().open(&STANDARD.encode(&sealed), &accounts::app_id()) else {
        return;
    };
    let mut built = frame[..16].to_vec();
    let length = u32::try_from(message.len()).expect("it is short");
    built.extend_from_slice(&length.to_be_bytes());
    built.extend_from_slice(&message);
    built.extend_from_slice(accounts::app_id().as_str().as_bytes());
    let padding = u8::try_from(frame.len() - built.len()).expect("it is at most 32");
    assert!((1..=32).contains(&padding));
    built.resize(frame.len(), padding);
    assert_eq!(built, frame);
}

/// An accepted ciphertext is exactly what the key decrypts.
fn check_ciphertext(encrypt: &str) {
    check_accepted(encrypt, xml("", encrypt).as_bytes());
}

/// The same for the ciphertext in any other body.
fn check_body(body: &[u8]) {
    let text = String::from_utf8_lossy(body);
    let found = text
        .split_once("<Encrypt>")
        .or_else(|| text.split_once("\"Encrypt\":\""));
    let Some((_, rest)) = found else {
        return;
    };
    let rest = rest.strip_prefix("<![CDATA[").unwrap_or(rest);
    let is_other = |byte: u8| !byte.is_ascii_alphanumeric() && !b"+/=".contains(&byte);
    let end = rest.bytes().position(is_other).unwrap_or(rest.len());
    check_accepted(&rest[..end], body);
}

fn check_accepted(encrypt: &str, body: &[u8]) {
    if let Ok(message) = open(&safe(), &signed(encrypt), body) {
        assert_eq!(
            accounts::key().open(encrypt, &accounts::app_id()),
            Ok(message)
        );
    }
}

/// In plain mode, the body is the message, unless it is an envelope or has an `Encrypt` that is
/// removed.
fn check_plain(body: &[u8]) {
    let opened = open(&accounts::account(Mode::Plain), &signed(""), body);
    let is_unparsed = matches!(read(body).reading, Reading::Unparsed { .. });
    let is_envelope = opened == Err(OpenError::Encrypted) && is_unparsed;
    let has_encrypt = String::from_utf8_lossy(body).contains("Encr");
    let is_body = opened.as_deref() == Ok(body) || (opened.is_ok() && has_encrypt);
    assert!(is_envelope || is_body, "{opened:?}");
}

fn safe() -> Account {
    accounts::account(Mode::Safe(accounts::encryption()))
}

fn compatible() -> Account {
    accounts::account(Mode::Compatible(accounts::encryption()))
}

/// Opens a push; its reading is that of its message. For a sealed one, returns the error.
fn open(account: &Account, query: &Query, body: &[u8]) -> Result<Vec<u8>, OpenError> {
    let opened = account.open(query, body.to_owned(), accounts::now(), TOLERANCE)?;
    if let Reading::Sealed { error } = opened.reading {
        let misfit = account.open_sealed(&opened.body).expect_err("it is sealed");
        assert_eq!(misfit.to_string(), error);
        return Err(match misfit {
            Misfit::ToUserName => OpenError::Foreign,
            _ => OpenError::Decryption,
        });
    }
    assert_eq!(opened.reading, read(&opened.body).reading);
    Ok(opened.body)
}

fn signed(encrypt: &str) -> Query {
    let (timestamp, nonce) = (NOW.to_string().into_bytes(), NONCE.as_bytes());
    let token = accounts::token();
    Query {
        signature: Some(token.sign(&timestamp, nonce).to_hex().into()),
        msg_signature: Some(
            token
                .sign_message(&timestamp, nonce, encrypt.as_bytes())
                .to_hex()
                .into(),
        ),
        timestamp: Some(timestamp),
        nonce: Some(nonce.into()),
        echostr: None,
        is_signed: true,
    }
}

fn xml(clear: &str, encrypt: &str) -> String {
    format!("<xml>{clear}<Encrypt><![CDATA[{encrypt}]]></Encrypt></xml>")
}

fn json(clear: &str, encrypt: &str) -> String {
    format!("{{{clear}\"Encrypt\":\"{encrypt}\"}}")
}
