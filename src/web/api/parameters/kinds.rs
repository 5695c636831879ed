//! The kinds of parameters: how a value is read, what an error says, and the schema in the
//! OpenAPI document.

use std::str::FromStr;

use utoipa::openapi::ObjectBuilder;
use utoipa::openapi::schema::{AnyOf, KnownFormat, Object, Schema, SchemaFormat, Type};

use crate::domain::{AccountName, Bucket, DeliveryState, MsgId, Outcome, Time, Zone, whole_number};
use crate::output::{delivery_state, outcome};
use crate::web::api::problem::Problem;

pub(in crate::web::api) const DEFAULT_LIMIT: u32 = 50;
const MAX_LIMIT: u32 = 500;

/// A kind of parameter.
pub(in crate::web::api) struct Kind<T> {
    /// Completes "`name` must be …".
    expected: &'static str,
    pub(super) read: fn(&str) -> Option<T>,
    /// For the OpenAPI document.
    pub(in crate::web::api) schema: fn() -> Schema,
}

impl<T> Kind<T> {
    /// The answer to a value of `name` that is not of this kind.
    pub(in crate::web::api) fn refusal(&self, name: &str) -> Problem {
        Problem::InvalidParameter(format!("`{name}` must be {}", self.expected))
    }
}

impl<T: FromStr> Kind<T> {
    /// A kind that its type reads.
    const fn parsed(expected: &'static str, schema: fn() -> Schema) -> Self {
        let read = |text: &str| text.parse().ok();
        Self {
            expected,
            read,
            schema,
        }
    }
}

pub(in crate::web::api) const ACCOUNT: Kind<AccountName> =
    Kind::parsed("1 to 64 of a-z, 0-9, `_` and `-`, without `__`", || {
        let name = ObjectBuilder::from(non_empty()).max_length(Some(64));
        let name = name.pattern(Some("^(_|_?[a-z0-9-]+(_[a-z0-9-]+)*_?)$"));
        name.build().into()
    });

pub(super) const OUTCOME: Kind<Outcome> =
    Kind::parsed("sent, failed, rejected or unknown", || outcome().into());

pub(super) const CODE: Kind<i32> = Kind {
    expected: "a number from 0 to 2147483647",
    read: whole_number,
    schema: || integer(0, i64::from(i32::MAX)).into(),
};

pub(super) const INTEGER: Kind<i64> =
    Kind::parsed("an integer", || integer(i64::MIN, i64::MAX).into());

/// A bound of a range. A time between two milliseconds counts as the later one, so that nothing
/// before it is included.
pub(super) const BOUND: Kind<Time> = Kind {
    expected: "a time in RFC 3339, for example 2026-01-01T08:00:00+08:00 with + written as %2B, \
               or milliseconds since 1970",
    read: |text| Time::parse_rounding_up(text).ok(),
    schema: time,
};

/// Only later times are meant, so a time between two milliseconds counts as the earlier one.
pub(super) const AFTER: Kind<Time> = Kind {
    read: |text| Time::parse_rounding_down(text).ok(),
    ..BOUND
};

pub(in crate::web::api) const MSG_ID: Kind<MsgId> =
    Kind::parsed("a number from 1 to 9223372036854775807", || {
        let id = ObjectBuilder::from(non_empty());
        let id = id.pattern(Some("^0*([1-9][0-9]{0,17}|[1-8][0-9]{18})$"));
        id.examples(["1000000042"]).build().into()
    });

pub(super) const STATE: Kind<DeliveryState> =
    Kind::parsed("stored, unparsed or sealed", || delivery_state().into());

/// PostgreSQL takes no NUL in a text, and no event has one in its name.
pub(super) const EVENT: Kind<String> = Kind {
    expected: "the name of an event",
    read: |text| (!text.contains('\0')).then(|| text.to_owned()),
    schema: || non_empty().into(),
};

pub(super) const BUCKET: Kind<Bucket> = Kind::parsed("hour, day, week or month", || {
    let word = ObjectBuilder::new().schema_type(Type::String);
    let word = word.enum_values(Some(Bucket::ALL.map(Bucket::as_str)));
    word.default(Some("day".into())).build().into()
});

pub(super) const ZONE: Kind<Zone> = Kind::parsed(
    "the IANA name of a time zone, for example Asia/Shanghai",
    || {
        let name = ObjectBuilder::from(non_empty());
        name.examples(["Asia/Shanghai"]).build().into()
    },
);

/// A flag that is off by default.
pub(super) const FLAG: Kind<bool> = Kind::parsed("true or false", || {
    let flag = ObjectBuilder::new().schema_type(Type::Boolean);
    flag.default(Some(false.into())).build().into()
});

pub(super) const LIMIT: Kind<u32> = Kind {
    expected: "a number from 1 to 500",
    read: |text| whole_number(text).filter(|limit| (1..=MAX_LIMIT).contains(limit)),
    schema: || {
        let number = ObjectBuilder::from(integer(1, i64::from(MAX_LIMIT)));
        number.default(Some(DEFAULT_LIMIT.into())).build().into()
    },
};

/// An opaque text; the list reads it.
pub(in crate::web::api) const CURSOR: Kind<String> =
    Kind::parsed("the `next_cursor` of a page with the same filters", || {
        non_empty().into()
    });

fn time() -> Schema {
    let format = SchemaFormat::KnownFormat(KnownFormat::DateTime);
    let text = ObjectBuilder::from(non_empty()).format(Some(format));
    let text = text.examples(["2026-01-01T08:00:00+08:00"]).build();
    let milliseconds = integer(Time::FIRST.milliseconds(), Time::LAST.milliseconds());
    let mut either = AnyOf::with_capacity(2);
    either.items.extend([text.into(), milliseconds.into()]);
    either.into()
}

fn integer(minimum: i64, maximum: i64) -> Object {
    let number = ObjectBuilder::new()
        .schema_type(Type::Integer)
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int64)));
    number.minimum(Some(minimum)).maximum(Some(maximum)).build()
}

pub(in crate::web::api) fn non_empty() -> Object {
    let text = ObjectBuilder::new().schema_type(Type::String);
    text.min_length(Some(1)).build()
}
