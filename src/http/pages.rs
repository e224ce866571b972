//! Pages of lists: `limit`, `cursor` and `Link: rel="next"` (RFC 8288).
//!
//! A cursor is the last id of a page, so what is created or changed meanwhile shifts nothing: each thing that is there
//! throughout comes exactly once. Clients take cursors as they are; only their being base64url keeps them from guessing.

use super::problem::{Kind, Problem};
use axum::http::HeaderValue;
use axum::http::header::LINK;
use axum::response::{IntoResponse, IntoResponseParts, Response, ResponseParts};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use std::convert::Infallible;
use std::fmt::{Display, Write};
use std::str::FromStr;

const LIMIT_DEFAULT: usize = 100;
const LIMIT_MAX: usize = 1_000;

/// Which page.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct PageQuery {
    /// At most so many, 1 to 1000; 100 when absent.
    limit: Option<usize>,
    /// Where to go on: the `next` of the page before.
    cursor: Option<String>,
}

/// A page of a list.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Page<T> {
    /// What is on it.
    pub items: Vec<T>,
    /// The cursor of the next page, if there is one.
    pub next: Option<String>,
    limit: usize,
}

impl PageQuery {
    /// The page of `all`, which is sorted by id.
    ///
    /// # Errors
    /// 400 if the limit is out of bounds or the cursor is none of ours.
    pub(super) fn page<T, I>(&self, mut all: Vec<T>, id: impl Fn(&T) -> &I) -> Result<Page<T>, Problem>
    where
        I: Ord + Display + FromStr,
    {
        let limit = self.limit.unwrap_or(LIMIT_DEFAULT);
        if !(1..=LIMIT_MAX).contains(&limit) {
            let text = format!("limit is {limit}; it must be 1 to {LIMIT_MAX}, and next leads on");
            return Err(Problem::new(Kind::MalformedRequest, text));
        }
        if let Some(cursor) = &self.cursor {
            let none = || {
                let text = "the cursor is none of ours: take it from the Link or the next of the page before";
                Problem::new(Kind::MalformedRequest, text)
            };
            let after: I = decode(cursor).ok_or_else(none)?;
            all.drain(..all.partition_point(|item| *id(item) <= after));
        }
        let is_last = all.len() <= limit;
        all.truncate(limit);
        let next = all
            .last()
            .filter(|_| !is_last)
            .map(|item| URL_SAFE_NO_PAD.encode(id(item).to_string()));
        Ok(Page {
            items: all,
            next,
            limit,
        })
    }
}

fn decode<I: FromStr>(cursor: &str) -> Option<I> {
    let bytes = URL_SAFE_NO_PAD.decode(cursor).ok()?;
    String::from_utf8(bytes).ok()?.parse().ok()
}

impl<T> Page<T> {
    /// The link to the next page of the list at `path`, if there is one.
    pub(super) fn link(&self, path: &str) -> NextLink {
        let next = self.next.as_deref();
        NextLink(next.map(|next| {
            link(
                path,
                &[("limit", Some(&self.limit.to_string())), ("cursor", Some(next))],
            )
        }))
    }
}

/// `Link: <…>; rel="next"`, when there is a next page.
pub(super) struct NextLink(Option<HeaderValue>);

impl NextLink {
    /// The link to `path` with the parameters that are there, if `has_next`.
    pub(super) fn when(has_next: bool, path: &str, parameters: &[(&str, Option<&str>)]) -> Self {
        Self(has_next.then(|| link(path, parameters)))
    }
}

impl IntoResponseParts for NextLink {
    type Error = Infallible;

    fn into_response_parts(self, mut parts: ResponseParts) -> Result<ResponseParts, Infallible> {
        if let Some(link) = self.0 {
            parts.headers_mut().insert(LINK, link);
        }
        Ok(parts)
    }
}

impl IntoResponse for NextLink {
    fn into_response(self) -> Response {
        (self, ()).into_response()
    }
}

fn link(path: &str, parameters: &[(&str, Option<&str>)]) -> HeaderValue {
    let mut text = format!("<{path}");
    let given = parameters.iter().filter_map(|(name, value)| Some((name, (*value)?)));
    for (n, (name, value)) in given.enumerate() {
        let _ = write!(text, "{}{name}=", if n == 0 { '?' } else { '&' });
        for byte in value.bytes() {
            // Writing to a String does not fail.
            let _ = match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' | b':' => {
                    text.write_char(char::from(byte))
                }
                byte => write!(text, "%{byte:02X}"),
            };
        }
    }
    text.push_str(">; rel=\"next\"");
    // Everything else than these characters is escaped, so it is always a header value.
    HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::StatusCode;
    use domain::ids::ChannelId;

    fn ids(names: &[&str]) -> Vec<ChannelId> {
        names.iter().map(|name| name.parse().expect("an id")).collect()
    }

    fn page(limit: Option<usize>, cursor: Option<&str>, all: &[&str]) -> Result<Page<ChannelId>, StatusCode> {
        let cursor = cursor.map(str::to_owned);
        let page = PageQuery { limit, cursor }.page(ids(all), |id| id);
        page.map_err(|problem| problem.status())
    }

    #[test]
    fn pages_go_on_where_the_last_ended_whatever_came_or_went_meanwhile() {
        let first = page(Some(2), None, &["b", "d", "f", "h"]).expect("a page");
        assert_eq!(first.items, ids(&["b", "d"]));
        let cursor = first.next.as_deref().expect("another page");
        let second = page(Some(2), Some(cursor), &["a", "b", "c", "e", "f", "h"]).expect("a page");
        assert_eq!(
            second.items,
            ids(&["e", "f"]),
            "'d' is gone, and 'a' and 'c' came too late"
        );
        let last = page(Some(2), second.next.as_deref(), &["b", "f", "h"]).expect("a page");
        assert_eq!((last.items, last.next), (ids(&["h"]), None));
    }

    #[test]
    fn a_page_that_is_just_full_is_the_last() {
        let full = page(Some(2), None, &["a", "b"]).expect("a page");
        assert_eq!((full.items.len(), full.next), (2, None));
        let empty = page(None, None, &[]).expect("a page");
        assert_eq!((empty.items.len(), empty.next), (0, None));
    }

    #[test]
    fn limits_are_bounded_and_cursors_are_ours() {
        assert!(page(Some(1_000), None, &["a"]).is_ok());
        for limit in [0, 1_001, usize::MAX] {
            assert_eq!(page(Some(limit), None, &["a"]), Err(StatusCode::BAD_REQUEST), "{limit}");
        }
        // Not base64url; no UTF-8; no id.
        for cursor in ["a b", "_w", &URL_SAFE_NO_PAD.encode("a b"), ""] {
            assert_eq!(
                page(None, Some(cursor), &["a"]),
                Err(StatusCode::BAD_REQUEST),
                "'{cursor}'"
            );
        }
    }

    #[test]
    fn a_link_holds_what_was_asked_and_escapes_it() {
        let parameters = [
            ("kind", Some("a b&c")),
            ("prefix", None),
            ("after", Some("node/x:1\"é")),
        ];
        let link = link("/v1/actors", &parameters);
        assert_eq!(
            link,
            "</v1/actors?kind=a%20b%26c&after=node/x:1%22%C3%A9>; rel=\"next\""
        );
    }
}
