//! Decides which event to push next: a new one, or a repeat. No I/O here.

use crate::domain::{MsgId, Time};

/// How many events back a repeat may reach.
const REMEMBERED: usize = 256;

/// The `number`-th event of the plan, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) number: usize,
    pub(super) msg_id: MsgId,
    pub(super) create_time: i64,
}

#[derive(Debug)]
pub(super) struct Plan {
    first: MsgId,
    repeats: u8,
    made: usize,
    pushes: u64,
    /// The percentage of the next repeat that is due.
    due: u32,
    recent: Vec<Event>,
    /// One bit per event.
    acknowledged: Vec<u64>,
}

impl Plan {
    /// Numbers events from `first`; `repeats` is the percentage of repeats.
    pub(super) fn new(first: MsgId, repeats: u8) -> Self {
        Self {
            first,
            repeats,
            made: 0,
            pushes: 0,
            due: 0,
            recent: Vec::with_capacity(REMEMBERED),
            acknowledged: Vec::new(),
        }
    }

    /// The event to push; `None` if there are no more ids.
    pub(super) fn next(&mut self, now: Time) -> Option<Event> {
        self.pushes += 1;
        self.due += u32::from(self.repeats);
        if self.due >= 100 && !self.recent.is_empty() {
            self.due -= 100;
            return Some(self.recent[self.any(self.recent.len())]);
        }
        let event = Event {
            number: self.made,
            msg_id: self.id(self.made)?,
            create_time: now.seconds(),
        };
        if self.recent.len() < REMEMBERED {
            self.recent.push(event);
        } else {
            self.recent[self.made % REMEMBERED] = event;
        }
        self.made += 1;
        Some(event)
    }

    pub(super) fn acknowledge(&mut self, event: Event) {
        let word = event.number / 64;
        if word >= self.acknowledged.len() {
            self.acknowledged.resize(word + 1, 0);
        }
        self.acknowledged[word] |= 1 << (event.number % 64);
    }

    /// The ids of acknowledged events, each once, ascending.
    pub(super) fn acknowledged(&self) -> impl Iterator<Item = MsgId> {
        let is_set = |number: &usize| self.acknowledged[number / 64] >> (number % 64) & 1 == 1;
        (0..self.acknowledged.len() * 64)
            .filter(is_set)
            .filter_map(|number| self.id(number))
    }

    fn id(&self, number: usize) -> Option<MsgId> {
        let id = self.first.get().checked_add(i64::try_from(number).ok()?)?;
        MsgId::new(id)
    }

    /// A number below `bound` that differs from push to push.
    fn any(&self, bound: usize) -> usize {
        let mixed = self.pushes.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        usize::try_from(mixed).unwrap_or_default() % bound
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn pushed(repeats: u8) -> BTreeMap<i64, usize> {
        let mut plan = Plan::new(MsgId::new(41).unwrap(), repeats);
        let mut times = BTreeMap::new();
        for _ in 0..1000 {
            let event = plan.next(Time::EPOCH).unwrap();
            *times.entry(event.msg_id.get()).or_default() += 1;
        }
        times
    }

    #[test]
    fn repeats_have_their_share_and_are_spread() {
        for (repeats, events) in [(0, 1000), (1, 990), (30, 700), (99, 10), (100, 1)] {
            let times = pushed(repeats);
            assert!(
                times.len().abs_diff(events) <= 1,
                "{repeats}: {}",
                times.len()
            );
            assert!(times.keys().copied().eq((41..).take(times.len())));
        }
        assert!(pushed(30).values().filter(|times| **times > 1).count() > 150);
    }

    #[test]
    fn a_repeat_is_the_same_event() {
        let mut plan = Plan::new(MsgId::new(1).unwrap(), 50);
        let now = |seconds| Time::from_create_time(seconds).unwrap();
        let first = plan.next(now(10)).unwrap();
        assert_eq!(plan.next(now(20)), Some(first));
        assert_eq!(plan.next(now(30)).unwrap().create_time, 30);
    }

    #[test]
    fn an_acknowledged_event_is_listed_once() {
        let mut plan = Plan::new(MsgId::new(7).unwrap(), 0);
        let events: Vec<_> = (0..200).filter_map(|_| plan.next(Time::EPOCH)).collect();
        for number in [130, 0, 63, 64, 130] {
            plan.acknowledge(events[number]);
        }
        let listed: Vec<_> = plan.acknowledged().map(MsgId::get).collect();
        assert_eq!(listed, [7, 70, 71, 137]);
    }

    #[test]
    fn ids_run_out() {
        let mut plan = Plan::new(MsgId::new(i64::MAX).unwrap(), 0);
        assert!(plan.next(Time::EPOCH).is_some());
        assert_eq!(plan.next(Time::EPOCH), None);
    }
}
