//! The host crate against a real Docker Engine: the one at `DOCKER_HOST` or the default socket. Every test has an
//! instance, an image and a runtime directory of its own and removes exactly what it made.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

mod events;
mod failures;
mod foreign;
mod ground;
mod life;
mod probe;
mod pulls;
mod teardown;
mod volumes;
