//! Hashes of API keys. The keys themselves are not stored.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// SHA-256 of a key; in text, `sha256:` and 64 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ApiKeyHash([u8; 32]);

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a key is given as `sha256:` and 64 hexadecimal digits; `qunfa key create` makes one")]
pub struct InvalidApiKeyHash;

impl ApiKeyHash {
    pub fn of(key: impl AsRef<[u8]>) -> Self {
        Self(Sha256::digest(key).into())
    }

    /// True if it is one of `hashes`. Compares all of them, in constant time.
    pub fn is_in(&self, hashes: &[Self]) -> bool {
        let nothing = subtle::Choice::from(0);
        let compare = |found, hash: &Self| found | self.0.ct_eq(&hash.0);
        hashes.iter().fold(nothing, compare).into()
    }

    /// A prefix that is long enough to distinguish keys.
    pub fn shortened(&self) -> String {
        format!("sha256:{}…", hex::encode(&self.0[..4]))
    }
}

impl FromStr for ApiKeyHash {
    type Err = InvalidApiKeyHash;

    fn from_str(text: &str) -> Result<Self, InvalidApiKeyHash> {
        let digits = text.strip_prefix("sha256:").ok_or(InvalidApiKeyHash)?;
        let mut bytes = [0; 32];
        hex::decode_to_slice(digits, &mut bytes).map_err(|_| InvalidApiKeyHash)?;
        Ok(Self(bytes))
    }
}

impl fmt::Display for ApiKeyHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "sha256:{}", hex::encode(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_read_as_it_is_written_in_any_case() {
        let hash = ApiKeyHash::of("abc");
        let text = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hash.to_string(), text);
        assert_eq!(text.parse(), Ok(hash));
        let upper = format!("sha256:{}", text["sha256:".len()..].to_uppercase());
        assert_eq!(upper.parse(), Ok(hash));
        assert_eq!(hash.shortened(), "sha256:ba7816bf…");
    }

    #[test]
    fn anything_else_is_refused() {
        let digits = "0".repeat(64);
        for text in [
            "",
            "sha256:",
            &digits,
            &format!("sha1:{digits}"),
            &format!("sha256:{digits}0"),
            &format!("sha256:{}g", &digits[1..]),
            &format!("sha256: {}", &digits[1..]),
        ] {
            assert_eq!(text.parse::<ApiKeyHash>(), Err(InvalidApiKeyHash), "{text}");
        }
    }
}
