//! Reading a request's body up to its limit, without breaking the connection where it is above.

use std::time::Duration;

use domain::body_coding::{CodingFault, decoded};
use poem::Body;
use poem::http::{HeaderMap, header};
use tokio::io::{AsyncRead, AsyncReadExt};

/// So much above its limit is still taken off the connection, and thrown away.
///
/// An answer in mid-body makes the server close the connection: the answer may be cut off before it is read, and so
/// may the answer to the sender's next request on that connection. Who sends more than this must live with that.
const THROWN_AWAY: u64 = 2 * 1024 * 1024;

/// Nobody waits longer for a sender that is slow on top of it.
const THROWN_AWAY_WITHIN: Duration = Duration::from_secs(1);

/// Why there is no body to be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyFault {
    /// It is above its limit, as it came or without its content coding.
    TooLarge,
    /// It did not arrive whole, or its content coding is broken.
    Incomplete,
    /// Its content coding is not one of [`domain::body_coding::CODINGS`].
    UnknownCoding,
}

/// The body without its content coding, if it has at most `limit` bytes with it and without it.
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

/// It is too large already; what else is wrong with it makes no difference.
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

    /// Above the limit, the answer comes soon even if the rest of the body never does.
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
