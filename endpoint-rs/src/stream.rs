//! One byte stream, plain or TLS, over TCP or a unix socket, for an edge-triggered loop.
//!
//! Readiness is reported once, so whoever reads goes on until the socket says that it is empty.
//! A read that returns less than was asked for has emptied a plain socket: the second read that
//! would only return EAGAIN is saved. TLS may hold decrypted bytes back; there only EAGAIN counts.

use std::io::{self, ErrorKind, Read, Write};

use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};
use rustls::Connection;

/// A socket below a stream.
#[derive(Debug)]
pub enum Socket {
    /// TCP.
    Tcp(TcpStream),
    /// A unix socket.
    Unix(UnixStream),
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => socket.read(buffer),
            Self::Unix(socket) => socket.read(buffer),
        }
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => socket.write(bytes),
            Self::Unix(socket) => socket.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What a read found.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// This many bytes, and whether the socket may hold more.
    Bytes(usize, bool),
    /// Nothing now.
    Nothing,
    /// The other side will send no more.
    End,
}

/// One byte stream.
#[derive(Debug)]
pub struct Stream {
    socket: Socket,
    tls: Option<Box<Connection>>,
}

impl Stream {
    /// Speak plainly.
    #[must_use]
    pub fn plain(socket: Socket) -> Self {
        Self { socket, tls: None }
    }

    /// Speak TLS.
    #[must_use]
    pub fn encrypted(socket: Socket, connection: Connection) -> Self {
        Self { socket, tls: Some(Box::new(connection)) }
    }

    /// Whether the TLS handshake is not over. Plain streams have none.
    #[must_use]
    pub fn is_handshaking(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.is_handshaking())
    }

    /// Whether this is TLS.
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        self.tls.is_some()
    }

    /// Be told about both directions from now on, once for each change.
    ///
    /// # Errors
    /// What the system says.
    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let both = Interest::READABLE | Interest::WRITABLE;
        match &mut self.socket {
            Socket::Tcp(socket) => registry.register(socket, token, both),
            Socket::Unix(socket) => registry.register(socket, token, both),
        }
    }

    /// Return why a connect failed, once it has.
    ///
    /// # Errors
    /// The failure, or what the system says.
    pub fn connected(&self) -> io::Result<()> {
        let (failed, peer) = match &self.socket {
            Socket::Tcp(socket) => (socket.take_error()?, socket.peer_addr().map(|_| ())),
            Socket::Unix(socket) => (socket.take_error()?, Ok(())),
        };
        failed.map_or(peer, Err)
    }

    /// Read what there is.
    ///
    /// # Errors
    /// A broken connection, or a breach of TLS.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<Found> {
        let Some(tls) = &mut self.tls else {
            return loop {
                break match self.socket.read(buffer) {
                    Ok(0) if !buffer.is_empty() => Ok(Found::End),
                    Ok(count) => Ok(Found::Bytes(count, count == buffer.len())),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(Found::Nothing),
                    Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                    Err(error) => Err(error),
                };
            };
        };
        loop {
            match tls.reader().read(buffer) {
                Ok(0) => return Ok(Found::End),
                Ok(count) => return Ok(Found::Bytes(count, true)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                // The other side ended TCP without ending TLS first, as many clients do.
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(Found::End),
                Err(error) => return Err(error),
            }
            match tls.read_tls(&mut self.socket) {
                Ok(0) => return Ok(Found::End),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Found::Nothing),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            let processed = tls.process_new_packets();
            flush_tls(tls, &mut self.socket)?; // its handshake, or the alert that says what is wrong
            processed.map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
        }
    }

    /// Look at what the socket holds, below TLS, without taking it. Nothing on a unix socket.
    ///
    /// # Errors
    /// A broken connection; `WouldBlock` when it holds nothing.
    pub fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match &self.socket {
            Socket::Tcp(socket) => socket.peek(buffer),
            Socket::Unix(_) => Err(ErrorKind::Unsupported.into()),
        }
    }

    /// Drop so many bytes that the socket is known to hold, below TLS.
    ///
    /// # Errors
    /// A broken connection.
    pub fn skip(&mut self, count: usize) -> io::Result<()> {
        self.socket.read_exact(&mut vec![0; count])
    }

    /// Write what the socket takes now; fewer bytes than given when it is full.
    ///
    /// # Errors
    /// A broken connection.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else {
            return write_some(&mut self.socket, bytes);
        };
        let mut taken = 0;
        while taken < bytes.len() {
            let count = tls.writer().write(&bytes[taken..])?;
            taken += count;
            if !flush_tls(tls, &mut self.socket)? && count == 0 {
                break;
            }
        }
        flush_tls(tls, &mut self.socket)?;
        Ok(taken)
    }

    /// Write what TLS holds back. Plain streams hold nothing. Return whether nothing is left.
    ///
    /// # Errors
    /// A broken connection.
    pub fn flush(&mut self) -> io::Result<bool> {
        self.tls.as_mut().map_or(Ok(true), |tls| flush_tls(tls, &mut self.socket))
    }

    /// Say goodbye, as far as that is possible at once.
    pub fn say_goodbye(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
            let _ = flush_tls(tls, &mut self.socket);
        }
    }
}

fn write_some(socket: &mut Socket, bytes: &[u8]) -> io::Result<usize> {
    let mut taken = 0;
    while taken < bytes.len() {
        match socket.write(&bytes[taken..]) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            // Taking less than all means that the socket is full; it reports when it no longer is.
            Ok(count) if count < bytes.len() - taken => return Ok(taken + count),
            Ok(count) => taken += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(taken)
}

/// Write what TLS has ready. Return whether nothing is left.
fn flush_tls(tls: &mut Connection, socket: &mut Socket) -> io::Result<bool> {
    while tls.wants_write() {
        match tls.write_tls(socket) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}
