//! An account as in WeChat's console, and how its pushes are opened: verify, decrypt, parse.

use super::encrypt::{self, Missing};
use super::envelope::{AppId, EncodingAesKey, EnvelopeError, is_ciphertext};
use super::event::{self, Push};
use super::query::Query;
use super::sealed::{self, Misfit};
use super::signature::{self, Signature, Token};
use crate::domain::{AccountName, Reading, Time, whole_number};

/// How far, in seconds, the timestamp of a sealed push may be from our clock. The signed parts are
/// concatenated before they are hashed, so a piece of a captured `Encrypt` can be passed off as a
/// timestamp, but hardly as a current one.
const SEALED_TOLERANCE: u64 = 24 * 60 * 60;

/// An account's secrets and settings.
#[derive(Clone, Debug)]
pub struct Account {
    /// The last part of its callback path.
    pub name: AccountName,
    /// It is taken from the configuration, never from the request.
    pub mode: Mode,
    pub token: Token,
    /// The token before a change, which is still accepted.
    pub previous_token: Option<Token>,
    /// The original id, `gh_…`. If it is set, a push for another account is not opened.
    pub original_id: Option<String>,
    /// Events that are kept raw beside job results; case-insensitive.
    pub keep_events: Vec<String>,
}

/// The mode in the console's server configuration.
#[derive(Clone, Debug)]
pub enum Mode {
    /// 明文: for tests only, because the signature does not cover the body.
    Plain,
    /// 兼容: a clear message and its encrypted form side by side; only the encrypted one is read.
    Compatible(Encryption),
    /// 安全: encrypted only.
    Safe(Encryption),
}

#[derive(Clone, Debug)]
pub struct Encryption {
    /// The `AppID` at the end of every message.
    pub app_id: AppId,
    pub key: EncodingAesKey,
    /// The key before a change, which is still tried.
    pub previous_key: Option<EncodingAesKey>,
}

/// An authentic push.
#[derive(Debug)]
pub struct Opened {
    /// The body: in the encrypted modes decrypted, unless it is sealed; in plain mode without the
    /// `Encrypt` of a compatible push.
    pub body: Vec<u8>,
    pub reading: Reading,
    /// Plain mode only: the signature, which does not cover the body. The caller must make sure
    /// that the same signature is never accepted with another body.
    pub unbound_signature: Option<Signature>,
    /// How far WeChat's timestamp is from our clock, in seconds; `None` if it is not a number.
    pub skew: Option<u64>,
}

/// The answer to a check of the URL.
#[derive(Debug)]
pub struct Echo {
    /// The response body, byte for byte.
    pub echostr: Vec<u8>,
    /// Plain mode only, see [`Opened`].
    pub unbound_signature: Option<Signature>,
}

/// Why a request is not authentic, for logs and metrics. The client always gets the same response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// As in the requests of monitors and scanners.
    #[error("the request has no signature")]
    Unsigned,
    /// A parameter is missing, is given twice, or does not match the token.
    #[error("the signature does not match the token")]
    Signature,
    /// In plain mode.
    #[error("the timestamp is not a number or is too far from this clock")]
    Timestamp,
    /// A check of the URL needs one `echostr`.
    #[error("echostr is missing")]
    Echo,
    /// In the encrypted modes: there is no `msg_signature` or no `Encrypt`.
    #[error("the push is not encrypted, but the account is in compatible or safe mode")]
    Envelope,
    /// In the encrypted modes: it does not open, and cannot be kept sealed.
    #[error(
        "the message does not open with the EncodingAESKey and AppID, and its Encrypt is not a ciphertext or its timestamp is over a day from this clock"
    )]
    Decryption,
    /// In plain mode: there is only the envelope.
    #[error("the body is encrypted, but the account is in plain mode")]
    Encrypted,
    /// `ToUserName` is not the account's original id, and the push cannot be kept sealed.
    #[error("ToUserName is another account")]
    Foreign,
}

impl OpenError {
    /// The `reason` label of the metric.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Unsigned => "unsigned",
            Self::Signature => "signature",
            Self::Timestamp => "timestamp",
            Self::Echo => "echo",
            Self::Envelope => "envelope",
            Self::Decryption => "decryption",
            Self::Encrypted => "encrypted",
            Self::Foreign => "foreign",
        }
    }
}

impl Mode {
    /// As in the configuration.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Compatible(_) => "compatible",
            Self::Safe(_) => "safe",
        }
    }

    /// `None` in plain mode.
    pub const fn encryption(&self) -> Option<&Encryption> {
        match self {
            Self::Plain => None,
            Self::Compatible(encryption) | Self::Safe(encryption) => Some(encryption),
        }
    }
}

impl Encryption {
    /// Decrypts with the key or the previous key.
    pub(super) fn open(&self, encrypt: &str) -> Result<Vec<u8>, Misfit> {
        let mut misfit = Misfit::Key;
        for key in std::iter::once(&self.key).chain(&self.previous_key) {
            match key.open(encrypt, &self.app_id) {
                Ok(message) => return Ok(message),
                Err(EnvelopeError::AppId) => misfit = Misfit::AppId,
                Err(_) => {}
            }
        }
        Err(misfit)
    }
}

impl Account {
    /// Checks a `GET` of the URL. In every mode it has `signature`, and `echostr` in the clear. Its
    /// timestamp may have any age.
    pub fn check_url(&self, query: Query) -> Result<Echo, OpenError> {
        let signature = self.verify_query(&query)?;
        let plain = matches!(self.mode, Mode::Plain);
        if plain && timestamp_seconds(&query).is_none() {
            return Err(OpenError::Timestamp);
        }
        Ok(Echo {
            echostr: query.echostr.ok_or(OpenError::Echo)?,
            unbound_signature: plain.then_some(signature),
        })
    }

    /// Opens a `POST`: verifies it by the account's mode, decrypts and parses it.
    ///
    /// `tolerance` is how far, in seconds, a timestamp may be from `now` in plain mode. In the
    /// encrypted modes the signature covers the body and accepting a push twice does no harm, so a
    /// wrong clock does not cost an event.
    ///
    /// A push that WeChat has signed but our configuration does not open is [`Reading::Sealed`],
    /// with the envelope as its body. An authentic body that cannot be parsed is not an error, but
    /// [`Reading::Unparsed`].
    pub fn open(
        &self,
        query: &Query,
        body: Vec<u8>,
        now: Time,
        tolerance: u64,
    ) -> Result<Opened, OpenError> {
        let skew = timestamp_seconds(query).map(|seconds| seconds.abs_diff(now.seconds()));
        let Some(encryption) = self.mode.encryption() else {
            return self.open_plain(query, body, skew, tolerance);
        };
        let encrypt = self.verify_message(query, &body)?;
        let (body, reading) = match self.unseal(encryption, &encrypt) {
            Ok(opened) => opened,
            Err(misfit)
                if is_ciphertext(&encrypt) && skew.is_some_and(|skew| skew <= SEALED_TOLERANCE) =>
            {
                let error = misfit.to_string();
                (sealed::envelope(body, &encrypt), Reading::Sealed { error })
            }
            Err(Misfit::ToUserName) => return Err(OpenError::Foreign),
            Err(_) => return Err(OpenError::Decryption),
        };
        Ok(Opened {
            body,
            reading,
            unbound_signature: None,
            skew,
        })
    }

    fn open_plain(
        &self,
        query: &Query,
        body: Vec<u8>,
        skew: Option<u64>,
        tolerance: u64,
    ) -> Result<Opened, OpenError> {
        let signature = self.verify_plain(query, &body)?;
        if skew.is_none_or(|skew| skew > tolerance) {
            return Err(OpenError::Timestamp);
        }
        let (body, push) = clear_part(body)?;
        if self.is_for_another(push.to_user_name.as_deref()) {
            return Err(OpenError::Foreign);
        }
        Ok(Opened {
            body,
            reading: push.reading,
            unbound_signature: Some(signature),
            skew,
        })
    }

    /// True if that `ToUserName` differs from the configured original id.
    pub(super) fn is_for_another(&self, to_user_name: Option<&str>) -> bool {
        let ours = self.original_id.as_deref();
        matches!((ours, to_user_name), (Some(ours), Some(theirs)) if ours != theirs)
    }

    fn verify_query(&self, query: &Query) -> Result<Signature, OpenError> {
        let (Some(claimed), Some(timestamp), Some(nonce)) =
            (&query.signature, &query.timestamp, &query.nonce)
        else {
            return Err(if query.is_signed {
                OpenError::Signature
            } else {
                OpenError::Unsigned
            });
        };
        let expected = self.tokens().map(|token| token.sign(timestamp, nonce));
        signature::matching(claimed, expected).ok_or(OpenError::Signature)
    }

    /// Checks `signature` of a push in plain mode.
    ///
    /// A refusal takes the same work as in the encrypted modes, see [`Account::verify_message`]:
    /// its duration must not reveal whether the account exists, or its mode.
    fn verify_plain(&self, query: &Query, body: &[u8]) -> Result<Signature, OpenError> {
        let verified = self.verify_query(query);
        if verified.is_err() {
            let _ = std::hint::black_box(self.find_signed(query, body));
        }
        verified
    }

    /// Checks `msg_signature`, and returns the `Encrypt` that it covers.
    fn verify_message(&self, query: &Query, body: &[u8]) -> Result<String, OpenError> {
        self.find_signed(query, body).map_err(|missing| {
            let by_query = self.verify_query(query);
            match missing {
                Some(Missing::Unsigned) => OpenError::Signature,
                Some(Missing::Absent) => OpenError::Envelope,
                // A console in another mode deserves its own name in the log.
                None => by_query.err().unwrap_or(OpenError::Envelope),
            }
        })
    }

    /// The `Encrypt` that `msg_signature` covers. The error is `None` if the query has no such
    /// signature.
    fn find_signed(&self, query: &Query, body: &[u8]) -> Result<String, Option<Missing>> {
        let (Some(claimed), Some(timestamp), Some(nonce)) =
            (&query.msg_signature, &query.timestamp, &query.nonce)
        else {
            return Err(None);
        };
        let is_signed = |encrypt: &str| {
            let sign = |token: &Token| token.sign_message(timestamp, nonce, encrypt.as_bytes());
            signature::matching(claimed, self.tokens().map(sign)).is_some()
        };
        encrypt::signed(&encrypt::text_of(body), is_signed).map_err(Some)
    }

    /// The tokens that a signature may be made with: always two, so that refusing a wrong signature
    /// takes the same work whether or not a token is being changed.
    fn tokens(&self) -> impl Iterator<Item = &Token> {
        [
            &self.token,
            self.previous_token.as_ref().unwrap_or(&self.token),
        ]
        .into_iter()
    }
}

/// The part of a body that a plain account reads. In compatible mode WeChat adds an `Encrypt`,
/// which differs in every copy.
fn clear_part(body: Vec<u8>) -> Result<(Vec<u8>, Push), OpenError> {
    let examined = event::examine(&body);
    if examined.is_bare_envelope && matches!(examined.push.reading, Reading::Unparsed { .. }) {
        return Err(OpenError::Encrypted);
    }
    let rest = examined
        .has_encrypt
        .then(|| encrypt::removed(&body, examined.is_well_formed))
        .flatten();
    Ok(match rest {
        Some(rest) => {
            let push = event::read(&rest);
            (rest, push)
        }
        None => (body, examined.push),
    })
}

fn timestamp_seconds(query: &Query) -> Option<i64> {
    let digits = query.timestamp.as_deref()?;
    whole_number(std::str::from_utf8(digits).ok()?)
}

#[cfg(test)]
mod tests {
    use super::super::signature::tests::HASHED;
    use super::*;

    fn account(mode: Mode, previous_token: Option<&str>) -> Account {
        let token = |text: &str| Token::new(text).expect("it is a token");
        Account {
            name: "main".parse().expect("it is a name"),
            mode,
            token: token("TokenOfTheAccount"),
            previous_token: previous_token.map(token),
            original_id: None,
            keep_events: Vec::new(),
        }
    }

    fn encryption() -> Encryption {
        Encryption {
            app_id: AppId::new("wx0123456789abcdef").expect("it is an AppID"),
            key: EncodingAesKey::new(&"A".repeat(43)).expect("it is a key"),
            previous_key: None,
        }
    }

    #[test]
    fn a_refusal_takes_the_same_work_in_every_mode() {
        let encrypt = "A".repeat(64_000);
        let wrong = "0".repeat(40);
        for query in [
            String::new(),
            format!("signature={wrong}"),
            format!("signature={wrong}&timestamp=1&nonce=2"),
            format!("msg_signature={wrong}&timestamp=1&nonce=2"),
            format!("signature={wrong}&msg_signature={wrong}&timestamp=1&nonce=2"),
            format!("signature={wrong}&msg_signature=0&timestamp=1&nonce=2"),
        ] {
            for body in [
                format!("<xml><Encrypt>{encrypt}</Encrypt></xml>"),
                format!("<xml><Encrypt a=''>{encrypt}</Encrypt></xml>"),
                format!("{{\"Encrypt\":\"{encrypt}\"}}"),
                "<xml></xml>".to_owned(),
            ] {
                let work = |account: Account| {
                    let before = HASHED.get();
                    let query = Query::parse(&query);
                    let now = Time::from_create_time(1).expect("it is a time");
                    let opened = account.open(&query, body.clone().into_bytes(), now, 600);
                    assert!(opened.is_err());
                    HASHED.get() - before
                };
                let expected = work(account(Mode::Plain, None));
                for mode in [
                    Mode::Plain,
                    Mode::Compatible(encryption()),
                    Mode::Safe(encryption()),
                ] {
                    for previous in [None, Some("TokenOfTheChanged")] {
                        assert_eq!(work(account(mode.clone(), previous)), expected, "{query}");
                    }
                }
            }
        }
    }
}
