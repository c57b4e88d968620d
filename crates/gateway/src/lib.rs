//! The MCP gateway, and what it shares with the bridge: the parts that the two static binaries of the
//! `FROM scratch` image are made of.
//!
//! A request of a client goes through [`http`] (host, origin, token), [`handler`] (tools of all servers as
//! those of one) and [`upstream`] (one server, behind its bridge or over the network); [`gateway`] holds what they
//! share.

pub mod auth;
pub mod backoff;
pub mod config;
mod digest;
pub mod gateway;
pub mod guard;
pub mod handler;
pub mod http;
pub mod names;
mod plain;
mod remote;
mod sessions;
pub mod sun_path;
pub mod upstream;

/// The program's name, as MCP clients and servers see it.
pub const PROGRAM: &str = "bowline-gateway";
