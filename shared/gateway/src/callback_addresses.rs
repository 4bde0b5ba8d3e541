//! The addresses from which a gateway may call us: what each gateway's settings have in common.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// How a correctly signed callback from an unlisted address is treated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AddressCheck {
    /// Like any other: the signature decides. This is the default, because a list with one wrong network, or a
    /// forgotten proxy, would refuse every payment of the shop.
    #[default]
    Off,
    /// It is logged, and decided like any other.
    Watch,
    /// It is logged and refused.
    Refuse,
}

/// Whether the networks contain the address. An IPv4 address matches in both notations: a socket may report it as
/// `::ffff:92.63.207.1`.
pub fn holds(networks: &[IpNet], address: IpAddr) -> bool {
    let address = address.to_canonical();
    networks.iter().any(|network| network.contains(&address))
}

/// `off`, `watch` or `refuse`.
///
/// # Errors
/// It is none of them.
pub fn address_check(text: &str) -> Result<AddressCheck, String> {
    match text {
        "off" => Ok(AddressCheck::Off),
        "watch" => Ok(AddressCheck::Watch),
        "refuse" => Ok(AddressCheck::Refuse),
        _ => Err("is none of off, watch and refuse".to_owned()),
    }
}

/// The most networks a list may have; each request is compared with every one.
const MAX_NETWORKS: usize = 100;

/// Parses `92.63.207.0/24,10.0.0.7`: networks and single addresses. Error texts name entries by their number.
///
/// # Errors
/// An entry is neither, or the list contains every address or more than 100 entries.
pub fn networks(text: &str) -> Result<Vec<IpNet>, String> {
    let mut networks = Vec::new();
    for (index, entry) in text.split(',').map(str::trim).enumerate() {
        let number = index + 1;
        let network = entry.parse::<IpNet>().ok().or_else(|| entry.parse::<IpAddr>().ok().map(IpNet::from));
        match network.map(plain_network) {
            Some(network) if holds_all(&network) => {
                return Err(format!("has an entry {number} that contains every address, which is no list"));
            }
            Some(network) => networks.push(network),
            None => {
                return Err(format!(
                    "has an entry {number} that is no network such as 92.63.207.0/24, and no address such as 10.0.0.7"
                ));
            }
        }
    }
    if networks.len() > MAX_NETWORKS {
        return Err(format!("has more than {MAX_NETWORKS} entries"));
    }
    // Also catches `0.0.0.0/1,128.0.0.0/1` and any other set of parts.
    match IpNet::aggregate(&networks).iter().any(holds_all) {
        true => Err("has entries that together contain every address, which is no list".to_owned()),
        false => Ok(networks),
    }
}

/// All IPv4 addresses in IPv6 notation, `::ffff:0:0/96` (RFC 4291 §2.5.5.2).
const MAPPED: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96);

/// The network without bits beyond its prefix, and in IPv4 notation if it is IPv4-mapped: sender addresses are compared
/// in that notation.
fn plain_network(network: IpNet) -> IpNet {
    let network = network.trunc();
    let mapped = match network {
        IpNet::V6(network) => network.addr().to_ipv4_mapped().filter(|_| MAPPED.contains(&network)),
        IpNet::V4(_) => None,
    };
    let plain = mapped.and_then(|address| Ipv4Net::new(address, network.prefix_len().checked_sub(96)?).ok());
    plain.map_or(network, IpNet::V4)
}

/// Whether it contains every IPv4 or every IPv6 address.
fn holds_all(network: &IpNet) -> bool {
    match network {
        IpNet::V4(network) => network.prefix_len() == 0,
        IpNet::V6(network) => network.contains(&MAPPED),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sender's address is compared in IPv4 notation, so a list must be converted to it.
    #[test]
    fn ipv4_networks_in_ipv6_notation_are_read_as_ipv4() {
        let read = |text: &str| networks(text).unwrap().iter().map(ToString::to_string).collect::<Vec<_>>();

        assert_eq!(read("::ffff:92.63.207.0/120"), ["92.63.207.0/24"]);
        assert_eq!(read("::ffff:92.63.207.9/120, ::ffff:10.0.0.7"), ["92.63.207.0/24", "10.0.0.7/32"]);
        assert_eq!(read("2001:db8::/32,0.0.0.0/1"), ["2001:db8::/32", "0.0.0.0/1"]);
    }
}
