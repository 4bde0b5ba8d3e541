//! A call whose body comes in two halves, or only its first half.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use url::Url;

use crate::exchange::Exchange;

/// Sends the first half of the body; then, after `pause`, the rest and reads the answer, or closes the connection if
/// there is no `pause`.
pub(super) async fn exchange(
    url: &Url,
    authorization: Option<&str>,
    content_type: &str,
    body: &str,
    pause: Option<Duration>,
    timeout: Duration,
) -> Exchange {
    let started = Instant::now();
    let mut came = Exchange { http_status: None, body: Vec::new(), timed_out: false, error: None, milliseconds: 0 };
    let limit = timeout.saturating_add(pause.unwrap_or_default());
    match tokio::time::timeout(limit, send(url, authorization, content_type, body, pause)).await {
        Ok(Ok((status, answer))) => {
            came.http_status = Some(status);
            came.body = answer;
        }
        Ok(Err(why)) => came.error = Some(why),
        Err(_) => {
            came.timed_out = true;
            came.error = Some("no answer in time".to_owned());
        }
    }
    came.milliseconds = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    came
}

async fn send(
    url: &Url,
    authorization: Option<&str>,
    content_type: &str,
    body: &str,
    pause: Option<Duration>,
) -> Result<(u16, Vec<u8>), String> {
    let (Some(host), "http") = (url.host_str(), url.scheme()) else {
        return Err("only an http address can be called in two halves".to_owned());
    };
    let port = url.port_or_known_default().unwrap_or(80);
    let told = |cause: std::io::Error| cause.to_string();
    let mut stream = TcpStream::connect((host.trim_matches(['[', ']']), port)).await.map_err(told)?;
    let authorization = authorization.map(|value| format!("Authorization: {value}\r\n")).unwrap_or_default();
    let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
    let head = format!(
        "POST {}{query} HTTP/1.1\r\nHost: {host}:{port}\r\n{authorization}Content-Type: {content_type}\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        url.path(),
        body.len()
    );
    let (first, rest) = body.as_bytes().split_at(body.len() / 2);
    stream.write_all(head.as_bytes()).await.map_err(told)?;
    stream.write_all(first).await.map_err(told)?;
    let Some(pause) = pause else {
        stream.shutdown().await.map_err(told)?;
        return Err("the connection was closed in the middle on purpose".to_owned());
    };
    tokio::time::sleep(pause).await;
    stream.write_all(rest).await.map_err(told)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.map_err(told)?;
    read(&answer).ok_or_else(|| "an answer that cannot be read".to_owned())
}

/// The status and the body of a whole HTTP/1.1 answer.
fn read(answer: &[u8]) -> Option<(u16, Vec<u8>)> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(answer.get(..end)?).ok()?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let body = answer.get(end + 4..)?;
    let is_chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    Some((status, if is_chunked { unchunked(body)? } else { body.to_vec() }))
}

fn unchunked(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut whole = Vec::new();
    loop {
        let end = rest.windows(2).position(|two| two == b"\r\n")?;
        let length = usize::from_str_radix(std::str::from_utf8(rest.get(..end)?).ok()?.trim(), 16).ok()?;
        if length == 0 {
            return Some(whole);
        }
        whole.extend_from_slice(rest.get(end + 2..end + 2 + length)?);
        rest = rest.get(end + 4 + length..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_in_one_piece_or_in_chunks() {
        let plain = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
        let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n";

        assert_eq!(read(plain), Some((200, b"{}".to_vec())));
        assert_eq!(read(chunked), Some((200, b"{}".to_vec())));
        assert_eq!(read(b"nonsense"), None);
    }
}
