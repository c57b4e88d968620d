//! SIGTERM and SIGINT: the first asks for a clean end, the second ends at once.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::failure::Failure;

/// Exit code of a process that was told twice.
const ABORTED: i32 = 130;

/// A token that the first signal cancels.
pub(crate) fn stop_on_signal() -> Result<CancellationToken, Failure> {
    let failed = |error: std::io::Error| Failure::ours("cannot listen to signals").because(&error);
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let stop = CancellationToken::new();
    let told = stop.clone();
    tokio::spawn(async move {
        next(&mut terminate, &mut interrupt).await;
        tracing::info!("stopping; a second signal ends at once");
        told.cancel();
        next(&mut terminate, &mut interrupt).await;
        tracing::warn!("ended at once");
        std::process::exit(ABORTED);
    });
    Ok(stop)
}

async fn next(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
