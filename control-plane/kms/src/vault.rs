//! OpenBao or HashiCorp Vault: KEKs are keys of a transit engine, which never leave it.
//!
//! - The context of an IK is the `associated_data` of every encryption, under a key that is not derived (aes256-gcm96): a wrapped
//!   key that is moved to another place does not open.
//! - Nothing makes a KEK but [`Kms::create_kek`]. A server makes a missing key by itself when somebody encrypts under it with a
//!   token that may create; every encryption therefore asks for a type of key that there is not (`transit::Key::encrypt`).
//! - A 403 takes a KEK away only when the token is known good: else there is one new login, and the call is made once more. A
//!   refused login takes it away too; one that cannot be reached does not.
//! - Nothing is retried here: that is the resilience layer's, which gets one [`Kms`] for each address of the cluster. They share the login.

mod answer;
mod config;
mod connect;
mod http;
mod login;
mod secret;
mod session;
mod tls;
mod transit;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use ::http::HeaderValue;
use async_trait::async_trait;
pub use config::{Auth, Config};
use sealgate_envelope::Ik;
use tokio::runtime::Handle;
use vaultrs::api::{sys::requests::ReadHealthRequest, token::requests::LookupTokenSelfRequest};

use self::{
    answer::{Failure, data, sort},
    http::{Answer, Common, Http, Request, WHOLE},
    login::{Login, text},
    session::{Keeper, Session, Sessions},
    transit::{Ciphertext, Described, Key, decrypted, encrypted, meaning},
};
use crate::{Cause, Kms, KmsError};

/// How long a KEK that was found suitable is not looked at again before wrapping.
const LOOKED_AT: Duration = Duration::from_secs(300);
/// KEKs that are remembered as suitable; beyond that all are looked at again.
const MAX_LOOKED_AT: usize = 65_536;

/// What the addresses of a provider share.
struct Shared {
    name: String,
    /// `<name>/`.
    prefix: String,
    mount: String,
    sessions: Arc<Sessions>,
    /// Whether a standby passes calls on, so that it serves.
    forwarding: bool,
    /// When each KEK was found suitable.
    looked_at: Mutex<HashMap<String, Instant>>,
    _keeper: Keeper,
}

/// One address of a cluster.
struct Vault {
    shared: Arc<Shared>,
    number: usize,
}

/// A provider: one [`Kms`] for each of its addresses, in their order. Asks nobody: it opens while its KMS is down, and logs in from then
/// on. To be called where tokio runs; reads the CA and the client certificate from the disk.
///
/// # Errors
/// [`KmsError::Unavailable`] of this side ([`Cause::Local`]) when the configuration is wrong or a file cannot be used.
pub fn open(name: &str, config: &Config) -> Result<Vec<Arc<dyn Kms>>, KmsError> {
    let addresses = config.check(name)?;
    if addresses.iter().any(config::is_readable) {
        tracing::warn!(provider = name, "keys and tokens go to the KMS over plain HTTP: allow_http is set");
    }
    let runtime = Handle::try_current().map_err(|_| KmsError::local("a KMS is opened where tokio runs"))?;
    let (tls, identity) = tls::client(config).map_err(|error| match error {
        KmsError::Unavailable(cause, text) => {
            KmsError::Unavailable(cause, format!("kms.vault.{name}: {text}"))
        }
        error => error,
    })?;
    let namespace = config.namespace.as_deref().map(HeaderValue::from_str).transpose();
    let namespace = namespace.map_err(|_| KmsError::local("a namespace is visible ASCII"))?;
    let forwarding = addresses.len() == 1;
    let common = Common { tls, namespace, forwarding };
    let https: Vec<Http> =
        addresses.iter().map(|address| Http::new(&common, address)).collect::<Result<_, _>>()?;
    let sessions = Sessions::new(Login { auth: config.auth.clone(), common, identity }, https, runtime);
    let shared = Arc::new(Shared {
        name: name.to_owned(),
        prefix: format!("{name}/"),
        mount: config.mount.clone(),
        _keeper: sessions.keep(),
        sessions,
        forwarding,
        looked_at: Mutex::default(),
    });
    let vault = |number| Arc::new(Vault { shared: Arc::clone(&shared), number }) as Arc<dyn Kms>;
    Ok((0..addresses.len()).map(vault).collect())
}

impl Vault {
    fn http(&self) -> Result<&Http, KmsError> {
        self.shared.sessions.http(self.number).ok_or_else(|| KmsError::local("no such address"))
    }

    /// The key that a reference names.
    fn key<'a>(&'a self, kek: &'a str) -> Result<Key<'a>, KmsError> {
        let name = kek.strip_prefix(&self.shared.prefix).filter(|name| config::is_name(name));
        let name = name.ok_or_else(|| KmsError::NotFound(kek.to_owned()))?;
        Ok(Key { mount: &self.shared.mount, name })
    }

    async fn send(&self, request: Request, session: &Session) -> Result<Answer, Failure> {
        let http = self.http()?;
        let answer = http.send(request, Some(&session.header), WHOLE).await?;
        sort(http, answer, &[text(&session.header)])
    }

    /// A request, made a second time when it was only the token that was refused. [`Failure::Forbidden`] is then certain.
    async fn ask(&self, request: impl Fn() -> Result<Request, KmsError> + Send) -> Result<Answer, Failure> {
        let (http, sessions) = (self.http()?, &self.shared.sessions);
        let session = sessions.session(self.number).await?;
        let forbidden = match self.send(request()?, &session).await {
            Err(Failure::Forbidden(texts)) => Failure::Forbidden(texts),
            answer => return answer,
        };
        if Login::knows(http, &session.header, WHOLE).await? || session.taken_as_good() {
            return Err(forbidden);
        }
        self.not_elsewhere(&session).await?;
        let session = sessions.newer(&session, self.number).await?;
        let forbidden = match self.send(request()?, &session).await {
            Err(Failure::Forbidden(texts)) => Failure::Forbidden(texts),
            answer => return answer,
        };
        if Login::knows(http, &session.header, WHOLE).await? {
            return Err(forbidden);
        }
        self.not_elsewhere(&session).await?;
        session.is_blind();
        Err(forbidden)
    }

    /// A standby that reads for itself may not have heard of a token that another node has just given: that is of the node,
    /// not of the token.
    async fn not_elsewhere(&self, session: &Session) -> Result<(), KmsError> {
        let giver = self.shared.sessions.http(session.by).filter(|_| session.by != self.number);
        let Some(giver) = giver else { return Ok(()) };
        if !matches!(Login::knows(giver, &session.header, WHOLE).await, Ok(true)) {
            return Ok(());
        }
        let text = format!("{}: it does not know the login yet", self.http()?.address());
        Err(KmsError::Unavailable(Cause::Standby, text))
    }

    /// What a failure means for this KEK.
    fn judged(&self, kek: &str, failure: Failure) -> KmsError {
        let address = self.http().map(Http::address).unwrap_or_default();
        match failure {
            Failure::Decided(KmsError::Denied(text)) => KmsError::Denied(format!("{kek}: {text}")),
            Failure::Decided(error) => error,
            Failure::Forbidden(_) => KmsError::Denied(kek.to_owned()),
            Failure::Missing(texts) if texts.is_empty() => KmsError::NotFound(kek.to_owned()),
            // Mount or namespace are not there, and no key in them.
            Failure::Missing(texts) => KmsError::NotFound(format!("{kek} ({address}: {})", texts.join("; "))),
            Failure::Invalid(texts) => meaning(kek, &texts).unwrap_or_else(|| {
                let text = texts.join("; ");
                KmsError::Unavailable(
                    Cause::Server,
                    format!("{address}: refuses {kek} for a reason unknown here: {text}"),
                )
            }),
        }
    }

    /// Whether the KEK is there and fit; [`KmsError::NotFound`] without.
    async fn look_at(&self, kek: &str, key: &Key<'_>) -> Result<(), KmsError> {
        let answer = match self.ask(|| key.read()).await {
            Ok(answer) => answer,
            Err(failure) => return Err(self.judged(kek, failure)),
        };
        let described: Described = data(self.http()?, &answer)?;
        if described.soft_deleted {
            return Err(KmsError::Denied(format!("{kek}, which is soft-deleted")));
        }
        if let Some(why) = described.unsuitable() {
            return Err(KmsError::Unsupported(format!(
                "the transit key of {kek} cannot be a KEK: {why}; make another, exportable=false, allow_plaintext_backup=false"
            )));
        }
        Ok(())
    }

    /// As [`Self::look_at`], but for a KEK that was found fit lately.
    async fn fit(&self, kek: &str, key: &Key<'_>) -> Result<(), KmsError> {
        let lately = |at: &Instant| at.elapsed() < LOOKED_AT;
        if self.looked_at(|keks| keks.get(kek).is_some_and(lately)) {
            return Ok(());
        }
        self.look_at(kek, key).await?;
        self.looked_at(|keks| {
            if keks.len() >= MAX_LOOKED_AT {
                keks.clear();
            }
            keks.insert(kek.to_owned(), Instant::now());
        });
        Ok(())
    }

    fn looked_at<T>(&self, f: impl FnOnce(&mut HashMap<String, Instant>) -> T) -> T {
        f(&mut self.shared.looked_at.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A failure of a call under a KEK: unless it is the server's, it is looked at again before the next.
    fn failed(&self, kek: &str, failure: Failure) -> KmsError {
        let error = self.judged(kek, failure);
        if !error.is_transient() {
            self.looked_at(|keks| keks.remove(kek));
        }
        error
    }
}

#[async_trait]
impl Kms for Vault {
    fn provider(&self) -> &str {
        &self.shared.name
    }

    async fn create_kek(&self, name: &str) -> Result<String, KmsError> {
        let kek = format!("{}{name}", self.shared.prefix);
        let wrong = || {
            KmsError::NotFound(
                "a transit key's name has 1 to 128 of A-Z a-z 0-9 _, and . - inside".to_owned(),
            )
        };
        let key = self.key(&kek).map_err(|_| wrong())?;
        match self.look_at(&kek, &key).await {
            Err(KmsError::NotFound(_)) => {}
            found => return found.map(|()| kek),
        }
        self.ask(|| key.create()).await.map_err(|failure| self.judged(&kek, failure))?;
        // Somebody else may have been first, with another kind of key.
        self.look_at(&kek, &key).await.map(|()| kek)
    }

    async fn current_version(&self, kek: &str) -> Result<String, KmsError> {
        self.fit(kek, &self.key(kek)?).await.map(|()| String::new())
    }

    async fn wrap(&self, kek: &str, _: &str, context: &[u8], ik: &Ik) -> Result<Vec<u8>, KmsError> {
        let key = self.key(kek)?;
        if context.is_empty() {
            // The server would bind nothing.
            return Err(KmsError::Unsupported("a key is not wrapped without a context".to_owned()));
        }
        self.fit(kek, &key).await?;
        let failure = match self.ask(|| key.encrypt(context, ik)).await {
            Ok(answer) => return encrypted(self.http()?, &answer),
            Err(failure) => failure,
        };
        if let Failure::Forbidden(_) = failure {
            // For a key that is not there the server asks for the right to create: which of the two it is, reading tells.
            self.looked_at(|keks| keks.remove(kek));
            self.look_at(kek, &key).await?;
        }
        Err(self.failed(kek, failure))
    }

    async fn unwrap(&self, kek: &str, _: &str, context: &[u8], wrapped: &[u8]) -> Result<Ik, KmsError> {
        let key = self.key(kek)?;
        let Some(ciphertext) = Ciphertext::parse(wrapped).filter(|_| !context.is_empty()) else {
            return Err(KmsError::BadCiphertext);
        };
        match self.ask(|| key.decrypt(context, ciphertext.text)).await {
            Ok(answer) => decrypted(self.http()?, &answer),
            Err(failure) => Err(self.judged(kek, failure)),
        }
    }

    fn version_of(&self, _: &str, _: &str, wrapped: &[u8]) -> String {
        Ciphertext::parse(wrapped).map_or_else(String::new, |ciphertext| ciphertext.version.to_owned())
    }

    async fn rotate(&self, kek: &str) -> Result<(), KmsError> {
        let key = self.key(kek)?;
        self.ask(|| key.rotate()).await.map(drop).map_err(|failure| self.failed(kek, failure))
    }

    async fn destroy(&self, kek: &str) -> Result<u64, KmsError> {
        let key = self.key(kek)?;
        // A mount or namespace that is not there says nothing about the key.
        let failed = |failure| match failure {
            Failure::Missing(texts) if !texts.is_empty() => {
                KmsError::Unavailable(Cause::Server, format!("{kek}: {}", texts.join("; ")))
            }
            failure => self.failed(kek, failure),
        };
        self.ask(|| key.allow_deletion()).await.map_err(failed)?;
        self.ask(|| key.delete()).await.map_err(failed)?;
        self.looked_at(|keks| keks.remove(kek));
        Ok(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
    }

    async fn ready(&self) -> Result<(), KmsError> {
        let http = self.http()?;
        let answer = http.send(Request::of(&ReadHealthRequest::default())?.outside(), None, WHOLE).await?;
        match answer::health(http, answer.status) {
            // Behind the only address there may be a standby that passes calls on: whether it does, a call tells.
            Err(KmsError::Unavailable(Cause::Standby, _)) if self.shared.forwarding => {
                match self.ask(|| Request::of(&LookupTokenSelfRequest {})).await {
                    Ok(_) | Err(Failure::Forbidden(_)) => Ok(()),
                    Err(failure) => Err(self.judged("(any)", failure)),
                }
            }
            Ok(()) => match self.shared.sessions.session(self.number).await {
                Ok(_) => Ok(()),
                Err(error) => Err(self.judged("(any)", error.into())),
            },
            error => error,
        }
    }
}
