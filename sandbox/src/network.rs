//! A part of loopback for each sandbox alone, so that ports never collide, whatever else runs.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, bail};
use rand::seq::SliceRandom;

/// Whoever listens here, on the last address of a network, owns the network. Above the ports that the kernel hands out.
const CLAIM_PORT: u16 = 61_617;
/// The first one for what comes later; below are the sandbox's own.
const FIRST_ADDRESS: u32 = 256;
const LAST_ADDRESS: u32 = 0xff00;

/// `127.A.0.0/16`, ours for as long as this lives.
#[derive(Debug)]
pub struct Network {
    second: u8,
    next: AtomicU32,
    _claim: TcpListener,
}

impl Network {
    /// Takes a network that no other sandbox on this machine has.
    pub fn claim() -> Result<Self> {
        let mut choices: Vec<u8> = (1..=254).collect();
        choices.shuffle(&mut rand::rng());
        for second in choices {
            let claim = SocketAddrV4::new(Ipv4Addr::new(127, second, 255, 254), CLAIM_PORT);
            if let Ok(listener) = TcpListener::bind(claim) {
                return Ok(Self { second, next: AtomicU32::new(FIRST_ADDRESS), _claim: listener });
            }
        }
        bail!("no network 127.A.0.0/16 is free: does something listen on port {CLAIM_PORT} of every address?")
    }

    /// `127.A.0.host`, for the sandbox's own servers.
    #[must_use]
    pub fn own(&self, host: u8) -> Ipv4Addr {
        Ipv4Addr::new(127, self.second, 0, host)
    }

    /// An address that nobody has had yet: every port of it is free.
    pub fn next_address(&self) -> Result<Ipv4Addr> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        if number > LAST_ADDRESS {
            bail!("this sandbox has handed out all of its {LAST_ADDRESS} addresses");
        }
        let [.., third, fourth] = number.to_be_bytes();
        Ok(Ipv4Addr::new(127, self.second, third, fourth))
    }

    /// A port on an address of its own, held until the listener is dropped.
    pub fn listen(&self) -> Result<(TcpListener, SocketAddr)> {
        let listener = TcpListener::bind((self.next_address()?, 0)).context("can't listen on loopback")?;
        let address = listener.local_addr().context("can't tell where we listen")?;
        Ok((listener, address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_networks_at_once_differ_and_addresses_never_repeat() {
        let (one, two) = (Network::claim().unwrap(), Network::claim().unwrap());
        assert_ne!(one.own(1), two.own(1));
        let first = one.next_address().unwrap();
        assert_ne!(first, one.next_address().unwrap());
        assert!(first.is_loopback());
        assert_eq!(first.octets()[1], one.own(1).octets()[1]);
    }
}
