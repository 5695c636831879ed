//! Parses an HTTP/1 response. No I/O here.

use httparse::Status::{Complete, Partial};
use httparse::{EMPTY_HEADER, Response, parse_chunk_size};

use crate::simulator::is_legal;

const MAX_HEADERS: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// True if WeChat accepts it as an acknowledgement.
    pub(super) is_legal: bool,
    /// True if the connection can be used for another request.
    pub(super) keeps_alive: bool,
}

/// It is not HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// What ends a body.
enum End {
    Length(usize),
    LastChunk,
    Closing,
}

impl Answer {
    /// Parses the answer; `None` if it is incomplete. `closed` is true if nothing more can arrive.
    pub(super) fn read(received: &[u8], closed: bool) -> Result<Option<Self>, Malformed> {
        let mut headers = [EMPTY_HEADER; MAX_HEADERS];
        let mut response = Response::new(&mut headers);
        let Complete(head) = response.parse(received).map_err(|_| Malformed)? else {
            return Ok(None);
        };
        let status = response.code.ok_or(Malformed)?;
        let (end, may_stay) = framing(&response)?;
        let rest = &received[head..];
        let answer = |body: &[u8], keeps_alive| Self {
            status,
            is_legal: is_legal(status, body),
            keeps_alive: keeps_alive && may_stay && !closed,
        };
        Ok(match end {
            End::Length(length) => rest
                .get(..length)
                .map(|body| answer(body, length == rest.len())),
            End::LastChunk => joined(rest)?.map(|body| answer(&body, true)),
            End::Closing => closed.then(|| answer(rest, false)),
        })
    }
}

/// What ends the body, and whether the connection may stay open after it.
fn framing(response: &Response<'_, '_>) -> Result<(End, bool), Malformed> {
    let mut end = match response.code {
        Some(204 | 304) => End::Length(0),
        _ => End::Closing,
    };
    let mut may_stay = response.version == Some(1);
    for header in response.headers.iter() {
        let is = |name| header.name.eq_ignore_ascii_case(name);
        let says = |value| header.value.eq_ignore_ascii_case(value);
        if is("content-length") {
            let text = str::from_utf8(header.value).map_err(|_| Malformed)?;
            end = End::Length(text.parse().map_err(|_| Malformed)?);
        } else if is("transfer-encoding") && says(b"chunked") {
            end = End::LastChunk;
        } else if is("connection") && says(b"close") {
            may_stay = false;
        }
    }
    Ok((end, may_stay))
}

/// The chunks of a body joined; `None` if there are more to come.
fn joined(mut rest: &[u8]) -> Result<Option<Vec<u8>>, Malformed> {
    let mut body = Vec::new();
    loop {
        let (start, size) = match parse_chunk_size(rest).map_err(|_| Malformed)? {
            Complete(found) => found,
            Partial => return Ok(None),
        };
        let size = usize::try_from(size).map_err(|_| Malformed)?;
        let Some((chunk, after)) = rest[start..].split_at_checked(size) else {
            return Ok(None);
        };
        let Some((line_end, next)) = after.split_first_chunk() else {
            return Ok(None);
        };
        // Trailers are not supported; the servers under test send none.
        if line_end != b"\r\n" {
            return Err(Malformed);
        }
        if size == 0 {
            return Ok(Some(body));
        }
        body.extend_from_slice(chunk);
        rest = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTH: &str = "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nsuccess";
    const CHUNKED: &str =
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nsucc\r\n3;x\r\ness\r\n0\r\n\r\n";

    #[test]
    fn it_is_complete_with_its_last_byte() {
        for text in [LENGTH, CHUNKED] {
            for length in 0..text.len() {
                let part = &text.as_bytes()[..length];
                assert_eq!(Answer::read(part, false), Ok(None), "{part:?}");
                assert_eq!(Answer::read(part, true), Ok(None), "{part:?}");
            }
            let whole = Answer {
                status: 200,
                is_legal: true,
                keeps_alive: true,
            };
            assert_eq!(Answer::read(text.as_bytes(), false), Ok(Some(whole)));
        }
    }

    #[test]
    fn the_body_and_the_status_decide() {
        for (text, status, is_legal, keeps_alive) in [
            ("200 OK\r\nContent-Length: 0\r\n\r\n", 200, true, true),
            ("200 OK\r\nContent-Length: 2\r\n\r\nok", 200, false, true),
            (
                "200 OK\r\ncontent-length: 0\r\nconnection: CLOSE\r\n\r\n",
                200,
                true,
                false,
            ),
            ("200 OK\r\nContent-Length: 0\r\n\r\nmore", 200, true, false),
            (
                "503 No\r\nContent-Length: 7\r\n\r\nsuccess",
                503,
                false,
                true,
            ),
            ("204 None\r\n\r\n", 204, false, true),
        ] {
            let text = format!("HTTP/1.1 {text}");
            let expected = Answer {
                status,
                is_legal,
                keeps_alive,
            };
            let read = Answer::read(text.as_bytes(), false);
            assert_eq!(read, Ok(Some(expected)), "{text}");
        }
    }

    #[test]
    fn without_a_length_the_body_ends_with_the_connection() {
        let text = b"HTTP/1.0 200 OK\r\n\r\nsuccess";
        assert_eq!(Answer::read(text, false), Ok(None));
        let answer = Answer::read(text, true).unwrap().unwrap();
        assert!(answer.is_legal && !answer.keeps_alive);
    }

    #[test]
    fn anything_but_http_is_malformed() {
        for text in [
            "success",
            "HTTP/2 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc",
        ] {
            assert_eq!(
                Answer::read(text.as_bytes(), true),
                Err(Malformed),
                "{text}"
            );
        }
    }
}
