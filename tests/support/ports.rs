//! Ports that only one test uses.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::sync::Mutex;

/// Below the range of ports for outgoing connections (32768 and up on Linux). A server that is down for a moment must
/// find its port free again, and a client that keeps connecting to it must not get that port for its own end, or it
/// would connect to itself. `tests/run` uses the range above 30000.
const RANGE: std::ops::Range<u16> = 10_000..30_000;

/// The ports of this process, reserved until it ends.
static RESERVED: Mutex<Vec<UdpSocket>> = Mutex::new(Vec::new());

/// A free TCP port on 127.0.0.1, reserved for this process until it ends.
///
/// Tests run in many processes at once, and a port that is only found free may be taken before its server has started.
/// Therefore the UDP port with the same number stays bound as a reservation: only one process can have it, all our tests bind
/// it first, it disturbs no other program, and the kernel frees it even if the process is killed. Other programs do not
/// respect it; the range and the check make a collision with them unlikely.
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
