//! Ids of stream events: a position in the order of changes, encrypted.
//!
//! Change numbers count the changes of all accounts, so plain numbers would show every client how
//! busy the others are. The key is in the database, so that every replica can read all ids.

use aes::Aes128;
use aes::cipher::{BlockCipherDecrypt, BlockCipherEncrypt, KeyInit};
use subtle::ConstantTimeEq;

use crate::domain::whole_number;
use crate::feed::Start;
use crate::store::ChangeKey;

/// Bytes of an encrypted position.
const BLOCK: usize = 16;
/// Bytes that prove that an id was made with the key.
const PROOF: usize = 8;

/// Writes and reads ids.
pub(super) struct EventIds(Aes128);

impl EventIds {
    pub(super) fn new(key: [u8; BLOCK]) -> Self {
        Self(Aes128::new(&key.into()))
    }

    pub(super) fn write(&self, place: ChangeKey) -> String {
        let block = block(place);
        hex::encode([&self.encrypt(block)[..], &self.proof(block)].concat())
    }

    /// Where to resume after the event with that id; `None` if it is not an id. An id made with
    /// another key is from another database. Version 0.1.0 wrote `CHANGE-SHOWN_ID`.
    pub(super) fn read(&self, id: &str) -> Option<Start> {
        if let Some((change, shown_id)) = id.split_once('-') {
            return Some(Start::Claimed(ChangeKey {
                change: whole_number(change)?,
                shown_id: whole_number(shown_id)?,
            }));
        }
        let mut bytes = [0; BLOCK + PROOF];
        hex::decode_to_slice(id, &mut bytes).ok()?;
        let (encrypted, proof) = bytes.split_at(BLOCK);
        let block = self.decrypt(encrypted.try_into().ok()?);
        if !bool::from(self.proof(block)[..].ct_eq(proof)) {
            return Some(Start::Unknown);
        }
        let (change, shown_id) = block.split_at(BLOCK / 2);
        Some(Start::After(ChangeKey {
            change: i64::from_be_bytes(change.try_into().ok()?),
            shown_id: i64::from_be_bytes(shown_id.try_into().ok()?),
        }))
    }

    /// Part of the encrypted complement. No position is the complement of another, because the
    /// first bit of each is 0.
    fn proof(&self, block: [u8; BLOCK]) -> [u8; PROOF] {
        let encrypted = self.encrypt(block.map(|byte| !byte));
        std::array::from_fn(|index| encrypted[index])
    }

    fn encrypt(&self, block: [u8; BLOCK]) -> [u8; BLOCK] {
        let mut block = block.into();
        self.0.encrypt_block(&mut block);
        block.into()
    }

    fn decrypt(&self, block: [u8; BLOCK]) -> [u8; BLOCK] {
        let mut block = block.into();
        self.0.decrypt_block(&mut block);
        block.into()
    }
}

fn block(place: ChangeKey) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    block[..BLOCK / 2].copy_from_slice(&place.change.to_be_bytes());
    block[BLOCK / 2..].copy_from_slice(&place.shown_id.to_be_bytes());
    block
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_with_its_key_only() {
        let (ids, others) = (EventIds::new([1; 16]), EventIds::new([2; 16]));
        for (change, shown_id) in [(0, -1), (0, 0), (1, i64::MAX), (i64::MAX, 7)] {
            let place = ChangeKey { change, shown_id };
            let id = ids.write(place);
            assert_eq!(id.len(), 48);
            assert_eq!(ids.read(&id), Some(Start::After(place)));
            assert_eq!(others.read(&id), Some(Start::Unknown));
            for index in 0..id.len() {
                let mut wrong = id.clone().into_bytes();
                wrong[index] = if wrong[index] == b'0' { b'1' } else { b'0' };
                let wrong = String::from_utf8(wrong).unwrap();
                assert_eq!(ids.read(&wrong), Some(Start::Unknown), "{wrong}");
            }
        }
    }

    #[test]
    fn ids_of_version_0_1_0_are_read() {
        let ids = EventIds::new([1; 16]);
        let place = ChangeKey {
            change: 12,
            shown_id: 7,
        };
        assert_eq!(ids.read("12-7"), Some(Start::Claimed(place)));
        for wrong in ["", "1", "-1", "1-", "a-1", "1-1-1", "9223372036854775808-1"] {
            assert_eq!(ids.read(wrong), None, "{wrong}");
        }
    }
}
