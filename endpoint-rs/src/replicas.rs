//! Which replica a reader is given: in sync, not far behind, near, and each in its turn.

use std::net::SocketAddr;

/// One replica, as the control describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replica {
    /// Where it is.
    pub address: SocketAddr,
    /// Its failure domain; empty: unknown.
    pub zone: String,
    /// How far it is behind.
    pub lag_bytes: u64,
}

/// Return the addresses to read from: within `lag_max_bytes`, and of `zone` if any of them is.
#[must_use]
pub fn eligible(replicas: &[Replica], lag_max_bytes: u64, zone: &str) -> Vec<SocketAddr> {
    let fresh = || replicas.iter().filter(|it| it.lag_bytes <= lag_max_bytes);
    let near: Vec<_> =
        fresh().filter(|it| !zone.is_empty() && it.zone == zone).map(|it| it.address).collect();
    if near.is_empty() { fresh().map(|it| it.address).collect() } else { near }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replica(port: u16, zone: &str, lag_bytes: u64) -> Replica {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        Replica { address, zone: zone.to_owned(), lag_bytes }
    }

    fn ports(found: &[SocketAddr]) -> Vec<u16> {
        found.iter().map(SocketAddr::port).collect()
    }

    #[test]
    fn the_own_zone_is_preferred_while_it_has_a_fresh_replica() {
        let mut replicas = vec![replica(1, "a", 0), replica(2, "b", 10), replica(3, "b", 11)];
        assert_eq!(ports(&eligible(&replicas, 10, "b")), [2]);
        replicas[1].lag_bytes = 11;
        assert_eq!(ports(&eligible(&replicas, 10, "b")), [1]);
        assert_eq!(ports(&eligible(&replicas, 10, "")), [1]);
        assert!(eligible(&[], 10, "b").is_empty());
    }

    #[test]
    fn an_unknown_zone_is_nobodys_own() {
        let replicas = vec![replica(1, "", 0), replica(2, "b", 0)];
        assert_eq!(ports(&eligible(&replicas, 0, "")), [1, 2]);
    }
}
