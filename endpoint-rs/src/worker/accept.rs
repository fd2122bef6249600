//! New clients: accepted within limits, dressed in TLS, and let go again.

use std::io::ErrorKind;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use mio::net::{TcpListener, UnixListener};
use mio::{Interest, Registry};
use rustls::ServerConnection;
use socket2::{SockRef, TcpKeepalive};

use super::{Source, Worker};
use crate::client::Client;
use crate::config::{Address, Listener};
use crate::listener::Bound;
use crate::notices::Noticed;
use crate::shared::Shared;
use crate::stream::{Socket, Stream};

/// Connections taken from one listener in one pass: a storm must not starve those that are served.
const ACCEPTS_A_PASS: usize = 128;

/// After this silence a client's machine is asked whether it is there.
/// Source: `tcp-keepalive`, redis.conf (7.0.15).
const KEEPALIVE: Duration = Duration::from_secs(300);

/// Said to a client for which there is no room, as the engines say it.
/// Source: `acceptCommonHandler`, redis/src/networking.c (7.0.15).
const TOO_MANY: &[u8] = b"-ERR max number of clients reached\r\n";

enum Listens {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// One listening socket of a worker.
pub struct Listening {
    socket: Option<Listens>,
    listener: Arc<Listener>,
    index: usize,
}

/// Watch these sockets.
pub fn listen(registry: &Registry, bound: Vec<Bound>) -> std::io::Result<Vec<Listening>> {
    let mut listening = Vec::with_capacity(bound.len());
    for each in bound {
        let token = Source::Listener(listening.len()).token();
        let descriptor = OwnedFd::from(each.socket);
        let socket = match each.listener.address {
            Address::Tcp(_) => {
                let mut socket = TcpListener::from_std(descriptor.into());
                registry.register(&mut socket, token, Interest::READABLE)?;
                Listens::Tcp(socket)
            }
            Address::Unix(_) => {
                let mut socket = UnixListener::from_std(descriptor.into());
                registry.register(&mut socket, token, Interest::READABLE)?;
                Listens::Unix(socket)
            }
        };
        listening.push(Listening {
            socket: Some(socket),
            listener: each.listener,
            index: each.index,
        });
    }
    Ok(listening)
}

impl Worker {
    /// Take the connections that wait on a listener.
    pub(super) fn accept(&mut self, number: usize) {
        for _ in 0..ACCEPTS_A_PASS {
            let Some(listening) = self.listening.get(number) else { return };
            let accepted = match &listening.socket {
                None => return,
                Some(Listens::Tcp(socket)) => socket
                    .accept()
                    .map(|(stream, from)| (Socket::Tcp(stream), Some(from.ip().to_canonical()))),
                Some(Listens::Unix(socket)) => {
                    socket.accept().map(|(stream, _)| (Socket::Unix(stream), None))
                }
            };
            match accepted {
                Ok((socket, from)) => self.admit(number, socket, from),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                // The client was gone before it was accepted; the next one may wait behind it.
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    let text = format!(
                        "a connection could not be accepted: {error}; raise the limit of open \
                         files (LimitNOFILE, ulimit -n) or lower limits.connections"
                    );
                    self.shared.notices.add(Noticed::Limit, None, text);
                    // The connection stays in the queue and is not reported again: ask again with
                    // the next sweep instead of spinning.
                    return;
                }
            }
        }
        self.accept_again(number);
    }

    /// Look at a listener again in the next pass.
    fn accept_again(&mut self, number: usize) {
        let Some(listening) = self.listening.get_mut(number) else { return };
        let token = Source::Listener(number).token();
        let registry = &self.registry;
        // Registering anew reports readiness that is there already.
        let _ = match &mut listening.socket {
            Some(Listens::Tcp(socket)) => registry.reregister(socket, token, Interest::READABLE),
            Some(Listens::Unix(socket)) => registry.reregister(socket, token, Interest::READABLE),
            None => Ok(()),
        };
    }

    /// Ask all listeners again: an earlier accept may have failed for want of descriptors.
    pub(super) fn accept_stranded(&mut self) {
        for number in 0..self.listening.len() {
            self.accept(number);
        }
    }

    fn admit(&mut self, number: usize, socket: Socket, from: Option<IpAddr>) {
        let listener = Arc::clone(&self.listening[number].listener);
        let index = self.listening[number].index;
        let stats = &self.station.stats;
        stats.connections_total.one();
        let is_proxied = !listener.proxy_from.is_empty()
            && from.is_some_and(|from| listener.proxy_from.iter().any(|it| it.contains(from)));
        let is_full =
            self.shared.connections.load(Relaxed) >= self.shared.config.limits.connections;
        // The address of a balancer is not that of its clients: those count when they are known.
        let counted = from.filter(|_| !is_proxied);
        if is_full || counted.is_some_and(|from| !self.shared.enter(from)) {
            self.refuse_connection(socket, from);
            return;
        }
        if let Socket::Tcp(stream) = &socket {
            // Replies are gathered by ourselves; the kernel must not wait for more.
            let _ = stream.set_nodelay(true);
            // A client whose machine is gone says nothing; a subscriber would be kept for ever.
            let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE / 3);
            let _ = SockRef::from(stream).set_tcp_keepalive(&keepalive);
        }
        let stream = match self.dress(&listener, socket) {
            Ok(stream) => stream,
            Err(error) => {
                self.shared.notices.add(Noticed::Tls, None, format!("no TLS session: {error}"));
                if let Some(from) = counted {
                    self.shared.leave(from);
                }
                return;
            }
        };
        self.shared.connections.fetch_add(1, Relaxed);
        self.shared.by_listener[index].fetch_add(1, Relaxed);
        let serial = self.next_serial();
        let mut client = Client::new(serial, stream, index, listener.kind, self.now);
        client.address = from;
        client.is_counted = counted.is_some();
        client.awaits_proxy = is_proxied;
        self.greet(&mut client);
        let place = self.clients.insert(client);
        let token = Source::Client(place).token();
        if self.clients[place].stream.register(&self.registry, token).is_err() {
            self.close_client(place);
            return;
        }
        // What it has sent already is reported with the registration.
        self.clients[place].is_readable = false;
    }

    fn dress(&self, listener: &Listener, socket: Socket) -> Result<Stream, String> {
        if !listener.tls {
            return Ok(Stream::plain(socket));
        }
        let config = self.shared.tls.clients().ok_or("no certificate is loaded")?;
        let connection = ServerConnection::new(config).map_err(|error| error.to_string())?;
        Ok(Stream::encrypted(socket, connection.into()))
    }

    fn refuse_connection(&mut self, mut socket: Socket, from: Option<IpAddr>) {
        self.station.stats.connections_refused.one();
        let _ = std::io::Write::write(&mut socket, TOO_MANY);
        let limits = &self.shared.config.limits;
        let text = format!(
            "a client was turned away: the limit is {} connections, {} of one address; raise \
             limits.connections or limits.connections_per_address",
            limits.connections, limits.connections_per_address
        );
        self.shared.notices.add(Noticed::Limit, from.map(|it| it.to_string()), text);
    }

    /// Forget a client and what belongs to it.
    pub(super) fn close_client(&mut self, index: usize) {
        let Some(mut client) = self.clients.try_remove(index) else { return };
        client.stream.say_goodbye();
        self.input_bytes -= client.input.len();
        self.output_bytes -= client.unwritten();
        count_out(&self.shared, &client);
        self.part(&client);
        if let Some(home) = client.home.filter(|home| home.is_own) {
            self.drop_instance(home.upstream, home.serial);
        }
    }

    /// Stop listening: another process has the sockets.
    pub(super) fn stop_accepting(&mut self) {
        for listening in &mut self.listening {
            match listening.socket.take() {
                Some(Listens::Tcp(mut socket)) => {
                    let _ = self.registry.deregister(&mut socket);
                }
                Some(Listens::Unix(mut socket)) => {
                    let _ = self.registry.deregister(&mut socket);
                }
                None => {}
            }
        }
    }
}

/// Count a client as gone.
fn count_out(shared: &Shared, client: &Client) {
    shared.connections.fetch_sub(1, Relaxed);
    shared.by_listener[client.listener].fetch_sub(1, Relaxed);
    if client.is_counted
        && let Some(address) = client.address
    {
        shared.leave(address);
    }
}

/// A worker that ends, in whatever way, leaves no clients in the books.
impl Drop for Worker {
    fn drop(&mut self) {
        for (_, client) in &self.clients {
            count_out(&self.shared, client);
        }
    }
}
