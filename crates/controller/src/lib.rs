//! The loop that keeps every gateway as declared: sources → queue → reconcile one key → status.
//!
//! Level-triggered: a source only ever puts a key in the queue, and a run looks at the world afresh. This crate
//! owns the one trait, [`World`], that the `host` crate and the simulated world of the tests implement.

mod leases;
mod memory;
mod prober;
mod progress;
mod queue;
mod reconcile;
mod run;
mod socket;
mod sources;
mod volumes;
mod world;

pub use prober::{ProbeAnswer, Prober};
pub use progress::{Part, Progress};
pub use queue::Queue;
pub use reconcile::{ReconcileError, Reconciler};
pub use run::{RunError, Settings, run};
pub use world::{World, WorldError};
