//! A delivery: one distinct body that WeChat pushed to an account, kept raw, and how it was read.

use super::{AccountName, MassSendFinished, MsgId, Time};

/// The name of the event that reports a job's result. Names of events are compared without case.
pub const MASS_SEND_FINISHED: &str = "MASSSENDJOBFINISH";

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
    /// A user's message, well-formed or not, or another event.
    Other {
        /// `Event` as received; none for a message.
        event: Option<String>,
        /// `MsgID` or `MsgId`, where there is a readable one. It is no id of a job.
        msg_id: Option<MsgId>,
    },
    /// A ticket or a change of authorisation, sent to a third-party platform. It can hold secrets.
    Platform,
    /// A body that cannot be understood, and is not known to be a user's message.
    Unparsed {
        /// Why, in words.
        error: String,
        /// `Event`, where readable. Given twice, it is given here only if the first is not that of a job result.
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
    /// Whether a push with this body is kept. `keep_events` names the events that its account keeps beside job results.
    ///
    /// A body that could be a job result is kept even if it cannot be understood; a user's message never is.
    pub fn is_kept(&self, keep_events: &[String]) -> bool {
        match self {
            Self::Result { .. } | Self::Unparsed { event: None, .. } | Self::Sealed { .. } => true,
            Self::Other { event: None, .. } | Self::Platform => false,
            Self::Other {
                event: Some(event), ..
            } => contains(keep_events, event),
            Self::Unparsed {
                event: Some(event), ..
            } => event.eq_ignore_ascii_case(MASS_SEND_FINISHED) || contains(keep_events, event),
        }
    }

    /// Whether the body was understood.
    pub fn state(&self) -> DeliveryState {
        match self {
            Self::Result { .. } | Self::Other { .. } | Self::Platform => DeliveryState::Stored,
            Self::Unparsed { .. } => DeliveryState::Unparsed,
            Self::Sealed { .. } => DeliveryState::Sealed,
        }
    }

    /// `Event` as received, where there is one.
    pub fn event(&self) -> Option<&str> {
        match self {
            Self::Result { event, .. } => Some(event),
            Self::Other { event, .. } | Self::Unparsed { event, .. } => event.as_deref(),
            Self::Platform | Self::Sealed { .. } => None,
        }
    }

    /// `MsgID`, where there is a readable one.
    pub fn msg_id(&self) -> Option<MsgId> {
        match self {
            Self::Result { result, .. } => Some(result.msg_id),
            Self::Other { msg_id, .. } | Self::Unparsed { msg_id, .. } => *msg_id,
            Self::Platform | Self::Sealed { .. } => None,
        }
    }

    /// What could not be read, in words.
    pub fn error(&self) -> Option<&str> {
        match self {
            Self::Result { note, .. } => note.as_deref(),
            Self::Other { .. } | Self::Platform => None,
            Self::Unparsed { error, .. } | Self::Sealed { error } => Some(error),
        }
    }

    /// What a job result says; none for any other body.
    pub fn result(&self) -> Option<&MassSendFinished> {
        match self {
            Self::Result { result, .. } => Some(result),
            Self::Other { .. } | Self::Platform | Self::Unparsed { .. } | Self::Sealed { .. } => {
                None
            }
        }
    }
}

fn contains(names: &[String], event: &str) -> bool {
    names.iter().any(|name| name.eq_ignore_ascii_case(event))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_be_a_job_result_is_kept_and_other_events_on_request() {
        let other = |event: Option<&str>| Reading::Other {
            event: event.map(str::to_owned),
            msg_id: None,
        };
        let unparsed = |event: Option<&str>| Reading::Unparsed {
            error: String::new(),
            event: event.map(str::to_owned),
            msg_id: None,
        };
        for (reading, by_default, on_request) in [
            (other(None), false, false),
            (other(Some("scan")), false, true),
            (other(Some("VIEW")), false, false),
            (unparsed(None), true, true),
            (unparsed(Some("MassSendJobFinish")), true, true),
            (unparsed(Some("scan")), false, true),
            (unparsed(Some("VIEW")), false, false),
            (Reading::Platform, false, false),
        ] {
            assert_eq!(reading.is_kept(&[]), by_default, "{reading:?}");
            assert_eq!(
                reading.is_kept(&["SCAN".to_owned()]),
                on_request,
                "{reading:?}"
            );
        }
    }
}
