//! The query string of a push, read as bytes: what was signed and what is echoed is never changed on the way.

use std::borrow::Cow;

use percent_encoding::percent_decode;

/// The parameters that are verified. One that is missing and one that stands twice are alike: neither is there.
///
/// `openid` and `encrypt_type` are not read: no signature covers them. There is no `Debug`: a query that is verified opens
/// an account, see [`Signature`](super::Signature).
#[derive(Default)]
pub struct Query {
    /// `signature`.
    pub signature: Option<Vec<u8>>,
    /// `msg_signature`, on encrypted pushes.
    pub msg_signature: Option<Vec<u8>>,
    /// `timestamp`: seconds since 1970, as text, since a number would lose leading zeros.
    pub timestamp: Option<Vec<u8>>,
    /// `nonce`.
    pub nonce: Option<Vec<u8>>,
    /// `echostr`, on the check of the URL.
    pub echostr: Option<Vec<u8>>,
}

impl Query {
    /// Reads a raw query string, without its question mark.
    pub fn parse(raw: &str) -> Self {
        Self {
            signature: sole(raw, b"signature"),
            msg_signature: sole(raw, b"msg_signature"),
            timestamp: sole(raw, b"timestamp"),
            nonce: sole(raw, b"nonce"),
            echostr: sole(raw, b"echostr"),
        }
    }
}

/// The value of the parameter that stands exactly once.
fn sole(raw: &str, name: &[u8]) -> Option<Vec<u8>> {
    let mut values = raw.split('&').filter_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (*decode(key) == *name).then_some(value)
    });
    match (values.next(), values.next()) {
        (Some(value), None) => Some(decode(value).into_owned()),
        _ => None,
    }
}

/// Form decoding: `+` is a space, `%xx` a byte.
fn decode(text: &str) -> Cow<'_, [u8]> {
    if !text.contains(['+', '%']) {
        return Cow::Borrowed(text.as_bytes());
    }
    let spaced: Vec<u8> = text
        .bytes()
        .map(|byte| if byte == b'+' { b' ' } else { byte })
        .collect();
    Cow::Owned(percent_decode(&spaced).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_counts_only_when_it_stands_once() {
        let query = Query::parse("signature=a&timestamp=1&timestamp=2&nonce[]=3&echostr&x=y");
        assert_eq!(query.signature.as_deref(), Some(&b"a"[..]));
        assert_eq!(query.timestamp, None);
        assert_eq!(query.nonce, None);
        assert_eq!(query.echostr.as_deref(), Some(&b""[..]));
        let doubled = Query::parse("signature=a&%73ignature=a");
        assert_eq!(doubled.signature, None);
    }

    #[test]
    fn values_are_decoded_byte_for_byte() {
        let query = Query::parse("echostr=%3Cb%3E+%ff%zz=");
        assert_eq!(query.echostr.as_deref(), Some(&b"<b> \xff%zz="[..]));
    }
}
