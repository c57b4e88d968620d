//! The words and the decisions of Bowline.
//!
//! Everything here is pure: no IO, no async, no clock, no randomness. Time, ids and what was seen of the
//! world come in as arguments; plans, statuses and schedules come out as plain, comparable data.

pub mod catalog;
pub mod causes;
pub mod container;
pub mod desired;
pub mod diagnostic;
pub mod floor;
pub mod gateway_file;
pub mod image_reference;
pub mod labels;
pub mod lease;
pub mod names;
pub mod object;
pub mod observed;
pub mod plan;
pub mod preview;
pub mod report;
pub mod resource;
pub mod rollout;
pub mod schedule;
pub mod schema;
pub mod secret;
pub mod status;
pub mod step;
pub mod template;
pub mod tool_filter;
pub mod volume;
pub mod yaml;

#[cfg(test)]
mod testing;
