//! Connections to remote servers. The one place that resolves a name: it judges every address that the name
//! has and connects to one of them, so that nothing can change in between.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use hyper::Uri;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};
use tower_service::Service;

use super::address::{Reach, reach};

/// Addresses of one name that are tried, in the order of the resolver.
pub(super) const MOST_ATTEMPTS: usize = 4;

/// Why there is no connection.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum DialError {
    /// The name has no address, or nobody could tell.
    #[error("cannot resolve {host}: {cause}")]
    Resolve {
        /// The name.
        host: String,
        /// What the resolver says.
        cause: String,
    },
    /// An address that only an admin may allow.
    #[error(
        "{host} is at the private address {address}, which gateways dial only with `bowline serve \
         --allow-private-remotes`"
    )]
    Private {
        /// The name.
        host: String,
        /// Its address.
        address: IpAddr,
    },
    /// An address that nobody may allow.
    #[error("{host} is at {address}, where no MCP server can be (link-local, multicast or reserved)")]
    Never {
        /// The name.
        host: String,
        /// Its address.
        address: IpAddr,
    },
    /// `http` to the internet.
    #[error("{host} is at the public address {address}, which is dialled with https only")]
    Unencrypted {
        /// The name.
        host: String,
        /// Its address.
        address: IpAddr,
    },
    /// Nobody accepts.
    #[error("cannot connect to {host} ({address}): {cause}")]
    Connect {
        /// The name.
        host: String,
        /// The address that was tried last.
        address: SocketAddr,
        /// What the kernel says.
        cause: String,
    },
    /// The other end is not who it should be, or does not speak TLS.
    #[error("no TLS with {host}: {cause}")]
    Tls {
        /// The name.
        host: String,
        /// What TLS says.
        cause: String,
    },
    /// The URL has no host.
    #[error("the URL has no host")]
    NoHost,
}

/// Makes connections. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Dialer {
    allow_private: bool,
    limit: Duration,
    tls: Arc<ClientConfig>,
}

impl Dialer {
    /// Trusts the certificate authorities that browsers trust; each step may take `limit`.
    ///
    /// # Errors
    /// When the TLS library refuses its own parts, which no input can bring about.
    pub(crate) fn new(allow_private: bool, limit: Duration) -> Result<Self, rustls::Error> {
        let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        Self::trusting(roots, allow_private, limit)
    }

    /// Trusts `roots` and nobody else.
    pub(super) fn trusting(
        roots: RootCertStore,
        allow_private: bool,
        limit: Duration,
    ) -> Result<Self, rustls::Error> {
        let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { allow_private, limit, tls: Arc::new(tls) })
    }

    async fn dial(self, uri: Uri) -> Result<Wire, DialError> {
        let encrypted = uri.scheme_str() != Some("http");
        let host = uri.host().ok_or(DialError::NoHost)?.trim_matches(['[', ']']).to_owned();
        let port = uri.port_u16().unwrap_or(if encrypted { 443 } else { 80 });
        let addresses = self.resolve(&host, port).await?;
        for address in &addresses {
            self.judge(&host, address.ip(), encrypted)?;
        }
        let stream = self.connect(&host, &addresses).await?;
        if !encrypted {
            return Ok(Wire(TokioIo::new(Box::new(stream))));
        }
        let failed = |cause: String| DialError::Tls { host: host.clone(), cause };
        let name = ServerName::try_from(host.clone()).map_err(|error| failed(error.to_string()))?;
        let handshake = TlsConnector::from(Arc::clone(&self.tls)).connect(name, stream);
        let stream = match tokio::time::timeout(self.limit, handshake).await {
            Ok(stream) => stream.map_err(|error| failed(error.to_string()))?,
            Err(_) => return Err(failed(late(self.limit))),
        };
        Ok(Wire(TokioIo::new(Box::new(stream))))
    }

    async fn resolve(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, DialError> {
        let failed = |cause: String| DialError::Resolve { host: host.to_owned(), cause };
        let answer = tokio::time::timeout(self.limit, tokio::net::lookup_host((host, port))).await;
        let addresses: Vec<_> = match answer {
            Ok(addresses) => addresses.map_err(|error| failed(error.to_string()))?.collect(),
            Err(_) => return Err(failed(late(self.limit))),
        };
        if addresses.is_empty() { Err(failed("it has no address".into())) } else { Ok(addresses) }
    }

    /// One address that may not be dialled condemns the name: whoever mixes them is up to no good.
    fn judge(&self, host: &str, address: IpAddr, encrypted: bool) -> Result<(), DialError> {
        let host = host.to_owned();
        match reach(address) {
            Reach::Never => Err(DialError::Never { host, address }),
            Reach::Private if !self.allow_private => Err(DialError::Private { host, address }),
            Reach::Public if !encrypted => Err(DialError::Unencrypted { host, address }),
            Reach::Private | Reach::Public => Ok(()),
        }
    }

    async fn connect(&self, host: &str, addresses: &[SocketAddr]) -> Result<TcpStream, DialError> {
        let mut last = DialError::NoHost;
        for address in addresses.iter().take(MOST_ATTEMPTS) {
            let cause = match tokio::time::timeout(self.limit, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => match stream.set_nodelay(true) {
                    Ok(()) => return Ok(stream),
                    Err(error) => error.to_string(),
                },
                Ok(Err(error)) => error.to_string(),
                Err(_) => late(self.limit),
            };
            last = DialError::Connect { host: host.to_owned(), address: *address, cause };
        }
        Err(last)
    }
}

fn late(limit: Duration) -> String {
    format!("no answer within {} s", limit.as_secs())
}

impl Service<Uri> for Dialer {
    type Response = Wire;
    type Error = DialError;
    type Future = BoxFuture<'static, Result<Wire, DialError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), DialError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.clone().dial(uri))
    }
}

trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Duplex for T {}

/// A connection, encrypted or not.
pub(crate) struct Wire(TokioIo<Box<dyn Duplex>>);

impl Connection for Wire {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl hyper::rt::Read for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: hyper::rt::ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl hyper::rt::Write for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
