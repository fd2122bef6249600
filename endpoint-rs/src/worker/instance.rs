//! Connections to instances: shared or of one client, opened, written to and read from.
//!
//! At most `release_concurrency` of them are being opened at once; others wait for their turn, so
//! that a new primary is not met by all clients in one instant. What a session needs is sent first.

use std::io::{self, ErrorKind};

use mio::net::TcpStream;
use rustls::ClientConnection;
use rustls::pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};

use super::loss::Lost;
use super::{News, READS_A_PASS, Source, Worker};
use crate::client::Wait;
use crate::command::UNKNOWN;
use crate::session::{Mark, Restore, ShareKey};
use crate::stream::{Found, Socket, Stream};
use crate::upstream::{Owner, Pending, Purpose, State, Target, Upstream};

/// When so much waits to be written to an instance, nothing more is taken from the clients that
/// write to it.
pub(super) const SLOW_INSTANCE_BYTES: usize = 4 * 1024 * 1024;

/// Sweeps (of a second) after which a shared connection that no client uses is closed.
const IDLE_SWEEPS_MAX: u32 = 30;

/// Which clients may share a connection: those that want the same instance and are set up alike.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PoolKey {
    pub target: Target,
    pub session: ShareKey,
}

/// Connections that clients share.
pub struct Pool {
    pub key: PoolKey,
    pub members: Vec<usize>,
    /// For how many sweeps no client has used them.
    pub idle_sweeps: u32,
}

impl Worker {
    /// Make a connection; it is opened when its turn comes. Commands may be pushed at once.
    pub(super) fn open_instance(&mut self, target: Target, owner: Owner) -> usize {
        let serial = self.next_serial();
        let index = self.upstreams.insert(Upstream::new(serial, target, owner, self.now));
        self.station.stats.upstreams_opened.one();
        self.own_upstreams += usize::from(matches!(owner, Owner::Client(..)));
        self.queued.push_back((index, serial));
        self.connect_queued();
        index
    }

    /// Send what a session needs, before anything else.
    pub(super) fn restore(&mut self, index: usize, restore: &Restore) {
        if restore.replies == 0 {
            return;
        }
        self.station.stats.restored_sessions.one();
        let upstream = &mut self.upstreams[index];
        upstream.restore_fails = restore.ends_in_error;
        for number in 0..restore.replies {
            let bytes = if number == 0 { restore.bytes.as_slice() } else { &[] };
            upstream.push(bytes, pending_of(Purpose::Restore, bytes.len()));
        }
        // A command must not run as somebody else because a login failed before it.
        upstream.log.set_barrier();
        self.soil_instance(index);
    }

    /// Open those whose turn it is.
    pub(super) fn connect_queued(&mut self) {
        while self.connecting < self.shared.config.hold.release_concurrency {
            let Some((index, serial)) = self.queued.pop_front() else { return };
            let Some(upstream) = self.upstreams.get_mut(index) else { continue };
            if upstream.serial != serial || upstream.state != State::Queued {
                continue;
            }
            upstream.state = State::Connecting;
            upstream.since = self.now;
            self.connecting += 1;
            let target = upstream.target;
            match self.connect(target, index) {
                Ok(stream) => self.upstreams[index].stream = Some(stream),
                Err(error) => self.fail_later(index, &error),
            }
        }
    }

    fn connect(&self, target: Target, index: usize) -> io::Result<Stream> {
        let socket = TcpStream::connect(target.address)?;
        let options = SockRef::from(&socket);
        let silent = self.shared.config.upstream.silent;
        options.set_tcp_nodelay(true)?;
        // A dead machine says nothing: without these a write would be retried for a quarter of an
        // hour, and an idle connection kept for two hours.
        options.set_tcp_user_timeout(Some(silent))?;
        let third = (silent / 3).max(std::time::Duration::from_secs(1));
        options.set_tcp_keepalive(
            &TcpKeepalive::new().with_time(third).with_interval(third).with_retries(2),
        )?;
        let mut stream = match self.shared.tls.instances() {
            None => Stream::plain(Socket::Tcp(socket)),
            Some(config) => {
                let name = self.shared.name_of(target.address);
                let name = ServerName::try_from(name)
                    .map_err(|error| io::Error::new(ErrorKind::InvalidInput, error))?;
                let tls = ClientConnection::new(config, name).map_err(io::Error::other)?;
                Stream::encrypted(Socket::Tcp(socket), tls.into())
            }
        };
        stream.register(&self.registry, Source::Upstream(index).token())?;
        Ok(stream)
    }

    /// Let a connect that failed at once fail like one that failed later: whoever asked for the
    /// connection is still in the middle of something.
    fn fail_later(&mut self, index: usize, error: &io::Error) {
        let serial = self.upstreams[index].serial;
        self.failed.push((index, serial, error.to_string()));
    }

    pub(super) fn upstream_event(&mut self, index: usize, news: News) {
        let Some(upstream) = self.upstreams.get_mut(index) else { return };
        upstream.is_hung_up |= news.is_end;
        match upstream.state {
            State::Queued => {}
            State::Connecting => self.go_on_connecting(index),
            State::Ready => {
                if news.is_readable || news.is_end {
                    upstream.is_readable = true;
                    self.read_instance(index);
                }
                if news.is_writable {
                    self.soil_instance(index);
                }
            }
        }
    }

    /// A connect, or the TLS handshake after it, has come further.
    fn go_on_connecting(&mut self, index: usize) {
        let Some(stream) = &mut self.upstreams[index].stream else { return };
        match stream.connected() {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::NotConnected => return,
            Err(error) => {
                self.lose(index, &Lost::Refused(error.to_string()));
                return;
            }
        }
        if stream.is_handshaking() {
            let shaken = stream.flush().and_then(|_| stream.read(&mut [0; 1]));
            match shaken {
                Ok(Found::Nothing) => {}
                Ok(_) => {
                    self.lose(index, &Lost::Refused("it ended the TLS handshake".to_owned()));
                    return;
                }
                Err(error) => {
                    self.lose(index, &Lost::Refused(format!("TLS: {error}")));
                    return;
                }
            }
            if self.upstreams[index].stream.as_ref().is_some_and(Stream::is_handshaking) {
                return;
            }
        }
        let upstream = &mut self.upstreams[index];
        upstream.state = State::Ready;
        upstream.is_readable = true;
        self.connecting -= 1;
        self.soil_instance(index);
        self.connect_queued();
    }

    /// Let the end of the pass write to an instance.
    #[inline]
    pub(super) fn soil_instance(&mut self, index: usize) {
        if let Some(upstream) = self.upstreams.get_mut(index)
            && !upstream.is_dirty
        {
            upstream.is_dirty = true;
            self.dirty_upstreams.push((index, upstream.serial));
        }
    }

    pub(super) fn flush_instances(&mut self) {
        let mut dirty = std::mem::take(&mut self.dirty_upstreams);
        for (index, serial) in dirty.drain(..) {
            let Some(upstream) = self.upstreams.get_mut(index) else { continue };
            if upstream.serial != serial {
                continue;
            }
            upstream.is_dirty = false;
            if upstream.state == State::Ready {
                self.flush_instance(index);
            }
        }
        // What was soiled meanwhile is written in the next pass.
        dirty.append(&mut self.dirty_upstreams);
        self.dirty_upstreams = dirty;
    }

    fn flush_instance(&mut self, index: usize) {
        self.ask_for_acks(index);
        let upstream = &mut self.upstreams[index];
        let Some(stream) = &mut upstream.stream else { return };
        let written = if upstream.log.unwritten().is_empty() {
            stream.flush().map(|_| 0)
        } else {
            stream.write(upstream.log.unwritten())
        };
        match written {
            Ok(count) => {
                upstream.log.wrote(count);
                self.station.stats.bytes_to_instances.add(count as u64);
                if !upstream.waiting.is_empty() && upstream.log.backlog() < SLOW_INSTANCE_BYTES / 2
                {
                    self.wake_writers(index);
                }
            }
            // Replies may be there that were sent before the end.
            Err(_) => {
                upstream.is_hung_up = true;
                upstream.is_readable = true;
                let serial = upstream.serial;
                self.again_upstreams.push((index, serial));
            }
        }
    }

    /// Let clients go on that waited for an instance to take what was sent.
    fn wake_writers(&mut self, index: usize) {
        for (client, serial) in std::mem::take(&mut self.upstreams[index].waiting) {
            self.wake_writer(client, serial);
        }
    }

    pub(super) fn wake_writer(&mut self, client: usize, serial: u32) {
        if let Some(it) = self.clients.get_mut(client)
            && it.serial == serial
            && it.wait == Wait::Instance
        {
            it.wait = Wait::No;
            self.queue(client, serial);
        }
    }

    /// Close connections that no client needs any more: its own of a client that is plain again,
    /// and shared ones of sessions that nobody has.
    pub(super) fn let_connections_go(&mut self) {
        let mut used = vec![false; self.pools.capacity()];
        let mut spare = Vec::new();
        for (index, client) in &self.clients {
            let Some(home) = client.home else { continue };
            let Some(upstream) = self.upstreams.get(home.upstream) else { continue };
            if upstream.serial != home.serial {
                continue;
            }
            if let Owner::Pool(pool) = upstream.owner {
                used[pool] = true;
            } else if client.outstanding == 0
                && client.parked.is_empty()
                && self.now >= client.keeps_own_until
                && !client.session.needs_own()
                && !client.session.is_in_transaction()
            {
                spare.push((index, home));
            }
        }
        for (index, home) in spare {
            self.clients[index].home = None;
            self.drop_instance(home.upstream, home.serial);
        }
        let mut unused = Vec::new();
        for (index, pool) in &mut self.pools {
            pool.idle_sweeps = if used[index] { 0 } else { pool.idle_sweeps + 1 };
            if pool.idle_sweeps > IDLE_SWEEPS_MAX {
                unused.extend(pool.members.iter().copied());
            }
        }
        for index in unused {
            if self.upstreams.get(index).is_some_and(|it| it.pending.is_empty()) {
                let serial = self.upstreams[index].serial;
                self.drop_instance(index, serial);
            }
        }
    }

    /// Read what an instance has sent and hand it out.
    pub(super) fn read_instance(&mut self, index: usize) {
        let mut scratch = std::mem::take(&mut self.scratch);
        let serial = self.upstreams[index].serial;
        for turn in 1..=READS_A_PASS {
            let Some(upstream) = self.upstreams.get_mut(index).filter(|it| it.serial == serial)
            else {
                break;
            };
            if !upstream.is_readable || upstream.is_paused {
                break;
            }
            let Some(stream) = &mut upstream.stream else { break };
            match stream.read(&mut scratch) {
                Ok(Found::Bytes(count, may_be_more)) => {
                    upstream.is_readable = may_be_more || upstream.is_hung_up;
                    self.station.stats.bytes_from_instances.add(count as u64);
                    self.hand_out(index, &scratch[..count]);
                }
                Ok(Found::Nothing) => upstream.is_readable = false,
                Ok(Found::End) => self.lose(index, &Lost::Closed("closed by it".to_owned())),
                Err(error) => self.lose(index, &Lost::Closed(error.to_string())),
            }
            if turn == READS_A_PASS {
                self.again_upstreams.push((index, serial));
            }
        }
        self.scratch = scratch;
    }

    /// Read on from an instance that was paused for a slow reader.
    pub(super) fn unpause_instance_of(&mut self, client: usize) {
        let Some(home) = self.clients.get(client).and_then(|it| it.home) else { return };
        if let Some(upstream) = self.upstreams.get_mut(home.upstream)
            && upstream.serial == home.serial
            && upstream.is_paused
        {
            upstream.is_paused = false;
            self.again_upstreams.push((home.upstream, home.serial));
        }
    }

    /// Close a connection that nobody needs any more.
    pub(super) fn drop_instance(&mut self, index: usize, serial: u32) {
        if self.upstreams.get(index).is_some_and(|it| it.serial == serial) {
            let upstream = self.remove_instance(index);
            self.leave_gate(&upstream);
        }
    }

    /// Take a connection out of all lists.
    pub(super) fn remove_instance(&mut self, index: usize) -> Upstream {
        let mut upstream = self.upstreams.remove(index);
        self.own_upstreams -= usize::from(matches!(upstream.owner, Owner::Client(..)));
        if let Owner::Pool(pool) = upstream.owner
            && let Some(it) = self.pools.get_mut(pool)
        {
            it.members.retain(|member| *member != index);
            if it.members.is_empty() {
                let pool = self.pools.remove(pool);
                self.pool_of.remove(&pool.key);
            }
        }
        if upstream.state == State::Connecting {
            self.connecting -= 1;
            self.connect_queued();
        }
        if let Some(stream) = &mut upstream.stream {
            stream.say_goodbye();
        }
        upstream
    }

    /// Give up connects that take too long.
    pub(super) fn give_up_connects(&mut self) {
        let limit = self.shared.config.upstream.connect;
        let late: Vec<usize> = self
            .upstreams
            .iter()
            .filter(|(_, it)| it.state == State::Connecting && self.now - it.since >= limit)
            .map(|(index, _)| index)
            .collect();
        for index in late {
            let text = format!("no answer within {} ms", limit.as_millis());
            self.lose(index, &Lost::Refused(text));
        }
    }
}

/// Await a reply that no client is waiting for.
pub(super) fn pending_of(purpose: Purpose, bytes: usize) -> Pending {
    Pending {
        purpose,
        client: 0,
        serial: 0,
        bytes: u32::try_from(bytes).unwrap_or(u32::MAX),
        command: &UNKNOWN,
        mark: Mark::Plain,
        awaits_acks: false,
    }
}
