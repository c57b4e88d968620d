//! Bowline end to end. Every file is one subject; what it needs of the machine it takes from the harness.

mod adopt;
mod catalogs;
mod chains;
mod cli;
mod crash;
mod damage;
mod dockerd;
mod events;
mod foreign;
mod ground;
mod images;
mod isolation;
mod leases;
mod lifecycle;
mod outage;
mod quiet;
mod remote;
mod replace;
mod scale;
mod sdk;
mod specs;
mod support;
mod verbs;
mod versions;
mod volumes;
