//! Where this process listens: at its pod's own address, and at the loopback, where `kubectl port-forward` comes in.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::{Context, Result};
use tokio::net::TcpListener;

/// Listens at `address`, without which there is no point, and at the loopback if that is possible.
pub(crate) async fn listen(address: SocketAddr) -> Result<Vec<TcpListener>> {
    let mut listeners =
        vec![TcpListener::bind(address).await.with_context(|| format!("can't listen on {address}"))?];
    if let Some(loopback) = loopback(address) {
        match TcpListener::bind(loopback).await {
            Ok(listener) => listeners.push(listener),
            Err(error) => {
                tracing::warn!(%error, "`kubectl port-forward` finds nobody: can't listen on {loopback}");
            }
        }
    }
    Ok(listeners)
}

/// `None` where `address` is the loopback, or all addresses.
fn loopback(address: SocketAddr) -> Option<SocketAddr> {
    let loopback = match address.ip() {
        ip if ip.is_loopback() || ip.is_unspecified() => return None,
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    Some(SocketAddr::new(loopback, address.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pods_address_has_its_loopback_beside_it() {
        let beside = |address: &str| loopback(address.parse().unwrap()).map(|beside| beside.to_string());
        assert_eq!(beside("10.244.0.7:7443").as_deref(), Some("127.0.0.1:7443"));
        assert_eq!(beside("[fd00::7]:8080").as_deref(), Some("[::1]:8080"));
        for alone in ["127.3.4.5:7443", "[::1]:7443", "0.0.0.0:7443", "[::]:7443"] {
            assert_eq!(beside(alone), None, "{alone}");
        }
    }

    #[tokio::test]
    async fn an_address_that_is_taken_is_an_error_that_names_it() {
        let [listener] = listen("127.0.0.1:0".parse().unwrap()).await.unwrap().try_into().unwrap();
        let address = listener.local_addr().unwrap();
        let error = listen(address).await.unwrap_err();
        assert!(error.to_string().contains(&address.to_string()), "{error}");
    }
}
