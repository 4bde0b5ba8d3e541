//! A Redis that does not meet the requirements.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

/// A server that answers like a Redis of a given version and stores nothing. It ends with the test's process.
pub(crate) struct FakeRedis {
    port: u16,
}

impl FakeRedis {
    /// Starts one with this version, such as `6.2.0`.
    pub(crate) fn start(version: &str) -> FakeRedis {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let version = version.to_owned();
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let version = version.clone();
                std::thread::spawn(move || answer_like_redis(connection, &version));
            }
        });
        FakeRedis { port }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }
}

/// Answers until the other side closes, which is no failure.
fn answer_like_redis(mut connection: TcpStream, version: &str) -> Option<()> {
    let mut requests = BufReader::new(connection.try_clone().ok()?);
    loop {
        let request = read_request(&mut requests)?;
        let words: Vec<&str> = request.iter().map(String::as_str).collect();
        let answer = match words.as_slice() {
            ["PING", ..] => "+PONG\r\n".to_owned(),
            ["INFO", ..] => bulk(&format!("# Server\r\nredis_version:{version}\r\nredis_mode:standalone\r\n")),
            ["CONFIG", "GET", name] => format!("*2\r\n{}{}", bulk(name), bulk("noeviction")),
            ["BLMPOP", ..] => "-ERR unknown command 'BLMPOP'\r\n".to_owned(), // as before version 7
            _ => "+OK\r\n".to_owned(),
        };
        connection.write_all(answer.as_bytes()).ok()?;
    }
}

/// A request is an array of bulk strings: `*2 $4 PING $2 me`, each on its line. The command is returned in capitals.
fn read_request(requests: &mut impl BufRead) -> Option<Vec<String>> {
    let words = read_length(requests, '*')?;
    let mut request = Vec::new();
    for position in 0..words {
        let mut word = vec![0; read_length(requests, '$')? + 2]; // and the line's end
        requests.read_exact(&mut word).ok()?;
        let word = String::from_utf8_lossy(&word).trim_end().to_owned();
        let is_command = position == 0 || request.first().is_some_and(|first| first == "CONFIG") && position == 1;
        request.push(if is_command { word.to_uppercase() } else { word });
    }
    Some(request)
}

fn read_length(requests: &mut impl BufRead, mark: char) -> Option<usize> {
    let mut line = String::new();
    requests.read_line(&mut line).ok()?;
    line.trim_end().strip_prefix(mark)?.parse().ok()
}

fn bulk(text: &str) -> String {
    format!("${}\r\n{text}\r\n", text.len())
}
