//! Signed pushes that our configuration does not open: what is stored of them, and how they are
//! opened later.

use super::account::{Account, Encryption};
use super::encrypt;
use super::event::{self, Push};
use crate::domain::Reading;

/// The setting that does not match a signed push.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    #[error(
        "the key does not open it: `encoding_aes_key` is not the EncodingAESKey in WeChat's console"
    )]
    Key,
    #[error("it is for another AppID: `app_id` is not the AppID in WeChat's console")]
    AppId,
    #[error("its `ToUserName` is not `original_id`")]
    ToUserName,
    /// The account is in plain mode now, so there is no key.
    #[error(
        "the account is in plain mode; opening it takes the `encoding_aes_key` and `app_id` of the mode it came in"
    )]
    Plain,
}

impl Account {
    /// Opens the stored envelope of a sealed delivery. Its signature was verified when it was
    /// received.
    pub fn open_sealed(&self, envelope: &[u8]) -> Result<(Vec<u8>, Reading), Misfit> {
        let encryption = self.mode.encryption().ok_or(Misfit::Plain)?;
        let encrypt = encrypt::sole(envelope).ok_or(Misfit::Key)?;
        self.unseal(encryption, &encrypt)
    }

    /// Decrypts a signed ciphertext, and parses the message in it.
    pub(super) fn unseal(
        &self,
        encryption: &Encryption,
        encrypt: &str,
    ) -> Result<(Vec<u8>, Reading), Misfit> {
        let body = encryption.open(encrypt)?;
        let Push {
            reading,
            to_user_name,
        } = event::read(&body);
        if self.is_for_another(to_user_name.as_deref()) {
            return Err(Misfit::ToUserName);
        }
        Ok((body, reading))
    }
}

/// What is stored of a push with that signed `Encrypt`: the envelope as received, or only
/// `ToUserName` and `Encrypt` if the clear part is not to be kept, such as a user's message, or if
/// there is a second, unsigned `Encrypt`.
pub(super) fn envelope(body: Vec<u8>, encrypt: &str) -> Vec<u8> {
    let Push {
        reading,
        to_user_name,
    } = event::read(&body);
    if reading.is_kept(&[]) && encrypt::sole(&body).as_deref() == Some(encrypt) {
        return body;
    }
    let is_safe = |name: &String| {
        name.bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_-@".contains(&byte))
    };
    let to_user_name = to_user_name.filter(is_safe).unwrap_or_default();
    format!(
        "<xml><ToUserName><![CDATA[{to_user_name}]]></ToUserName><Encrypt><![CDATA[{encrypt}]]></Encrypt></xml>"
    )
    .into_bytes()
}
