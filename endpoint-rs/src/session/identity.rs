//! Who a session is to the instance: what two sessions must have in common to share a connection.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::resp::encode;

/// Bytes that must not be seen in logs and dumps; wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Keep a copy of `bytes`.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        Self(Zeroizing::new(bytes.to_vec()))
    }

    /// Return the bytes, to be sent to an instance and nowhere else.
    #[must_use]
    pub fn reveal(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Secret")
    }
}

/// A user that has authenticated itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Login {
    /// None: AUTH was sent with a password alone.
    pub user: Option<Vec<u8>>,
    pub password: Secret,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub is_resp3: bool,
    pub login: Option<Login>,
    pub database: u32,
    pub name: Vec<u8>,
    pub library: Vec<u8>,
    pub library_version: Vec<u8>,
}

impl Identity {
    const NEW: Self = Self {
        is_resp3: false,
        login: None,
        database: 0,
        name: Vec::new(),
        library: Vec::new(),
        library_version: Vec::new(),
    };
}

/// Sessions with equal keys may share a connection: protocol, login, database, name and library
/// are the same. Equality includes the password, so that nobody rides on another's login.
#[derive(Clone, Default)]
pub struct ShareKey(Option<Arc<Identity>>);

impl ShareKey {
    pub(super) fn identity(&self) -> &Identity {
        static NEW: Identity = Identity::NEW;
        self.0.as_deref().unwrap_or(&NEW)
    }

    pub(super) fn change(&mut self) -> &mut Identity {
        Arc::make_mut(self.0.get_or_insert_with(|| Arc::new(Identity::NEW)))
    }

    /// Return what to send on a new connection so that it becomes one of this key.
    #[must_use]
    pub fn restore(&self) -> Restore {
        let mut restore = Restore::default();
        let identity = self.identity();
        let mut words: Vec<&[u8]> = Vec::new();
        match (&identity.login, identity.is_resp3) {
            (login, true) => {
                words.extend([&b"HELLO"[..], b"3"]);
                if let Some(login) = login {
                    let user = login.user.as_deref().unwrap_or(b"default");
                    words.extend([&b"AUTH"[..], user, login.password.reveal()]);
                }
            }
            (Some(login), false) => {
                words.push(b"AUTH");
                words.extend(login.user.as_deref());
                words.push(login.password.reveal());
            }
            (None, false) => {}
        }
        if !words.is_empty() {
            restore.add(&words);
        }
        if !identity.name.is_empty() {
            restore.add(&[b"CLIENT", b"SETNAME", &identity.name]);
        }
        if !identity.library.is_empty() {
            restore.add(&[b"CLIENT", b"SETINFO", b"LIB-NAME", &identity.library]);
        }
        if !identity.library_version.is_empty() {
            restore.add(&[b"CLIENT", b"SETINFO", b"LIB-VER", &identity.library_version]);
        }
        if identity.database != 0 {
            restore.add(&[b"SELECT", identity.database.to_string().as_bytes()]);
        }
        restore
    }
}

impl PartialEq for ShareKey {
    fn eq(&self, other: &Self) -> bool {
        self.identity() == other.identity()
    }
}

impl Eq for ShareKey {}

impl Hash for ShareKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let identity = self.identity();
        identity.is_resp3.hash(state);
        identity.database.hash(state);
        identity.name.hash(state);
        identity.login.as_ref().and_then(|login| login.user.as_ref()).hash(state);
    }
}

impl fmt::Debug for ShareKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.identity().fmt(out)
    }
}

/// What sets a new connection up as an old one was.
///
/// Each reply is to be swallowed, and to be shown to `outcome` first.
#[derive(Default)]
pub struct Restore {
    /// The requests, in order. They may hold a password: wiped when dropped.
    pub bytes: Zeroizing<Vec<u8>>,
    /// How many replies they have, confirmations of subscriptions among them.
    pub replies: usize,
    /// The last of them is an error on purpose: the transaction had already failed.
    pub ends_in_error: bool,
}

impl Restore {
    pub(super) fn add(&mut self, words: &[&[u8]]) {
        encode(&mut self.bytes, words.iter().copied());
        self.replies += 1;
    }
}

impl fmt::Debug for Restore {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Restore({} replies)", self.replies)
    }
}
