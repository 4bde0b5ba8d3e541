//! Reads a request's body up to its limit, without breaking the connection of a body above it.

use std::time::Duration;

use domain::body_coding::{CodingFault, decoded};
use poem::Body;
use poem::http::{HeaderMap, header};
use tokio::io::{AsyncRead, AsyncReadExt};

/// This many bytes above the limit are still read and thrown away.
///
/// A response in the middle of a body makes the server close the connection: that response, and the response to the
/// sender's next request on the connection, may be lost. A sender of more than this must accept that.
const THROWN_AWAY: u64 = 2 * 1024 * 1024;

/// How long a slow sender of such a body is waited for.
const THROWN_AWAY_WITHIN: Duration = Duration::from_secs(1);

/// Why a body cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyFault {
    /// It is above its limit, as sent or after removing its content coding.
    TooLarge,
    /// It did not arrive completely, or its content coding is broken.
    Incomplete,
    /// Its content coding is not one of [`domain::body_coding::CODINGS`].
    UnknownCoding,
}

/// The body without its content coding, if it has at most `limit` bytes both encoded and decoded.
///
/// # Errors
/// [`BodyFault`].
pub(crate) async fn read(headers: &HeaderMap, body: Body, limit: usize) -> Result<Vec<u8>, BodyFault> {
    let bytes = received(body, limit).await?;
    let named: Vec<&str> = headers
        .get_all(header::CONTENT_ENCODING)
        .iter()
        .map(|coding| coding.to_str().unwrap_or("unreadable"))
        .collect();
    decoded(Some(&named.join(",")), bytes, limit).map_err(|fault| match fault {
        CodingFault::Unknown => BodyFault::UnknownCoding,
        CodingFault::Broken => BodyFault::Incomplete,
        CodingFault::TooLarge => BodyFault::TooLarge,
    })
}

async fn received(body: Body, limit: usize) -> Result<Vec<u8>, BodyFault> {
    let mut reader = body.into_async_read();
    let mut bytes = Vec::new();
    let mut buffer = [0; 4_096];
    loop {
        let size = reader.read(&mut buffer).await.map_err(|_broke_off| BodyFault::Incomplete)?;
        if size == 0 {
            return Ok(bytes);
        }
        if bytes.len() + size > limit {
            let _ = tokio::time::timeout(THROWN_AWAY_WITHIN, throw_away(reader)).await;
            return Err(BodyFault::TooLarge);
        }
        bytes.extend_from_slice(&buffer[..size]);
    }
}

/// Reads without looking: the body is refused as too large in any case.
async fn throw_away(reader: impl AsyncRead + Unpin) {
    let _ = tokio::io::copy(&mut reader.take(THROWN_AWAY), &mut tokio::io::sink()).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_body_is_read_up_to_its_limit_and_not_a_byte_further() {
        let plain = HeaderMap::new();
        let within = read(&plain, Body::from_vec(vec![7; 10_000]), 10_000).await;
        let above = read(&plain, Body::from_vec(vec![7; 10_001]), 10_000).await;

        assert_eq!(within, Ok(vec![7; 10_000]));
        assert_eq!(above, Err(BodyFault::TooLarge));
    }

    /// Above the limit the response comes soon, even if the rest of the body never does.
    #[tokio::test]
    async fn a_sender_that_stalls_above_the_limit_is_not_waited_for() {
        let (mut sender, receiver) = tokio::io::duplex(64);
        let sending = tokio::spawn(async move {
            let _ = tokio::io::AsyncWriteExt::write_all(&mut sender, &[7; 100]).await;
            std::future::pending::<()>().await;
        });

        let plain = HeaderMap::new();
        let reading = read(&plain, Body::from_async_read(receiver), 10);
        let answer = tokio::time::timeout(Duration::from_secs(5), reading).await;

        assert_eq!(answer, Ok(Err(BodyFault::TooLarge)));
        sending.abort();
    }
}
