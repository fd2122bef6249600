//! Reads the header that a load balancer puts before a client's bytes (PROXY protocol version 2).
//!
//! Source: haproxy/doc/proxy-protocol.txt (2.9), section 2.2. Only listed addresses may send one,
//! and they must; a header is at most [`HEADER_MAX`] bytes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Signature, four bytes, addresses, and as many extensions as fit. Balancers send below 300.
pub const HEADER_MAX: usize = 1024;

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
const FIXED: usize = 16;

/// What the beginning of a connection is.
#[derive(Debug, PartialEq, Eq)]
pub enum Header {
    /// More bytes are needed.
    Incomplete,
    /// It is this many bytes long; the client's address, unless the balancer speaks for itself.
    Complete(usize, Option<SocketAddr>),
    /// It is none, or one that we do not take.
    Wrong,
}

/// Read the header at the beginning of `bytes`.
#[must_use]
pub fn read(bytes: &[u8]) -> Header {
    let known = bytes.len().min(SIGNATURE.len());
    if bytes[..known] != SIGNATURE[..known] {
        return Header::Wrong;
    }
    let Some(fixed) = bytes.get(..FIXED) else {
        return Header::Incomplete;
    };
    let length = FIXED + usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    if fixed[12] >> 4 != 2 || length > HEADER_MAX {
        return Header::Wrong;
    }
    let Some(body) = bytes.get(FIXED..length) else {
        return Header::Incomplete;
    };
    match fixed[12] & 0x0f {
        0 => Header::Complete(length, None), // LOCAL: a health check of the balancer
        1 => match address(fixed[13], body) {
            Ok(address) => Header::Complete(length, address),
            Err(()) => Header::Wrong,
        },
        _ => Header::Wrong,
    }
}

/// Read the source address of a proxied connection. `None` for families without addresses.
fn address(family: u8, body: &[u8]) -> Result<Option<SocketAddr>, ()> {
    let (ip, ports) = match family {
        0x11 => {
            let source: [u8; 4] = body.get(..4).ok_or(())?.try_into().map_err(|_| ())?;
            (IpAddr::V4(Ipv4Addr::from(source)), 8)
        }
        0x21 => {
            let source: [u8; 16] = body.get(..16).ok_or(())?.try_into().map_err(|_| ())?;
            (IpAddr::V6(Ipv6Addr::from(source)), 32)
        }
        0x00 | 0x31 => return Ok(None),
        _ => return Err(()),
    };
    let port = body.get(ports..ports + 2).ok_or(())?;
    Ok(Some(SocketAddr::new(ip, u16::from_be_bytes([port[0], port[1]]))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = SIGNATURE.to_vec();
        bytes.extend([0x20 | command, family]);
        bytes.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
        bytes.extend(body);
        bytes
    }

    #[test]
    fn a_proxied_connection_has_its_clients_address_whatever_the_pieces() {
        let whole = header(1, 0x11, &[10, 0, 0, 7, 10, 0, 0, 1, 0x1f, 0x90, 0, 80]);
        for cut in 0..whole.len() {
            assert_eq!(read(&whole[..cut]), Header::Incomplete, "{cut}");
        }
        let expected = Some("10.0.0.7:8080".parse().unwrap());
        assert_eq!(read(&whole), Header::Complete(whole.len(), expected));
        let mut followed = whole.clone();
        followed.extend(b"PING\r\n");
        assert_eq!(read(&followed), Header::Complete(whole.len(), expected));
    }

    #[test]
    fn ipv6_and_extensions_are_understood() {
        let mut body = vec![0; 36];
        body[15] = 9;
        body[33] = 77;
        body.extend([3, 0, 1, 0]);
        let whole = header(1, 0x21, &body);
        assert_eq!(read(&whole), Header::Complete(whole.len(), Some("[::9]:77".parse().unwrap())));
    }

    #[test]
    fn a_balancer_speaking_for_itself_has_no_address() {
        assert_eq!(read(&header(0, 0, &[])), Header::Complete(16, None));
    }

    #[test]
    fn what_is_no_header_is_wrong_at_its_first_byte_that_differs() {
        assert_eq!(read(b"*1\r\n"), Header::Wrong);
        assert_eq!(read(b"PROXY TCP4"), Header::Wrong);
        assert_eq!(read(&header(1, 0x11, &[1, 2, 3])), Header::Wrong);
        assert_eq!(read(&header(2, 0x11, &[0; 12])), Header::Wrong);
        assert_eq!(read(&header(1, 0x11, &[0; HEADER_MAX])), Header::Wrong);
        let mut first_version = header(1, 0x11, &[0; 12]);
        first_version[12] = 0x11;
        assert_eq!(read(&first_version), Header::Wrong);
    }
}
