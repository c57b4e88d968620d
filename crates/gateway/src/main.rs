//! The MCP gateway of one tenant: reads what it is to serve from its configuration directory, offers the tools
//! of all its servers on one port, and obeys the controller on its control socket.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use bowline_core::gateway_file::{CONFIG_DIR, GATEWAY_PORT, SOCKETS_DIR};
use bowline_gateway::config::LoadError;
use bowline_gateway::gateway::{Gateway, Settings};
use bowline_gateway::http::{Control, Front, listen_control, listen_tcp, serve_control, serve_tcp};
use bowline_gateway::upstream::Limits;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

const USAGE: &str = "usage: gateway [--config-dir DIR] [--sockets-dir DIR] [--listen ADDRESS:PORT] \
                     [--start-timeout SECONDS] [--call-timeout SECONDS] [--version]";

/// Names that are resolved at the same time.
const MOST_RESOLVERS: usize = 8;

/// Everything that the command line says. In a container it says nothing.
struct Options {
    listen: SocketAddr,
    settings: Settings,
}

/// Why the gateway did not begin to serve.
#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error(transparent)]
    Config(#[from] LoadError),
    #[error("cannot listen for clients on {address}: {source}")]
    Clients { address: SocketAddr, source: io::Error },
    #[error("cannot listen on the control socket: {0}")]
    Control(io::Error),
    #[error("cannot prepare the process: {0}")]
    Process(io::Error),
}

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    if arguments == ["--version"] {
        return match io::Write::write_fmt(&mut io::stdout(), format_args!("{}\n", env!("CARGO_PKG_VERSION")))
        {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        };
    }
    start_log();
    let Some(options) = parse(arguments) else {
        error!("{USAGE}");
        return ExitCode::from(2);
    };
    // One thread: a gateway forwards, and there is one of them per user. A few more resolve names of remote servers,
    // however many of them hang: processes and threads of the container are counted.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(MOST_RESOLVERS)
        .build();
    match runtime.map_err(StartError::Process).and_then(|runtime| runtime.block_on(run(options))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            error!(%reason, "gateway not started");
            ExitCode::FAILURE
        }
    }
}

/// Serves until SIGTERM or SIGINT.
async fn run(options: Options) -> Result<(), StartError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(StartError::Process)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(StartError::Process)?;
    let Options { listen: address, settings } = options;
    let sockets_dir = settings.sockets_dir.clone();
    let gateway = Gateway::start(settings).await?;
    let clients = listen_tcp(address).await.map_err(|source| StartError::Clients { address, source })?;
    let controller = listen_control(&sockets_dir).map_err(StartError::Control)?;
    let address = clients.local_addr().map_err(StartError::Process)?;
    let front = Arc::new(Front::new(Arc::clone(&gateway)));
    let control = Arc::new(Control::new(Arc::clone(&gateway), Arc::clone(&front)));
    info!(%address, version = env!("CARGO_PKG_VERSION"), "gateway serving");
    tokio::select! {
        () = serve_tcp(clients, Arc::clone(&front)) => {}
        () = serve_control(controller, control) => {}
        () = gateway.keep_table() => {}
        () = front.keep_clients_informed() => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    info!("gateway stopped");
    Ok(())
}

/// The options of the arguments; `None` when there is one that is not understood.
fn parse(arguments: Vec<String>) -> Option<Options> {
    let mut options = Options {
        listen: SocketAddr::from(([0, 0, 0, 0], GATEWAY_PORT)),
        settings: Settings {
            config_dir: CONFIG_DIR.into(),
            sockets_dir: SOCKETS_DIR.into(),
            limits: Limits::default(),
        },
    };
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        let value = arguments.next()?;
        match argument.as_str() {
            "--config-dir" => options.settings.config_dir = PathBuf::from(value),
            "--sockets-dir" => options.settings.sockets_dir = PathBuf::from(value),
            "--listen" => options.listen = value.parse().ok()?,
            "--start-timeout" => options.settings.limits.start = seconds(&value)?,
            "--call-timeout" => options.settings.limits.call = seconds(&value)?,
            _ => return None,
        }
    }
    Some(options)
}

fn seconds(value: &str) -> Option<Duration> {
    value.parse().ok().map(Duration::from_secs)
}

/// JSON lines on standard error. The protocol library speaks of messages and their contents at every level but
/// the highest: of it, only errors.
fn start_log() {
    let ours = Targets::new().with_default(LevelFilter::INFO).with_target("rmcp", LevelFilter::ERROR);
    tracing_subscriber::registry()
        .with(ours)
        .with(tracing_subscriber::fmt::layer().json().flatten_event(true).with_writer(io::stderr))
        .init();
}
