//! The primitives that the gate is built of, named once so that its model test can put loom's in
//! their place (`tests/gate_pure_loom.rs` compiles `gate.rs` against a `sync` of its own).

pub use std::sync::atomic::{AtomicU64, Ordering};
pub use std::sync::{Arc, Mutex};
