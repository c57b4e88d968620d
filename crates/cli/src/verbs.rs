//! The verbs, one file each.

pub(crate) mod adopt;
pub(crate) mod apply;
pub(crate) mod call;
pub(crate) mod completion;
pub(crate) mod connect;
pub(crate) mod delete;
pub(crate) mod describe;
mod follow;
pub(crate) mod get;
mod input;
pub(crate) mod logs;
mod mcp;
pub(crate) mod teardown;
pub(crate) mod token;
pub(crate) mod tools;
pub(crate) mod version;
pub(crate) mod wait;

#[cfg(test)]
mod testing;
