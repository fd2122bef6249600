//! The words of a request into what the endpoint must know about the command.
//!
//! Rules: what is not in the table may write, keep state and block, so it gets a connection of its
//! own and is never repeated. `READ` is only what changes no key, so that it may be asked again.
//! `SHAREABLE` is only what depends on nothing but the session's share key, leaves nothing behind
//! on the connection and is answered soon: others wait behind it. Sources: the command tables of
//! redis 7.0.15, valkey 9.0 and dragonfly 1.x (`COMMAND`), their flags `readonly`, `write`,
//! `blocking`, `pubsub`; and docs of the modules that Dragonfly has built in (JSON, search, bloom).

mod blocking;
mod table;

pub use blocking::{Blocking, Patience, TimeoutAt, Unit};
pub use table::TABLE;

/// A set of the properties below.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Class(u16);

impl Class {
    /// None of them.
    pub const NONE: Self = Self(0);
    /// Changes no key: may be repeated.
    pub const READ: Self = Self(1);
    /// May change keys: never repeated unless it is proved that it was not executed.
    pub const WRITE: Self = Self(1 << 1);
    /// May go over a connection that others share.
    pub const SHAREABLE: Self = Self(1 << 2);
    /// May wait for a key; see `Command::blocking`.
    pub const BLOCKING: Self = Self(1 << 3);
    /// Subscribes or unsubscribes.
    pub const PUBSUB: Self = Self(1 << 4);
    /// MULTI, EXEC, DISCARD.
    pub const TRANSACTION: Self = Self(1 << 5);
    /// WATCH, UNWATCH.
    pub const WATCH: Self = Self(1 << 6);
    /// Changes or reads the state of the connection.
    pub const SESSION: Self = Self(1 << 7);
    /// Runs a script or function, or loads one.
    pub const SCRIPT: Self = Self(1 << 8);
    /// WAIT, WAITAOF: belongs to the connection's earlier writes.
    pub const WAIT: Self = Self(1 << 9);
    /// Not to be had through the endpoint.
    pub const REFUSED: Self = Self(1 << 10);
    /// Refused unless the settings allow it.
    pub const DEBUG: Self = Self(1 << 11);
    /// Not in the table.
    pub const UNKNOWN: Self = Self(1 << 12);
    /// The bytes hold a password: they are wiped after use.
    pub const SECRET: Self = Self(1 << 13);

    /// Return the union of both sets.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Return whether any of `others` is in this set.
    #[must_use]
    pub const fn has(self, others: Self) -> bool {
        self.0 & others.0 != 0
    }
}

/// What a command does to the session, where that matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Nothing.
    Plain,
    /// AUTH
    Auth,
    /// HELLO
    Hello,
    /// SELECT
    Select,
    /// RESET
    Reset,
    /// QUIT
    Quit,
    /// READONLY
    ReadOnly,
    /// READWRITE
    ReadWrite,
    /// MULTI
    Multi,
    /// EXEC
    Exec,
    /// DISCARD
    Discard,
    /// WATCH
    Watch,
    /// UNWATCH
    Unwatch,
    /// WAIT
    Wait,
    /// WAITAOF
    WaitAof,
    /// SUBSCRIBE
    Subscribe,
    /// PSUBSCRIBE
    PSubscribe,
    /// SSUBSCRIBE
    SSubscribe,
    /// UNSUBSCRIBE
    Unsubscribe,
    /// PUNSUBSCRIBE
    PUnsubscribe,
    /// SUNSUBSCRIBE
    SUnsubscribe,
    /// CLIENT SETNAME
    SetName,
    /// CLIENT SETINFO
    SetInfo,
    /// CLIENT NO-EVICT
    NoEvict,
    /// CLIENT NO-TOUCH
    NoTouch,
    /// CLIENT REPLY
    Reply,
    /// CLIENT TRACKING
    Tracking,
    /// CLIENT CACHING
    Caching,
    /// CLIENT ID: what others can name the connection by
    Id,
    /// CLIENT CAPA
    Capa,
    /// CLIENT `MAINT_NOTIFICATIONS`
    MaintNotifications,
    /// A subcommand of CLIENT that is not known: it may set something on the connection.
    ClientOther,
    /// What a browser sends that a web page sent here: `POST` and `Host:`. Redis closes as well.
    /// Source: `securityWarningCommand`, redis/src/server.c (7.0.15).
    Http,
}

/// What is known about a command.
#[derive(Debug)]
pub struct Command {
    /// Its name in capitals; a subcommand's is `CLIENT|ID`.
    pub name: &'static str,
    /// Its properties.
    pub class: Class,
    /// What it does to the session.
    pub verb: Verb,
    /// How it says how long it may wait, if it may.
    pub blocking: Option<Blocking>,
}

impl PartialEq for Command {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

/// What is known about a command that is not in the table.
pub static UNKNOWN: Command = Command {
    name: "(unknown)",
    class: Class::UNKNOWN.and(Class::WRITE),
    verb: Verb::Plain,
    blocking: None,
};

/// Look a command up by its first two words, in any case. Always finds something: `UNKNOWN` for
/// what is not in the table.
#[inline]
#[must_use]
pub fn lookup(first: &[u8], second: &[u8]) -> &'static Command {
    let Some(key) = Key::of(first) else { return &UNKNOWN };
    let Some(index) = find(key) else { return &UNKNOWN };
    let command = &TABLE[index];
    if !HAS_SUBCOMMANDS[index] {
        return command;
    }
    subcommand(command, first, second)
}

#[cold]
fn subcommand(command: &'static Command, first: &[u8], second: &[u8]) -> &'static Command {
    let mut name = [0_u8; KEY_BYTES];
    let end = first.len() + 1 + second.len();
    let Some(room) = name.get_mut(..end) else { return command };
    room[..first.len()].copy_from_slice(first);
    room[first.len()] = b'|';
    room[first.len() + 1..].copy_from_slice(second);
    match Key::of(room).and_then(find) {
        Some(index) => &TABLE[index],
        None => command,
    }
}

/// The longest name that is known, with its subcommand, in bytes.
const KEY_BYTES: usize = 32;

// A name in capitals, as numbers, so that comparing is cheap.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Key([u64; KEY_BYTES / 8]);

impl Key {
    #[inline]
    fn of(name: &[u8]) -> Option<Self> {
        // Names are padded with NUL bytes, so none may end with one.
        if name.len() > KEY_BYTES || name.last().is_none_or(|byte| *byte == 0) {
            return None;
        }
        let mut words = [0_u64; KEY_BYTES / 8];
        if name.len() <= 8 {
            words[0] = capitals(head(name));
        } else {
            for (word, bytes) in words.iter_mut().zip(name.chunks(8)) {
                *word = capitals(head(bytes));
            }
        }
        Some(Self(words))
    }

    const fn of_table(name: &str) -> Self {
        let bytes = name.as_bytes();
        let mut words = [0_u64; KEY_BYTES / 8];
        let mut at = 0;
        while at < bytes.len() {
            words[at / 8] |= (bytes[at] as u64) << (at % 8 * 8);
            at += 1;
        }
        Self(words)
    }

    #[inline]
    const fn slot(self) -> usize {
        // Odd constants with well mixed bits (the fractions of the golden ratio and of roots).
        let mixed = self.0[0].wrapping_mul(0x9E37_79B9_7F4A_7C15)
            ^ self.0[1].wrapping_mul(0xC2B2_AE3D_27D4_EB4F)
            ^ self.0[2].wrapping_mul(0x1656_67B1_9E37_79F9)
            ^ self.0[3].wrapping_mul(0x27D4_EB2F_1656_67C5);
        (mixed >> (64 - SLOT_BITS)) as usize
    }

    const fn equals(self, other: Self) -> bool {
        self.0[0] == other.0[0]
            && self.0[1] == other.0[1]
            && self.0[2] == other.0[2]
            && self.0[3] == other.0[3]
    }
}

// Up to eight bytes as a number, the first lowest.
#[inline]
fn head(bytes: &[u8]) -> u64 {
    let mut word = [0_u8; 8];
    match bytes.len() {
        8 => word.copy_from_slice(bytes),
        4..8 => {
            // Two loads that overlap are cheaper than a copy of a length known only at run time.
            let low = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
            let end = bytes.len();
            let high = u32::from_le_bytes([
                bytes[end - 4],
                bytes[end - 3],
                bytes[end - 2],
                bytes[end - 1],
            ]);
            return u64::from(low) | u64::from(high) << ((end - 4) * 8);
        }
        1..4 => {
            // The first, the middle and the last byte are all there are.
            let (middle, last) = (bytes.len() / 2, bytes.len() - 1);
            return u64::from(bytes[0])
                | u64::from(bytes[middle]) << (middle * 8)
                | u64::from(bytes[last]) << (last * 8);
        }
        end => word[..end].copy_from_slice(bytes),
    }
    u64::from_le_bytes(word)
}

// Turn the letters among eight bytes into capitals, all at once.
#[inline]
const fn capitals(word: u64) -> u64 {
    const EACH: u64 = 0x0101_0101_0101_0101;
    let low = word & (0x7F * EACH);
    let from_a = low + (0x80 - b'a' as u64) * EACH;
    let past_z = low + (0x80 - (b'z' as u64 + 1)) * EACH;
    // The high bit of a byte says: at least "a", not past "z", and ASCII.
    let letters = from_a & !past_z & !word & (0x80 * EACH);
    word ^ (letters >> 2)
}

const SLOT_BITS: u32 = 11;
const SLOTS: usize = 1 << SLOT_BITS;
const EMPTY: u16 = u16::MAX;

static KEYS: [Key; TABLE.len()] = {
    let mut keys = [Key([0; KEY_BYTES / 8]); TABLE.len()];
    let mut at = 0;
    while at < TABLE.len() {
        keys[at] = Key::of_table(TABLE[at].name);
        at += 1;
    }
    keys
};

// Open addressing: a name is in its slot or in one of those that follow it without a gap.
static INDEX: [u16; SLOTS] = {
    let mut index = [EMPTY; SLOTS];
    let mut at = 0;
    while at < TABLE.len() {
        let mut slot = Key::of_table(TABLE[at].name).slot();
        while index[slot] != EMPTY {
            assert!(
                !Key::of_table(TABLE[index[slot] as usize].name)
                    .equals(Key::of_table(TABLE[at].name)),
                "a command is in the table twice"
            );
            slot = (slot + 1) % SLOTS;
        }
        // The table has a few hundred rows.
        #[expect(clippy::cast_possible_truncation)]
        {
            index[slot] = at as u16;
        }
        at += 1;
    }
    index
};

static HAS_SUBCOMMANDS: [bool; TABLE.len()] = {
    let mut flags = [false; TABLE.len()];
    let mut at = 0;
    while at < TABLE.len() {
        flags[at] = table::has_subcommands(TABLE[at].name);
        at += 1;
    }
    flags
};

#[inline]
fn find(key: Key) -> Option<usize> {
    let mut slot = key.slot();
    loop {
        let index = INDEX[slot];
        if index == EMPTY {
            return None;
        }
        if KEYS[index as usize] == key {
            return Some(index as usize);
        }
        slot = (slot + 1) % SLOTS;
    }
}
