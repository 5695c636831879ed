//! Made-up events in the forms that WeChat is known to send.

use std::str::FromStr;

use crate::domain::MsgId;

/// A built-in event, with a unique fixed `MsgID` and a fixed `CreateTime`, which `simulate push`
/// replaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sample {
    /// Sent; no articles, job 1000000041.
    Success,
    /// Sent with two articles, job 3147483999.
    Articles,
    /// Rejected as a reprint, job 1000000042.
    Rejected,
    /// `send fail`, job 1000000043.
    Failed,
    /// The form of 2014, without result lists, job 2347000001.
    Minimal,
    /// Rejected with a code that is not documented, job 1000000044.
    UnknownCode,
}

impl Sample {
    pub const ALL: [Self; 6] = [
        Self::Success,
        Self::Articles,
        Self::Rejected,
        Self::Failed,
        Self::Minimal,
        Self::UnknownCode,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Articles => "articles",
            Self::Rejected => "rejected",
            Self::Failed => "failed",
            Self::Minimal => "minimal",
            Self::UnknownCode => "unknown-code",
        }
    }

    pub const fn xml(self) -> &'static str {
        match self {
            Self::Success => include_str!("samples/success.xml"),
            Self::Articles => include_str!("samples/articles.xml"),
            Self::Rejected => include_str!("samples/rejected.xml"),
            Self::Failed => include_str!("samples/failed.xml"),
            Self::Minimal => include_str!("samples/minimal.xml"),
            Self::UnknownCode => include_str!("samples/unknown-code.xml"),
        }
    }

    /// The event as XML, addressed to this account, `gh_…`.
    pub fn addressed_to(self, original_id: &str) -> String {
        self.xml().replace("gh_0a1b2c3d4e5f", original_id)
    }
}

impl FromStr for Sample {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        Self::ALL
            .into_iter()
            .find(|sample| sample.as_str() == name)
            .ok_or(())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the event has no {0} to replace")]
pub struct NoElement(&'static str);

/// The event with a different `MsgID`; every other byte stays.
pub fn with_msg_id(event: &str, msg_id: MsgId) -> Result<String, NoElement> {
    with_number(event, "MsgID", msg_id.get())
}

/// The event with a different `CreateTime`, in seconds since 1970; every other byte stays.
pub fn with_create_time(event: &str, seconds: i64) -> Result<String, NoElement> {
    with_number(event, "CreateTime", seconds)
}

fn with_number(event: &str, name: &'static str, number: i64) -> Result<String, NoElement> {
    let (start, end) = xml_value(event, name)
        .or_else(|| json_value(event, name))
        .ok_or(NoElement(name))?;
    Ok(format!("{}{number}{}", &event[..start], &event[end..]))
}

fn xml_value(event: &str, name: &str) -> Option<(usize, usize)> {
    let opening = format!("<{name}>");
    let start = event.find(&opening)? + opening.len();
    let end = start + event[start..].find(&format!("</{name}>"))?;
    Some((start, end))
}

fn json_value(event: &str, name: &str) -> Option<(usize, usize)> {
    let name = format!("\"{name}\"");
    let after = event.find(&name)? + name.len();
    let digits = |character: char| character.is_ascii_digit();
    let start = after + event[after..].find(digits)?;
    let length = event[start..].find(|character| !digits(character))?;
    Some((start, start + length))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Reading;
    use crate::wechat;

    #[test]
    fn every_sample_is_a_job_result_of_its_own_job() {
        let mut ids = Vec::new();
        for sample in Sample::ALL {
            assert_eq!(sample.as_str().parse(), Ok(sample));
            let push = wechat::read(sample.addressed_to("gh_x").as_bytes());
            assert_eq!(push.to_user_name.as_deref(), Some("gh_x"));
            let Reading::Result {
                result, note: None, ..
            } = push.reading
            else {
                panic!("{sample:?} is parsed with faults");
            };
            ids.push(result.msg_id);
        }
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), Sample::ALL.len());
    }

    #[test]
    fn one_number_is_replaced_and_nothing_else() {
        let seven = MsgId::new(7).unwrap();
        assert_eq!(
            with_msg_id("<xml><MsgID>12</MsgID></xml>", seven).as_deref(),
            Ok("<xml><MsgID>7</MsgID></xml>")
        );
        assert_eq!(
            with_msg_id(r#"{"MsgID": "12", "A": 1}"#, seven).as_deref(),
            Ok(r#"{"MsgID": "7", "A": 1}"#)
        );
        assert_eq!(with_msg_id("<xml/>", seven), Err(NoElement("MsgID")));
        assert_eq!(
            with_create_time("<xml><CreateTime>12</CreateTime><MsgID>12</MsgID></xml>", 7)
                .as_deref(),
            Ok("<xml><CreateTime>7</CreateTime><MsgID>12</MsgID></xml>")
        );
    }
}
