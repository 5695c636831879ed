//! A job as a row of CSV: flat, and safe to open in a spreadsheet.

use std::borrow::Cow;

use serde::Serialize;

use crate::domain::{Job, reason};

/// The columns, in order. A missing value is an empty cell.
#[derive(Default, Serialize)]
struct Row<'a> {
    account: Cow<'a, str>,
    msg_id: i64,
    outcome: &'static str,
    status: Option<Cow<'a, str>>,
    reason_code: Option<i32>,
    reason_zh: Option<&'static str>,
    reason_en: Option<&'static str>,
    total_count: Option<i64>,
    filter_count: Option<i64>,
    sent_count: Option<i64>,
    error_count: Option<i64>,
    filtered_out: Option<i64>,
    unaccounted: Option<i128>,
    check_state: Option<i64>,
    copyright_count: Option<i64>,
    article_url_count: Option<i64>,
    /// Their number.
    articles: usize,
    /// Of the first article that has one.
    first_article_url: Option<Cow<'a, str>>,
    to_user_name: Option<Cow<'a, str>>,
    from_user_name: Option<Cow<'a, str>>,
    finished_at: String,
    first_received_at: String,
    last_received_at: String,
    updated_at: String,
    deliveries: i64,
    revision: i64,
}

impl<'a> From<&'a Job> for Row<'a> {
    fn from(job: &'a Job) -> Self {
        let result = &job.result;
        let counts = &result.counts;
        let reason = result.status.code.map(reason);
        let mut urls = result
            .articles
            .iter()
            .filter_map(|article| article.url.as_deref());
        Self {
            account: text(job.account.as_str()),
            msg_id: result.msg_id.get(),
            outcome: result.status.outcome.as_str(),
            status: result.status.text.as_deref().map(text),
            reason_code: result.status.code,
            reason_zh: reason.and_then(|reason| reason.zh),
            reason_en: reason.and_then(|reason| reason.en),
            total_count: counts.total,
            filter_count: counts.filter,
            sent_count: counts.sent,
            error_count: counts.error,
            filtered_out: counts.filtered_out(),
            unaccounted: counts.unaccounted(),
            check_state: result.check_state,
            copyright_count: result.copyright_count,
            article_url_count: result.article_url_count,
            articles: result.articles.len(),
            first_article_url: urls.next().map(text),
            to_user_name: result.to_user_name.as_deref().map(text),
            from_user_name: result.from_user_name.as_deref().map(text),
            finished_at: result.finished_at.to_string(),
            first_received_at: job.first_received_at.to_string(),
            last_received_at: job.last_received_at.to_string(),
            updated_at: job.updated_at.to_string(),
            deliveries: job.deliveries,
            revision: job.revision,
        }
    }
}

/// A text from outside. A spreadsheet takes a text with such a first character for a formula, which
/// can send the sheet elsewhere or run a program, unless a `'` precedes it. Some accept the
/// full-width forms of East Asian keyboards as well.
///
/// A spreadsheet that separates cells by another character than a comma splits a text there, quoted
/// or not, so each part is guarded.
fn text(text: &str) -> Cow<'_, str> {
    const FORMULA: [char; 8] = ['=', '+', '-', '@', '＝', '＋', '－', '＠'];
    const BLANKS: [char; 3] = ['\t', '\r', '\n'];
    const SEPARATORS: [char; 5] = [';', ',', '\t', '\r', '\n'];
    let mut guarded = String::new();
    let mut rest = text;
    if text.starts_with(FORMULA) || text.starts_with(BLANKS) {
        guarded.push('\'');
    }
    while let Some(end) = rest.find(SEPARATORS) {
        let part = rest.split_at(end + 1);
        let is_between = |character: char| matches!(character, '"' | ' ');
        let begins = part.1.trim_start_matches(is_between);
        let (between, _) = part.1.split_at(part.1.len() - begins.len());
        guarded.push_str(part.0);
        guarded.push_str(between);
        if begins.starts_with(FORMULA) {
            guarded.push('\'');
        }
        rest = begins;
    }
    if guarded.is_empty() {
        return text.into();
    }
    guarded.push_str(rest);
    guarded.into()
}

/// The header line.
pub(super) fn names() -> Vec<u8> {
    let mut part = Vec::new();
    let mut with_names = writer();
    with_names.has_headers(true);
    write_rows(&with_names, &mut part, [Row::default()]);
    let end = part.windows(2).position(|bytes| bytes == b"\r\n");
    part.truncate(end.expect("a line has an end") + 2);
    part
}

/// A row for each job.
pub(super) fn write(part: &mut Vec<u8>, jobs: &[Job]) {
    write_rows(&writer(), part, jobs.iter().map(Row::from));
}

fn write_rows<'a>(
    writer: &::csv::WriterBuilder,
    part: &mut Vec<u8>,
    rows: impl IntoIterator<Item = Row<'a>>,
) {
    const IN_MEMORY: &str = "a row is flat, and writing to memory does not fail";
    let mut writer = writer.from_writer(part);
    for row in rows {
        writer.serialize(row).expect(IN_MEMORY);
    }
    writer.flush().expect(IN_MEMORY);
}

fn writer() -> ::csv::WriterBuilder {
    let mut writer = ::csv::WriterBuilder::new();
    writer
        .has_headers(false)
        .terminator(::csv::Terminator::CRLF);
    writer
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Article, Counts, MassSendFinished, MsgId, Status, Time};

    fn job() -> Job {
        let time = |milliseconds| Time::from_milliseconds(milliseconds).expect("it is in range");
        Job {
            account: "-shop".parse().expect("it is a name"),
            result: MassSendFinished {
                msg_id: MsgId::new(i64::MAX).expect("it is positive"),
                finished_at: time(0),
                status: Status::read(Some("=1+1,\"x\"")),
                counts: Counts {
                    total: Some(5),
                    filter: Some(0),
                    sent: Some(i64::MAX),
                    error: Some(i64::MAX),
                },
                check_state: Some(-1),
                copyright_count: None,
                article_url_count: None,
                articles: [None, Some("http://mp.weixin.qq.com/s?a=1,2")]
                    .map(|url| Article {
                        idx: 1,
                        url: url.map(str::to_owned),
                        copyright: None,
                    })
                    .to_vec(),
                to_user_name: None,
                from_user_name: Some("@x\r\ny".to_owned()),
            },
            first_received_at: time(1),
            last_received_at: time(2),
            updated_at: time(3),
            deliveries: 2,
            revision: 1,
        }
    }

    #[test]
    fn the_header_has_the_names_of_all_columns() {
        let names = String::from_utf8(names()).expect("it is UTF-8");
        assert!(names.starts_with("account,msg_id,outcome,status,reason_code,"));
        assert!(names.ends_with(",updated_at,deliveries,revision\r\n"));
        assert_eq!(names.split(',').count(), 26);
    }

    #[test]
    fn texts_are_guarded_and_numbers_are_numbers() {
        let mut part = Vec::new();
        write(&mut part, &[job()]);
        assert_eq!(
            String::from_utf8(part).expect("it is UTF-8"),
            "'-shop,9223372036854775807,unknown,\"'=1+1,\"\"x\"\"\",,,,5,0,9223372036854775807,9223372036854775807,5,\
             -18446744073709551614,-1,,,2,\"http://mp.weixin.qq.com/s?a=1,2\",,\"'@x\r\ny\",1970-01-01T00:00:00Z,\
             1970-01-01T00:00:00.001Z,1970-01-01T00:00:00.002Z,1970-01-01T00:00:00.003Z,2,1\r\n"
        );
    }

    #[test]
    fn formulas_are_guarded() {
        for formula in [
            "=x", "+x", "-x", "@x", "\tx", "\rx", "\nx", "＝x", "＋x", "－x", "＠x",
        ] {
            assert_eq!(text(formula), format!("'{formula}"));
        }
        for (formula, guarded) in [
            ("x;=1+1", "x;'=1+1"),
            ("x,=1+1;y", "x,'=1+1;y"),
            ("x\t-1", "x\t'-1"),
            ("x\r\n@y\n＝z", "x\r\n'@y\n'＝z"),
            ("x;\"=1+1;y", "x;\"'=1+1;y"),
            ("x; =1;=2;;=3", "x; '=1;'=2;;'=3"),
            ("=1;=2", "'=1;'=2"),
            ("\t=1", "'\t'=1"),
            ("群发；;+1", "群发；;'+1"),
        ] {
            assert_eq!(text(formula), guarded);
        }
        for plain in [
            "",
            "x=1",
            "send success",
            "err(-1)",
            "'=x",
            " =x",
            "群发",
            "a;b, c\n",
            ";",
            "http://mp.weixin.qq.com/s?a=1,2;b=-1",
        ] {
            assert_eq!(text(plain), plain);
        }
    }
}
