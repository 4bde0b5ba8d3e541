//! The header `Auth` of the Merchant API.

use poem::http::StatusCode;

use super::answer::MerchantApiAnswer;
use crate::click::signature::auth_digest;
use crate::click::state::{MERCHANT_USER_ID, SECRET_KEY};

/// How far the merchant's clock may be off; Click does not say.
const CLOCK_MAY_BE_OFF_SECONDS: i64 = 300;

/// Checks `merchant_user_id:digest:timestamp` (Click documents, Merchant API).
///
/// # Errors
/// What is wrong with it.
pub(super) fn check(header: Option<&str>, now_ms: i64) -> Result<(), &'static str> {
    let parts: Vec<&str> = header.ok_or("the header Auth is missing")?.split(':').collect();
    let [user, digest, timestamp] = parts[..] else {
        return Err("Auth is merchant_user_id:digest:timestamp");
    };
    if user != MERCHANT_USER_ID {
        return Err("there is no such merchant_user_id");
    }
    if timestamp.len() != 10 || !timestamp.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("the timestamp in Auth is not the Unix time in seconds, 10 digits");
    }
    let at: i64 = timestamp.parse().map_err(|_| "the timestamp in Auth is no number")?;
    if (now_ms / 1000 - at).abs() > CLOCK_MAY_BE_OFF_SECONDS {
        return Err("the timestamp in Auth is too old or too new");
    }
    if !digest.eq_ignore_ascii_case(&auth_digest(timestamp, SECRET_KEY)) {
        return Err("the digest in Auth is not sha1(timestamp + secret_key)");
    }
    Ok(())
}

/// The answer to a call that is not authorized.
pub(super) fn refusal(why: &str) -> MerchantApiAnswer {
    MerchantApiAnswer::refused(StatusCode::UNAUTHORIZED, -401, &format!("Not authorized: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: i64 = 1_795_513_505_000;

    fn header(user: &str, key: &str, timestamp: &str) -> String {
        format!("{user}:{}:{timestamp}", auth_digest(timestamp, key))
    }

    #[test]
    fn the_right_digest_of_now_is_let_in() {
        for timestamp in ["1795513505", "1795513205", "1795513805"] {
            assert_eq!(check(Some(&header("33333", SECRET_KEY, timestamp)), NOW_MS), Ok(()), "{timestamp}");
        }
    }

    #[test]
    fn anything_else_is_not() {
        let refused = [
            header("33334", SECRET_KEY, "1795513505"),
            header("33333", "another key", "1795513505"),
            header("33333", SECRET_KEY, "1795513204"),
            header("33333", SECRET_KEY, "1795513806"),
            header("33333", SECRET_KEY, "1795513505000"),
            header("33333", SECRET_KEY, "179551350x"),
            "33333:digest".to_owned(),
            String::new(),
        ];

        for header in &refused {
            assert!(check(Some(header), NOW_MS).is_err(), "{header}");
        }
        assert!(check(None, NOW_MS).is_err());
    }
}
