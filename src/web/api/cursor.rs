//! Cursors: where a page ended, as an opaque text that is valid only for the same list and filters.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use url::form_urlencoded;

use super::parameters::Filters;
use crate::domain::{AccountName, Accounts, MsgId, Time};
use crate::store::{DeliveryKey, JobKey};

/// Ties a cursor to its list and filters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Binding([u8; 8]);

/// A key that a cursor can hold.
pub(in crate::web) trait Key: Sized {
    /// The list that is in the order of these keys.
    const LIST: &'static str;

    fn to_bytes(&self) -> Vec<u8>;
    fn from_bytes(bytes: &[u8]) -> Option<Self>;
}

impl Binding {
    /// Of the canonical parameters, so that servers of two versions agree on the filters that both
    /// know, and of the accounts that the key sees.
    pub(super) fn of<K: Key>(filters: &impl Filters, visible: &Accounts) -> Self {
        let list = format!("{}?", K::LIST);
        let start = list.len();
        let mut query = form_urlencoded::Serializer::for_suffix(list, start);
        query.extend_pairs(filters.canonical());
        if let Accounts::Only(names) = visible {
            let names: Vec<_> = names.iter().map(AccountName::as_str).collect();
            query.append_pair("visible", &names.join(","));
        }
        let hash = Sha256::digest(query.finish());
        Self(*hash.first_chunk().expect("8 is less than 32"))
    }
}

/// The cursor of the page after `key`.
pub(super) fn encode<K: Key>(binding: Binding, key: &K) -> String {
    let mut bytes = binding.0.to_vec();
    bytes.extend(key.to_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The key in a cursor; `None` if it is not a cursor of this list with these filters.
pub(super) fn decode<K: Key>(binding: Binding, cursor: &str) -> Option<K> {
    let bytes = URL_SAFE_NO_PAD.decode(cursor).ok()?;
    let (found, key) = bytes.split_first_chunk()?;
    (*found == binding.0).then(|| K::from_bytes(key))?
}

impl Key for JobKey {
    const LIST: &'static str = "jobs";

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
    const LIST: &'static str = "deliveries";

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
    use crate::web::api::parameters::{JobFilters, Parameters, Values};

    fn binding<K: Key>(query: &str) -> Binding {
        let values = Values::new(query, &JobFilters::names(), Accounts::All).unwrap();
        Binding::of::<K>(&JobFilters::read(&values).unwrap(), &values.visible)
    }

    #[test]
    fn a_cursor_is_valid_only_for_its_list_and_filters() {
        let key = JobKey {
            finished_at: Time::from_create_time(1).unwrap(),
            account: "main".parse().unwrap(),
            msg_id: MsgId::new(i64::MAX).unwrap(),
        };
        let mine = binding::<JobKey>("outcome=sent&account=main");
        let cursor = encode(mine, &key);
        assert_eq!(decode(mine, &cursor), Some(key));
        for other in [
            binding::<JobKey>("account=main"),
            binding::<JobKey>("outcome=sent&account=other"),
            binding::<DeliveryKey>("outcome=sent&account=main"),
        ] {
            assert_eq!(decode::<JobKey>(other, &cursor), None);
        }
        for text in ["x", "", "AAAA", &cursor[1..], &format!("{cursor}A"), "é"] {
            assert_eq!(decode::<JobKey>(mine, text), None, "{text}");
        }
    }

    /// If this fails, cursors break while servers are upgraded one after the other.
    #[test]
    fn the_binding_of_a_query_stays_the_same() {
        for (query, expected) in [
            ("", "6ef4ba64b84205cf"),
            ("from=0&account=main", "46373da056e9ba28"),
            (
                "account=main&from=1970-01-01T08:00:00%2B08:00",
                "46373da056e9ba28",
            ),
            (
                "account=a&outcome=sent&code=7&check_state=-1&from=1&to=2&updated_after=3&msg_id=4",
                "005d31dc91d17412",
            ),
        ] {
            assert_eq!(hex::encode(binding::<JobKey>(query).0), expected, "{query}");
        }
    }
}
