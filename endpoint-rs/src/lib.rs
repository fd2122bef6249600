//! The data plane of the Everfly endpoint: one stable address that follows a group's primary.
//!
//! Clients talk RESP to it; it forwards their commands to the primary of the moment, holds them
//! while the primary changes, and says so where it cannot know whether a command was executed.
//!
//! The pure half (`resp`, `command`, `session`, `gate`) reads no socket and no clock: it turns
//! bytes and instants that are given to it into verdicts. All IO is in the other modules.

pub mod client;
pub mod command;
pub mod config;
pub mod gate;
pub mod listener;
pub mod notices;
pub mod plane;
pub mod proxy_protocol;
#[cfg(feature = "python")]
mod python;
#[cfg(feature = "python")]
mod python_config;
pub mod replicas;
pub mod resp;
pub mod session;
pub mod shared;
pub mod stats;
pub mod stream;
mod sync;
pub mod tls;
pub mod upstream;
pub mod worker;
