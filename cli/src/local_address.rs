//! Addresses of this machine.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use url::Url;

/// Whether the URL leads to this machine and no further.
pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

/// Whether the URL leads to what listens at `address` on this machine.
pub(crate) fn leads_to(url: &Url, address: SocketAddr) -> bool {
    let is_local = address.ip().is_loopback() || address.ip().is_unspecified();
    let by_another_name = is_local && is_loopback(url) && url.port_or_known_default() == Some(address.port());
    url.scheme() == "http" && (by_another_name || local_url(address).as_ref() == Some(url))
}

/// How this machine itself reaches what listens at `address`; "every address" is reached at loopback. Without a
/// last slash, such as `http://127.0.0.1:8000`.
pub(crate) fn local_base(address: SocketAddr) -> String {
    let ip = match address.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
    };
    format!("http://{}", SocketAddr::new(ip, address.port()))
}

pub(crate) fn local_url(address: SocketAddr) -> Option<Url> {
    Url::parse(&local_base(address)).ok()
}
