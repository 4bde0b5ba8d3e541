//! The URL of a listener for this machine.

use std::net::SocketAddr;

/// The URL of `address` for this machine; a listener on all addresses is reached on loopback.
pub(crate) fn local_url(mut address: SocketAddr) -> String {
    match address {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => address.set_ip([127, 0, 0, 1].into()),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => address.set_ip(std::net::Ipv6Addr::LOCALHOST.into()),
        SocketAddr::V4(_) | SocketAddr::V6(_) => (),
    }
    format!("http://{address}")
}
