//! Signs messages, and encrypts them in compatible and safe mode, as WeChat does.

use std::fmt::Write;

use crate::domain::Time;
use crate::wechat::{self, Mode, Token};

/// A made-up OpenID for the query; no signature covers it.
const OPENID: &str = "oAbCdEfGhIjKlMnOpQrStUvWxYz0";

#[derive(Clone, Debug)]
pub struct Sender {
    pub token: Token,
    pub mode: Mode,
}

/// One push, ready to be sent.
#[derive(Clone)]
pub struct SignedPush {
    pub query: String,
    pub body: Vec<u8>,
}

impl Sender {
    /// Signs a message as of `now`, with a new nonce.
    ///
    /// # Errors
    /// If the system gives no random bytes.
    pub fn sign(&self, message: &[u8], now: Time) -> Result<SignedPush, getrandom::Error> {
        let to_user_name = wechat::read(message).to_user_name.unwrap_or_default();
        let nonce = getrandom::u32()?.into();
        let mut random = [0; 16];
        getrandom::fill(&mut random)?;
        Ok(self.sign_with(message, &to_user_name, now, nonce, random))
    }

    /// Signs a message for a known addressee with this nonce, and with these bytes before the
    /// encrypted message. The nonce must be new for each second: plain mode signs only the
    /// timestamp and the nonce, so a receiver takes a second message with both for a forgery.
    pub(super) fn sign_with(
        &self,
        message: &[u8],
        to_user_name: &str,
        now: Time,
        nonce: u64,
        random: [u8; 16],
    ) -> SignedPush {
        let timestamp = now.seconds().to_string();
        let nonce = nonce.to_string();
        let signature = self.token.sign(timestamp.as_bytes(), nonce.as_bytes());
        let mut query = format!(
            "signature={}&timestamp={timestamp}&nonce={nonce}&openid={OPENID}",
            signature.to_hex()
        );
        let Some(encryption) = self.mode.encryption() else {
            return SignedPush {
                query,
                body: message.to_owned(),
            };
        };
        let encrypt = encryption.key.seal(message, &encryption.app_id, random);
        let msg_signature =
            self.token
                .sign_message(timestamp.as_bytes(), nonce.as_bytes(), encrypt.as_bytes());
        let _ = write!(
            query,
            "&encrypt_type=aes&msg_signature={}",
            msg_signature.to_hex()
        );
        let body = match self.mode {
            Mode::Compatible(_) => with_encrypt(message, &encrypt),
            Mode::Safe(_) | Mode::Plain => None,
        };
        SignedPush {
            query,
            body: body
                .unwrap_or_else(|| envelope(message, to_user_name, &encrypt))
                .into_bytes(),
        }
    }
}

/// The clear message with an added `Encrypt`, as in compatible mode; `None` if the message has no
/// end tag to put it before.
fn with_encrypt(message: &[u8], encrypt: &str) -> Option<String> {
    let message = std::str::from_utf8(message).ok()?;
    let (end, element) = if is_json(message) {
        (message.rfind('}')?, format!(",\"Encrypt\":\"{encrypt}\""))
    } else {
        (
            message.rfind("</")?,
            format!("<Encrypt><![CDATA[{encrypt}]]></Encrypt>\n"),
        )
    };
    Some(format!("{}{element}{}", &message[..end], &message[end..]))
}

/// Only `ToUserName` and `Encrypt`, as in safe mode.
fn envelope(message: &[u8], to_user_name: &str, encrypt: &str) -> String {
    if std::str::from_utf8(message).is_ok_and(is_json) {
        let envelope = serde_json::json!({"ToUserName": to_user_name, "Encrypt": encrypt});
        return envelope.to_string();
    }
    format!(
        "<xml>\n  <ToUserName><![CDATA[{to_user_name}]]></ToUserName>\n  <Encrypt><![CDATA[{encrypt}]]></Encrypt>\n</xml>\n"
    )
}

fn is_json(message: &str) -> bool {
    message.trim_start().starts_with('{')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wechat::{Account, AppId, EncodingAesKey, Encryption, Query};

    #[test]
    fn a_signed_push_opens_in_every_mode_and_format() {
        let encryption = Encryption {
            app_id: AppId::new("wx00112233445566aa").unwrap(),
            key: EncodingAesKey::new("Qm9va21hcmtzQXJlTm90U2VjcmV0c0J1dEtleXM0MTZ").unwrap(),
            previous_key: None,
        };
        let modes = [
            Mode::Plain,
            Mode::Compatible(encryption.clone()),
            Mode::Safe(encryption),
        ];
        let messages = [
            "<xml><ToUserName>gh_x</ToUserName><MsgType>text</MsgType></xml>",
            r#"{"ToUserName":"gh_x","MsgType":"text"}"#,
            "not a message at all",
        ];
        for mode in modes {
            for message in messages {
                let sender = Sender {
                    token: Token::new("dashTok2026").unwrap(),
                    mode: mode.clone(),
                };
                let account = Account {
                    name: "main".parse().unwrap(),
                    mode: mode.clone(),
                    token: sender.token.clone(),
                    previous_token: None,
                    original_id: None,
                    keep_events: Vec::new(),
                };
                let push = sender.sign(message.as_bytes(), Time::now()).unwrap();
                let opened = account
                    .open(&Query::parse(&push.query), push.body, Time::now(), 60)
                    .unwrap_or_else(|error| panic!("{}: {message}: {error}", mode.as_str()));
                assert_eq!(opened.body, message.as_bytes());
            }
        }
    }
}
