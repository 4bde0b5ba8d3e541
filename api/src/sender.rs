//! The sender of a request: the peer of the connection, or the address that one of our proxies names.

use std::net::IpAddr;

use poem::Request;

use crate::CallbackAddresses;

const FORWARDED_FOR: &str = "x-forwarded-for";

/// The sender's address, as far as it can be trusted.
///
/// `X-Forwarded-For` counts only if the peer is a trusted proxy, and only the part that our own proxies wrote: each
/// appends at the right the address it saw. So the first address from the right that is not ours is the sender;
/// everything left of it was written by the sender itself. `None` if one of our proxies forwarded something that is not
/// an address.
pub(crate) fn sender(request: &Request, addresses: &CallbackAddresses) -> Option<IpAddr> {
    let peer = request.remote_addr().as_socket_addr()?.ip();
    let forwarded: Vec<&[u8]> =
        request.headers().get_all(FORWARDED_FOR).iter().map(|header| header.as_bytes()).collect();
    behind_proxies(peer, &forwarded.join(&b','), addresses)
}

fn behind_proxies(peer: IpAddr, forwarded: &[u8], addresses: &CallbackAddresses) -> Option<IpAddr> {
    let mut nearest = peer.to_canonical();
    if !addresses.trusts(nearest) || forwarded.is_empty() {
        return Some(nearest);
    }
    for entry in forwarded.rsplit(|byte| *byte == b',') {
        nearest = address(std::str::from_utf8(entry).ok()?.trim())?;
        if !addresses.trusts(nearest) {
            break;
        }
    }
    Some(nearest)
}

/// Reads `203.0.113.7`, `2001:db8::7`, and both with a port, as some proxies write them.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let with_port = || text.parse::<std::net::SocketAddr>().map(|address| address.ip());
    bare.parse::<IpAddr>().or_else(|_| with_port()).ok().map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GATEWAY: &str = "92.63.207.14";

    fn believed(peer: &str, forwarded: &str) -> Option<String> {
        let trusted_proxies = vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        let addresses = CallbackAddresses { trusted_proxies, ..CallbackAddresses::default() };
        behind_proxies(peer.parse().unwrap(), forwarded.as_bytes(), &addresses).map(|address| address.to_string())
    }

    /// Shows: MONEY-18
    #[test]
    fn a_forwarded_address_is_believed_from_our_own_proxies_alone() {
        for (peer, forwarded, expected) in [
            // A sender that connects directly can write anything into the header.
            ("203.0.113.7", "", "203.0.113.7"),
            ("203.0.113.7", GATEWAY, "203.0.113.7"),
            ("::ffff:203.0.113.7", GATEWAY, "203.0.113.7"),
            ("10.0.0.1", "", "10.0.0.1"),
            ("10.0.0.1", GATEWAY, GATEWAY),
            ("::ffff:10.0.0.1", GATEWAY, GATEWAY),
            ("fd00::1", "::ffff:92.63.207.14", GATEWAY),
            ("10.0.0.1", "92.63.207.14:51000", GATEWAY),
            ("10.0.0.1", "2001:db8::7", "2001:db8::7"),
            ("10.0.0.1", "[2001:db8::7]:443", "2001:db8::7"),
            ("10.0.0.1", "[2001:db8::7]", "2001:db8::7"),
            // A forged entry stands left of the one that our proxy wrote.
            ("10.0.0.1", "92.63.207.14, 203.0.113.7", "203.0.113.7"),
            ("10.0.0.1", "92.63.207.14,203.0.113.7 , 10.0.0.2", "203.0.113.7"),
            ("10.0.0.1", "nonsense, 203.0.113.7", "203.0.113.7"),
            // A call from our own network.
            ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
        ] {
            assert_eq!(believed(peer, forwarded).as_deref(), Some(expected), "{peer} for {forwarded:?}");
        }
    }

    /// Shows: MONEY-18
    #[test]
    fn a_forwarded_text_that_is_no_address_names_no_sender() {
        for forwarded in ["unknown", "203.0.113.7, unknown", "203.0.113.7,", " ", "\u{7f}", "1.2.3.4.5, 10.0.0.2"] {
            assert_eq!(believed("10.0.0.1", forwarded), None, "{forwarded:?}");
        }
    }
}
