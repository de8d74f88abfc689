//! The admin API, as far as a migration needs it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use http::{Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use sealgate_data_plane::backend::s3::client_tls;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use zeroize::Zeroizing;

use crate::failure::{Exit, Failure, Outcome};

/// The longest answer, in bytes: a list of all buckets among them.
const MAX_ANSWER: usize = 64 << 20;
/// An answer waits for the nodes, 5 s at most.
const WITHIN: Duration = Duration::from_secs(30);

/// Where the admin API is.
#[derive(Args, Clone, Debug)]
pub struct AdminArguments {
    /// The control plane's admin API
    #[arg(long, value_name = "URL")]
    admin: Uri,
    /// The file with its token
    #[arg(long, value_name = "FILE")]
    token_file: PathBuf,
    /// Certificates (PEM) to trust for it instead of the system's
    #[arg(long, value_name = "FILE")]
    admin_ca: Option<PathBuf>,
}

/// A bucket as the registry has it.
#[derive(Clone, Debug, Deserialize)]
pub struct Bucket {
    pub name: String,
    pub id: String,
    pub tenant: String,
    pub region: String,
    pub state: String,
    #[serde(default)]
    pub frozen: bool,
}

/// Who may still write into a frozen bucket, or has not heard of a change.
#[derive(Clone, Debug, Deserialize)]
pub struct Settled {
    pub pending: Vec<String>,
    pub writes_in_flight: u64,
}

impl Settled {
    /// Nobody.
    pub fn is_all(&self) -> bool {
        self.pending.is_empty() && self.writes_in_flight == 0
    }

    /// Who, for people.
    pub fn text(&self) -> String {
        match self.pending.as_slice() {
            [] => format!("{} writes in flight", self.writes_in_flight),
            nodes => {
                format!("{} writes in flight; not heard from: {}", self.writes_in_flight, nodes.join(", "))
            }
        }
    }
}

/// See the module.
pub struct Admin {
    url: Uri,
    token: Zeroizing<String>,
    tls: Option<tokio_rustls::TlsConnector>,
}

impl Admin {
    /// Reads the token; connects to nothing yet.
    ///
    /// # Errors
    /// Files that cannot be read, a URL that is none.
    pub fn new(arguments: &AdminArguments) -> Outcome<Self> {
        let read = |path: &Path| std::fs::read(path).map_err(|error| Failure::file(path, &error));
        let token = Zeroizing::new(read(&arguments.token_file)?);
        let token = std::str::from_utf8(&token).ok().map(|text| Zeroizing::new(text.trim().to_owned()));
        let token = token.ok_or_else(|| {
            Failure::usage(format!("{}: is no admin token", arguments.token_file.display()))
        })?;
        let tls = match (arguments.admin.scheme_str(), arguments.admin.host()) {
            (Some("http"), Some(_)) => None,
            (Some("https"), Some(_)) => {
                let ca = arguments.admin_ca.as_deref().map(read).transpose()?;
                let config = client_tls(ca.as_deref()).map_err(|error| Failure::usage(error.to_string()))?;
                Some(Arc::new(config).into())
            }
            _ => return Err(Failure::usage("--admin: is not http://HOST:PORT or https://HOST:PORT")),
        };
        Ok(Self { url: arguments.admin.clone(), token, tls })
    }

    /// A registered bucket.
    pub async fn bucket(&self, name: &str) -> Outcome<Bucket> {
        let all: Vec<Bucket> = self.call(Method::GET, "/v1/buckets", Value::Null).await?;
        all.into_iter().find(|bucket| bucket.name == name).ok_or_else(|| {
            Failure::new(Exit::NotFound, format!("{name}: no such bucket"))
                .hint("`sealgate ls` shows the buckets, `sealgate mb` makes one")
        })
    }

    /// Freezes a bucket, or ends its freeze.
    pub async fn freeze(&self, name: &str, frozen: bool) -> Outcome<Settled> {
        self.call(Method::PUT, &format!("/v1/buckets/{name}/freeze"), json!({ "frozen": frozen })).await
    }

    /// Who may still write into it.
    pub async fn settled(&self, name: &str) -> Outcome<Settled> {
        self.call(Method::GET, &format!("/v1/buckets/{name}/freeze"), Value::Null).await
    }

    /// Exchanges two buckets' names, if the first is still this bucket's.
    pub async fn switch(&self, name: &str, with: &str, expect: &str) -> Outcome<Settled> {
        let body = json!({ "with": with, "expect": expect });
        self.call(Method::POST, &format!("/v1/buckets/{name}/switch"), body).await
    }

    async fn call<T: for<'de> Deserialize<'de>>(
        &self,
        method: Method,
        path: &str,
        body: Value,
    ) -> Outcome<T> {
        let place = format!("{}{path}", self.url.to_string().trim_end_matches('/'));
        let away = |why: String| {
            Failure::new(Exit::Unavailable, format!("{place}: {why}"))
                .hint("is the control plane running? --admin names its admin.listen")
        };
        let answer = tokio::time::timeout(WITHIN, self.exchange(method, path, &body)).await;
        let (status, bytes) = answer.map_err(|_| away("no answer in time".to_owned()))?.map_err(away)?;
        if !status.is_success() {
            let detail: Value = serde_json::from_slice(&bytes).unwrap_or_default();
            let exit = match status.as_u16() {
                401 | 403 => Exit::Denied,
                404 => Exit::NotFound,
                429 | 500.. => Exit::Unavailable,
                _ => Exit::Failure,
            };
            return Err(Failure::new(
                exit,
                format!("{place}: {}", detail["detail"].as_str().unwrap_or(status.as_str())),
            ));
        }
        serde_json::from_slice(&bytes).map_err(|error| away(format!("its answer cannot be read: {error}")))
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: &Value,
    ) -> Result<(StatusCode, Bytes), String> {
        let text = |error: &dyn std::fmt::Display| error.to_string();
        let host = self.url.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let port = self.url.port_u16().unwrap_or(if self.tls.is_some() { 443 } else { 80 });
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", self.url.authority().map_or("", |authority| authority.as_str()))
            .header("authorization", format!("Bearer {}", *self.token))
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| text(&error))?;
        let stream = TcpStream::connect((host.as_str(), port)).await.map_err(|error| text(&error))?;
        match &self.tls {
            None => send(stream, request).await,
            Some(tls) => {
                let name = rustls_pki_types::ServerName::try_from(host).map_err(|error| text(&error))?;
                send(tls.connect(name, stream).await.map_err(|error| text(&error))?, request).await
            }
        }
    }
}

async fn send(
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
    request: Request<Full<Bytes>>,
) -> Result<(StatusCode, Bytes), String> {
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| error.to_string())?;
    let exchange = async {
        let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
        Ok((status, body.map_err(|error| error.to_string())?.to_bytes()))
    };
    let mut exchange = std::pin::pin!(exchange);
    tokio::select! {
        done = &mut exchange => done,
        // The connection ends when the server closes it, which may come before the last of the answer was taken.
        _ = connection => exchange.await,
    }
}
