//! The verbs, one file each.

pub(crate) mod adopt;
pub(crate) mod annotate;
pub(crate) mod apply;
pub(crate) mod ask;
pub(crate) mod call;
pub(crate) mod completion;
pub(crate) mod connect;
pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod describe;
pub(crate) mod diff;
pub(crate) mod events;
pub(crate) mod explain;
mod follow;
pub(crate) mod get;
mod input;
pub(crate) mod keys;
pub(crate) mod logs;
mod mcp;
pub(crate) mod secret;
pub(crate) mod servers;
pub(crate) mod specs;
pub(crate) mod teardown;
pub(crate) mod token;
pub(crate) mod tools;
mod update;
pub(crate) mod version;
pub(crate) mod volume;
pub(crate) mod wait;

#[cfg(test)]
mod testing;
