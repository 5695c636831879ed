//! Whole numbers in untrusted text.

use std::str::FromStr;

/// Parses decimal digits only: no sign, fraction or space. `None` if the number does not fit the
/// type.
pub fn whole_number<T: FromStr>(text: &str) -> Option<T> {
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_digits_that_fit_are_a_number() {
        for (text, number) in [("0", 0), ("007", 7), ("2147483647", i32::MAX)] {
            assert_eq!(whole_number(text), Some(number));
        }
        for text in ["", "+1", "-1", "1.0", " 1", "1e3", "１", "2147483648"] {
            assert_eq!(whole_number::<i32>(text), None, "{text}");
        }
    }
}
