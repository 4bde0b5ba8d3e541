//! The access log: one line for each request. Requests that anyone can send by the thousand (refused or without a
//! credential) have a limit of lines per minute; the rest are reported as a number.

use std::net::IpAddr;
use std::time::Duration;

use poem::http::Method;
use telemetry::{LineBudget, plain};
use tracing::{debug, error, info};

use crate::credential::Credential;

/// Refused requests, and requests without a credential: anyone can send them by the thousand.
const REFUSED_PER_MINUTE: u32 = 120;

/// Requests that failed by our own fault. While the database is down, all of them fail.
const FAILED_PER_MINUTE: u32 = 120;

/// Pages and orders that customers read with the order's token.
const CUSTOMERS_PER_MINUTE: u32 = 1_200;

/// Correctly signed callbacks. A copied one can be sent again and again.
const CALLBACKS_PER_MINUTE: u32 = 3_000;

/// How much of a path is read, and how much of it is written.
const PATH_READ: usize = 4_096;
const PATH_CHARACTERS: usize = 200;

/// The longest registered method has 16 letters.
const METHOD_CHARACTERS: usize = 16;

/// Percent signs can be encoded repeatedly. A path that is not decoded after this many rounds is not shown.
const DECODED_AT_MOST: usize = 4;

const REDACTED: &str = "[redacted]";

/// An order's token has 32 hexadecimal digits, and half of one is redacted too; an API key may have any characters. No
/// word and no number in our own paths is this long.
const SECRET_CHARACTERS: usize = 16;

/// Limits the lines of the access log.
#[derive(Debug)]
pub(crate) struct AccessLog {
    refused: LineBudget,
    failed: LineBudget,
    customers: LineBudget,
    callbacks: LineBudget,
}

/// One answered request.
#[derive(Debug)]
pub(crate) struct AccessLogEntry<'a> {
    pub(crate) method: &'a Method,
    /// As returned by [`redacted`].
    pub(crate) path: &'a str,
    pub(crate) status: u16,
    pub(crate) taken: Duration,
    /// The sender's address, if known.
    pub(crate) client: Option<IpAddr>,
    pub(crate) api_key: Option<&'a str>,
}

impl AccessLog {
    pub(crate) fn new() -> Self {
        AccessLog {
            refused: LineBudget::new(REFUSED_PER_MINUTE),
            failed: LineBudget::new(FAILED_PER_MINUTE),
            customers: LineBudget::new(CUSTOMERS_PER_MINUTE),
            callbacks: LineBudget::new(CALLBACKS_PER_MINUTE),
        }
    }

    /// Whether a request with this status and this credential may be logged now.
    pub(crate) fn may_log(&self, status: u16, credential: Option<&Credential>) -> bool {
        self.log_left_out();
        match (status, credential) {
            (500.., _) => self.failed.take(),
            (400.., _) | (_, None) => self.refused.take(),
            (_, Some(Credential::OrderToken)) => self.customers.take(),
            (_, Some(Credential::Signature)) => self.callbacks.take(),
            (_, Some(Credential::ApiKey(_))) => true,
        }
    }

    fn log_left_out(&self) {
        for (budget, what) in [
            (&self.refused, "were refused or had no credential"),
            (&self.failed, "failed"),
            (&self.customers, "came with an order's token"),
            (&self.callbacks, "were correctly signed callbacks"),
        ] {
            if let Some(requests) = budget.left_out() {
                info!(requests, "{requests} more requests of a minute {what}; tasdiq_http_requests_total counts them");
            }
        }
    }

    /// Logs requests that machines send all the time, at level debug: health checks, and preflight requests of
    /// browsers.
    pub(crate) fn log_at_debug(&self, entry: &AccessLogEntry<'_>) {
        self.log_left_out();
        let AccessLogEntry { path, status, .. } = entry;
        debug!(status, "{} {path} {status}", method(entry.method));
    }
}

/// Logs a request.
pub(crate) fn log_request(entry: &AccessLogEntry<'_>) {
    let AccessLogEntry { path, status, api_key, .. } = *entry;
    let method = method(entry.method);
    let client = entry.client.map(tracing::field::display);
    let duration_ms = u64::try_from(entry.taken.as_millis()).unwrap_or(u64::MAX);
    info!(method, path, status, duration_ms, client, api_key, "{method} {path} {status}");
}

/// Logs that a request panicked. The panic hook has already logged the panic's text.
pub(crate) fn log_panic(method: &Method, path: &str) {
    error!("a request panicked: {} {path}", self::method(method));
}

/// A caller may send any word of any length as method.
fn method(method: &Method) -> String {
    plain(method.as_str(), METHOD_CHARACTERS)
}

/// The path as it may be logged: without tokens and keys, printable, and limited in length.
///
/// A caller may put a secret where it does not belong, with characters encoded as `%61`, or encoded twice as `%2561`.
pub(crate) fn redacted(path: &str) -> String {
    let read: String = path.chars().take(PATH_READ).collect();
    let Some(decoded) = decoded(&read) else { return REDACTED.to_owned() };
    // None of our paths has these characters; the rest was meant as a query.
    let (path, is_longer) = match decoded.find(['?', '&', '=', ';', '#']) {
        Some(end) => (&decoded[..end], true),
        None => (decoded.as_str(), false),
    };
    let mut segments: Vec<String> = Vec::new();
    for segment in path.split('/') {
        let follows_pay = segments.last().is_some_and(|last| last.eq_ignore_ascii_case("pay")) && !segment.is_empty();
        let may_be_secret = follows_pay || segment.chars().count() >= SECRET_CHARACTERS;
        segments.push(if may_be_secret { REDACTED } else { segment }.to_owned());
    }
    let mut path = segments.join("/");
    if is_longer {
        path.push_str(REDACTED);
    }
    plain(&path, PATH_CHARACTERS)
}

/// The text after percent decoding; `None` if it was encoded too often.
fn decoded(text: &str) -> Option<String> {
    let mut text = text.to_owned();
    for _ in 0..=DECODED_AT_MOST {
        let next = percent_encoding::percent_decode_str(&text).decode_utf8_lossy().into_owned();
        if next == text {
            return Some(text);
        }
        text = next;
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TOKEN: &str = "0123456789abcdef0123456789abcdef";

    /// Shows: INVARIANT-18, PROMISE-13
    #[test]
    fn an_order_token_never_reaches_the_access_log() {
        for (path, expected) in [
            (format!("/pay/{TOKEN}"), "/pay/[redacted]"),
            (format!("/pay/{TOKEN}/return"), "/pay/[redacted]/return"),
            (format!("//pay/{TOKEN}"), "//pay/[redacted]"),
            (format!("/x/{TOKEN}"), "/x/[redacted]"),
            (format!("/pay%2F{TOKEN}"), "/pay/[redacted]"),
            (format!("/PAY%252f{TOKEN}"), "/PAY/[redacted]"),
            (format!("/api/orders/1/events&token={TOKEN}"), "/api/orders/1/events[redacted]"),
            (format!("/api/orders/1/events%3Ftoken={TOKEN}"), "/api/orders/1/events[redacted]"),
            (format!("/api/orders/1/{TOKEN}.json"), "/api/orders/1/[redacted]"),
            ("/api/orders/sk_live-Zm9vYmFy.x".to_owned(), "/api/orders/[redacted]"),
            ("/api/orders/sk_live%2DZm9vYmFy/events".to_owned(), "/api/orders/[redacted]/events"),
            ("/openapi.json".to_owned(), "/openapi.json"),
            ("/pay/half-a-token/return".to_owned(), "/pay/[redacted]/return"),
            ("/api/orders/1/events&api_key=shop-key".to_owned(), "/api/orders/1/events[redacted]"),
            ("/api/orders/7/events".to_owned(), "/api/orders/7/events"),
            ("/api/orders/1795993131".to_owned(), "/api/orders/1795993131"),
        ] {
            assert_eq!(redacted(&path), expected, "{path}");
        }
    }

    #[test]
    fn a_path_is_one_short_line() {
        assert_eq!(redacted("/a%0AWARN%20paid%1b[2J"), "/a WARN paid\u{fffd}[2J");
        assert_eq!(redacted(&"/x".repeat(50_000)).chars().count(), PATH_CHARACTERS + 1);
        assert_eq!(redacted(&format!("/{}", "%25".repeat(3) + &"25".repeat(20) + "61")), REDACTED);
    }

    #[test]
    fn a_method_of_any_length_is_cut() {
        let endless = Method::from_bytes("X".repeat(400_000).as_bytes()).unwrap();

        assert_eq!(method(&endless), format!("{}…", "X".repeat(METHOD_CHARACTERS)));
        assert_eq!(method(&Method::DELETE), "DELETE");
    }

    #[test]
    fn requests_that_anyone_can_send_have_few_lines_and_a_shop_has_all_of_its_own() {
        let log = AccessLog::new();
        let key = Credential::ApiKey("shop".to_owned());
        let told = |status: u16, proof: Option<&Credential>| {
            i32::try_from((0..10_000).filter(|_| log.may_log(status, proof)).count()).unwrap()
        };

        assert_eq!(told(404, None), 120);
        assert_eq!(told(200, None), 0, "the documentation counts among them");
        assert_eq!(told(422, Some(&key)), 0, "so does what a shop sends and gets refused");
        assert_eq!(told(503, None), 120);
        assert_eq!(told(200, Some(&Credential::OrderToken)), 1_200);
        assert_eq!(told(200, Some(&key)), 10_000);
    }

    /// The token with each character plain, encoded as `%61`, or encoded twice as `%2561`.
    fn written(encodings: &[u8]) -> String {
        let sign = |(sign, times): (char, &u8)| match times {
            0 => sign.to_string(),
            1 => format!("%{:02x}", u32::from(sign)),
            _ => format!("%25{:02X}", u32::from(sign)),
        };
        TOKEN.chars().zip(encodings).map(sign).collect()
    }

    proptest! {
        /// Shows: INVARIANT-18
        #[test]
        fn a_token_is_redacted_wherever_and_however_it_is_written(
            before in "[ -~]{0,60}", after in "[ -~]{0,60}", encodings in proptest::collection::vec(0u8..3, 32)
        ) {
            let path = format!("/{before}{}{after}", written(&encodings));

            let redacted = redacted(&path);

            prop_assert!(!redacted.contains(&TOKEN[..SECRET_CHARACTERS]), "{path}: {redacted}");
            prop_assert!(!redacted.contains(&TOKEN[SECRET_CHARACTERS..]), "{path}: {redacted}");
        }

        /// Shows: INVARIANT-18
        #[test]
        fn an_api_key_is_redacted_in_any_segment(
            before in "(/[a-z0-9]{0,12}){0,4}", key in "[A-Za-z0-9_.~+-]{16,80}", after in "(/[a-z0-9]{0,12}){0,4}"
        ) {
            let redacted = redacted(&format!("{before}/{key}{after}"));

            prop_assert!(!redacted.contains(&key[..SECRET_CHARACTERS]), "{redacted}");
        }
    }
}
