//! The AES envelope of compatible and safe mode: AES-256-CBC over `random(16) ‖ length(4) ‖ message
//! ‖ AppID`.

use std::fmt;

use aes::Aes256;
use aes::cipher::array::Array;
use aes::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit};
use base64::Engine;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use secrecy::{ExposeSecret, SecretBox};
use subtle::ConstantTimeEq;

/// WeChat pads to 32 bytes, not to the 16 of AES: a common unpadder would refuse about half of all
/// pushes.
const PADDING_BLOCK: usize = 32;
const AES_BLOCK: usize = 16;
/// Random bytes and the message's length.
const HEAD: usize = 20;

/// Three in four valid keys have trailing bits that a strict decoder refuses.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The `EncodingAESKey` of the console's server configuration: 43 letters and digits, which encode
/// 32 bytes.
#[derive(Clone)]
pub struct EncodingAesKey(std::sync::Arc<SecretBox<[u8; 32]>>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an EncodingAESKey is 43 letters and digits")]
pub struct InvalidAesKey;

/// The account's `AppID`: `wx` and letters and digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppId(String);

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an AppID is `wx` and up to 62 letters and digits")]
pub struct InvalidAppId;

/// Why a ciphertext could not be opened. The client does not learn which.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// −40010 in WeChat's sample library.
    #[error("the ciphertext is not base64")]
    Base64,
    /// The ciphertext is empty or not a whole number of AES blocks (−40007).
    #[error("the ciphertext has an impossible length")]
    Length,
    /// The padding is not 1 to 32 bytes of that value (−40008).
    #[error("the padding is wrong")]
    Padding,
    /// The frame is shorter than it says (−40008).
    #[error("the frame is cut short")]
    Frame,
    /// The message is for another `AppID` (−40005).
    #[error("the AppID is another one")]
    AppId,
}

impl AppId {
    pub fn new(text: &str) -> Result<Self, InvalidAppId> {
        let rest = text.strip_prefix("wx").ok_or(InvalidAppId)?;
        let well_formed =
            (1..=62).contains(&rest.len()) && rest.bytes().all(|byte| byte.is_ascii_alphanumeric());
        well_formed
            .then(|| Self(text.to_owned()))
            .ok_or(InvalidAppId)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl EncodingAesKey {
    pub fn new(text: &str) -> Result<Self, InvalidAesKey> {
        let well_formed = text.len() == 43 && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let bytes = BASE64.decode(text).map_err(|_| InvalidAesKey)?;
        match <[u8; 32]>::try_from(bytes) {
            Ok(key) if well_formed => Ok(Self(SecretBox::new(Box::new(key)).into())),
            _ => Err(InvalidAesKey),
        }
    }

    /// Opens an `Encrypt` text and returns the message, byte for byte; it may be empty. Verify
    /// `msg_signature` first, so that a refusal tells an attacker nothing.
    pub fn open(&self, encrypt: &str, app_id: &AppId) -> Result<Vec<u8>, EnvelopeError> {
        let mut frame = BASE64.decode(encrypt).map_err(|_| EnvelopeError::Base64)?;
        if frame.is_empty() || !frame.len().is_multiple_of(AES_BLOCK) {
            return Err(EnvelopeError::Length);
        }
        let (key, iv) = self.key_and_iv();
        let (blocks, _) = Array::slice_as_chunks_mut(&mut frame);
        cbc::Decryptor::<Aes256>::new(key.into(), iv.into()).decrypt_blocks(blocks);
        frame.truncate(unpadded_length(&frame)?);

        let head = frame.get(..HEAD).ok_or(EnvelopeError::Frame)?;
        let length = u32::from_be_bytes([head[16], head[17], head[18], head[19]]);
        let end = usize::try_from(length)
            .ok()
            .and_then(|length| length.checked_add(HEAD))
            .filter(|end| *end <= frame.len())
            .ok_or(EnvelopeError::Frame)?;
        if !bool::from(frame[end..].ct_eq(app_id.0.as_bytes())) {
            return Err(EnvelopeError::AppId);
        }
        frame.truncate(end);
        frame.drain(..HEAD);
        Ok(frame)
    }

    /// Seals a message as WeChat does, into an `Encrypt` text. The 16 random bytes come from the
    /// caller.
    pub fn seal(&self, message: &[u8], app_id: &AppId, random: [u8; 16]) -> String {
        let length = u32::try_from(message.len()).expect("a message is far below 4 GiB");
        let mut frame = Vec::with_capacity(HEAD + message.len() + app_id.0.len() + PADDING_BLOCK);
        frame.extend_from_slice(&random);
        frame.extend_from_slice(&length.to_be_bytes());
        frame.extend_from_slice(message);
        frame.extend_from_slice(app_id.0.as_bytes());
        let padding = PADDING_BLOCK - frame.len() % PADDING_BLOCK;
        let byte = u8::try_from(padding).expect("the padding is at most 32");
        frame.resize(frame.len() + padding, byte);

        let (key, iv) = self.key_and_iv();
        let (blocks, _) = Array::slice_as_chunks_mut(&mut frame);
        cbc::Encryptor::<Aes256>::new(key.into(), iv.into()).encrypt_blocks(blocks);
        BASE64.encode(frame)
    }

    /// The IV is the first half of the key, as in WeChat's sample code.
    fn key_and_iv(&self) -> (&[u8; 32], &[u8; 16]) {
        let key = self.0.expose_secret();
        let iv = key.first_chunk().expect("16 is less than 32");
        (key, iv)
    }
}

impl fmt::Debug for EncodingAesKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("EncodingAesKey(…)")
    }
}

/// True if an `Encrypt` text is base64 of whole AES blocks, enough for an empty message.
pub(super) fn is_ciphertext(encrypt: &str) -> bool {
    let blocks = BASE64.decode(encrypt);
    blocks
        .is_ok_and(|blocks| blocks.len() >= PADDING_BLOCK && blocks.len().is_multiple_of(AES_BLOCK))
}

fn unpadded_length(frame: &[u8]) -> Result<usize, EnvelopeError> {
    let &last = frame.last().ok_or(EnvelopeError::Padding)?;
    let padding = usize::from(last);
    if !(1..=PADDING_BLOCK).contains(&padding) || padding > frame.len() {
        return Err(EnvelopeError::Padding);
    }
    let length = frame.len() - padding;
    if frame[length..].iter().any(|byte| *byte != last) {
        return Err(EnvelopeError::Padding);
    }
    Ok(length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key() -> EncodingAesKey {
        EncodingAesKey::new("jWmYm7qr5nMoAUwZRjGtBxmz3KA1tkAj3ykkR6q2B2C").expect("it is a key")
    }

    fn app_id() -> AppId {
        AppId::new("wx5823bf96d3bd56c7").expect("it is an AppID")
    }

    #[test]
    fn what_was_sealed_opens_at_every_length() {
        for length in 0..=100 {
            let message = vec![b'x'; length];
            let sealed = key().seal(&message, &app_id(), [7; 16]);
            assert_eq!(key().open(&sealed, &app_id()), Ok(message), "{length}");
        }
    }

    #[test]
    fn keys_with_trailing_bits_are_taken_and_others_are_not() {
        assert!(EncodingAesKey::new(&"A".repeat(43)).is_ok());
        for text in [
            "",
            "abcde",
            &"A".repeat(42),
            &"A".repeat(44),
            &"+".repeat(43),
        ] {
            assert_eq!(EncodingAesKey::new(text).map(|_| ()), Err(InvalidAesKey));
        }
        assert_eq!(format!("{:?}", key()), "EncodingAesKey(…)");
    }

    #[test]
    fn an_app_id_is_checked() {
        assert!(AppId::new("wx0123456789abcdef").is_ok());
        for text in [
            "",
            "wx",
            "gh_0a1b2c3d4e5f",
            "wx 1",
            &format!("wx{}", "a".repeat(63)),
        ] {
            assert_eq!(AppId::new(text), Err(InvalidAppId), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_was_sealed_opens(message in proptest::collection::vec(any::<u8>(), 0..4000), random: [u8; 16]) {
            let sealed = key().seal(&message, &app_id(), random);
            prop_assert_eq!(key().open(&sealed, &app_id()), Ok(message));
        }
    }
}
