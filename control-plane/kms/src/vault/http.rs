//! One request and its answer, at one address. The requests' paths and methods are vaultrs's; what carries them is this, since
//! vaultrs' own client has no time-outs, reads answers of any length, drops `Retry-After`, follows redirects with the
//! token, and leaves keys and secrets in buffers that nobody wipes.
//!
//! Connections are kept and used again; a connection takes 500 ms at most, a whole call 5 s. The deadlines that matter are the
//! resilience layer's: these are for whoever calls without it.

use std::{
    error::Error as _,
    sync::{PoisonError, RwLock},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use reqwest::{Client, Url, redirect};
use rustify::Endpoint;
use rustls::ClientConfig;
use zeroize::Zeroizing;

use super::connect::Outliving;
use crate::{Cause, KmsError, resilience::step};

/// Until a connection stands, its TLS included.
pub(super) const CONNECT: Duration = Duration::from_millis(500);
/// Until an answer is whole.
pub(super) const WHOLE: Duration = Duration::from_secs(5);
/// A connection that is not used is closed: below the servers' own bound (5 minutes), so that they do not close it on a request.
const IDLE: Duration = Duration::from_secs(90);
const KEEPALIVE: Duration = Duration::from_secs(30);
/// Idle connections an address.
const POOL: usize = 64;
/// The longest answer: a login with many policies has a few KiB.
const MAX_ANSWER: usize = 256 << 10;
/// The longest wait that a server may ask for.
const MAX_RETRY_AFTER: u64 = 3600;

const REQUEST: HeaderName = HeaderName::from_static("x-vault-request");
const TOKEN: HeaderName = HeaderName::from_static("x-vault-token");
const NAMESPACE: HeaderName = HeaderName::from_static("x-vault-namespace");
const NO_FORWARDING: HeaderName = HeaderName::from_static("x-vault-no-request-forwarding");

/// What is asked: method, path below `/v1/`, and the body.
pub(super) struct Request {
    method: Method,
    path: String,
    body: Option<Bytes>,
    /// Outside the namespace.
    outside: bool,
}

impl Request {
    /// A request without secrets, as vaultrs makes it.
    pub(super) fn of(endpoint: &impl Endpoint) -> Result<Self, KmsError> {
        let broken = |_| KmsError::local("a request cannot be written");
        let body = endpoint.body().map_err(broken)?.filter(|body| !body.is_empty());
        Ok(Self { body: body.map(Bytes::from), ..Self::at(endpoint) })
    }

    /// vaultrs's method and path with a body of ours: what it carries is secret, and wiped when it has been sent.
    pub(super) fn secret(endpoint: &impl Endpoint, body: Zeroizing<Vec<u8>>) -> Self {
        Self { body: Some(Bytes::from_owner(body)), ..Self::at(endpoint) }
    }

    fn at(endpoint: &impl Endpoint) -> Self {
        // One of vaultrs 0.8's paths begins with a tab, which a server answers with a redirect.
        let path = endpoint.path().trim().trim_start_matches('/').to_owned();
        Self { method: endpoint.method().into(), path, body: None, outside: false }
    }

    /// Of the server as a whole, which answers it in no namespace.
    pub(super) fn outside(mut self) -> Self {
        self.outside = true;
        self
    }
}

/// What a server said.
pub(super) struct Answer {
    pub(super) status: u16,
    /// When it wants to be asked again.
    pub(super) retry_after: Option<Duration>,
    /// May hold a key or a token.
    pub(super) body: Zeroizing<Vec<u8>>,
}

/// What all addresses of a provider have in common.
pub(super) struct Common {
    pub(super) tls: ClientConfig,
    pub(super) namespace: Option<HeaderValue>,
    /// Whether a standby may pass calls on to the active node.
    pub(super) forwarding: bool,
}

impl Common {
    fn client(&self) -> Result<Client, KmsError> {
        let mut headers = HeaderMap::new();
        headers.insert(REQUEST, HeaderValue::from_static("true"));
        if !self.forwarding {
            headers.insert(NO_FORWARDING, HeaderValue::from_static("true"));
        }
        Client::builder()
            .tls_backend_preconfigured(self.tls.clone())
            .default_headers(headers)
            .user_agent("sealgate")
            .http1_only()
            // The token would go wherever an answer points.
            .redirect(redirect::Policy::none())
            // Nor through a proxy that the environment names.
            .no_proxy()
            .connect_timeout(CONNECT)
            .connector_layer(Outliving)
            .timeout(WHOLE)
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(POOL)
            .tcp_keepalive(KEEPALIVE)
            .tcp_nodelay(true)
            .build()
            .map_err(|error| KmsError::local(cause_of(&error)))
    }
}

/// One address.
pub(super) struct Http {
    client: RwLock<Client>,
    /// Scheme, host and port: for requests and for errors.
    base: String,
    namespace: Option<HeaderValue>,
}

impl Http {
    pub(super) fn new(common: &Common, address: &Url) -> Result<Self, KmsError> {
        let base = address.as_str().trim_end_matches('/').to_owned();
        let client = RwLock::new(common.client()?);
        Ok(Self { client, base, namespace: common.namespace.clone() })
    }

    /// Leaves the connections that stand, which show the client certificate as it was when they were made.
    pub(super) fn reconnect(&self, common: &Common) -> Result<(), KmsError> {
        *self.client.write().unwrap_or_else(PoisonError::into_inner) = common.client()?;
        Ok(())
    }

    /// What errors call this address.
    pub(super) fn address(&self) -> &str {
        &self.base
    }

    /// Sends a request once. An answer of any status is one.
    pub(super) async fn send(
        &self,
        request: Request,
        token: Option<&HeaderValue>,
        within: Duration,
    ) -> Result<Answer, KmsError> {
        let url = format!("{}/v1/{}", self.base, request.path);
        let client = self.client.read().unwrap_or_else(PoisonError::into_inner).clone();
        let mut builder = client.request(request.method, url).timeout(within);
        if let Some(namespace) = self.namespace.as_ref().filter(|_| !request.outside) {
            builder = builder.header(NAMESPACE, namespace.clone());
        }
        if let Some(token) = token {
            builder = builder.header(TOKEN, token.clone());
        }
        if let Some(body) = request.body {
            builder = builder.header(http::header::CONTENT_TYPE, "application/json").body(body);
        }
        let base = &self.base;
        let mut response = builder.send().await.map_err(|error| failed(base, &error))?;
        let status = response.status().as_u16();
        let retry_after = response.headers().get(http::header::RETRY_AFTER).and_then(seconds);
        let length = response.content_length().unwrap_or(0);
        if length > MAX_ANSWER as u64 {
            return Err(too_long(base));
        }
        // As long as it says that it is: then no growing leaves a copy behind.
        let mut body = Zeroizing::new(Vec::with_capacity(usize::try_from(length).unwrap_or(0).max(4096)));
        while let Some(chunk) = response.chunk().await.map_err(|error| failed(base, &error))? {
            if body.len() + chunk.len() > MAX_ANSWER {
                return Err(too_long(base));
            }
            grow(&mut body, chunk.len());
            body.extend_from_slice(&chunk);
        }
        step();
        Ok(Answer { status, retry_after, body })
    }
}

fn too_long(base: &str) -> KmsError {
    KmsError::Unavailable(Cause::Server, format!("{base}: an answer of more than 256 KiB"))
}

fn failed(base: &str, error: &reqwest::Error) -> KmsError {
    let cause = match error {
        error if error.is_connect() => Cause::Connect,
        error if error.is_builder() => Cause::Local,
        _ => Cause::Timeout,
    };
    KmsError::Unavailable(cause, format!("{base}: {}", cause_of(error)))
}

/// Makes room without leaving a copy behind, as a growing vector would.
fn grow(body: &mut Zeroizing<Vec<u8>>, more: usize) {
    if body.capacity() - body.len() < more {
        let mut larger = Vec::with_capacity(2 * (body.len() + more));
        larger.extend_from_slice(body);
        *body = Zeroizing::new(larger);
    }
}

/// The innermost reason: reqwest's own text repeats the URL and leaves the reason out.
fn cause_of(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer in time".to_owned();
    }
    let mut cause = error.source();
    while let Some(inner) = cause.and_then(std::error::Error::source) {
        cause = Some(inner);
    }
    cause.map_or_else(|| "the request failed".to_owned(), ToString::to_string)
}

/// `Retry-After` in seconds; dates are not used by these servers.
fn seconds(header: &HeaderValue) -> Option<Duration> {
    let seconds: u64 = header.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds.min(MAX_RETRY_AFTER)))
}
