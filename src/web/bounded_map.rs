//! A map of limited size: beyond it, the oldest entry is forgotten.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

pub(super) struct BoundedMap<K, V> {
    capacity: usize,
    entries: HashMap<K, V>,
    /// Oldest first.
    order: VecDeque<K>,
}

impl<K: Clone + Eq + Hash, V> BoundedMap<K, V> {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            entries: HashMap::new(),
            order: VecDeque::new(),
        }
    }

    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.entries.get(key)
    }

    pub(super) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.entries.get_mut(key)
    }

    pub(super) fn get_or_insert(&mut self, key: K, value: V) -> &mut V {
        if !self.entries.contains_key(&key) {
            if self.order.len() == self.capacity
                && let Some(oldest) = self.order.pop_front()
            {
                self.entries.remove(&oldest);
            }
            self.order.push_back(key.clone());
        }
        self.entries.entry(key).or_insert(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_entry_is_forgotten() {
        let mut map = BoundedMap::new(2);
        *map.get_or_insert("a", 0) = 1;
        *map.get_or_insert("b", 2) += 1;
        assert_eq!(*map.get_or_insert("a", 7), 1);
        map.get_or_insert("c", 4);
        assert_eq!(map.get(&"a"), None);
        assert_eq!(map.get_mut(&"b"), Some(&mut 3));
        assert_eq!((map.entries.len(), map.order.len()), (2, 2));
    }
}
