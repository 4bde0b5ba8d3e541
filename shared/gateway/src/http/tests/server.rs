//! A gateway of a few lines, on a real socket: it answers what a test tells it to, and remembers what it was asked.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

/// One request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) authorization: String,
    /// The header `Auth` of Click.
    pub(crate) auth: String,
    pub(crate) body: String,
    /// How many requests of the same path came before it.
    pub(crate) earlier: usize,
    /// How many requests came before it by its connection.
    pub(crate) by_this_connection: usize,
}

/// The answer to a request.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// Status, further headers each ending in a line break, body.
    Answer(u16, &'static str, String),
    /// HTTP 200 with further headers, and bytes that need not be text.
    Bytes(&'static str, Vec<u8>),
    /// The same, later.
    Late(Duration, Box<Reply>),
    /// The connection ends without an answer.
    CutOff,
    /// The connection ends in the middle of the answer.
    Truncated,
}

type Script = dyn Fn(&Request) -> Reply + Send + Sync;

pub(crate) struct Server {
    pub(crate) url: String,
    requests: Arc<Mutex<Vec<Request>>>,
    listening: AbortHandle,
}

impl Server {
    pub(crate) async fn start(script: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (seen, script) = (Arc::clone(&requests), Arc::new(script) as Arc<Script>);
        let listening = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&seen), Arc::clone(&script)));
            }
        });
        Server { url, requests, listening: listening.abort_handle() }
    }

    pub(crate) fn requests(&self, path: &str) -> Vec<Request> {
        self.requests.lock().unwrap().iter().filter(|request| request.path == path).cloned().collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

async fn serve(stream: TcpStream, seen: Arc<Mutex<Vec<Request>>>, script: Arc<Script>) -> Option<()> {
    let mut stream = BufReader::new(stream);
    for by_this_connection in 0.. {
        let request = {
            let mut request = Request { by_this_connection, ..read(&mut stream).await? };
            let mut seen = seen.lock().unwrap();
            request.earlier = seen.iter().filter(|earlier| earlier.path == request.path).count();
            seen.push(request.clone());
            request
        };
        let mut reply = script(&request);
        if let Reply::Late(wait, later) = reply {
            tokio::time::sleep(wait).await;
            reply = *later;
        }
        let (status, headers, body, length) = match &reply {
            Reply::Answer(status, headers, body) => (*status, *headers, body.as_bytes(), body.len()),
            Reply::Bytes(headers, body) => (200, *headers, body.as_slice(), body.len()),
            Reply::Truncated => (200, "", &br#"{"result":{"code":"#[..], 500),
            Reply::CutOff | Reply::Late(..) => return None,
        };
        let head = format!("HTTP/1.1 {status} X\r\n{headers}Content-Length: {length}\r\n\r\n");
        stream.write_all(&[head.as_bytes(), body].concat()).await.ok()?;
        if matches!(reply, Reply::Truncated) {
            return None;
        }
    }
    None
}

async fn read(stream: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok().filter(|bytes| *bytes > 0)?;
    let method = line.split(' ').next()?.to_owned();
    let path = line.split(' ').nth(1)?.to_owned();
    let (mut authorization, mut auth, mut length) = (String::new(), String::new(), 0);
    loop {
        line.clear();
        stream.read_line(&mut line).await.ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "authorization" => authorization = value.to_owned(),
            "auth" => auth = value.to_owned(),
            "content-length" => length = value.parse().ok()?,
            _ => (),
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    let body = String::from_utf8(body).ok()?;
    Some(Request { method, path, authorization, auth, body, earlier: 0, by_this_connection: 0 })
}
