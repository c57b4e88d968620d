//! What systemd is told of a `Type=notify` unit: a line to the datagram socket that it names.
//!
//! Its watchdog hears of us only while every part of the controller gets further: a process that is there and does
//! nothing is worse than one that is started again, which disturbs no gateway.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use bowline_controller::Part;

/// The start is complete.
pub(crate) fn ready() {
    tell("READY=1");
}

/// The end has begun.
pub(crate) fn stopping() {
    tell("STOPPING=1");
}

/// Tells it, when somebody wants to know. A manager that does not listen is no reason to fail.
fn tell(state: &str) {
    let Some(name) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let address = match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        _ => SocketAddr::from_pathname(&name),
    };
    let sent = address.and_then(|address| UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address));
    if let Err(error) = sent {
        tracing::warn!(%error, "service manager not told");
    }
}

/// How often systemd wants to hear that all is well, when it wants to hear that from this process.
pub(crate) fn watchdog() -> Option<Duration> {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
    number("WATCHDOG_USEC").filter(|period| ours && *period > 0).map(Duration::from_micros)
}

/// Tells that all is well four times a period, unless a part stands still for longer than half of it; for ever.
pub(crate) async fn feed(period: Duration, stalled: impl Fn(Duration) -> Option<(Part, Duration)>) {
    feed_with(period, stalled, || tell("WATCHDOG=1")).await;
}

async fn feed_with(
    period: Duration,
    stalled: impl Fn(Duration) -> Option<(Part, Duration)>,
    well: impl Fn(),
) {
    let mut told = None;
    loop {
        match stalled(period / 2) {
            None => well(),
            Some((part, still)) if told != Some(part) => {
                tracing::error!(?part, seconds = still.as_secs(), "the controller does not get further");
                told = Some(part);
            }
            Some(_) => {}
        }
        tokio::time::sleep(period / 4).await;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_watchdog_hears_nothing_while_a_part_stands_still() {
        let period = Duration::from_secs(40);
        let (fed, still) = (Cell::new(0), Cell::new(Duration::ZERO));
        let stalled = |limit: Duration| (still.get() > limit).then(|| (Part::Queue, still.get()));
        let count = || fed.set(fed.get() + 1);
        let mut feeder = std::pin::pin!(feed_with(period, stalled, count));

        // Just before the next word, so that each period holds exactly four.
        let just_less = period - Duration::from_millis(1);
        tokio::time::timeout(just_less, feeder.as_mut()).await.unwrap_err();
        assert_eq!(fed.take(), 4);
        still.set(period / 2 + Duration::from_secs(1));
        tokio::time::timeout(period, feeder.as_mut()).await.unwrap_err();
        assert_eq!(fed.take(), 0);
        still.set(period / 2);
        tokio::time::timeout(period, feeder.as_mut()).await.unwrap_err();
        assert_eq!(fed.take(), 4);
    }
}
