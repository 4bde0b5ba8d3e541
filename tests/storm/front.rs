//! What stands before several APIs: a connection goes to one that takes it.

use std::net::Ipv4Addr;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// A forwarder of connections. It ends when dropped.
pub(crate) struct Front {
    pub(crate) url: String,
    task: JoinHandle<()>,
}

impl Front {
    /// Forwards to whichever of these ports of this machine takes a connection.
    pub(crate) async fn start(ports: Vec<u16>) -> Front {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let task = tokio::spawn(async move {
            let mut turn = 0_usize;
            while let Ok((caller, _)) = listener.accept().await {
                turn = turn.wrapping_add(1);
                let mut ports = ports.clone();
                let first = turn % ports.len();
                ports.rotate_left(first);
                tokio::spawn(forward(caller, ports));
            }
        });
        Front { url, task }
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn forward(mut caller: TcpStream, ports: Vec<u16>) {
    for port in ports {
        if let Ok(mut api) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await {
            // Either side may be killed in the middle; the other then sees its connection end.
            let _ = tokio::io::copy_bidirectional(&mut caller, &mut api).await;
            return;
        }
    }
}
