//! `completion`: a script for a shell.

use clap::CommandFactory;
use clap_complete::shells::{Bash, Fish, Zsh};
use clap_complete::{Generator, generate};

use crate::args::{Cli, Shell};
use crate::failure::Failure;
use crate::ui::Ui;

/// Runs `completion`.
pub(crate) fn run(shell: Shell, ui: &mut Ui) -> Result<(), Failure> {
    fn script(generator: impl Generator) -> Vec<u8> {
        let mut script = Vec::new();
        generate(generator, &mut Cli::command(), "bowline", &mut script);
        script
    }
    ui.bytes(&match shell {
        Shell::Bash => script(Bash),
        Shell::Zsh => script(Zsh),
        Shell::Fish => script(Fish),
    })
}
