//! Turns configured addresses into listening sockets, a set for each worker.
//!
//! Each worker listens on a TCP socket of its own (`SO_REUSEPORT`): the kernel spreads connections
//! without a lock between workers. A unix socket cannot be bound twice, so workers share it.
//! Sockets taken over from another process are all served, however many workers there are: one
//! that nobody accepts from would swallow the connections that the kernel gives it.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::sync::Arc;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::config::{Address, Listener};

/// Connections that the kernel keeps for us while a worker is busy; storms after a network fault
/// are many times Redis' default of 511. The kernel's own bound is `somaxconn`.
const BACKLOG: i32 = 4096;

/// One listening socket.
#[derive(Debug)]
pub struct Bound {
    /// The socket, non-blocking.
    pub socket: Socket,
    /// What it was configured as.
    pub listener: Arc<Listener>,
    /// Its place in the configuration.
    pub index: usize,
}

impl Bound {
    /// Share the socket.
    ///
    /// # Errors
    /// When the system has no descriptors left.
    pub fn try_clone(&self) -> io::Result<Self> {
        let listener = Arc::clone(&self.listener);
        Ok(Self { socket: self.socket.try_clone()?, listener, index: self.index })
    }
}

/// Bind or take over every listener. Return the sockets of each worker.
///
/// # Errors
/// An address that is in use or unknown; the message names it.
pub fn bind_all(listeners: &[Arc<Listener>], workers: usize) -> io::Result<Vec<Vec<Bound>>> {
    let mut of_workers: Vec<Vec<Bound>> = (0..workers).map(|_| Vec::new()).collect();
    for (index, listener) in listeners.iter().enumerate() {
        let sockets = sockets_of(listener, workers).map_err(|error| {
            io::Error::new(error.kind(), format!("cannot listen on {}: {error}", listener.name))
        })?;
        for number in 0..workers.max(sockets.len()) {
            let socket = sockets[number % sockets.len()].try_clone()?;
            let listener = Arc::clone(listener);
            of_workers[number % workers].push(Bound { socket, listener, index });
        }
    }
    Ok(of_workers)
}

/// Say where a socket is bound, in the notation of the configuration.
#[must_use]
pub fn bound_address(bound: &Bound) -> String {
    match &bound.listener.address {
        Address::Unix(_) => bound.listener.name.clone(),
        Address::Tcp(_) => bound
            .socket
            .local_addr()
            .ok()
            .and_then(|address| address.as_socket())
            .map_or_else(|| bound.listener.name.clone(), |address| address.to_string()),
    }
}

fn sockets_of(listener: &Listener, workers: usize) -> io::Result<Vec<Socket>> {
    if !listener.fds.is_empty() {
        return listener.fds.iter().map(|fd| take_over(*fd)).collect();
    }
    match &listener.address {
        Address::Unix(path) => Ok(vec![bind_unix(path)?]),
        Address::Tcp(text) => {
            let mut address = text
                .to_socket_addrs()?
                .next()
                .ok_or_else(|| io::Error::other("the name has no address"))?;
            let mut sockets = Vec::with_capacity(workers);
            for _ in 0..workers {
                let socket = bind_tcp(address)?;
                if let Some(bound) = socket.local_addr()?.as_socket() {
                    address.set_port(bound.port()); // port 0 is chosen once for all workers
                }
                sockets.push(socket);
            }
            Ok(sockets)
        }
    }
}

fn take_over(fd: i32) -> io::Result<Socket> {
    // SAFETY: the caller hands the descriptor over (the contract of `ListenerConfig.fds`); whether
    // it is a listening socket is asked right below, before anything relies on it.
    let socket = Socket::from(unsafe { OwnedFd::from_raw_fd(fd) });
    if !socket.is_listener()? {
        return Err(io::Error::other(format!("descriptor {fd} is not a listening socket")));
    }
    socket.set_nonblocking(true)?;
    socket.set_cloexec(true)?;
    Ok(socket)
}

fn bind_tcp(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

fn bind_unix(path: &Path) -> io::Result<Socket> {
    let address = SockAddr::unix(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    if std::fs::symlink_metadata(path).is_ok_and(|it| it.file_type().is_socket()) {
        let asks = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        if asks.connect(&address).is_ok() {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, "another process listens there"));
        }
        std::fs::remove_file(path)?; // left by a process that was killed
    }
    socket.bind(&address)?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Kind, parse_address};
    use std::os::fd::IntoRawFd;

    fn listener(address: &str, fds: Vec<i32>) -> Arc<Listener> {
        Arc::new(Listener {
            name: address.to_owned(),
            address: parse_address(address).unwrap(),
            kind: Kind::Primary,
            tls: false,
            proxy_from: Vec::new(),
            fds,
        })
    }

    #[test]
    fn every_worker_listens_on_the_same_free_port() {
        let bound = bind_all(&[listener("127.0.0.1:0", vec![])], 3).unwrap();
        let addresses: Vec<_> = bound.iter().map(|each| bound_address(&each[0])).collect();
        assert!(addresses.iter().all(|each| *each == addresses[0] && !each.ends_with(":0")));
    }

    #[test]
    fn all_sockets_that_are_taken_over_are_served() {
        let fds = (0..5)
            .map(|_| bind_tcp("127.0.0.1:0".parse().unwrap()).unwrap().into_raw_fd())
            .collect();
        let bound = bind_all(&[listener("127.0.0.1:1", fds)], 2).unwrap();
        assert_eq!(bound.iter().map(Vec::len).collect::<Vec<_>>(), [3, 2]);
    }

    #[test]
    fn a_descriptor_that_does_not_listen_is_refused() {
        let idle = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap().into_raw_fd();
        let error = bind_all(&[listener("127.0.0.1:1", vec![idle])], 1).unwrap_err();
        assert!(error.to_string().contains("127.0.0.1:1"), "{error}");
    }

    #[test]
    fn an_address_in_use_is_named() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let name = taken.local_addr().unwrap().to_string();
        let error = bind_all(&[listener(&name, vec![])], 1).unwrap_err();
        assert!(error.to_string().contains(&name), "{error}");
    }

    #[test]
    fn a_unix_socket_of_a_dead_process_is_replaced_and_of_a_living_one_is_not() {
        let path = std::env::temp_dir().join(format!("everfly-{}.sock", std::process::id()));
        let name = format!("unix:{}", path.display());
        drop(bind_unix(&path).unwrap());
        let alive = bind_all(&[listener(&name, vec![])], 2).unwrap();
        assert_eq!(alive.len(), 2);
        let error = bind_all(&[listener(&name, vec![])], 1).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        std::fs::remove_file(&path).unwrap();
    }
}
