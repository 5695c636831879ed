//! A delivery: one distinct body that WeChat pushed to an account, kept raw, and how it was read.

use super::{AccountName, MassSendFinished, MsgId, Time};

/// What reading the body of an authentic push found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reading {
    /// A `MASSSENDJOBFINISH` event.
    Result {
        /// `Event` as received.
        event: String,
        /// What it says.
        result: Box<MassSendFinished>,
        /// What of it could not be read, in words; the values concerned are `None`.
        note: Option<String>,
    },
    /// A user's message or another event.
    Other {
        /// `Event` as received; none for a message.
        event: Option<String>,
        /// `MsgID` or `MsgId`, where there is a readable one. It is no id of a job.
        msg_id: Option<MsgId>,
    },
    /// A body that cannot be understood.
    Unparsed {
        /// Why, in words.
        error: String,
        /// `Event`, where readable.
        event: Option<String>,
        /// `MsgID`, where readable.
        msg_id: Option<MsgId>,
    },
    /// An envelope that WeChat has signed, but that the account's configuration does not open.
    Sealed {
        /// What does not fit, in words.
        error: String,
    },
}

impl Reading {
    /// Whether the body was understood.
    pub fn state(&self) -> DeliveryState {
        match self {
            Self::Result { .. } | Self::Other { .. } => DeliveryState::Stored,
            Self::Unparsed { .. } => DeliveryState::Unparsed,
            Self::Sealed { .. } => DeliveryState::Sealed,
        }
    }

    /// `Event` as received, where there is one.
    pub fn event(&self) -> Option<&str> {
        match self {
            Self::Result { event, .. } => Some(event),
            Self::Other { event, .. } | Self::Unparsed { event, .. } => event.as_deref(),
            Self::Sealed { .. } => None,
        }
    }

    /// `MsgID`, where there is a readable one.
    pub fn msg_id(&self) -> Option<MsgId> {
        match self {
            Self::Result { result, .. } => Some(result.msg_id),
            Self::Other { msg_id, .. } | Self::Unparsed { msg_id, .. } => *msg_id,
            Self::Sealed { .. } => None,
        }
    }

    /// What could not be read, in words.
    pub fn error(&self) -> Option<&str> {
        match self {
            Self::Result { note, .. } => note.as_deref(),
            Self::Other { .. } => None,
            Self::Unparsed { error, .. } | Self::Sealed { error } => Some(error),
        }
    }

    /// What a job result says; none for any other body.
    pub fn result(&self) -> Option<&MassSendFinished> {
        match self {
            Self::Result { result, .. } => Some(result),
            Self::Other { .. } | Self::Unparsed { .. } | Self::Sealed { .. } => None,
        }
    }
}

/// Whether a kept body was understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeliveryState {
    /// Read and filed.
    Stored,
    /// Kept, but not understood; `qunfa reprocess` tries again.
    Unparsed,
    /// Kept as an envelope that does not open; `qunfa reprocess` opens it once the configuration is right.
    Sealed,
}

impl DeliveryState {
    /// Every state.
    pub const ALL: [Self; 3] = [Self::Stored, Self::Unparsed, Self::Sealed];

    /// The word used in columns, JSON and filters.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::Unparsed => "unparsed",
            Self::Sealed => "sealed",
        }
    }
}

impl std::str::FromStr for DeliveryState {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        Self::ALL
            .into_iter()
            .find(|state| state.as_str() == word)
            .ok_or(())
    }
}

/// A body that has just come in and is to be kept.
#[derive(Clone, Debug)]
pub struct NewDelivery {
    /// The account that it was pushed to.
    pub account: AccountName,
    /// The decrypted body, or the envelope of a sealed one, byte for byte.
    pub body: Vec<u8>,
    /// SHA-256 of `body`: the same bytes again are one more copy of the same delivery.
    pub body_sha256: [u8; 32],
    /// When it came.
    pub received_at: Time,
    /// When it goes to the database: `received_at`, or later when it was in the spool meanwhile. A job that it changes was
    /// updated then.
    pub filed_at: Time,
    /// How it was read.
    pub reading: Reading,
}

/// A kept body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// A number of the store's, ascending in the order of acceptance.
    pub id: i64,
    /// The account that it was pushed to.
    pub account: AccountName,
    /// `Event` as received, where readable.
    pub event: Option<String>,
    /// `MsgID`, where readable.
    pub msg_id: Option<MsgId>,
    /// The decrypted body, or the envelope of a sealed one, byte for byte.
    pub body: Vec<u8>,
    /// SHA-256 of `body`.
    pub body_sha256: [u8; 32],
    /// Whether it was understood.
    pub state: DeliveryState,
    /// What could not be read, in words.
    pub error: Option<String>,
    /// When it first came.
    pub received_at: Time,
    /// When it last came.
    pub last_received_at: Time,
    /// How many times it came.
    pub times: i64,
}
