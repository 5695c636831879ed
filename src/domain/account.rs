//! The name of an account, which is also the last part of its callback path.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

const MAX_LENGTH: usize = 64;

/// A checked account name: 1 to 64 of `a-z`, `0-9`, `_` and `-`, without `__`.
///
/// `__` separates the parts of an environment variable's name, so a name cannot contain it. Cloning
/// is cheap.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountName(Arc<str>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an account name is 1 to 64 of a-z, 0-9, `_` and `-`, without `__`")]
pub struct InvalidAccountName;

impl AccountName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for AccountName {
    type Err = InvalidAccountName;

    fn from_str(text: &str) -> Result<Self, InvalidAccountName> {
        let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-');
        let well_formed = (1..=MAX_LENGTH).contains(&text.len())
            && text.bytes().all(allowed)
            && !text.contains("__");
        well_formed
            .then(|| Self(text.into()))
            .ok_or(InvalidAccountName)
    }
}

impl fmt::Display for AccountName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_fit_a_path_and_a_variable_are_taken() {
        for name in ["main", "a", "shop-2", "_x_", "0", &"a".repeat(64)] {
            assert_eq!(
                name.parse::<AccountName>().map(|name| name.to_string()),
                Ok(name.to_owned())
            );
        }
        for name in ["", "Main", "a b", "a__b", "ä", "a/b", &"a".repeat(65)] {
            assert_eq!(
                name.parse::<AccountName>(),
                Err(InvalidAccountName),
                "{name}"
            );
        }
    }
}
