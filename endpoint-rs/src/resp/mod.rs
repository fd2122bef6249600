//! RESP2 and RESP3 as a stream of boundaries: where a request or a reply ends, and what it is.
//!
//! Nothing here copies or builds values; whoever forwards bytes needs to know only their edges.

pub mod reply;
pub mod request;
