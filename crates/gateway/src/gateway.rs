//! The gateway as a whole: the configuration in force, the servers it names, and the table of tools that
//! clients see. [`crate::handler`] reads it for the clients, [`crate::http::Control`] changes it for the controller.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bowline_core::gateway_file::{GatewayFile, GatewayServer, GatewayState, TokensFile};
use chrono::Utc;
use rmcp::model::Tool;
use tokio::sync::{Notify, watch};
use tracing::{info, warn};

use crate::auth::{Grant, Verifiers};
use crate::config::{self, LoadError};
use crate::names::{self, Namespace};
use crate::plain::plain;
use crate::upstream::{Limits, Means, Upstream};

/// Where a gateway finds its files and how long it waits; everything else is in the files.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Directory with the two files of the controller.
    pub config_dir: PathBuf,
    /// Directory with the control socket and the servers' sockets.
    pub sockets_dir: PathBuf,
    /// How long a server may take.
    pub limits: Limits,
}

/// A running gateway.
#[derive(Debug)]
pub struct Gateway {
    settings: Settings,
    live: Mutex<Live>,
    /// Held over a reload: two at once would mix.
    reloading: tokio::sync::Mutex<()>,
    /// Notified by a server whose tools are different.
    dirty: Arc<Notify>,
    /// Grows whenever clients are to list the tools again.
    edition: watch::Sender<u64>,
}

#[derive(Debug)]
struct Live {
    file: Arc<GatewayFile>,
    verifiers: Arc<Verifiers>,
    /// In the order of the file.
    upstreams: Vec<Arc<Upstream>>,
    table: Arc<Table>,
}

/// The tools as clients see them, and where each one leads.
#[derive(Debug, Default, PartialEq)]
pub struct Table {
    tools: Vec<Tool>,
    /// By the name that clients see: the server, and its own name for the tool.
    routes: HashMap<String, (String, String)>,
}

/// Where a call goes.
#[derive(Debug)]
pub struct Route {
    /// The server.
    pub upstream: Arc<Upstream>,
    /// Its own name for the tool.
    pub tool: String,
}

impl Gateway {
    /// Reads the configuration and starts every server's actor. The gateway serves from then on; nothing
    /// waits for a server.
    ///
    /// # Errors
    /// When a file cannot be used.
    pub async fn start(settings: Settings) -> Result<Arc<Self>, LoadError> {
        let (file, tokens) = config::load(&settings.config_dir)?;
        let empty = GatewayFile { servers: Vec::new(), ..file.clone() };
        let live = Live {
            file: Arc::new(empty),
            verifiers: Arc::default(),
            upstreams: Vec::new(),
            table: Arc::default(),
        };
        let gateway = Arc::new(Self {
            settings,
            live: Mutex::new(live),
            reloading: tokio::sync::Mutex::default(),
            dirty: Arc::default(),
            edition: watch::Sender::new(0),
        });
        gateway.apply(file, &tokens).await;
        Ok(gateway)
    }

    /// Keeps the table of tools in step with the servers, for ever.
    pub async fn keep_table(&self) {
        loop {
            self.dirty.notified().await;
            self.rebuild();
        }
    }

    /// Reads both files again. Servers that are described as before, their sessions and the clients' sessions
    /// are not touched.
    ///
    /// # Errors
    /// When a file cannot be used; everything stays as it was.
    pub async fn reload(&self) -> Result<GatewayState, LoadError> {
        let _alone = self.reloading.lock().await;
        let (file, tokens) = config::load(&self.settings.config_dir)?;
        self.apply(file, &tokens).await;
        Ok(self.state())
    }

    async fn apply(&self, file: GatewayFile, tokens: &TokensFile) {
        // First of all, so that a revoked token is refused from here on.
        {
            let mut live = self.live();
            live.verifiers = Arc::new(live.verifiers.renewed(tokens));
        }
        let before = self.live().upstreams.clone();
        let (mut kept, mut gone) = (HashMap::new(), Vec::new());
        for upstream in before {
            match file.servers.iter().find(|server| upstream.fits(server, file.allow_private_remotes)) {
                Some(server) => drop(kept.insert(server.name.clone(), upstream)),
                None => gone.push(upstream),
            }
        }
        // Before the new ones start: one of them may use the same socket.
        for upstream in gone {
            upstream.stop().await;
            info!(server = upstream.server().name, "server removed");
        }
        let upstreams = file
            .servers
            .iter()
            .map(|server| kept.remove(&server.name).unwrap_or_else(|| self.begin(&file, server)))
            .collect();
        {
            let mut live = self.live();
            live.upstreams = upstreams;
            live.file = Arc::new(file);
            let (config, tokens) = (&live.file.revision, live.verifiers.revision());
            info!(gateway = live.file.gateway, config, tokens, "configuration in force");
        }
        self.rebuild();
    }

    fn begin(&self, file: &GatewayFile, server: &GatewayServer) -> Arc<Upstream> {
        let means = Means {
            sockets: self.settings.sockets_dir.join("servers"),
            limits: self.settings.limits,
            allow_private: file.allow_private_remotes,
            changed: Arc::clone(&self.dirty),
        };
        Upstream::start(server.clone(), means)
    }

    /// Names all tools anew; clients are told when something is different.
    fn rebuild(&self) {
        let mut live = self.live();
        let table = Table::build(&live.file.servers, &live.upstreams);
        if table != *live.table {
            live.table = Arc::new(table);
            drop(live);
            self.edition.send_modify(|edition| *edition = edition.wrapping_add(1));
        }
    }

    /// What the control socket answers.
    pub fn state(&self) -> GatewayState {
        let live = self.live();
        GatewayState {
            version: env!("CARGO_PKG_VERSION").into(),
            config_revision: live.file.revision.clone(),
            tokens_revision: live.verifiers.revision(),
            // In the order of the file, both.
            servers: (live.upstreams.iter().zip(&live.file.servers))
                .map(|(upstream, server)| upstream.report(&server.tools, live.upstreams.len()))
                .collect(),
        }
    }

    /// The configuration in force.
    pub fn file(&self) -> Arc<GatewayFile> {
        Arc::clone(&self.live().file)
    }

    /// The grant of a bearer token, if it is a good one.
    pub fn verify(&self, token: &[u8]) -> Option<Grant> {
        let verifiers = Arc::clone(&self.live().verifiers);
        verifiers.verify(token, Utc::now())
    }

    /// The tools that are offered. Those of a server that is away stay listed, as of its last listing: a
    /// client's list is then not rebuilt at every restart, and a call says what is wrong.
    pub fn tools(&self) -> Vec<Tool> {
        self.live().table.tools.clone()
    }

    /// One tool by the name under which it is offered.
    pub fn tool(&self, name: &str) -> Option<Tool> {
        self.live().table.tools.iter().find(|tool| tool.name == name).cloned()
    }

    /// Where a call of the tool that is offered as `name` goes.
    pub fn route(&self, name: &str) -> Option<Route> {
        let live = self.live();
        let (server, tool) = live.table.routes.get(name)?;
        let upstream = live.upstreams.iter().find(|upstream| upstream.server().name == *server)?;
        Some(Route { upstream: Arc::clone(upstream), tool: tool.clone() })
    }

    /// Changes whenever clients are to list the tools again.
    pub fn editions(&self) -> watch::Receiver<u64> {
        self.edition.subscribe()
    }

    fn live(&self) -> MutexGuard<'_, Live> {
        // Every change is one assignment: a panic elsewhere leaves it whole.
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// Names the tools of all servers that are offered; `servers` says prefixes and filters, in the order of
    /// `upstreams`.
    fn build(servers: &[GatewayServer], upstreams: &[Arc<Upstream>]) -> Self {
        // A tool that is filtered out has no part in the naming: for the clients it does not exist.
        let listed: Vec<Vec<Tool>> = (servers.iter().zip(upstreams))
            .map(|(server, upstream)| {
                upstream.tools().iter().filter(|tool| server.tools.offers(&tool.name)).cloned().collect()
            })
            .collect();
        let own: Vec<Vec<&str>> =
            listed.iter().map(|tools| tools.iter().map(|tool| &*tool.name).collect()).collect();
        let namespaces: Vec<_> = servers
            .iter()
            .zip(&own)
            .map(|(server, tools)| Namespace {
                server: &server.name,
                prefix: server.prefix.as_deref(),
                tools,
            })
            .collect();
        let mut table = Self::default();
        for ((server, tools), names) in servers.iter().zip(&listed).zip(names::assign(&namespaces)) {
            let unnamed = tools.iter().zip(&names).find(|(_, name)| name.is_none());
            if let Some((tool, _)) = unnamed {
                warn!(server = server.name, tool = plain(&tool.name), "tool listed twice is offered once");
            }
            for (tool, name) in tools.iter().zip(names) {
                let Some(name) = name else { continue };
                table.routes.insert(name.clone(), (server.name.clone(), tool.name.clone().into_owned()));
                let mut tool = tool.clone();
                tool.name = name.into();
                table.tools.push(tool);
            }
        }
        table
    }
}
