//! The harness of the end-to-end tests: the program `bowline` against a real Docker Engine and a real Postgres.
//!
//! It knows Bowline only from outside (its command line, its labels, what the Engine and the database show), so
//! that what it sees is no reflection of the code under test: it shares no client and no type with that code.
//! Everything here blocks; a test is a plain function, and what must go on beside it is a thread or a process.
//!
//! A helper that cannot do its work ends the test with a panic that says why; that is what its `# Panics`
//! sections leave unsaid. Whatever a helper makes, it removes when it is dropped, by id, and nothing else.

pub mod allot;
pub mod bowline;
pub mod client;
pub mod command;
pub mod engine;
pub mod figures;
pub mod foreign;
pub mod image;
pub mod mcp;
pub mod namespace;
pub mod postgres;
pub mod proxy;
pub mod second_engine;
pub mod snapshot;
pub mod wait;
