//! The HTTP API: writes desired state, reads status; cannot reach the host.
//!
//! HTTP/1 on a unix socket. Who may speak is decided once per connection by the peer's credentials
//! ([`peer`]); every refusal leaves as an RFC 9457 problem through one conversion ([`problem`]); what goes
//! over the wire is declared in [`wire`], which the command line compiles, too.
//!
//! Logs are the one thing that needs the host: their route hands the request on to the controller's own socket, which
//! is also told of the gateways that somebody asks for.

mod asked;
mod body;
mod controller;
mod hub;
mod middleware;
mod peer;
pub mod problem;
mod routes;
mod server;
mod socket;
mod specs;
mod token;
pub mod wire;

pub use routes::Preview;
pub use server::{Api, Settings};
pub use socket::{BindError, connect};
pub use specs::{Permit, SpecDirectory};

#[cfg(test)]
mod tests;
