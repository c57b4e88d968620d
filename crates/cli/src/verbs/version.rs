//! `version`: of this program, and of the API where it can be reached.

use bowline_api::wire::VersionInfo;

use crate::args::VersionArgs;
use crate::failure::Failure;
use crate::ui::Ui;

/// Runs `version`.
pub(crate) async fn run(args: VersionArgs, ui: &mut Ui) -> Result<(), Failure> {
    ui.line(format_args!("client: {}", env!("CARGO_PKG_VERSION")))?;
    if args.client {
        return Ok(());
    }
    let client = args.api.client()?;
    match client.get::<VersionInfo>("/v1/version").await {
        Ok(info) => ui.line(format_args!(
            "server: {} (API {}, instance {}, installation {})",
            info.version, info.api_version, info.instance, info.installation
        )),
        Err(error) if error.is_transient() => {
            ui.say(format_args!("no server answers at {}", client.socket().display()));
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}
