//! The real binaries, run against each other over real sockets.
#![expect(clippy::unwrap_used, reason = "a failed step of a test is a failed test")]

mod admission;
mod bridge;
mod clients;
mod filter;
mod reload;
mod remote;
mod rig;
mod servers;
