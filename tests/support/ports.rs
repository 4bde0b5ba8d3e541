//! Ports that no other test is given.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::sync::Mutex;

/// Below the range from which the kernel takes ports for outgoing connections (32768 and up on Linux): a server that is
/// down for a moment must find its port free again, and a client that keeps knocking on it must not be given that very
/// port for its own end, for it would then connect to itself. The range above 30000 is left to `tests/run`.
const RANGE: std::ops::Range<u16> = 10_000..30_000;

/// What this process has handed out, held until it ends.
static RESERVED: Mutex<Vec<UdpSocket>> = Mutex::new(Vec::new());

/// A free TCP port on 127.0.0.1 which belongs to this process until it ends.
///
/// Tests run in many processes at once, and a port that was merely found free may be taken before the server is up. So
/// the UDP port of the same number is kept bound as a reservation: only one process can have it, all our tests ask for
/// it first, it is in nobody's way, and the kernel gives it back even when the process is killed.
/// Strangers on the same machine do not ask; against them there are only the size of the range and the check.
pub(crate) fn free_port() -> u16 {
    for _ in 0..1_000 {
        let port = rand::random_range(RANGE);
        let Ok(reservation) = UdpSocket::bind((Ipv4Addr::LOCALHOST, port)) else {
            continue; // another test has it
        };
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            RESERVED.lock().unwrap().push(reservation);
            return port;
        }
    }
    panic!("no free port found between {} and {}", RANGE.start, RANGE.end);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_port_is_handed_out_twice() {
        let mut ports: Vec<u16> = (0..200).map(|_| free_port()).collect();

        ports.sort_unstable();
        ports.dedup();

        assert_eq!(ports.len(), 200);
    }
}
