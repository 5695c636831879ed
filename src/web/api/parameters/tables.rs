//! Every query parameter of the API: its name, type, kind and description.

use std::collections::BTreeMap;

use utoipa::IntoParams;
use utoipa::openapi::Required;
use utoipa::openapi::path::{Parameter, ParameterIn};
use utoipa::openapi::schema::Schema;

use super::kinds::{
    ACCOUNT, AFTER, BOUND, BUCKET, CODE, CURSOR, EVENT, FLAG, INTEGER, LIMIT, MSG_ID, OUTCOME,
    STATE, ZONE,
};
use super::{Filters, Parameters, Problem, Values};
use crate::domain::{AccountName, Bucket, DeliveryState, MsgId, Outcome, Time, Zone};

/// Makes a struct of each table, with what reads and documents it.
macro_rules! parameters {
    ($($(#[$doc:meta])* $table:ident {
        $($name:ident: $type:ty = $kind:expr, $description:literal;)+
    })+) => {$(
        $(#[$doc])*
        pub(in crate::web) struct $table {
            $(pub(in crate::web::api) $name: Option<$type>,)+
        }

        impl Parameters for $table {
            fn names() -> Vec<&'static str> {
                vec![$(stringify!($name)),+]
            }

            fn read(values: &Values) -> Result<Self, Problem> {
                Ok(Self { $($name: values.get(stringify!($name), &$kind)?,)+ })
            }
        }

        impl Filters for $table {
            fn canonical(&self) -> BTreeMap<&'static str, String> {
                let mut set = BTreeMap::new();
                $(set.extend(self.$name.iter().map(|value| (stringify!($name), value.to_string())));)+
                set
            }
        }

        impl IntoParams for $table {
            fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
                vec![$(described(
                    ParameterIn::Query,
                    stringify!($name),
                    $description,
                    ($kind.schema)(),
                )),+]
            }
        }
    )+};
}

parameters! {
    /// Filters of jobs.
    JobFilters {
        account: AccountName = ACCOUNT, "Only this account.";
        outcome: Outcome = OUTCOME, "Jobs with this outcome.";
        code: i32 = CODE, "Jobs rejected with this code.";
        check_state: i64 = INTEGER, "Jobs with this `check_state`.";
        from: Time = BOUND, "Jobs that finished at this time or later.";
        to: Time = BOUND, "Jobs that finished before this time.";
        updated_after: Time = AFTER,
            "Jobs with a later `updated_at`. When polling, overlap by a minute: jobs are not committed in the order of their times.";
        msg_id: MsgId = MSG_ID, "Jobs with this id, 1 to 9223372036854775807, in any account.";
    }

    /// How CSV starts.
    Bom {
        bom: bool = FLAG, "Start with a byte-order mark, as some spreadsheets need it.";
    }

    /// Filters of deliveries.
    DeliveryFilters {
        account: AccountName = ACCOUNT, "Only this account.";
        state: DeliveryState = STATE, "Deliveries in this state.";
        event: String = EVENT, "Deliveries of this event, in upper or lower case.";
        from: Time = BOUND, "Deliveries first received at this time or later.";
        to: Time = BOUND, "Deliveries first received before this time.";
    }

    /// A page of a list.
    Paging {
        limit: u32 = LIMIT, "The maximum number of items.";
        cursor: String = CURSOR, "The `next_cursor` of the previous page, with the same filters.";
    }

    /// The jobs that are added up.
    Range {
        account: AccountName = ACCOUNT, "Only this account.";
        from: Time = BOUND, "Jobs that finished at this time or later.";
        to: Time = BOUND, "Jobs that finished before this time.";
    }

    /// The jobs that are added up over time, and into which buckets.
    TimelineOptions {
        account: AccountName = ACCOUNT, "Only this account.";
        from: Time = BOUND,
            "Jobs that finished at this time or later. Default: 24 hours, 30 days, 12 weeks or 12 months before `to`.";
        to: Time = BOUND, "Jobs that finished before this time. Default: the end of the current bucket.";
        bucket: Bucket = BUCKET, "The length of a bucket. Weeks start on Monday.";
        tz: Zone = ZONE,
            "The IANA name of the time zone of the buckets, in upper or lower case. Default: `api.timezone` of the configuration, which is Asia/Shanghai unless set.";
    }

    /// The jobs that a stream reports.
    StreamFilter {
        account: AccountName = ACCOUNT, "Only this account.";
    }
}

/// An optional parameter in the OpenAPI document; one in a path is always required.
pub(in crate::web::api) fn described(
    place: ParameterIn,
    name: &str,
    description: &str,
    schema: impl Into<Schema>,
) -> Parameter {
    let mut parameter = Parameter::new(name);
    parameter.required = match place {
        ParameterIn::Path => Required::True,
        _ => Required::False,
    };
    parameter.parameter_in = place;
    parameter.description = Some(description.to_owned());
    parameter.schema = Some(schema.into().into());
    parameter
}
