//! Sessions: what clients are told, and what a new connection is set up as after a loss.

#![allow(missing_docs, reason = "tests")]

mod caller;
mod instance;
mod losses;
mod random;
mod verdicts;
