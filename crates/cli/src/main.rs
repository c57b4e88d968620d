//! The program `bowline`: reads its settings once and hands them to a verb.

mod args;
mod client;
mod failure;
mod output;
mod serve;
mod target;
mod ui;
mod verbs;

use std::process::ExitCode;

use clap::Parser;

use crate::args::{Cli, Command};
use crate::failure::Failure;
use crate::ui::Ui;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return args::report(&error),
    };
    let mut ui = Ui::stdio();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return ui.fail(&Failure::ours("cannot start").because(&error)),
    };
    match runtime.block_on(run(cli, &mut ui)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => ui.fail(&failure),
    }
}

async fn run(cli: Cli, ui: &mut Ui) -> Result<(), Failure> {
    match cli.command {
        Command::Serve(args) => Box::pin(serve::run(*args)).await,
        Command::Adopt(args) => Box::pin(verbs::adopt::run(args, ui)).await,
        Command::Teardown(args) => Box::pin(verbs::teardown::run(args, ui)).await,
        Command::Apply(args) => verbs::apply::run(args, ui).await,
        Command::Diff(args) => verbs::diff::run(args, ui).await,
        Command::Create(command) => verbs::create::run(command, ui).await,
        Command::Enable(args) => verbs::servers::enable(args, ui).await,
        Command::Disable(args) => verbs::servers::disable(args, ui).await,
        Command::Annotate(args) => verbs::annotate::run(args, ui).await,
        Command::Get(args) => verbs::get::run(args, ui).await,
        Command::Describe(args) => verbs::describe::run(args, ui).await,
        Command::Explain(args) => verbs::explain::run(&args, ui),
        Command::Events(args) => verbs::events::run(args, ui).await,
        Command::Delete(args) => verbs::delete::run(args, ui).await,
        Command::Wait(args) => verbs::wait::run(args, ui).await,
        Command::Restart(command) => verbs::ask::restart(command, ui).await,
        Command::Retry(args) => verbs::ask::retry(args, ui).await,
        Command::Logs(args) => verbs::logs::run(args, ui).await,
        Command::Specs(args) => verbs::specs::run(args, ui).await,
        Command::Tools(args) => Box::pin(verbs::tools::run(args, ui)).await,
        Command::Call(args) => Box::pin(verbs::call::run(args, ui)).await,
        Command::Connect(args) => verbs::connect::run(args, ui).await,
        Command::Token(args) => verbs::token::run(args, ui).await,
        Command::Secret(command) => verbs::secret::run(command, ui).await,
        Command::Keys(command) => verbs::keys::run(command, ui).await,
        Command::Volume(command) => verbs::volume::run(command, ui).await,
        Command::Version(args) => verbs::version::run(args, ui).await,
        Command::Completion { shell } => verbs::completion::run(shell, ui),
    }
}
