//! The control plane's admin API, for the commands that change its registry.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{HeaderValue, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use sealgate_data_plane::backend::s3::client_tls;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

use crate::failure::{Exit, Failure, Outcome};
use crate::profile::{self, Sections};

/// The largest answer, in bytes.
const MAX_ANSWER: usize = 64 << 20;
/// Until the answer is there: longer than the control plane waits for its nodes.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Where the admin API is.
#[derive(Args, Clone, Debug)]
pub struct AdminArguments {
    /// The control plane's admin API
    #[arg(long, env = "SEALGATE_ADMIN_URL", value_name = "URL")]
    admin_url: Option<String>,
    /// A file with its token
    #[arg(long, env = "SEALGATE_ADMIN_TOKEN_FILE", value_name = "FILE")]
    admin_token_file: Option<PathBuf>,
    /// Certificates (PEM) to trust for it instead of the system's
    #[arg(long, value_name = "FILE")]
    admin_ca: Option<PathBuf>,
}

/// A way to the admin API. Not printable: it holds the token.
pub struct Admin {
    url: Uri,
    token: Zeroizing<String>,
    ca_pem: Option<Vec<u8>>,
}

impl AdminArguments {
    /// Whether a control plane was named.
    #[must_use]
    pub fn is_given(&self) -> bool {
        self.admin_url.is_some()
    }

    /// Finds URL and token, `data` being the directory of a `sealgate dev` that runs; connects to nothing yet.
    ///
    /// # Errors
    /// When one is missing, cannot be read, or the token would cross a network in clear.
    pub fn open(&self, data: Option<&Path>) -> Outcome<Admin> {
        let url = match (&self.admin_url, data) {
            (Some(url), _) => url.clone(),
            (None, Some(data)) => {
                let path = data.join("config");
                let config = profile::read(&path, Sections::Config, "default")?;
                let url = config.get("sealgate_admin_url").map(|url| url.to_string());
                url.ok_or_else(|| {
                    Failure::usage(format!("{}: no sealgate_admin_url there", path.display()))
                        .hint("is this the --data directory of a `sealgate dev` that has started?")
                })?
            }
            (None, None) => {
                return Err(Failure::usage("no control plane to talk to")
                    .hint("give --admin-url URL and --admin-token-file FILE, or --data DIR"));
            }
        };
        let in_data = data.map(|data| data.join("control-plane").join("admin-token"));
        let token = self.admin_token_file.clone().or(in_data).ok_or_else(|| {
            Failure::usage("no token for the admin API").hint("give --admin-token-file FILE")
        })?;
        let token = Zeroizing::new(read(&token)?);
        let token = Zeroizing::new(token.trim().to_owned());
        let ca_pem = self.admin_ca.as_deref().map(|path| read(path).map(String::into_bytes)).transpose()?;
        let parsed: Uri =
            url.parse().map_err(|_| Failure::usage(format!("--admin-url {url:?}: not a URL")))?;
        let host = parsed.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let local = host == "localhost"
            || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
        match parsed.scheme_str() {
            Some("https") => {}
            Some("http") if local => {}
            _ => {
                return Err(Failure::usage(format!(
                    "--admin-url {url:?}: the token would cross the network in clear"
                ))
                .hint("use https://, or http:// on loopback"));
            }
        }
        Ok(Admin { url: parsed, token, ca_pem })
    }
}

/// The token as a header: wiped with its last copy, and not shown by Debug.
fn bearer(token: &str) -> Option<HeaderValue> {
    let text = Zeroizing::new([&b"Bearer "[..], token.as_bytes()].concat());
    let mut header = HeaderValue::from_maybe_shared(Bytes::from_owner(text)).ok()?;
    header.set_sensitive(true);
    Some(header)
}

fn read(path: &Path) -> Outcome<String> {
    std::fs::read_to_string(path).map_err(|error| Failure::file(path, &error))
}

impl Admin {
    /// One request, waited for; gives status and document of a success.
    ///
    /// # Errors
    /// What the control plane says is wrong.
    pub fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Outcome<(StatusCode, Value)> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::io(&"runtime", &error))?;
        runtime.block_on(self.ask(method, path, body))
    }

    /// One request; gives status and document of a success.
    ///
    /// # Errors
    /// As [`Admin::call`].
    pub async fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Outcome<(StatusCode, Value)> {
        let answered = tokio::time::timeout(TIMEOUT, self.send(method, path, body)).await;
        let (status, bytes) = answered.unwrap_or_else(|_| Err(self.unreachable(&"no answer in time")))?;
        let document = serde_json::from_slice(&bytes);
        if status.is_success() {
            return match document {
                Ok(document) => Ok((status, document)),
                Err(_) => Err(self.unreachable(&"the answer is not JSON")),
            };
        }
        let document = document.unwrap_or(Value::Null);
        let detail = document["detail"].as_str().unwrap_or("no reason is given");
        let exit = match status.as_u16() {
            400 => Exit::Usage,
            401 | 403 => Exit::Denied,
            404 => Exit::NotFound,
            429 | 500.. => Exit::Unavailable,
            _ => Exit::Failure,
        };
        Err(Failure::new(exit, format!("the control plane refuses (HTTP {}): {detail}", status.as_u16())))
    }

    fn unreachable(&self, why: &dyn std::fmt::Display) -> Failure {
        Failure::new(Exit::Unavailable, format!("{}: {why}", self.url))
            .hint("check --admin-url; does the control plane run?")
    }

    async fn send(&self, method: &str, path: &str, body: Option<&Value>) -> Outcome<(StatusCode, Bytes)> {
        let https = self.url.scheme_str() == Some("https");
        let host = self.url.host().unwrap_or_default();
        let bare = host.trim_matches(['[', ']']);
        let port = self.url.port_u16().unwrap_or(if https { 443 } else { 80 });
        let stream = TcpStream::connect((bare, port)).await.map_err(|error| self.unreachable(&error))?;
        let text = body.map(Value::to_string).unwrap_or_default();
        let unsendable = || Failure::usage("the token, or the name of a bucket, cannot be sent");
        let bearer = bearer(&self.token).ok_or_else(unsendable)?;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, format!("{host}:{port}"))
            .header(AUTHORIZATION, bearer)
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(text)))
            .map_err(|_| unsendable())?;
        if !https {
            return self.exchange(stream, request).await;
        }
        let name = ServerName::try_from(bare.to_owned()).map_err(|error| self.unreachable(&error))?;
        let config = client_tls(self.ca_pem.as_deref())
            .map_err(|error| Failure::usage(format!("--admin-ca: {error}")))?;
        let tls = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
        self.exchange(tls.map_err(|error| self.unreachable(&error))?, request).await
    }

    async fn exchange(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin,
        request: Request<Full<Bytes>>,
    ) -> Outcome<(StatusCode, Bytes)> {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.unreachable(&error))?;
        let answered = async {
            let answer = sender.send_request(request).await.map_err(|error| self.unreachable(&error))?;
            let (head, body) = answer.into_parts();
            let body =
                Limited::new(body, MAX_ANSWER).collect().await.map_err(|error| self.unreachable(&error))?;
            Ok((head.status, body.to_bytes()))
        };
        let mut answered = std::pin::pin!(answered);
        tokio::select! {
            done = &mut answered => done,
            // The server may close the connection before the last of its answer was taken.
            _ = connection => answered.await,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::bearer;
    use crate::memory::Needle;

    #[test]
    fn the_token_is_wiped_with_its_header() {
        let (token, needle) = Needle::new(64);
        let header = bearer(&token).unwrap();
        drop(token);
        assert!(header.as_bytes().starts_with(b"Bearer ") && header.len() == 71);
        assert!(needle.found().unwrap() > 0, "the search finds what is there");
        drop(header);
        assert_eq!(needle.found().unwrap(), 0);
    }
}
