//! Bowline end to end. Every file is one subject; what it needs of the machine it takes from the harness.

mod adopt;
mod cli;
mod crash;
mod events;
mod foreign;
mod ground;
mod images;
mod isolation;
mod leases;
mod lifecycle;
mod outage;
mod quiet;
mod scale;
mod sdk;
mod support;
mod versions;
