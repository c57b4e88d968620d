//! `logs`: what a gateway or one of its servers writes.

use chrono::{TimeDelta, Utc};

use crate::args::LogsArgs;
use crate::client::{gateway_path, with_query};
use crate::failure::Failure;
use crate::ui::Ui;

/// Runs `logs`.
pub(crate) async fn run(args: LogsArgs, ui: &mut Ui) -> Result<(), Failure> {
    let client = args.client()?;
    let since = args.since.map(|span| {
        let span = TimeDelta::from_std(span.0).unwrap_or(TimeDelta::MAX);
        Utc::now().checked_sub_signed(span).unwrap_or_default().to_rfc3339()
    });
    let yes = |flag: bool| flag.then(|| "true".to_owned());
    let path = with_query(
        &format!("{}/logs", gateway_path(&args.gateway.0)),
        &[
            ("server", args.server),
            ("follow", yes(args.follow)),
            ("tail", args.tail.map(|lines| lines.to_string())),
            ("since", since),
            ("timestamps", yes(args.timestamps)),
        ],
    );
    let mut stream = client.stream(&path).await?;
    while let Some(chunk) = stream.chunk().await? {
        ui.bytes(&chunk)?;
    }
    Ok(())
}
