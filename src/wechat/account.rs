//! An account as WeChat's console knows it, and the opening of what is pushed to it: verify, decrypt, read.

use super::envelope::{AppId, EncodingAesKey, EnvelopeError, is_ciphertext};
use super::event::{self, Push};
use super::query::Query;
use super::sealed::{self, Misfit};
use super::signature::{self, Signature, Token};
use crate::domain::{AccountName, Reading, Time, whole_number};

/// How far, in seconds, the timestamp of a push that does not open may be from our clock. What is signed is joined before it
/// is hashed, so a part of a captured `Encrypt` can be passed off as the timestamp; hardly as one of today's.
const SEALED_TOLERANCE: u64 = 24 * 60 * 60;

/// An account's secrets and settings.
#[derive(Clone, Debug)]
pub struct Account {
    /// The last part of its callback path.
    pub name: AccountName,
    /// How its pushes are protected. It is the account's setting, never the request's.
    pub mode: Mode,
    /// The token.
    pub token: Token,
    /// The token before a change, still taken.
    pub previous_token: Option<Token>,
    /// Its original id, `gh_…`; a push that names another account is then not opened.
    pub original_id: Option<String>,
}

/// The mode in the console's server configuration.
#[derive(Clone, Debug)]
pub enum Mode {
    /// 明文: the signature does not cover the body, so only for tests.
    Plain,
    /// 兼容: a clear message and its encrypted form side by side; only the encrypted one is read.
    Compatible(Encryption),
    /// 安全: encrypted only.
    Safe(Encryption),
}

/// What the encrypted modes need.
#[derive(Clone, Debug)]
pub struct Encryption {
    /// The `AppID` at the end of every message.
    pub app_id: AppId,
    /// The `EncodingAESKey`.
    pub key: EncodingAesKey,
    /// The key before a change, still tried.
    pub previous_key: Option<EncodingAesKey>,
}

/// An authentic push.
#[derive(Debug)]
pub struct Opened {
    /// The body; in the encrypted modes decrypted, unless it is sealed.
    pub body: Vec<u8>,
    /// How it was read.
    pub reading: Reading,
    /// Plain mode only: the signature, which does not cover the body. Whoever accepts the push must see to it that the
    /// same signature never comes with another body.
    pub unbound_signature: Option<Signature>,
    /// How far WeChat's timestamp is from our clock, in seconds; none when it is no number.
    pub skew: Option<u64>,
}

/// The answer to a check of the URL.
#[derive(Debug)]
pub struct Echo {
    /// What to answer, byte for byte.
    pub echostr: Vec<u8>,
    /// Plain mode only: as in [`Opened`].
    pub unbound_signature: Option<Signature>,
}

/// Why a request is not authentic. The outside sees one constant answer; this is for logs and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// A parameter is missing, stands twice, or does not match the token.
    #[error("the signature does not match the token")]
    Signature,
    /// Plain mode: no number, or too far from our clock.
    #[error("the timestamp is no number or too far from this clock")]
    Timestamp,
    /// A check of the URL without just one `echostr`.
    #[error("echostr is missing")]
    Echo,
    /// Encrypted modes: no `msg_signature`, or no document with just one `Encrypt`.
    #[error("the push is not encrypted, but the account is in compatible or safe mode")]
    Envelope,
    /// Encrypted modes: it does not open, and cannot be kept sealed.
    #[error(
        "the message does not open with the EncodingAESKey and AppID, and its Encrypt is not a ciphertext or its timestamp is over a day from this clock"
    )]
    Decryption,
    /// Plain mode: only the envelope came.
    #[error("the body is encrypted, but the account is in plain mode")]
    Encrypted,
    /// `ToUserName` is not the account's original id, and the push cannot be kept sealed.
    #[error("ToUserName is another account")]
    Foreign,
}

impl OpenError {
    /// What is wrong, in a word.
    pub const fn reason(&self) -> &'static str {
        match self {
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
    /// The word used in the configuration.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Compatible(_) => "compatible",
            Self::Safe(_) => "safe",
        }
    }

    /// What is needed to decrypt; none in plain mode.
    pub const fn encryption(&self) -> Option<&Encryption> {
        match self {
            Self::Plain => None,
            Self::Compatible(encryption) | Self::Safe(encryption) => Some(encryption),
        }
    }
}

impl Encryption {
    /// Decrypts with the key, or else with the previous one.
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
    /// Checks a `GET` of the URL: in every mode it carries `signature`, and `echostr` in the clear. Its timestamp may be
    /// as old as it likes.
    ///
    /// # Errors
    /// [`OpenError`] when it is not from WeChat.
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

    /// Opens a `POST`: verifies it by the account's mode, decrypts and reads it.
    ///
    /// `tolerance` is how far, in seconds, a timestamp may be from `now` in plain mode. In the encrypted modes the
    /// signature covers the body and acceptance can be repeated, so a wrong clock must not cost an event.
    ///
    /// What WeChat has signed but our configuration does not open is [`Reading::Sealed`], its envelope the body.
    ///
    /// # Errors
    /// [`OpenError`] when it is not authentic. A body that is authentic but cannot be understood is no error.
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
        let signature = self.verify_query(query)?;
        if skew.is_none_or(|skew| skew > tolerance) {
            return Err(OpenError::Timestamp);
        }
        let Push {
            reading,
            to_user_name,
        } = event::read(&body);
        if matches!(reading, Reading::Unparsed { .. }) && event::is_bare_envelope(&body) {
            return Err(OpenError::Encrypted);
        }
        if self.is_for_another(to_user_name.as_deref()) {
            return Err(OpenError::Foreign);
        }
        Ok(Opened {
            body,
            reading,
            unbound_signature: Some(signature),
            skew,
        })
    }

    /// Whether that `ToUserName` is not the account's original id, where this is known.
    pub(super) fn is_for_another(&self, to_user_name: Option<&str>) -> bool {
        let ours = self.original_id.as_deref();
        matches!((ours, to_user_name), (Some(ours), Some(theirs)) if ours != theirs)
    }

    /// Checks `signature`.
    fn verify_query(&self, query: &Query) -> Result<Signature, OpenError> {
        let (Some(claimed), Some(timestamp), Some(nonce)) =
            (&query.signature, &query.timestamp, &query.nonce)
        else {
            return Err(OpenError::Signature);
        };
        let expected: Vec<_> = self
            .tokens()
            .map(|token| token.sign(timestamp, nonce))
            .collect();
        signature::matching(claimed, &expected).ok_or(OpenError::Signature)
    }

    /// Checks `msg_signature`; the `Encrypt` that it covers.
    fn verify_message(&self, query: &Query, body: &[u8]) -> Result<String, OpenError> {
        let (Some(claimed), Some(timestamp), Some(nonce)) =
            (&query.msg_signature, &query.timestamp, &query.nonce)
        else {
            // Refused either way, but a console in another mode deserves its own name in the log.
            return Err(match self.verify_query(query) {
                Ok(_) => OpenError::Envelope,
                Err(error) => error,
            });
        };
        let encrypt = event::encrypt(body).ok_or(OpenError::Envelope)?;
        let expected: Vec<_> = self
            .tokens()
            .map(|token| token.sign_message(timestamp, nonce, encrypt.as_bytes()))
            .collect();
        signature::matching(claimed, &expected).ok_or(OpenError::Signature)?;
        Ok(encrypt)
    }

    fn tokens(&self) -> impl Iterator<Item = &Token> {
        std::iter::once(&self.token).chain(&self.previous_token)
    }
}

fn timestamp_seconds(query: &Query) -> Option<i64> {
    let digits = query.timestamp.as_deref()?;
    whole_number(std::str::from_utf8(digits).ok()?)
}
