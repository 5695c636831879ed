//! The query string of a push. Values are bytes, so that what was signed and what is echoed stays
//! unchanged.

use std::borrow::Cow;

use percent_encoding::percent_decode;

/// The parameters that are verified. One that is given twice counts as missing.
///
/// `openid` and `encrypt_type` are not read: no signature covers them. There is no `Debug`: a query
/// that is verified opens an account, see [`Signature`](super::Signature).
#[derive(Default)]
pub struct Query {
    pub signature: Option<Vec<u8>>,
    /// Of encrypted pushes.
    pub msg_signature: Option<Vec<u8>>,
    /// Seconds since 1970, as text: a number would lose leading zeros.
    pub timestamp: Option<Vec<u8>>,
    pub nonce: Option<Vec<u8>>,
    /// Of the check of the URL.
    pub echostr: Option<Vec<u8>>,
    /// `signature` or `msg_signature` is given, perhaps twice.
    pub is_signed: bool,
}

impl Query {
    /// Parses a raw query string, without its question mark.
    pub fn parse(raw: &str) -> Self {
        let [
            mut signature,
            mut msg_signature,
            mut timestamp,
            mut nonce,
            mut echostr,
        ] = [const { Sole::Missing }; 5];
        for pair in raw.split('&') {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let parameter = match &*decode(key) {
                b"signature" => &mut signature,
                b"msg_signature" => &mut msg_signature,
                b"timestamp" => &mut timestamp,
                b"nonce" => &mut nonce,
                b"echostr" => &mut echostr,
                _ => continue,
            };
            parameter.occurs(value);
        }
        Self {
            is_signed: signature.is_given() || msg_signature.is_given(),
            signature: signature.decoded(),
            msg_signature: msg_signature.decoded(),
            timestamp: timestamp.decoded(),
            nonce: nonce.decoded(),
            echostr: echostr.decoded(),
        }
    }
}

/// A parameter that counts only if it is given once.
enum Sole<'r> {
    Missing,
    Once(&'r str),
    Twice,
}

impl<'r> Sole<'r> {
    fn occurs(&mut self, value: &'r str) {
        *self = match self {
            Self::Missing => Self::Once(value),
            Self::Once(_) | Self::Twice => Self::Twice,
        };
    }

    fn is_given(&self) -> bool {
        !matches!(self, Self::Missing)
    }

    fn decoded(self) -> Option<Vec<u8>> {
        match self {
            Self::Once(value) => Some(decode(value).into_owned()),
            Self::Missing | Self::Twice => None,
        }
    }
}

/// Form decoding: `+` is a space, `%xx` a byte.
fn decode(text: &str) -> Cow<'_, [u8]> {
    if !text.bytes().any(|byte| matches!(byte, b'+' | b'%')) {
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
        assert!(query.is_signed && doubled.is_signed && Query::parse("msg_signature").is_signed);
        assert!(!Query::parse("timestamp=1&nonce=2&Signature=a").is_signed);
    }

    #[test]
    fn values_are_decoded_byte_for_byte() {
        let query = Query::parse("echostr=%3Cb%3E+%ff%zz=");
        assert_eq!(query.echostr.as_deref(), Some(&b"<b> \xff%zz="[..]));
    }
}
