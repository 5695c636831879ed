use proptest::prelude::*;

use super::*;

fn zone(name: &str) -> Zone {
    name.parse().expect("it is a zone")
}

fn time(text: &str) -> Time {
    Time::parse_rounding_up(text).expect("it is a time")
}

fn timeline(
    bucket: &str,
    name: &str,
    from: Option<&str>,
    to: Option<&str>,
) -> Result<Vec<String>, InvalidTimeline> {
    let (bucket, zone) = (bucket.parse().expect("it is a bucket"), zone(name));
    let now = time("2026-03-08T18:30:00Z");
    let timeline = Timeline::new(bucket, &zone, from.map(time), to.map(time), now)?;
    let starts = timeline.starts.iter();
    Ok(starts
        .map(|start| zone.rfc3339(*start).to_string())
        .collect())
}

/// A bucket, a zone, a range, and the starts of the buckets in it.
type Cut = (
    &'static str,
    &'static str,
    [&'static str; 2],
    &'static [&'static str],
);

fn are_cut(cuts: &[Cut]) {
    for (bucket, name, [from, to], expected) in cuts {
        let starts = timeline(bucket, name, Some(from), Some(to)).expect("it is short");
        assert_eq!(starts, *expected, "{bucket} {name} {from}");
    }
}

#[test]
fn a_range_is_cut_where_the_calendar_is() {
    are_cut(&[
        (
            "day",
            "Asia/Shanghai",
            ["2026-01-01T00:00:00Z", "2026-01-02T16:00:00.001Z"],
            &[
                "2026-01-01T00:00:00+08:00",
                "2026-01-02T00:00:00+08:00",
                "2026-01-03T00:00:00+08:00",
            ],
        ),
        // The end is not included.
        (
            "day",
            "Asia/Shanghai",
            ["2026-01-01T00:00:00Z", "2026-01-01T16:00:00Z"],
            &["2026-01-01T00:00:00+08:00"],
        ),
        (
            "hour",
            "Asia/Kolkata",
            ["2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z"],
            &["2026-01-01T05:00:00+05:30", "2026-01-01T06:00:00+05:30"],
        ),
        // From Monday, and over the end of a year.
        (
            "week",
            "Asia/Shanghai",
            ["2025-12-28T15:59:59.999Z", "2026-01-04T16:00:01Z"],
            &[
                "2025-12-22T00:00:00+08:00",
                "2025-12-29T00:00:00+08:00",
                "2026-01-05T00:00:00+08:00",
            ],
        ),
        (
            "month",
            "Europe/Berlin",
            ["2026-02-28T22:59:59Z", "2026-03-31T22:00:01Z"],
            &[
                "2026-02-01T00:00:00+01:00",
                "2026-03-01T00:00:00+01:00",
                "2026-04-01T00:00:00+02:00",
            ],
        ),
        ("hour", "UTC", ["1000", "1000"], &[]),
        ("month", "UTC", ["1000", "999"], &[]),
    ]);
}

#[test]
fn an_hour_may_be_left_out_or_repeated() {
    are_cut(&[
        (
            "hour",
            "America/New_York",
            ["2026-03-08T06:30:00Z", "2026-03-08T07:30:00Z"],
            &["2026-03-08T01:00:00-05:00", "2026-03-08T03:00:00-04:00"],
        ),
        (
            "hour",
            "America/New_York",
            ["2026-11-01T05:59:59Z", "2026-11-01T07:00:01Z"],
            &[
                "2026-11-01T01:00:00-04:00",
                "2026-11-01T01:00:00-05:00",
                "2026-11-01T02:00:00-05:00",
            ],
        ),
        // Half of it is.
        (
            "hour",
            "Australia/Lord_Howe",
            ["2026-04-04T14:59:59Z", "2026-04-04T16:00:00Z"],
            &[
                "2026-04-05T01:00:00+11:00",
                "2026-04-05T01:30:00+10:30",
                "2026-04-05T02:00:00+10:30",
            ],
        ),
        (
            "hour",
            "Australia/Lord_Howe",
            ["2026-04-04T15:10:00Z", "2026-04-04T15:20:00Z"],
            &["2026-04-05T01:30:00+10:30"],
        ),
    ]);
}

#[test]
fn a_day_is_as_long_as_clocks_make_it() {
    are_cut(&[
        // 23 hours, and 25.
        (
            "day",
            "America/New_York",
            ["2026-03-08T05:00:00Z", "2026-03-09T04:00:00.001Z"],
            &["2026-03-08T00:00:00-05:00", "2026-03-09T00:00:00-04:00"],
        ),
        (
            "day",
            "America/New_York",
            ["2026-11-01T04:00:00Z", "2026-11-02T05:00:00.001Z"],
            &["2026-11-01T00:00:00-04:00", "2026-11-02T00:00:00-05:00"],
        ),
        // Without midnight.
        (
            "day",
            "America/Sao_Paulo",
            ["2018-11-03T12:00:00Z", "2018-11-04T12:00:00Z"],
            &["2018-11-03T00:00:00-03:00", "2018-11-04T01:00:00-02:00"],
        ),
        (
            "day",
            "America/Toronto",
            ["1919-03-31T12:00:00Z", "1919-03-31T13:00:00Z"],
            &["1919-03-31T00:30:00-04:00"],
        ),
        // With two midnights.
        (
            "day",
            "America/Havana",
            ["2026-11-01T03:59:00Z", "2026-11-01T05:30:00Z"],
            &["2026-10-31T00:00:00-04:00", "2026-11-01T00:00:00-04:00"],
        ),
        (
            "day",
            "America/St_Johns",
            ["2010-11-07T02:45:00Z", "2010-11-07T12:00:00Z"],
            &["2010-11-07T00:00:00-02:30"],
        ),
        // A date that there was not.
        (
            "day",
            "Pacific/Apia",
            ["2011-12-30T09:00:00Z", "2011-12-31T11:00:00Z"],
            &[
                "2011-12-29T00:00:00-10:00",
                "2011-12-31T00:00:00+14:00",
                "2012-01-01T00:00:00+14:00",
            ],
        ),
    ]);
}

#[test]
fn without_bounds_it_is_what_a_dashboard_shows() {
    for (bucket, from, to, count, first, last) in [
        (
            "hour",
            None,
            None,
            24,
            "2026-03-08T03:00:00+08:00",
            "2026-03-09T02:00:00+08:00",
        ),
        (
            "day",
            None,
            None,
            30,
            "2026-02-08T00:00:00+08:00",
            "2026-03-09T00:00:00+08:00",
        ),
        (
            "week",
            None,
            None,
            12,
            "2025-12-22T00:00:00+08:00",
            "2026-03-09T00:00:00+08:00",
        ),
        (
            "month",
            None,
            None,
            12,
            "2025-04-01T00:00:00+08:00",
            "2026-03-01T00:00:00+08:00",
        ),
        (
            "day",
            Some("2026-03-01T00:00:00+08:00"),
            None,
            9,
            "2026-03-01T00:00:00+08:00",
            "2026-03-09T00:00:00+08:00",
        ),
        (
            "day",
            None,
            Some("2026-03-01T00:00:00+08:00"),
            30,
            "2026-01-30T00:00:00+08:00",
            "2026-02-28T00:00:00+08:00",
        ),
    ] {
        let starts = timeline(bucket, "Asia/Shanghai", from, to).expect("it is good");
        assert_eq!(starts.len(), count, "{bucket}");
        assert_eq!(
            (&*starts[0], &**starts.last().expect("it is long")),
            (first, last)
        );
    }
    let ended = timeline("day", "UTC", Some("2026-03-10T00:00:00Z"), None);
    assert_eq!(ended, Ok(Vec::new()));
}

#[test]
fn a_range_is_bounded() {
    let hours = |to| timeline("hour", "UTC", Some("2026-01-01T00:00:00Z"), Some(to));
    // 2000 hours are 83 days and 8 hours.
    assert_eq!(
        hours("2026-03-25T08:00:00Z").map(|starts| starts.len()),
        Ok(2000)
    );
    assert_eq!(
        hours("2026-03-25T08:00:00.001Z"),
        Err(InvalidTimeline::TooLong)
    );
    for (from, to) in [
        (Some("0000-12-31T23:59:59Z"), Some("0001-02-01T00:00:00Z")),
        (
            Some("9998-12-01T00:00:00Z"),
            Some("9999-01-01T00:00:00.001Z"),
        ),
        (Some("-377705116800000"), Some("-377705116700000")),
        (None, Some("-377705116800000")),
        (None, Some("0001-01-02T00:00:00Z")),
    ] {
        let off = timeline("day", "Asia/Shanghai", from, to);
        assert_eq!(off, Err(InvalidTimeline::OffTheCalendar), "{from:?}");
    }
    let last = timeline(
        "month",
        "Asia/Shanghai",
        Some("9998-12-01T00:00:00Z"),
        Some("9999-01-01T00:00:00Z"),
    );
    assert_eq!(last.map(|starts| starts.len()), Ok(2));
}

fn any_zone() -> impl Strategy<Value = Zone> {
    let names = jiff::tz::TimeZoneDatabase::bundled();
    let names: Vec<_> = names.available().map(|name| name.to_string()).collect();
    proptest::sample::select(names).prop_filter_map("it is unknown", |name| name.parse().ok())
}

proptest! {
    #[test]
    fn buckets_cover_the_range_and_none_is_too_long(
        zone in any_zone(),
        (bucket, hours) in proptest::sample::select(
            &[(Bucket::Hour, 1), (Bucket::Day, 48), (Bucket::Week, 8 * 24), (Bucket::Month, 32 * 24)][..],
        ),
        // From 1900 to 2100.
        from in -2_208_988_800_000..4_102_444_800_000_i64,
        length in 1..1000 * 86_400_000_i64,
    ) {
        let at = |milliseconds| Time::from_milliseconds(milliseconds).expect("it is in range");
        let length = length.min(hours * 3_600_000 * 100);
        let (from, to) = (at(from), at(from + length));
        let timeline = Timeline::new(bucket, &zone, Some(from), Some(to), Time::EPOCH).expect("it is short");
        let starts = &timeline.starts;
        prop_assert!(starts.is_sorted_by(|one, next| one < next));
        prop_assert!(starts[0] <= from && starts.get(1).is_none_or(|second| from < *second));
        prop_assert!(*starts.last().expect("it is not empty") < to);
        prop_assert_eq!(timeline.edges().len(), starts.len() + 1);
        for pair in starts.windows(2) {
            prop_assert!(pair[1].milliseconds() - pair[0].milliseconds() <= hours * 3_600_000);
        }
        // Whatever is cut off at the front, the rest is cut alike.
        let later = at(from.milliseconds() + length / 2);
        let rest = Timeline::new(bucket, &zone, Some(later), Some(to), Time::EPOCH).expect("it is short");
        prop_assert!(starts.ends_with(&rest.starts), "{:?} {:?}", starts, rest.starts);
    }
}
