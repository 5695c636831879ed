//! Signed pushes that our configuration does not open: what is kept of them, and opening them once it is right.

use super::account::{Account, Encryption};
use super::encrypt;
use super::event::{self, Push};
use crate::domain::Reading;

/// What of the configuration does not fit a push that WeChat has signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// Neither the key nor the previous one decrypts it.
    #[error(
        "the key does not open it: `encoding_aes_key` is not the EncodingAESKey in WeChat's console"
    )]
    Key,
    /// It decrypts, but is for another `AppID`.
    #[error("it is for another AppID: `app_id` is not the AppID in WeChat's console")]
    AppId,
    /// It decrypts, but its `ToUserName` is not the account's original id.
    #[error("its `ToUserName` is not `original_id`")]
    ToUserName,
    /// The account is in plain mode by now, so there is nothing to open it with.
    #[error(
        "the account is in plain mode; opening it takes the `encoding_aes_key` and `app_id` of the mode it came in"
    )]
    Plain,
}

impl Account {
    /// Opens the stored envelope of a sealed delivery. Its signature was verified when it was received.
    ///
    /// # Errors
    /// [`Misfit`] when the configuration does not fit it, so that it stays sealed.
    pub fn open_sealed(&self, envelope: &[u8]) -> Result<(Vec<u8>, Reading), Misfit> {
        let encryption = self.mode.encryption().ok_or(Misfit::Plain)?;
        let encrypt = encrypt::sole(envelope).ok_or(Misfit::Key)?;
        self.unseal(encryption, &encrypt)
    }

    /// Decrypts a ciphertext that WeChat has signed, and reads the message in it.
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

/// What is stored of a push with that signed `Encrypt`: the envelope as received. If its clear part is nothing to keep, such as
/// a user's message, or there is a second `Encrypt`, which nobody has signed, it is only `ToUserName` and what was signed.
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
