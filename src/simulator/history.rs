//! Made-up past results, for trying out dashboards and for benchmarks: the same for the same seed.
//! No I/O here.

use std::fmt::Write;

use crate::domain::{AccountName, CATALOGUE, MsgId, SAMPLE_NAME, Time};

/// How many seconds earlier than its number an event may be.
const JITTER: u64 = 900;
/// The longest time between `CreateTime` and the push, in seconds.
const MAX_DELAY: u64 = 15;
const FIRST_MSG_ID: u64 = 1_000_000_000;

/// Results of mass sends, numbered in the order of time.
#[derive(Clone, Debug)]
pub struct History {
    pub jobs: u64,
    /// `seed-1` and so on; a tenth of them have a third of the jobs.
    pub accounts: u64,
    /// Over which they are spread evenly.
    pub seconds: u64,
    pub end: Time,
    pub seed: u64,
}

/// A past result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastEvent {
    pub account: AccountName,
    /// Unique in the history.
    pub msg_id: MsgId,
    /// `CreateTime`.
    pub finished_at: Time,
    pub received_at: Time,
    pub body: String,
}

impl History {
    /// The event with this number, from 0.
    pub fn event(&self, number: u64) -> PastEvent {
        let mut random = Random::new(self.seed, number);
        let uniform = random.below(1 << 20);
        let account = (((uniform * uniform) >> 20) * self.accounts) >> 20;
        let msg_id = FIRST_MSG_ID + number;
        let finished_at = self.finished_at(number, &mut random);
        let received_at = finished_at + 1000 + random.below(MAX_DELAY * 1000 - 1000);
        let body = body(msg_id, finished_at / 1000, &mut random);
        let time = |milliseconds| {
            i64::try_from(milliseconds)
                .ok()
                .and_then(Time::from_milliseconds)
        };
        let msg_id = i64::try_from(msg_id).ok().and_then(MsgId::new);
        PastEvent {
            account: format!("seed-{}", account + 1)
                .parse()
                .expect("it is a name"),
            msg_id: msg_id.expect("no history is that long"),
            finished_at: time(finished_at).expect("it is in the past"),
            received_at: time(received_at).expect("it is in the past"),
            body,
        }
    }

    /// Milliseconds since 1970, in whole seconds.
    fn finished_at(&self, number: u64, random: &mut Random) -> u64 {
        let end = u64::try_from(self.end.seconds()).unwrap_or_default();
        let after =
            u128::from(self.jobs - number) * u128::from(self.seconds) / u128::from(self.jobs);
        let before_end =
            u64::try_from(after).unwrap_or_default() + MAX_DELAY + random.below(JITTER);
        end.saturating_sub(before_end) * 1000
    }
}

/// Nearly all are sent; some have articles and a copyright check.
fn body(msg_id: u64, create_time: u64, random: &mut Random) -> String {
    let status = match random.below(1000) {
        0..940 => "send success".to_owned(),
        940..960 => "send fail".to_owned(),
        960..999 => {
            // The first codes of the catalogue are far more frequent than the last.
            let many = u64::try_from(CATALOGUE.len()).unwrap_or(u64::MAX);
            let place = random.below(many).min(random.below(many));
            let place = usize::try_from(place).unwrap_or_default();
            format!("err({})", CATALOGUE[place].code)
        }
        _ => "send timeout".to_owned(),
    };
    // Sizes are spread evenly over powers of two.
    let scale = random.below(14);
    let total = random.below(100 << scale) + 10;
    let [filter, sent, error] = if status.starts_with("err") {
        [0; 3]
    } else if status == "send fail" {
        [total, 0, total]
    } else {
        let filter = total - random.below(total / 8 + 1);
        let error = random.below(filter / 50 + 1);
        [filter, filter - error, error]
    };
    let mut body = String::with_capacity(700);
    let _ = write!(
        body,
        "<xml><ToUserName>{SAMPLE_NAME}</ToUserName><FromUserName>oAbCdEfGhIjKlMnOpQrStUvWxYz0</FromUserName>\
         <CreateTime>{create_time}</CreateTime><MsgType>event</MsgType><Event>MASSSENDJOBFINISH</Event>\
         <MsgID>{msg_id}</MsgID><Status>{status}</Status><TotalCount>{total}</TotalCount>\
         <FilterCount>{filter}</FilterCount><SentCount>{sent}</SentCount><ErrorCount>{error}</ErrorCount>"
    );
    if random.below(10) < 6 {
        let check_state = match random.below(100) {
            0..85 => 1,
            85..95 => 2,
            95..98 => 3,
            _ => 0,
        };
        let _ = write!(
            body,
            "<CopyrightCheckResult><Count>0</Count><ResultList></ResultList><CheckState>{check_state}</CheckState>\
             </CopyrightCheckResult><ArticleUrlResult><Count>1</Count><ResultList><item><ArticleIdx>1</ArticleIdx>\
             <ArticleUrl>http://mp.weixin.qq.com/s/{:022x}</ArticleUrl></item></ResultList></ArticleUrlResult>",
            random.next()
        );
    }
    body.push_str("</xml>");
    body
}

/// `SplitMix64`, with a sequence for each event.
struct Random(u64);

impl Random {
    fn new(seed: u64, number: u64) -> Self {
        let mut random = Self(seed);
        let start = random.next() ^ number.wrapping_mul(0xd1b5_4a32_d192_ed03);
        Self(start)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0 to `bound` - 1.
    fn below(&mut self, bound: u64) -> u64 {
        let wide = u128::from(self.next()) * u128::from(bound);
        u64::try_from(wide >> 64).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::domain::{Outcome, Reading};
    use crate::wechat;

    fn history(seed: u64) -> History {
        History {
            jobs: 20_000,
            accounts: 50,
            seconds: 730 * 86_400,
            end: Time::from_create_time(1_767_225_600).unwrap(),
            seed,
        }
    }

    #[test]
    fn the_same_seed_is_the_same_history() {
        let event = |seed| history(seed).event(7);
        assert_eq!(event(1), event(1));
        assert_ne!(event(1).body, event(2).body);
    }

    #[test]
    fn every_event_is_parsed_and_all_kinds_occur() {
        let history = history(1);
        let (mut outcomes, mut states, mut accounts) =
            (BTreeMap::new(), BTreeSet::new(), BTreeMap::new());
        for event in (0..history.jobs).map(|number| history.event(number)) {
            let read = wechat::read(event.body.as_bytes()).reading;
            let Reading::Result {
                result, note: None, ..
            } = read
            else {
                panic!("{} is parsed with faults", event.body);
            };
            assert_eq!(
                (result.msg_id, result.finished_at),
                (event.msg_id, event.finished_at)
            );
            assert!(event.finished_at < event.received_at && event.finished_at < history.end);
            assert!(
                result.counts.unaccounted() == Some(0) && result.counts.filtered_out() >= Some(0)
            );
            *outcomes.entry(result.status.outcome.as_str()).or_insert(0) += 1;
            states.insert(result.check_state);
            *accounts.entry(event.account).or_insert(0) += 1;
        }
        assert_eq!(outcomes.len(), Outcome::ALL.len(), "{outcomes:?}");
        assert!(outcomes["sent"] > 18_000, "{outcomes:?}");
        assert_eq!(
            states.into_iter().collect::<Vec<_>>(),
            [None, Some(0), Some(1), Some(2), Some(3)]
        );
        assert_eq!(accounts.len(), 50);
        let most = accounts.values().max().unwrap();
        let least = accounts.values().min().unwrap();
        assert!(most > &(least * 5), "{accounts:?}");
    }
}
