//! Cursors: where a page ended, as an opaque text that is valid only with the filters that it came from.

use std::fmt::Debug;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use crate::domain::{MsgId, Time};
use crate::store::{DeliveryKey, JobKey};

/// Ties a cursor to its list and filters.
type Tie = [u8; 8];

/// A key that a cursor can hold.
pub(super) trait Key: Sized {
    fn to_bytes(&self) -> Vec<u8>;
    fn from_bytes(bytes: &[u8]) -> Option<Self>;
}

/// The cursor of the page after `key`. The filter is any value whose `Debug` form tells it from others.
pub(super) fn encode<K: Key>(filter: &impl Debug, key: &K) -> String {
    let mut bytes = tie(filter).to_vec();
    bytes.extend(key.to_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The key in a cursor; none when it is no cursor of ours, or one of another list or other filters.
pub(super) fn decode<K: Key>(filter: &impl Debug, cursor: &str) -> Option<K> {
    let bytes = URL_SAFE_NO_PAD.decode(cursor).ok()?;
    let (found, key) = bytes.split_first_chunk()?;
    (*found == tie(filter)).then(|| K::from_bytes(key))?
}

fn tie(filter: &impl Debug) -> Tie {
    let hash = Sha256::digest(format!("{filter:?}"));
    *hash.first_chunk().expect("8 is less than 32")
}

impl Key for JobKey {
    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.finished_at.milliseconds().to_be_bytes().to_vec();
        bytes.extend(self.msg_id.get().to_be_bytes());
        bytes.extend(self.account.as_str().as_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (finished_at, rest) = bytes.split_first_chunk()?;
        let (msg_id, account) = rest.split_first_chunk()?;
        Some(Self {
            finished_at: Time::from_milliseconds(i64::from_be_bytes(*finished_at))?,
            msg_id: MsgId::new(i64::from_be_bytes(*msg_id))?,
            account: std::str::from_utf8(account).ok()?.parse().ok()?,
        })
    }
}

impl Key for DeliveryKey {
    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.received_at.milliseconds().to_be_bytes().to_vec();
        bytes.extend(self.id.to_be_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (received_at, id) = bytes.split_first_chunk()?;
        Some(Self {
            received_at: Time::from_milliseconds(i64::from_be_bytes(*received_at))?,
            id: i64::from_be_bytes(id.try_into().ok()?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_good_for_its_own_filters_only() {
        let key = JobKey {
            finished_at: Time::from_create_time(1).unwrap(),
            account: "main".parse().unwrap(),
            msg_id: MsgId::new(i64::MAX).unwrap(),
        };
        let cursor = encode(&"a", &key);
        assert_eq!(decode(&"a", &cursor), Some(key));
        assert_eq!(decode::<JobKey>(&"b", &cursor), None);
        assert_eq!(decode::<DeliveryKey>(&"a", &cursor), None);
        for text in ["x", "", "AAAA", &cursor[1..], &format!("{cursor}A"), "é"] {
            assert_eq!(decode::<JobKey>(&"a", text), None, "{text}");
        }
    }
}
