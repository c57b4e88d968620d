//! Images that one test makes out of another one, and takes away again.

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use crate::command::run;

/// Longer than a build takes that copies nothing.
const LIMIT: Duration = Duration::from_secs(120);

/// An image on the machine's own Engine, with a name and an id that nothing else has. It is removed with the value;
/// whatever is made of it has to go before.
#[derive(Debug)]
pub struct MadeImage {
    reference: String,
}

impl MadeImage {
    /// Builds it: another image, and further lines of a Dockerfile that need no files.
    #[must_use]
    pub fn from(base: &str, lines: &str) -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("bowline-made-{}-{number}", std::process::id());
        let reference = format!("localhost/{name}:latest");
        let mut build = docker(["build", "--quiet", "--force-rm", "--tag", &reference, "-"]);
        // The classic builder: Engine 20.10 has no other without a plugin.
        build.env("DOCKER_BUILDKIT", "0");
        // Of two builds with equal lines each is an image of its own. Not below dev.bowline: a container inherits
        // its image's labels, and those are read as ours.
        let dockerfile = format!("FROM {base}\nLABEL bowline-test={name}\n{lines}\n");
        run(build, &dockerfile, LIMIT).ok();
        Self { reference }
    }

    /// The name under which it can be used.
    #[must_use]
    pub fn reference(&self) -> &str {
        &self.reference
    }
}

impl Drop for MadeImage {
    fn drop(&mut self) {
        let removed = run(docker(["image", "rm", &self.reference]), "", LIMIT);
        if !thread::panicking() {
            removed.ok();
        }
    }
}

fn docker<const N: usize>(arguments: [&str; N]) -> Command {
    let mut command = Command::new("docker");
    command.args(arguments);
    command
}
