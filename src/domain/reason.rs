//! The catalogue of `err(num)` codes: why a job was rejected in review.

/// A code and its meaning according to WeChat's documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reason {
    /// The number in `err(num)`, which is unrelated to the error codes of WeChat's API.
    pub code: i32,
    /// WeChat's own words; `None` for a code that is not documented.
    pub zh: Option<&'static str>,
    /// `zh` in English.
    pub en: Option<&'static str>,
}

const fn documented(code: i32, zh: &'static str, en: &'static str) -> Reason {
    Reason {
        code,
        zh: Some(zh),
        en: Some(en),
    }
}

const fn undocumented(code: i32) -> Reason {
    Reason {
        code,
        zh: None,
        en: None,
    }
}

/// Every known code, ascending. WeChat adds codes without notice.
///
/// Source: the field table of the mass-send result in WeChat's documentation of
/// `message/mass/sendall`; 20431 was seen on the wire in 2024 and is not documented.
pub const CATALOGUE: &[Reason] = &[
    documented(10001, "涉嫌广告", "suspected advertising"),
    documented(20001, "涉嫌政治", "suspected political content"),
    documented(20002, "涉嫌色情", "suspected pornography"),
    documented(
        20004,
        "涉嫌社会",
        "suspected social (socially sensitive) content",
    ),
    documented(
        20006,
        "涉嫌违法犯罪",
        "suspected illegal or criminal content",
    ),
    documented(20008, "涉嫌欺诈", "suspected fraud"),
    documented(20013, "涉嫌版权", "suspected copyright infringement"),
    undocumented(20431),
    documented(21000, "涉嫌其他", "suspected other violation"),
    documented(
        22000,
        "涉嫌互推(互相宣传)",
        "suspected mutual promotion between accounts",
    ),
    documented(
        30001,
        "原创校验出现系统错误且用户选择了被判为转载就不群发",
        "originality check hit a system error while the sender had chosen \"do not send if judged a reprint\" (`send_ignore_reprint`=0)",
    ),
    documented(
        30002,
        "原创校验被判定为不能群发",
        "originality check: must not be sent",
    ),
    documented(
        30003,
        "原创校验被判定为转载文且用户选择了被判为转载就不群发",
        "judged a reprint while the sender had chosen \"do not send if judged a reprint\"",
    ),
    documented(
        40001,
        "管理员拒绝",
        "administrator refused (API mass-send protection)",
    ),
    documented(
        40002,
        "管理员30分钟内无响应，超时",
        "administrator did not answer within 30 minutes",
    ),
    documented(93115, "公开地图使用不规范", "improper use of public maps"),
];

/// A code outside the catalogue has no words.
pub fn reason(code: i32) -> Reason {
    CATALOGUE
        .binary_search_by_key(&code, |reason| reason.code)
        .map_or(undocumented(code), |index| CATALOGUE[index])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_catalogue_ascends_so_that_it_can_be_searched() {
        assert!(CATALOGUE.is_sorted_by(|a, b| a.code < b.code));
    }

    #[test]
    fn a_code_is_found_and_an_unknown_one_has_no_words() {
        assert_eq!(reason(40001).zh, Some("管理员拒绝"));
        assert_eq!(reason(20431), undocumented(20431));
        assert_eq!(reason(99999), undocumented(99999));
    }
}
