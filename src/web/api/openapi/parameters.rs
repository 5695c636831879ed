//! The parameters of requests, in the words and bounds of the document. Handlers read them; a test compares the two.

use utoipa::IntoParams;
use utoipa::openapi::path::{Parameter, ParameterIn};
use utoipa::openapi::schema::{AnyOf, KnownFormat, Object, Schema, SchemaFormat, Type};
use utoipa::openapi::{ObjectBuilder, Required};

use crate::domain::Time;
use crate::output::{delivery_state, outcome};
use crate::web::api::paging::{DEFAULT_LIMIT, MAX_LIMIT};

/// Makes an [`IntoParams`] that never is a value.
macro_rules! parameters {
    ($($(#[$doc:meta])* $name:ident: [$($parameter:expr),+ $(,)?];)+) => {
        $(
            $(#[$doc])*
            pub(in crate::web) enum $name {}

            impl IntoParams for $name {
                fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
                    vec![$($parameter),+]
                }
            }
        )+
    };
}

parameters! {
    /// The id of a job, in the path.
    JobKey: [in_path("account", "The account.", account()), in_path("msg_id", "The id of the job.", msg_id())];

    /// What jobs are filtered by.
    JobFilters: [
        by_account(),
        query("outcome", "Jobs with this outcome.", outcome()),
        query("code", "Jobs rejected with this code.", whole(0, i64::from(i32::MAX))),
        query("check_state", "Jobs with this `check_state`.", whole(i64::MIN, i64::MAX)),
        from("Jobs that finished then or later."),
        to("Jobs that finished earlier."),
        query(
            "updated_after",
            "Jobs with a later `updated_at`. Who polls should overlap by a minute: jobs are not committed in the order of their times.",
            time(),
        ),
        query("msg_id", "Jobs with this id, 1 to 9223372036854775807, in any account.", msg_id()),
    ];

    /// How CSV begins.
    Bom: [query("bom", "Whether it begins with a byte-order mark, as some spreadsheets need it.", no())];

    /// What deliveries are filtered by.
    DeliveryFilters: [
        by_account(),
        query("state", "Deliveries in this state.", delivery_state()),
        query("event", "Deliveries of this event, whatever its case.", text(1)),
        from("Deliveries that first came then or later."),
        to("Deliveries that first came earlier."),
    ];

    /// Which page of a list.
    Paging: [
        query("limit", "How many at most.", limit()),
        query("cursor", "The `next_cursor` of the page before, with the same filters.", text(1)),
    ];

    /// Which jobs are added up.
    InRange: [by_account(), from("Jobs that finished then or later."), to("Jobs that finished earlier.")];

    /// Which jobs are added up over time.
    TimelineRange: [
        by_account(),
        from("Jobs that finished then or later. Without it: 24 hours, 30 days, 12 weeks or 12 months before `to`."),
        to("Jobs that finished earlier. Without it: the end of the bucket that is under way."),
        query("bucket", "How long each bucket is; a week starts on Monday.", bucket()),
        query(
            "tz",
            "The IANA name of the time zone whose clocks cut the buckets, in any case. Without it: `api.timezone` of the configuration, which is Asia/Shanghai unless set.",
            with_example(text(1), "Asia/Shanghai"),
        ),
    ];

    /// What a stream tells of.
    Followed: [by_account(), last_event_id()];
}

fn query(name: &str, description: &str, schema: impl Into<Schema>) -> Parameter {
    let mut parameter = Parameter::new(name);
    parameter.parameter_in = ParameterIn::Query;
    parameter.required = Required::False;
    parameter.description = Some(description.to_owned());
    parameter.schema = Some(schema.into().into());
    parameter
}

fn in_path(name: &str, description: &str, schema: Object) -> Parameter {
    let mut parameter = query(name, description, schema);
    parameter.parameter_in = ParameterIn::Path;
    parameter.required = Required::True;
    parameter
}

fn last_event_id() -> Parameter {
    let id = ObjectBuilder::from(text(1)).pattern(Some("^([0-9a-f]{48}|[0-9]+-[0-9]+)$"));
    let description = "The `id` of the last event that was received: what changed since comes first. Without it, the stream begins now.";
    let mut parameter = query("last-event-id", description, id.build());
    parameter.parameter_in = ParameterIn::Header;
    parameter
}

fn by_account() -> Parameter {
    query("account", "This account alone.", account())
}

fn from(description: &str) -> Parameter {
    query("from", description, time())
}

fn to(description: &str) -> Parameter {
    query("to", description, time())
}

/// As [`AccountName`](crate::domain::AccountName) is: without `__`.
fn account() -> Object {
    let name = ObjectBuilder::from(text(1)).max_length(Some(64));
    name.pattern(Some("^(_|_?[a-z0-9-]+(_[a-z0-9-]+)*_?)$"))
        .build()
}

fn msg_id() -> Object {
    let id = ObjectBuilder::from(text(1)).pattern(Some("^0*([1-9][0-9]{0,17}|[1-8][0-9]{18})$"));
    with_example(id.build(), "1000000042")
}

fn bucket() -> Object {
    let word = ObjectBuilder::new().schema_type(Type::String);
    word.enum_values(Some(["hour", "day", "week", "month"]))
        .default(Some("day".into()))
        .build()
}

fn no() -> Object {
    let answer = ObjectBuilder::new().schema_type(Type::Boolean);
    answer.default(Some(false.into())).build()
}

fn limit() -> Object {
    let number = ObjectBuilder::from(whole(1, i64::from(MAX_LIMIT)));
    number.default(Some(DEFAULT_LIMIT.into())).build()
}

/// RFC 3339, or milliseconds since 1970.
fn time() -> AnyOf {
    let format = SchemaFormat::KnownFormat(KnownFormat::DateTime);
    let written = ObjectBuilder::from(text(1)).format(Some(format)).build();
    let counted = whole(Time::FIRST.milliseconds(), Time::LAST.milliseconds());
    let mut either = AnyOf::with_capacity(2);
    either
        .items
        .push(with_example(written, "2026-01-01T08:00:00+08:00").into());
    either.items.push(counted.into());
    either
}

fn whole(minimum: i64, maximum: i64) -> Object {
    let number = ObjectBuilder::new()
        .schema_type(Type::Integer)
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int64)));
    number.minimum(Some(minimum)).maximum(Some(maximum)).build()
}

fn text(min_length: usize) -> Object {
    let text = ObjectBuilder::new().schema_type(Type::String);
    text.min_length(Some(min_length)).build()
}

fn with_example(schema: Object, example: &str) -> Object {
    ObjectBuilder::from(schema).examples([example]).build()
}
