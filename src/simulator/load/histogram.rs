//! Latencies with a precision of 1/32, in constant memory.

use std::time::Duration;

/// Below 2 × `HALF` there is a bucket for each microsecond; above, `HALF` for each power of two.
const HALF: usize = 32;
const FINE_BITS: u32 = HALF.ilog2() + 1;
const BUCKETS: usize = (u64::BITS - FINE_BITS + 2) as usize * HALF;

#[derive(Clone, Debug)]
pub struct Histogram {
    buckets: Vec<u64>,
    count: u64,
    max: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            buckets: vec![0; BUCKETS],
            count: 0,
            max: 0,
        }
    }
}

impl Histogram {
    pub(super) fn record(&mut self, latency: Duration) {
        let microseconds = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.buckets[bucket(microseconds)] += 1;
        self.count += 1;
        self.max = self.max.max(microseconds);
    }

    /// The latency that `percent` of all latencies do not exceed; zero if there are none.
    pub fn percentile(&self, percent: u32) -> Duration {
        let rank = (u128::from(self.count) * u128::from(percent)).div_ceil(100);
        let mut seen = 0;
        for (index, count) in self.buckets.iter().enumerate() {
            seen += u128::from(*count);
            if seen >= rank && seen > 0 {
                return Duration::from_micros(upper_end(index).min(self.max));
            }
        }
        Duration::ZERO
    }

    /// To the microsecond.
    pub fn max(&self) -> Duration {
        Duration::from_micros(self.max)
    }
}

fn bucket(microseconds: u64) -> usize {
    let bits = u64::BITS - microseconds.leading_zeros();
    let shift = bits.saturating_sub(FINE_BITS);
    let within = usize::try_from(microseconds >> shift).expect("it is below 2 × `HALF`");
    shift as usize * HALF + within
}

/// The largest value of a bucket.
fn upper_end(bucket: usize) -> u64 {
    let shift = (bucket / HALF).saturating_sub(1);
    let within = bucket - shift * HALF;
    let above = (within as u128 + 1) << shift;
    u64::try_from(above - 1).expect("the last bucket ends with `u64::MAX`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_holds_values_near_its_upper_end() {
        let values = (0..100_000).chain((17..64).flat_map(|bit| {
            let power = 1_u64 << bit;
            [power - 1, power, power + 1, power + power / 3]
        }));
        for value in values.chain([u64::MAX]) {
            let end = upper_end(bucket(value));
            assert!(end >= value, "{value}: {end}");
            assert!(end - value <= value / 32, "{value}: {end}");
            assert_eq!(bucket(end), bucket(value), "{value}");
        }
        assert!(bucket(u64::MAX) < BUCKETS);
    }

    #[test]
    fn percentiles_are_those_of_the_values() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.percentile(99), Duration::ZERO);
        for milliseconds in 1..=1000 {
            histogram.record(Duration::from_millis(milliseconds));
        }
        for (percent, expected) in [(50, 500.0), (90, 900.0), (99, 990.0), (100, 1000.0)] {
            let found = histogram.percentile(percent).as_secs_f64() * 1000.0;
            assert!(
                (expected..=expected * 1.04).contains(&found),
                "{percent}: {found}"
            );
        }
        assert_eq!(histogram.max(), Duration::from_secs(1));
    }
}
