//! Known answers: those published in WeChat's documentation and sample code, and made-up cases.

use qunfa::domain::{Reading, Time};
use qunfa::wechat::{
    Account, AppId, EncodingAesKey, Encryption, EnvelopeError, Mode, OpenError, Query, Token,
};
use serde_json::Value;

use crate::support::fixture;

fn vectors(list: &str) -> Vec<Value> {
    let file: Value = serde_json::from_slice(&fixture("vectors.json")).unwrap();
    file[list].as_array().unwrap().clone()
}

fn text<'v>(vector: &'v Value, field: &str) -> &'v str {
    vector[field]
        .as_str()
        .unwrap_or_else(|| panic!("{} has no {field}", vector["id"]))
}

fn account(vector: &Value) -> Account {
    Account {
        name: "main".parse().unwrap(),
        mode: Mode::Safe(Encryption {
            app_id: AppId::new(text(vector, "receive_id")).unwrap(),
            key: EncodingAesKey::new(text(vector, "encoding_aes_key")).unwrap(),
            previous_key: None,
        }),
        token: Token::new(text(vector, "token")).unwrap(),
        previous_token: None,
        original_id: None,
        keep_events: Vec::new(),
    }
}

fn query(vector: &Value) -> Query {
    Query::parse(&format!(
        "timestamp={}&nonce={}&msg_signature={}",
        text(vector, "timestamp"),
        text(vector, "nonce"),
        text(vector, "msg_signature")
    ))
}

fn envelope(encrypt: &str) -> Vec<u8> {
    format!("<xml><Encrypt><![CDATA[{encrypt}]]></Encrypt></xml>").into_bytes()
}

fn open(account: &Account, query: &Query, body: Vec<u8>) -> Result<Vec<u8>, OpenError> {
    account
        .open(query, body, Time::now(), 600)
        .map(|opened| opened.body)
}

/// Why a push is sealed if it arrives on the day of its timestamp. On any other day it is refused.
fn sealed(account: &Account, query: &Query, body: &[u8]) -> String {
    assert_eq!(
        open(account, query, body.to_owned()),
        Err(OpenError::Decryption)
    );
    let timestamp = query.timestamp.as_deref().unwrap();
    let seconds = std::str::from_utf8(timestamp).unwrap().parse().unwrap();
    let now = Time::from_create_time(seconds).unwrap();
    let opened = account.open(query, body.to_owned(), now, 600).unwrap();
    assert_eq!(opened.body, body);
    match opened.reading {
        Reading::Sealed { error } => error,
        other => panic!("{other:?}"),
    }
}

/// The query string with a signature that is valid for another ciphertext.
fn signed(vector: &Value, encrypt: &str) -> Query {
    let (timestamp, nonce) = (text(vector, "timestamp"), text(vector, "nonce"));
    let token = Token::new(text(vector, "token")).unwrap();
    let signature = token.sign_message(timestamp.as_bytes(), nonce.as_bytes(), encrypt.as_bytes());
    Query::parse(&format!(
        "timestamp={timestamp}&nonce={nonce}&msg_signature={}",
        signature.to_hex()
    ))
}

fn base(id: &Value) -> Value {
    vectors("vectors")
        .into_iter()
        .find(|vector| vector["id"] == *id)
        .expect("the base is there")
}

#[test]
fn every_signature_is_the_published_one() {
    let mut checked = 0;
    for vector in vectors("vectors") {
        let Some(signature) = vector["signature"].as_str() else {
            continue;
        };
        let token = Token::new(text(&vector, "token")).unwrap();
        let ours = token.sign(
            text(&vector, "timestamp").as_bytes(),
            text(&vector, "nonce").as_bytes(),
        );
        assert_eq!(ours.to_hex(), signature, "{}", vector["id"]);
        checked += 1;
    }
    assert_eq!(checked, 10);
}

#[test]
fn every_published_push_opens_to_its_plaintext() {
    let mut checked = 0;
    for vector in vectors("vectors")
        .iter()
        .filter(|vector| vector["kind"] == "decrypt")
    {
        let opened = open(
            &account(vector),
            &query(vector),
            text(vector, "body").into(),
        );
        assert_eq!(
            opened.as_deref(),
            Ok(text(vector, "plaintext").as_bytes()),
            "{}",
            vector["id"]
        );
        checked += 1;
    }
    assert_eq!(checked, 8);
}

#[test]
fn every_published_reply_is_sealed_to_the_same_bytes() {
    let mut checked = 0;
    for vector in vectors("vectors")
        .iter()
        .filter(|vector| vector["kind"] == "encrypt")
    {
        let key = EncodingAesKey::new(text(vector, "encoding_aes_key")).unwrap();
        let app_id = AppId::new(text(vector, "receive_id")).unwrap();
        let random = text(vector, "random16").as_bytes().try_into().unwrap();
        let sealed = key.seal(text(vector, "plaintext").as_bytes(), &app_id, random);
        assert_eq!(sealed, text(vector, "encrypt"), "{}", vector["id"]);
        if vector["msg_signature"].is_string() {
            let token = Token::new(text(vector, "token")).unwrap();
            let (timestamp, nonce) = (text(vector, "timestamp"), text(vector, "nonce"));
            let ours =
                token.sign_message(timestamp.as_bytes(), nonce.as_bytes(), sealed.as_bytes());
            assert_eq!(
                ours.to_hex(),
                text(vector, "msg_signature"),
                "{}",
                vector["id"]
            );
        }
        checked += 1;
    }
    assert_eq!(checked, 3);
}

#[test]
fn an_empty_message_is_authentic_and_not_understood() {
    let vector = base(&"gen-empty-msg".into());
    let opened = account(&vector).open(
        &query(&vector),
        text(&vector, "body").into(),
        Time::now(),
        600,
    );
    let opened = opened.unwrap();
    assert_eq!(opened.body, b"");
    assert!(matches!(opened.reading, Reading::Unparsed { .. }));
}

#[test]
fn every_negative_is_refused_or_sealed() {
    for vector in vectors("negative") {
        let id = text(&vector, "id");
        match id {
            "neg-signature-instead-of-msg_signature" => {
                let base = base(&vector["base"]);
                let query = Query::parse(&format!(
                    "timestamp={}&nonce={}&signature={}",
                    text(&base, "timestamp"),
                    text(&base, "nonce"),
                    text(&base, "signature")
                ));
                let opened = open(&account(&base), &query, text(&base, "body").into());
                assert_eq!(opened, Err(OpenError::Envelope), "{id}");
            }
            "neg-wrong-receive-id" => {
                let mut base = base(&vector["base"]);
                let query = query(&base);
                let body = text(&base, "body").to_owned();
                base["receive_id"] = vector["change"]["receive_id_expected"].clone();
                let error = sealed(&account(&base), &query, body.as_bytes());
                assert!(error.contains("AppID"), "{id}: {error}");
            }
            "neg-tampered-encrypt" => {
                let base = base(&vector["base"]);
                let tampered = envelope(text(&vector["change"], "encrypt"));
                assert_eq!(
                    open(&account(&base), &query(&base), tampered),
                    Err(OpenError::Signature),
                    "{id}"
                );
            }
            "neg-short-key" => {
                assert!(
                    EncodingAesKey::new(text(&vector["change"], "encoding_aes_key")).is_err(),
                    "{id}"
                );
            }
            "neg-not-base64" | "neg-len-not-multiple-of-16" => {
                let base = base(&"gen-mass-safe".into());
                let encrypt = text(&vector["change"], "encrypt");
                let query = signed(&base, encrypt);
                // Both are too short for a ciphertext.
                assert_eq!(
                    open(&account(&base), &query, envelope(encrypt)),
                    Err(OpenError::Envelope),
                    "{id}"
                );
            }
            "neg-doctype" => {
                let base = base(&"gen-mass-safe".into());
                let body = text(&vector, "body");
                assert_eq!(
                    open(&account(&base), &query(&base), body.into()),
                    Err(OpenError::Envelope),
                    "{id}"
                );
            }
            "neg-msg_len-overflow" | "neg-pad-200" => {
                let encrypt = text(&vector, "encrypt");
                let error = sealed(&account(&vector), &query(&vector), &envelope(encrypt));
                assert!(error.contains("EncodingAESKey"), "{id}: {error}");
                let key = EncodingAesKey::new(text(&vector, "encoding_aes_key")).unwrap();
                let app_id = AppId::new(text(&vector, "receive_id")).unwrap();
                let expected = if id == "neg-pad-200" {
                    EnvelopeError::Padding
                } else {
                    EnvelopeError::Frame
                };
                assert_eq!(key.open(encrypt, &app_id), Err(expected), "{id}");
            }
            other => panic!("no test for {other}"),
        }
    }
}
