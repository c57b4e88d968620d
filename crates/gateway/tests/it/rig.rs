//! A gateway in a directory of its own, its bridges, and ways to look at them.

use std::cell::RefCell;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use bowline_core::gateway_file::{
    CONTROL_SOCKET, GATEWAY_FILE, GatewayFile, GatewayServer, GatewayState, RemotePlace, RemoteTransport,
    SERVER_SOCKET, ServerPhase, ServerPlace, ServerReport, TOKENS_FILE, TokenVerifier, TokensFile,
};
use bowline_core::tool_filter::ToolFilter;
use chrono::{DateTime, Utc};
use rmcp::model::ProtocolVersion;
use rmcp::service::{ClientLifecycleMode, ClientServiceExt as _, RunningService};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use rmcp::{ClientHandler, RoleClient};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

/// The token that every gateway of these tests knows at first.
pub(crate) const TOKEN: &str = "token-one";
/// For everything that must happen; generous, because the machine may be busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A process that ends with the test.
pub(crate) struct Process {
    pub(crate) child: Child,
    /// Lines of its standard error.
    pub(crate) log: Receiver<String>,
}

impl Process {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, log) = channel();
        thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self { child, log }
    }

    /// Waits for a line of the log that contains `text`.
    pub(crate) fn logged(&self, text: &str) -> String {
        let mut seen = Vec::new();
        let until = Instant::now() + PATIENCE;
        while let Ok(line) = self.log.recv_timeout(until.saturating_duration_since(Instant::now())) {
            if line.contains(text) {
                return line;
            }
            seen.push(line);
        }
        panic!("{text:?} was not logged; instead: {seen:#?}");
    }

    /// Sends SIGTERM; the exit code and how long it took.
    pub(crate) fn terminate(&mut self) -> (Option<i32>, Duration) {
        let since = Instant::now();
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        (self.child.wait().unwrap().code(), since.elapsed())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One gateway with its files.
pub(crate) struct Rig {
    root: TempDir,
    file: RefCell<GatewayFile>,
    tokens: RefCell<TokensFile>,
    pub(crate) gateway: Process,
    pub(crate) address: SocketAddr,
}

impl Rig {
    /// A gateway with these servers, whose limits are short enough to be waited for.
    pub(crate) fn start(servers: &[GatewayServer]) -> Self {
        Self::start_with(servers, &["--start-timeout", "20", "--call-timeout", "20"])
    }

    pub(crate) fn start_with(servers: &[GatewayServer], limits: &[&str]) -> Self {
        Self::launch("127.0.0.1:0", servers, limits)
    }

    /// A gateway where another one was.
    pub(crate) fn start_at(address: SocketAddr, servers: &[GatewayServer]) -> Self {
        Self::launch(&address.to_string(), servers, &[])
    }

    fn launch(listen: &str, servers: &[GatewayServer], options: &[&str]) -> Self {
        let root = tempfile::tempdir().unwrap();
        let file = GatewayFile {
            revision: "r0".into(),
            gateway: "u1/default".into(),
            allowed_hosts: vec!["gateway.example".into()],
            allow_private_remotes: true,
            servers: Vec::new(),
        };
        let tokens = TokensFile { revision: 0, tokens: vec![verifier("one", TOKEN, None)] };
        fs::create_dir(root.path().join("config")).unwrap();
        fs::create_dir_all(root.path().join("sockets/servers")).unwrap();
        for server in servers {
            make_directory(root.path(), server);
        }
        let file = GatewayFile { servers: servers.to_vec(), ..file };
        write(root.path(), GATEWAY_FILE, &serde_json::to_string(&file).unwrap());
        write(root.path(), TOKENS_FILE, &serde_json::to_string(&tokens).unwrap());
        let mut command = Command::new(env!("CARGO_BIN_EXE_bowline-gateway"));
        command
            .args(["--listen", listen])
            .arg("--config-dir")
            .arg(root.path().join("config"))
            .arg("--sockets-dir")
            .arg(root.path().join("sockets"))
            .args(options);
        let gateway = Process::start(&mut command);
        let line = gateway.logged("gateway serving");
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        let address = line["address"].as_str().unwrap().parse().unwrap();
        Self { root, file: RefCell::new(file), tokens: RefCell::new(tokens), gateway, address }
    }

    /// Changes the gateway file (with a new revision) without a reload.
    pub(crate) fn edit(&self, change: impl FnOnce(&mut GatewayFile)) {
        let mut file = self.file.borrow_mut();
        change(&mut file);
        file.revision = format!("{}+", file.revision);
        for server in &file.servers {
            make_directory(self.root.path(), server);
        }
        self.write(GATEWAY_FILE, &serde_json::to_string(&*file).unwrap());
    }

    /// Changes the tokens (with a new revision) without a reload.
    pub(crate) fn edit_tokens(&self, change: impl FnOnce(&mut Vec<TokenVerifier>)) {
        let mut tokens = self.tokens.borrow_mut();
        change(&mut tokens.tokens);
        tokens.revision += 1;
        self.write(TOKENS_FILE, &serde_json::to_string(&*tokens).unwrap());
    }

    /// Replaces a file of the configuration.
    pub(crate) fn write(&self, name: &str, text: &str) {
        write(self.root.path(), name, text);
    }

    pub(crate) fn revision(&self) -> String {
        self.file.borrow().revision.clone()
    }

    pub(crate) fn socket_of(&self, server: &str) -> PathBuf {
        self.root.path().join("sockets/servers").join(directory_of(server)).join(SERVER_SOCKET)
    }

    /// A path in the rig's own directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// A bridge for `server` with the scripted server behind it.
    pub(crate) fn bridge(&self, server: &str, script: &[&str]) -> Process {
        let mut command = bridge_command(&self.socket_of(server));
        command.arg("--").arg(scripted_server()).args(script);
        Process::start(&mut command)
    }

    /// The status line and body of one request on the control socket.
    pub(crate) fn control(&self, method: &str, path: &str) -> (u16, String) {
        let socket = self.root.path().join("sockets").join(CONTROL_SOCKET);
        let mut stream = UnixStream::connect(socket).unwrap();
        write!(stream, "{method} {path} HTTP/1.1\r\nHost: control\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let Answer { status, body, .. } = Answer::parse(&answer);
        (status, body)
    }

    pub(crate) fn state(&self) -> GatewayState {
        let (status, body) = self.control("GET", "/v1/state");
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).unwrap()
    }

    pub(crate) fn reload(&self) -> GatewayState {
        let (status, body) = self.control("POST", "/v1/reload");
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).unwrap()
    }

    pub(crate) fn report(&self, server: &str) -> ServerReport {
        let state = self.state();
        state.servers.into_iter().find(|report| report.name == server).unwrap()
    }

    /// Waits until the report of `server` is as wanted.
    pub(crate) fn until(&self, server: &str, wanted: impl Fn(&ServerReport) -> bool) -> ServerReport {
        eventually(|| Some(self.report(server)).filter(&wanted).ok_or_else(|| format!("{:?}", self.state())))
    }

    pub(crate) fn running(&self, server: &str) -> ServerReport {
        self.until(server, |report| report.phase == ServerPhase::Running)
    }

    /// Sends one HTTP/1.1 request with these header lines to the clients' port.
    pub(crate) fn http(&self, head: &str, body: &str) -> Answer {
        let mut stream = TcpStream::connect(self.address).unwrap();
        let length = body.len();
        let text = format!("{head}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}");
        stream.write_all(text.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        Answer::parse(&answer)
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/mcp", self.address)
    }

    /// An MCP client of one era.
    pub(crate) async fn client<H: ClientHandler>(
        &self,
        handler: H,
        token: &str,
        era: Era,
    ) -> Result<RunningService<RoleClient, H>, rmcp::service::ClientInitializeError> {
        let config = StreamableHttpClientTransportConfig::with_uri(self.url()).auth_header(token);
        let transport = StreamableHttpClientTransport::from_config(config);
        let mode = match era {
            Era::Legacy => ClientLifecycleMode::Initialize,
            Era::Modern => {
                ClientLifecycleMode::Discover { preferred_versions: vec![ProtocolVersion::LATEST] }
            }
        };
        handler.serve_with_lifecycle(transport, mode).await
    }
}

/// How a client begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Era {
    Legacy,
    Modern,
}

pub(crate) const ERAS: [Era; 2] = [Era::Legacy, Era::Modern];

/// An answer in HTTP.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    fn parse(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        Self { status: status.unwrap_or(0), head: head.to_ascii_lowercase(), body: body.into() }
    }
}

/// A server of this test's own user.
pub(crate) fn server(name: &str) -> GatewayServer {
    bridged(name, rustix::process::getuid().as_raw())
}

/// A server whose bridge must be this user's.
pub(crate) fn bridged(name: &str, uid: u32) -> GatewayServer {
    let place = ServerPlace::Bridge { directory: directory_of(name), uid };
    GatewayServer { name: name.into(), place, prefix: None, tools: ToolFilter::default() }
}

/// A remote server; the header is the one that a gateway asks for, which serves as a remote server here.
pub(crate) fn remote(name: &str, url: &str, transport: RemoteTransport) -> GatewayServer {
    let headers = [("Authorization".to_owned(), format!("Bearer {TOKEN}"))].into();
    let place = ServerPlace::Remote(RemotePlace { url: url.into(), transport, headers });
    GatewayServer { name: name.into(), place, prefix: None, tools: ToolFilter::default() }
}

pub(crate) fn verifier(id: &str, token: &str, expires_at: Option<DateTime<Utc>>) -> TokenVerifier {
    TokenVerifier { id: id.into(), sha256: hex::encode(Sha256::digest(token)), expires_at }
}

pub(crate) fn bridge_command(socket: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bowline-bridge"));
    command.arg("--socket").arg(socket);
    command
}

/// The scripted server, which Cargo builds with the tests beside them.
pub(crate) fn scripted_server() -> PathBuf {
    let test = env::current_exe().unwrap();
    let path = test.ancestors().nth(2).unwrap().join("examples/scripted_server");
    assert!(path.exists(), "{} is not built: cargo build --examples", path.display());
    path
}

/// Looks again and again until there is what is wanted.
pub(crate) fn eventually<T>(mut look: impl FnMut() -> Result<T, String>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        match look() {
            Ok(found) => return found,
            Err(instead) => assert!(Instant::now() < until, "not within {PATIENCE:?}: {instead}"),
        }
        thread::sleep(Duration::from_millis(20));
    }
}

fn directory_of(server: &str) -> String {
    format!("dir-{server}")
}

fn make_directory(root: &Path, server: &GatewayServer) {
    let ServerPlace::Bridge { directory, .. } = &server.place else { return };
    let directory = root.join("sockets/servers").join(directory);
    fs::create_dir_all(&directory).unwrap();
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o777)).unwrap();
}

fn write(root: &Path, name: &str, text: &str) {
    let (path, new) = (root.join("config").join(name), root.join("config/new"));
    fs::write(&new, text).unwrap();
    fs::rename(new, path).unwrap();
}
