//! `signature` and `msg_signature`: SHA-1 over the token and the query's parts, sorted by byte and
//! joined.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use sha1::{Digest, Sha1};
use subtle::ConstantTimeEq;

/// A SHA-1 signature; on the wire, 40 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Signature([u8; 20]);

impl Signature {
    /// Signs the parts, in any order.
    fn of<const N: usize>(mut parts: [&[u8]; N]) -> Self {
        #[cfg(test)]
        tests::HASHED.set(tests::HASHED.get() + parts.iter().map(|part| part.len()).sum::<usize>());
        parts.sort_unstable();
        let mut hash = Sha1::new();
        for part in parts {
            hash.update(part);
        }
        Self(hash.finalize().into())
    }

    /// The signature, unless the text is anything but 40 hexadecimal digits.
    fn from_hex(text: &[u8]) -> Option<Self> {
        let mut bytes = [0; 20];
        hex::decode_to_slice(text, &mut bytes).ok()?;
        Some(Self(bytes))
    }

    /// As WeChat writes it: 40 lower-case hexadecimal digits.
    pub fn to_hex(self) -> String {
        hex::encode(self.0)
    }
}

impl fmt::Debug for Signature {
    /// Hidden: with its query, a signature opens a plain account for as long as the timestamp is
    /// fresh.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Signature(…)")
    }
}

/// The Token of the console's server configuration: 3 to 32 letters and digits.
#[derive(Clone, Debug)]
pub struct Token(SecretString);

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a token is 3 to 32 letters and digits")]
pub struct InvalidToken;

impl Token {
    pub fn new(text: &str) -> Result<Self, InvalidToken> {
        let well_formed =
            (3..=32).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
        well_formed.then(|| Self(text.into())).ok_or(InvalidToken)
    }

    /// True if it has fewer than 16 characters, so that it might be guessed.
    pub fn is_short(&self) -> bool {
        self.0.expose_secret().len() < 16
    }

    /// `signature`: over token, timestamp and nonce. It never covers the body.
    pub fn sign(&self, timestamp: &[u8], nonce: &[u8]) -> Signature {
        Signature::of([self.0.expose_secret().as_bytes(), timestamp, nonce])
    }

    /// `msg_signature`: over token, timestamp, nonce and the `Encrypt` text.
    pub fn sign_message(&self, timestamp: &[u8], nonce: &[u8], encrypt: &[u8]) -> Signature {
        Signature::of([self.0.expose_secret().as_bytes(), timestamp, nonce, encrypt])
    }
}

/// The signature that the text claims, if one of those expected equals it. The comparison takes
/// constant time, and a claim that is wrong is compared with all.
pub(super) fn matching(
    claimed: &[u8],
    mut expected: impl Iterator<Item = Signature>,
) -> Option<Signature> {
    let claimed = Signature::from_hex(claimed)?;
    expected.find(|signature| bool::from(signature.0.ct_eq(&claimed.0)))
}

#[cfg(test)]
pub(super) mod tests {
    use std::cell::Cell;

    use super::*;

    thread_local! {
        /// How many bytes were hashed for signatures, on this thread.
        pub(in super::super) static HASHED: Cell<usize> = const { Cell::new(0) };
    }

    #[test]
    fn the_parts_are_sorted_by_byte() {
        let token = Token::new("AAAAA").expect("it is a token");
        let signature = token.sign(b"1714036504", b"1514711492");
        assert_eq!(
            signature.to_hex(),
            "f464b24fc39322e44b38aa78f5edd27bd1441696"
        );
    }

    #[test]
    fn only_forty_hexadecimal_digits_can_match() {
        let token = Token::new("AAAAA").expect("it is a token");
        let expected = [token.sign(b"1", b"2"), token.sign(b"3", b"4")];
        let hex = expected[1].to_hex();
        let matching = |claimed: &[u8]| matching(claimed, expected.into_iter());
        assert_eq!(matching(hex.as_bytes()), Some(expected[1]));
        for claimed in [
            "",
            &hex[..39],
            &format!("{hex}0"),
            &"0".repeat(40),
            &"g".repeat(40),
        ] {
            assert_eq!(matching(claimed.as_bytes()), None, "{claimed}");
        }
    }

    #[test]
    fn a_token_is_checked_and_never_shown() {
        let token = Token::new("secretsecretsecret").expect("it is a token");
        assert!(!format!("{token:?}").contains("secret"));
        assert!(!token.is_short());
        for text in ["", "ab", "a b c", "abc-d", &"a".repeat(33), "中文字"] {
            assert_eq!(Token::new(text).map(|_| ()), Err(InvalidToken), "{text}");
        }
    }
}
