//! WeChat's wire format: signatures, the AES envelope, events in XML and JSON. No I/O here.
//!
//! [`Account::open`] is the way in: verify, decrypt, read.

mod account;
mod document;
mod encrypt;
mod envelope;
mod event;
mod json;
mod mass_send;
mod query;
mod sealed;
mod signature;
mod xml;

pub use account::{Account, Echo, Encryption, Mode, OpenError, Opened};
pub use envelope::{AppId, EncodingAesKey, EnvelopeError, InvalidAesKey, InvalidAppId};
pub use event::{Push, read};
pub use query::Query;
pub use sealed::Misfit;
pub use signature::{InvalidToken, Signature, Token};
