//! Examples of answers, made as answers are made.

use sha2::{Digest, Sha256};

use crate::domain::{
    AccountStats, Article, ByOutcome, Copyright, Counts, Delivery, DeliveryState, Job, LastJob,
    MassSendFinished, MsgId, ReasonStats, Stats, Status, Time, reason,
};
use crate::output::{
    AccountOut, AccountStatsOut, BucketOut, DeliveryOut, Format, JobOut, ReasonOut, ReasonStatsOut,
    StatsOut,
};
use crate::web::api::paging::{ListOut, PageOut};

pub(in crate::web) fn job() -> JobOut {
    JobOut::from(&rejected())
}

pub(in crate::web) fn jobs() -> PageOut<JobOut> {
    PageOut {
        items: vec![job()],
        next_cursor: Some("3q2-7wAAAZt3qLoAAAAAAADuayoGbWFpbg".to_owned()),
    }
}

pub(in crate::web) fn deliveries() -> PageOut<DeliveryOut> {
    PageOut {
        items: vec![DeliveryOut::from(&delivery(""))],
        next_cursor: None,
    }
}

pub(in crate::web) fn job_deliveries() -> ListOut<DeliveryOut> {
    let delivery = Delivery {
        msg_id: MsgId::new(1_000_000_042),
        state: DeliveryState::Stored,
        error: None,
        ..delivery(
            "<MsgID>1000000042</MsgID><CreateTime>1767225700</CreateTime><Status>err(30003)</Status>",
        )
    };
    ListOut {
        items: vec![DeliveryOut::from(&delivery)],
    }
}

pub(in crate::web) fn reasons() -> ListOut<ReasonOut> {
    let items = [20001, 20431, 30003].map(|code| ReasonOut::from(reason(code)));
    ListOut {
        items: items.into(),
    }
}

pub(in crate::web) fn totals() -> StatsOut {
    StatsOut::from(&stats())
}

pub(in crate::web) fn timeline() -> ListOut<BucketOut> {
    let bucket = |start: &str, stats| BucketOut::new(start.to_owned(), stats);
    ListOut {
        items: vec![
            bucket("2026-01-01T00:00:00+08:00", &stats()),
            bucket("2026-01-02T00:00:00+08:00", &Stats::default()),
        ],
    }
}

pub(in crate::web) fn reasons_given() -> ListOut<ReasonStatsOut> {
    let stats = ReasonStats {
        code: 30003,
        jobs: 3,
        last_finished_at: finished_at(),
    };
    ListOut {
        items: vec![ReasonStatsOut::from(&stats)],
    }
}

pub(in crate::web) fn all_accounts() -> ListOut<AccountOut> {
    let last = LastJob {
        account: "main".parse().expect("it is a name"),
        finished_at: finished_at(),
        received_at: received_at(),
        shown_received_at: received_at(),
    };
    let silent = "new-one".parse().expect("it is a name");
    ListOut {
        items: vec![
            AccountOut::new(&last.account, Some(&last), None),
            AccountOut::new(&silent, None, None),
        ],
    }
}

pub(in crate::web) fn accounts() -> ListOut<AccountStatsOut> {
    let stats = AccountStats {
        account: "main".parse().expect("it is a name"),
        stats: stats(),
        last_finished_at: finished_at(),
        last_received_at: received_at(),
    };
    ListOut {
        items: vec![AccountStatsOut::from(&stats)],
    }
}

pub(in crate::web) fn csv() -> String {
    exported(Format::Csv { bom: false })
}

pub(in crate::web) fn ndjson() -> String {
    exported(Format::Ndjson)
}

fn exported(format: Format) -> String {
    let mut export = format.head();
    format.write(&mut export, &[rejected()]);
    String::from_utf8(export).expect("it is UTF-8")
}

pub(in crate::web) fn stream() -> String {
    let job = serde_json::to_string(&job()).expect("it is texts and numbers");
    format!(
        "retry: 2000\nid: 2f0c9a61d4e87b35c1a94e0872d6b35f9e1b07c4a8d25f63\n\n\
         id: b7e1502c8f3da6946d08e5b19c47f2a03a5d8c16e2f4907b\nevent: job\ndata: {job}\n\n"
    )
}

fn finished_at() -> Time {
    Time::from_milliseconds(1_767_225_700_000).expect("it is in range")
}

fn received_at() -> Time {
    Time::from_milliseconds(1_767_225_703_482).expect("it is in range")
}

fn rejected() -> Job {
    let copyright = Copyright {
        user_declare_state: Some(0),
        audit_state: Some(2),
        original_url: Some("http://mp.weixin.qq.com/s?__biz=x".to_owned()),
        original_type: Some(1),
        can_reprint: Some(true),
        need_replace_content: Some(true),
        need_show_reprint_source: Some(true),
    };
    Job {
        account: "main".parse().expect("it is a name"),
        result: MassSendFinished {
            msg_id: MsgId::new(1_000_000_042).expect("it is an id"),
            finished_at: finished_at(),
            status: Status::read(Some("err(30003)")),
            counts: Counts {
                total: Some(0),
                filter: Some(0),
                sent: Some(0),
                error: Some(0),
            },
            check_state: Some(2),
            copyright_count: Some(1),
            article_url_count: None,
            articles: vec![Article {
                idx: 1,
                url: None,
                copyright: Some(copyright),
            }],
            to_user_name: Some("gh_0a1b2c3d4e5f".to_owned()),
            from_user_name: Some("oAbCdEfGhIjKlMnOpQrStUvWxYz0".to_owned()),
        },
        first_received_at: received_at(),
        last_received_at: received_at(),
        updated_at: received_at(),
        deliveries: 1,
        revision: 1,
    }
}

/// One that could not be understood, with that in it.
fn delivery(content: &str) -> Delivery {
    let body =
        format!("<xml><MsgType>event</MsgType><Event>MASSSENDJOBFINISH</Event>{content}</xml>");
    Delivery {
        id: 108,
        account: "main".parse().expect("it is a name"),
        event: Some("MASSSENDJOBFINISH".to_owned()),
        msg_id: None,
        body_sha256: Sha256::digest(&body).into(),
        body: body.into_bytes(),
        state: DeliveryState::Unparsed,
        error: Some("`MsgID` is missing".to_owned()),
        received_at: received_at(),
        last_received_at: received_at(),
        times: 2,
    }
}

fn stats() -> Stats {
    Stats {
        jobs: 5,
        by_outcome: ByOutcome {
            sent: 3,
            failed: 0,
            rejected: 1,
            unknown: 1,
        },
        total_count: 3600,
        filter_count: 3400,
        sent_count: 3332,
        error_count: 41,
    }
}
