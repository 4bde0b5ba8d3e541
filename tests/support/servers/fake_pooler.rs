//! A connection pooler in transaction mode.

use std::io::{BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

/// A server that greets like a PostgreSQL behind a pooler, all of whose connections share one session. It answers
/// questions about session and encoding, and closes the connection at anything else. It ends with the test's process.
pub(crate) struct FakePooler {
    port: u16,
}

impl FakePooler {
    /// Starts a fake pooler.
    pub(crate) fn start() -> FakePooler {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                std::thread::spawn(move || answer_like_a_pooler(connection));
            }
        });
        FakePooler { port }
    }

    /// The URL of its database.
    pub(crate) fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }
}

const SSL_REQUEST: [u8; 4] = 80_877_103_u32.to_be_bytes();
const INTEGER: u32 = 23;
const TEXT: u32 = 25;

/// Answers until the other side closes, which is no failure.
fn answer_like_a_pooler(mut connection: TcpStream) -> Option<()> {
    let mut messages = BufReader::new(connection.try_clone().ok()?);
    loop {
        let start = body(&mut messages)?;
        if start != SSL_REQUEST {
            break;
        }
        connection.write_all(b"N").ok()?;
    }
    let let_in = [message(b'R', &[0; 4]), message(b'K', &[0; 8]), message(b'Z', b"I")].concat();
    connection.write_all(&let_in).ok()?;
    loop {
        let mut kind = [0];
        messages.read_exact(&mut kind).ok()?;
        let question = String::from_utf8_lossy(&body(&mut messages)?).into_owned();
        let columns: &[(&str, u32, &str)] = match &question {
            question if question.contains("pg_backend_pid") => &[("session", INTEGER, "4711")],
            question if question.contains("server_encoding") => {
                &[("encoding", TEXT, "UTF8"), ("number", INTEGER, "150000"), ("version", TEXT, "15.0")]
            }
            _ => return None,
        };
        let mut described = vec![0, u8::try_from(columns.len()).ok()?];
        let mut row = described.clone();
        for (name, of_type, value) in columns {
            described.extend([name.as_bytes(), &[0; 7], &of_type.to_be_bytes(), &[0; 8]].concat());
            row.extend([&u32::try_from(value.len()).ok()?.to_be_bytes()[..], value.as_bytes()].concat());
        }
        let answer =
            [message(b'T', &described), message(b'D', &row), message(b'C', b"SELECT 1\0"), message(b'Z', b"I")]
                .concat();
        connection.write_all(&answer).ok()?;
    }
}

/// The length of a message, which includes itself, and the rest of the message.
fn body(messages: &mut impl Read) -> Option<Vec<u8>> {
    let mut length = [0; 4];
    messages.read_exact(&mut length).ok()?;
    let mut body = vec![0; usize::try_from(u32::from_be_bytes(length)).ok()?.checked_sub(4)?];
    messages.read_exact(&mut body).ok()?;
    Some(body)
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap();
    [&[kind], &length.to_be_bytes()[..], body].concat()
}
