//! How a token is had: one request per method, with what its files hold at this moment.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use http::HeaderValue;
use rustify::Endpoint;
use serde::{Deserialize, Serialize, de::IgnoredAny};
use vaultrs::api::{
    auth::{
        approle::requests::LoginWithApproleRequest, cert::requests::LoginRequest,
        kubernetes::requests::LoginWithKubernetesRequest, oidc::requests::JWTLoginRequest,
    },
    token::requests::{LookupTokenSelfRequest, RenewTokenSelfRequest},
};
use zeroize::Zeroizing;

use super::{
    answer::{self, Failure, sort},
    config::Auth,
    http::{Common, Http, Request},
    secret,
    tls::Identity,
};
use crate::{Cause, KmsError};

/// A token, as a login or a renewal gave it.
pub(super) struct Token {
    pub(super) header: HeaderValue,
    /// How long from now; `None` for ever.
    pub(super) life: Option<Duration>,
    pub(super) renewable: bool,
}

/// What a login needs.
pub(super) struct Login {
    pub(super) auth: Auth,
    pub(super) common: Common,
    pub(super) identity: Option<Arc<Identity>>,
}

#[derive(Deserialize)]
struct Answered<'a> {
    #[serde(borrow)]
    auth: Granted<'a>,
}

#[derive(Deserialize)]
struct Granted<'a> {
    client_token: &'a str,
    lease_duration: u64,
    renewable: bool,
}

#[derive(Deserialize)]
struct Looked {
    ttl: u64,
    /// `null` for a token that never ends.
    #[serde(default)]
    expire_time: Option<IgnoredAny>,
    #[serde(default)]
    renewable: bool,
}

/// Whole seconds, less what passed since the question. Servers round down: none may be left of a token that ends.
fn life(seconds: u64, endless: bool, asked: Instant) -> Option<Duration> {
    (seconds > 0 || !endless).then(|| Duration::from_secs(seconds).saturating_sub(asked.elapsed()))
}

impl Login {
    /// Logs in at one address.
    ///
    /// # Errors
    /// [`KmsError::Denied`] when the server refuses, [`KmsError::Unavailable`] when a file or the server is not there.
    pub(super) async fn at(self: &Arc<Self>, http: &Http, within: Duration) -> Result<Token, KmsError> {
        let this = Arc::clone(self);
        // Files may be on a disk that hangs.
        let reading = tokio::task::spawn_blocking(move || this.read());
        let secret = reading.await.map_err(|_| KmsError::local("reading a login's files ended"))??;
        if let Auth::Token { .. } = self.auth {
            return self.look(http, &secret, within).await;
        }
        let request = self.request(&secret)?;
        let started = Instant::now();
        let answer = http.send(request, None, within).await?;
        let answer = sort(http, answer, &[&secret]).map_err(|failure| self.refused(http, failure))?;
        let answered: Answered<'_> =
            serde_json::from_slice(&answer.body).map_err(|_| answer::unreadable(http))?;
        token(http, &answered.auth, started)
    }

    /// Renews a token for as long as its role gives.
    pub(super) async fn renew(http: &Http, header: &HeaderValue, within: Duration) -> Result<Token, Failure> {
        let request = Request::of(&RenewTokenSelfRequest { increment: None })?;
        let started = Instant::now();
        let answer = sort(http, http.send(request, Some(header), within).await?, &[text(header)])?;
        let answered: Answered<'_> =
            serde_json::from_slice(&answer.body).map_err(|_| answer::unreadable(http))?;
        Ok(token(http, &answered.auth, started)?)
    }

    /// Whether a server knows a token as good.
    pub(super) async fn knows(http: &Http, header: &HeaderValue, within: Duration) -> Result<bool, KmsError> {
        let request = Request::of(&LookupTokenSelfRequest {})?;
        match sort(http, http.send(request, Some(header), within).await?, &[text(header)]) {
            Ok(_) => Ok(true),
            Err(Failure::Decided(error)) => Err(error),
            Err(Failure::Forbidden(_) | Failure::Invalid(_) | Failure::Missing(_)) => Ok(false),
        }
    }

    /// Reads the client certificate anew. Whether it is another one, so that what shows the old one has to go.
    pub(super) async fn another_identity(&self) -> Result<bool, KmsError> {
        let Some(identity) = self.identity.clone() else { return Ok(false) };
        let reading = tokio::task::spawn_blocking(move || identity.reload());
        reading.await.map_err(|_| KmsError::local("reading a login's files ended"))?
    }

    /// The method's secret, from its file. Blocks.
    fn read(&self) -> Result<Zeroizing<String>, KmsError> {
        match &self.auth {
            Auth::Token { file } => secret::read(file),
            Auth::Approle { secret_id_file, .. } => secret::read(secret_id_file),
            Auth::Kubernetes { jwt_file, .. } | Auth::Jwt { jwt_file, .. } => secret::read(jwt_file),
            Auth::Certificate { .. } => Ok(Zeroizing::default()),
        }
    }

    fn request(&self, secret: &str) -> Result<Request, KmsError> {
        #[derive(Serialize)]
        struct Approle<'a> {
            role_id: &'a str,
            secret_id: &'a str,
        }
        #[derive(Serialize)]
        struct Jwt<'a> {
            #[serde(skip_serializing_if = "Option::is_none")]
            role: Option<&'a str>,
            jwt: &'a str,
        }
        #[derive(Serialize)]
        struct Certificate<'a> {
            #[serde(skip_serializing_if = "Option::is_none")]
            name: Option<&'a str>,
        }
        let none = String::new;
        // vaultrs' structs give path and method; the secret goes into a body of ours, which is wiped.
        match &self.auth {
            Auth::Approle { mount, role_id, .. } => {
                let path =
                    LoginWithApproleRequest { mount: mount.clone(), role_id: none(), secret_id: none() };
                with(&path, &Approle { role_id, secret_id: secret }, role_id.len() + secret.len())
            }
            Auth::Kubernetes { mount, role, .. } => {
                let path = LoginWithKubernetesRequest { mount: mount.clone(), role: none(), jwt: none() };
                with(&path, &Jwt { role: Some(role), jwt: secret }, role.len() + secret.len())
            }
            Auth::Jwt { mount, role, .. } => {
                let path = JWTLoginRequest { mount: mount.clone(), ..Default::default() };
                let length = role.as_ref().map_or(0, String::len) + secret.len();
                with(&path, &Jwt { role: role.as_deref(), jwt: secret }, length)
            }
            Auth::Certificate { mount, role } => {
                let path = LoginRequest { mount: mount.clone(), ..Default::default() };
                with(&path, &Certificate { name: role.as_deref() }, role.as_ref().map_or(0, String::len))
            }
            Auth::Token { .. } => Err(KmsError::local("a token needs no login")),
        }
    }

    /// A token from a file is what it is: the server tells how long it lives.
    async fn look(&self, http: &Http, secret: &str, within: Duration) -> Result<Token, KmsError> {
        let header =
            secret::header(secret).ok_or_else(|| KmsError::local("the token's file holds no token"))?;
        let request = Request::of(&LookupTokenSelfRequest {})?;
        let started = Instant::now();
        match sort(http, http.send(request, Some(&header), within).await?, &[secret]) {
            Ok(answer) => {
                let looked: Looked = answer::data(http, &answer)?;
                let life = life(looked.ttl, looked.expire_time.is_none(), started);
                Ok(Token { header, life, renewable: looked.renewable })
            }
            Err(failure) => Err(self.refused(http, failure)),
        }
    }

    /// A login that the server refuses, still without the KEK that it was for. One that fails because the server cannot reach
    /// what vouches for it is no refusal, if it says so. Of a Kubernetes account OpenBao says the same whether it is gone or
    /// the cluster cannot be asked: that is a refusal, since somebody who means to take access away causes it.
    fn refused(&self, http: &Http, failure: Failure) -> KmsError {
        const ELSEWHERE: [&str; 11] = [
            "connection refused",
            "timeout",
            "deadline exceeded",
            "no such host",
            "fetching keys",
            "connection reset",
            "server misbehaving",
            "no route to host",
            "network is unreachable",
            "handshake",
            "eof",
        ];
        let texts = match failure {
            Failure::Decided(error) => return error,
            Failure::Invalid(texts) | Failure::Forbidden(texts) | Failure::Missing(texts) => texts,
        };
        let said = texts.join("; ");
        let (method, address) = (self.auth.method(), http.address());
        if ELSEWHERE.iter().any(|phrase| said.contains(phrase)) {
            let text = format!("{address}: the login by {method} cannot be checked: {said}");
            return KmsError::Unavailable(Cause::Server, text);
        }
        KmsError::Denied(format!("{address} refuses the login by {method}: {said}"))
    }
}

fn with(endpoint: &impl Endpoint, fields: &impl Serialize, length: usize) -> Result<Request, KmsError> {
    // Twice, should a role's name need escapes.
    Ok(Request::secret(endpoint, secret::body(fields, 2 * length + 64)?))
}

fn token(http: &Http, granted: &Granted<'_>, started: Instant) -> Result<Token, KmsError> {
    let header = secret::header(granted.client_token)
        .filter(|_| !granted.client_token.is_empty())
        .ok_or_else(|| answer::unreadable(http))?;
    let life = life(granted.lease_duration, !granted.renewable, started);
    Ok(Token { header, life, renewable: granted.renewable })
}

/// The token itself, to keep it out of an error.
pub(super) fn text(header: &HeaderValue) -> &str {
    header.to_str().unwrap_or_default()
}
