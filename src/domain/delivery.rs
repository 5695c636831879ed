//! A delivery: one distinct body that WeChat pushed to an account, kept raw, and how it was read.

use std::fmt;
use std::str::FromStr;

use super::{AccountName, MassSendFinished, MsgId, Time};

/// The event that reports a job's result. Event names are case-insensitive.
pub const MASS_SEND_FINISHED: &str = "MASSSENDJOBFINISH";

/// The content of the body of an authentic push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reading {
    /// A `MASSSENDJOBFINISH` event.
    Result {
        /// `Event` as received.
        event: String,
        result: Box<MassSendFinished>,
        /// Which values could not be parsed, in words; they are `None`.
        note: Option<String>,
    },
    /// A user's message, well-formed or not, or another event.
    Other {
        /// `Event` as received; `None` for a message.
        event: Option<String>,
        /// `MsgID` or `MsgId`, if it is readable. It is not the id of a job.
        msg_id: Option<MsgId>,
    },
    /// A ticket or a change of authorisation, sent to a third-party platform. It can hold secrets.
    Platform,
    /// A body that cannot be parsed, and is not known to be a user's message.
    Unparsed {
        /// In words.
        error: String,
        /// `Event`, if it is readable. If it is given twice, the first, unless that is a job
        /// result.
        event: Option<String>,
        /// `MsgID`, if it is readable.
        msg_id: Option<MsgId>,
    },
    /// A signed envelope that the account's configuration does not open.
    Sealed {
        /// Which setting does not match, in words.
        error: String,
    },
}

impl Reading {
    /// True if a push with this body is stored. `keep_events` names the events that its account
    /// keeps beside job results.
    ///
    /// A body that may be a job result is kept even if it cannot be parsed; a user's message never
    /// is.
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

    pub fn state(&self) -> DeliveryState {
        match self {
            Self::Result { .. } | Self::Other { .. } | Self::Platform => DeliveryState::Stored,
            Self::Unparsed { .. } => DeliveryState::Unparsed,
            Self::Sealed { .. } => DeliveryState::Sealed,
        }
    }

    pub fn event(&self) -> Option<&str> {
        match self {
            Self::Result { event, .. } => Some(event),
            Self::Other { event, .. } | Self::Unparsed { event, .. } => event.as_deref(),
            Self::Platform | Self::Sealed { .. } => None,
        }
    }

    pub fn msg_id(&self) -> Option<MsgId> {
        match self {
            Self::Result { result, .. } => Some(result.msg_id),
            Self::Other { msg_id, .. } | Self::Unparsed { msg_id, .. } => *msg_id,
            Self::Platform | Self::Sealed { .. } => None,
        }
    }

    /// What could not be parsed or opened, in words.
    pub fn error(&self) -> Option<&str> {
        match self {
            Self::Result { note, .. } => note.as_deref(),
            Self::Other { .. } | Self::Platform => None,
            Self::Unparsed { error, .. } | Self::Sealed { error } => Some(error),
        }
    }

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

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeliveryState {
    /// Parsed.
    Stored,
    /// Not parsed; `qunfa reprocess` tries again.
    Unparsed,
    /// Not opened; `qunfa reprocess` opens it once the configuration is right.
    Sealed,
}

impl DeliveryState {
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

impl fmt::Display for DeliveryState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl FromStr for DeliveryState {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        Self::ALL
            .into_iter()
            .find(|state| state.as_str() == word)
            .ok_or(())
    }
}

/// A body to be recorded.
#[derive(Clone, Debug)]
pub struct NewDelivery {
    pub account: AccountName,
    /// The decrypted body, or the envelope of a sealed delivery, byte for byte.
    pub body: Vec<u8>,
    /// The same bytes again are one more copy of the same delivery.
    pub body_sha256: [u8; 32],
    pub received_at: Time,
    /// When it is written to the database, which is later than `received_at` if it was in the
    /// spool. It becomes the `updated_at` of a job that it changes.
    pub recorded_at: Time,
    pub reading: Reading,
}

/// A stored body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Ascends in the order of acceptance.
    pub id: i64,
    pub account: AccountName,
    /// `Event` as received, if it is readable.
    pub event: Option<String>,
    /// `MsgID`, if it is readable.
    pub msg_id: Option<MsgId>,
    /// The decrypted body, or the envelope of a sealed delivery, byte for byte.
    pub body: Vec<u8>,
    pub body_sha256: [u8; 32],
    pub state: DeliveryState,
    /// What could not be parsed or opened, in words.
    pub error: Option<String>,
    /// When its first copy was received.
    pub received_at: Time,
    /// When its latest copy was received.
    pub last_received_at: Time,
    /// Copies received.
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
