//! What a plane is told at the beginning, with the defaults and bounds of each value.
//!
//! Sources of defaults stand beside them; everything is checked by [`Config::check`] before a
//! socket is opened, and every message names the key as the control writes it.

use std::fmt;
use std::net::IpAddr;
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::time::Duration;

use zeroize::Zeroizing;

/// A mebibyte.
pub const MIB: usize = 1024 * 1024;

/// Where a listener's commands go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// To the primary of the moment.
    Primary,
    /// To the replicas in sync: reads.
    Replicas,
}

/// Where a listener listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// `HOST:PORT`, not resolved.
    Tcp(String),
    /// A path of the file system.
    Unix(PathBuf),
}

/// One network in CIDR notation; a bare address is a network of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    base: u128,
    mask: u128,
    is_v4: bool,
}

impl Network {
    /// Read `10.0.0.0/8`, `::1`, ... `None` when it is neither an address nor a network.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (address, bits) = text.split_once('/').map_or((text, None), |(a, b)| (a, Some(b)));
        let address: IpAddr = address.parse().ok()?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        let bits: u32 = bits.map_or(Some(width), |b| b.parse().ok())?;
        if bits > width {
            return None;
        }
        let mask = if bits == 0 { 0 } else { u128::MAX << (width - bits) };
        Some(Self { base: number(address) & mask, mask, is_v4: address.is_ipv4() })
    }

    /// Whether an address belongs to this network. IPv4 in IPv6 counts as IPv4.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.is_v4 && number(address) & self.mask == self.base
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(u32::from(v4)),
        IpAddr::V6(v6) => u128::from(v6),
    }
}

/// One address that clients connect to.
#[derive(Clone, Debug)]
pub struct Listener {
    /// As configured; the name under which it is reported.
    pub name: String,
    /// Where to bind.
    pub address: Address,
    /// Where its commands go.
    pub kind: Kind,
    /// Whether clients speak TLS.
    pub tls: bool,
    /// Whose connections begin with a PROXY protocol header.
    pub proxy_from: Vec<Network>,
    /// Sockets to take over instead of binding.
    pub fds: Vec<RawFd>,
}

/// Whether clients show certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientCertificates {
    /// Not asked for.
    None,
    /// Checked when shown.
    Optional,
    /// Needed.
    Required,
}

/// TLS towards clients.
#[derive(Clone, Debug)]
pub struct Tls {
    /// PEM chain.
    pub certificate: PathBuf,
    /// PEM key.
    pub key: PathBuf,
    /// PEM authorities of client certificates.
    pub client_ca: Option<PathBuf>,
    /// Whether clients show certificates.
    pub client_certificates: ClientCertificates,
}

/// TLS towards instances.
#[derive(Clone, Debug)]
pub struct UpstreamTls {
    /// PEM authorities.
    pub ca: PathBuf,
    /// PEM chain and key that we show.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// The name to expect instead of the host.
    pub name: Option<String>,
}

/// What happens when too few replicas have a write in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Otherwise {
    /// `-NOREPLICAS`.
    Refuse,
    /// The primary's reply, a counter and a notice.
    Degrade,
}

/// Durable replies.
#[derive(Clone, Copy, Debug)]
pub struct Acks {
    /// How many replicas; 0: off.
    pub replicas: u32,
    /// How long to wait for them.
    pub timeout: Duration,
    /// When they don't come.
    pub otherwise: Otherwise,
}

/// How replicas are chosen.
#[derive(Clone, Debug)]
pub struct Read {
    /// Those further behind are not read from.
    pub lag_max_bytes: u64,
    /// Preferred zone; empty: none.
    pub zone: String,
    /// Read from the primary when there is none.
    pub falls_back: bool,
}

/// What happens while there is no primary.
#[derive(Clone, Copy, Debug)]
pub struct Hold {
    /// From the beginning of a hold until held commands are answered by LOADING.
    pub window: Duration,
    /// Read ahead from one held client.
    pub client_bytes: usize,
    /// Read ahead from all held clients.
    pub total_bytes: usize,
    /// Connections that a worker opens at once.
    pub release_concurrency: usize,
}

/// Bounds of what clients may use. Zero durations and counts: no limit, where the stub says so.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Clients over all listeners.
    pub connections: usize,
    /// Clients of one address; 0: no limit.
    pub connections_per_address: usize,
    /// One command.
    pub request_bytes: usize,
    /// One command before the first that succeeded.
    pub unauthenticated_request_bytes: usize,
    /// Unfinished commands of all clients.
    pub total_input_bytes: usize,
    /// Replies that wait for one client.
    pub client_output_bytes: usize,
    /// Replies that wait for all clients.
    pub total_output_bytes: usize,
    /// From the connect to the end of TLS, of the PROXY header, of a first command that was begun.
    pub handshake: Duration,
    /// Silence of a client; 0: no limit.
    pub idle: Duration,
    /// Silence in the middle of a command.
    pub partial: Duration,
}

/// Connections to instances.
#[derive(Clone, Debug)]
pub struct Upstream {
    /// Shared connections of a worker for each session key.
    pub shared_per_worker: usize,
    /// Until a connection stands.
    pub connect: Duration,
    /// How long an instance's kernel may be silent.
    pub silent: Duration,
    /// Who sends CLIENT UNBLOCK: user and password.
    pub unblocker: Option<(String, Secret)>,
}

/// A password: wiped from memory when dropped, never printed.
#[derive(Clone)]
pub struct Secret(pub Zeroizing<String>);

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(…)")
    }
}

/// Everything a plane is told at the beginning.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where clients connect.
    pub listeners: Vec<Listener>,
    /// Threads.
    pub workers: usize,
    /// TLS towards clients.
    pub tls: Option<Tls>,
    /// TLS towards instances.
    pub upstream_tls: Option<UpstreamTls>,
    /// Durable replies.
    pub acks: Option<Acks>,
    /// How replicas are chosen.
    pub read: Read,
    /// What happens while there is no primary.
    pub hold: Hold,
    /// Bounds of what clients may use.
    pub limits: Limits,
    /// Connections to instances.
    pub upstream: Upstream,
    /// Close the client of a write whose fate is unknown, instead of answering AMBIGUOUS.
    pub closes_on_ambiguous: bool,
    /// Let DEBUG pass.
    pub allow_debug: bool,
}

/// The most threads that are sensible: beyond, shared connections gather too little.
pub const WORKERS_MAX: usize = 16;

impl Default for Config {
    fn default() -> Self {
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            listeners: Vec::new(),
            workers: cpus.min(WORKERS_MAX),
            tls: None,
            upstream_tls: None,
            acks: None,
            read: Read { lag_max_bytes: MIB as u64, zone: String::new(), falls_back: true },
            hold: Hold {
                window: Duration::from_secs(10),
                client_bytes: MIB,
                total_bytes: 256 * MIB,
                release_concurrency: 64,
            },
            limits: Limits {
                connections: 50_000,
                connections_per_address: 0,
                request_bytes: 1024 * MIB,
                unauthenticated_request_bytes: 64 * 1024,
                total_input_bytes: 1024 * MIB,
                client_output_bytes: 256 * MIB,
                total_output_bytes: 1024 * MIB,
                handshake: Duration::from_secs(10),
                idle: Duration::ZERO,
                partial: Duration::from_secs(60),
            },
            upstream: Upstream {
                shared_per_worker: 1,
                connect: Duration::from_secs(1),
                silent: Duration::from_secs(5),
                unblocker: None,
            },
            closes_on_ambiguous: false,
            allow_debug: false,
        }
    }
}

impl Config {
    /// Say what cannot be, in words for the person who wrote it.
    ///
    /// # Errors
    /// A message that names the key.
    pub fn check(&self) -> Result<(), String> {
        if self.listeners.is_empty() {
            return Err("listeners: none is given; name at least one HOST:PORT".to_owned());
        }
        if !(1..=1024).contains(&self.workers) {
            return Err(format!("workers: {} is not between 1 and 1024", self.workers));
        }
        if self.tls.is_none()
            && let Some(listener) = self.listeners.iter().find(|listener| listener.tls)
        {
            return Err(format!(
                "listener {}: tls is on, but `tls` names no certificate",
                listener.name
            ));
        }
        if let Some(tls) = &self.tls
            && tls.client_certificates != ClientCertificates::None
            && tls.client_ca.is_none()
        {
            return Err("tls.client_certificates: needs tls.client_ca to check them by".to_owned());
        }
        for (index, listener) in self.listeners.iter().enumerate() {
            if self.listeners[..index].iter().any(|other| other.name == listener.name) {
                return Err(format!("listeners: {} is named twice", listener.name));
            }
        }
        let positive = [
            ("hold.client_bytes", self.hold.client_bytes),
            ("hold.release_concurrency", self.hold.release_concurrency),
            ("limits.connections", self.limits.connections),
            ("limits.request_bytes", self.limits.request_bytes),
            ("limits.unauthenticated_request_bytes", self.limits.unauthenticated_request_bytes),
            ("limits.client_output_bytes", self.limits.client_output_bytes),
            ("upstream.shared_per_worker", self.upstream.shared_per_worker),
        ];
        match positive.iter().find(|(_, value)| *value == 0) {
            Some((key, _)) => Err(format!("{key}: must be more than 0")),
            None => Ok(()),
        }
    }
}

/// Read the address of a listener: `HOST:PORT`, `[IPV6]:PORT` or `unix:/PATH`.
///
/// # Errors
/// A message that names the address.
pub fn parse_address(text: &str) -> Result<Address, String> {
    if let Some(path) = text.strip_prefix("unix:") {
        return if path.starts_with('/') {
            Ok(Address::Unix(PathBuf::from(path)))
        } else {
            Err(format!("listener {text}: the path of a unix socket must be absolute"))
        };
    }
    match text.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => {
            Ok(Address::Tcp(text.to_owned()))
        }
        _ => Err(format!("listener {text}: write HOST:PORT, [IPV6]:PORT or unix:/PATH")),
    }
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
