//! Credentials: the default chain, or one file; renewed ahead of their end; loaded once for all who wait.
//!
//! The SDK's own cache loads within the request that needs them, so a caller who leaves takes the load with it: behind
//! attempts of 400 ms a slow STS would never be heard out. Here a load is a task of its own.
//!
//! What a failure means:
//! - The source cannot be reached, does not work or is not there: [`KmsError::Unavailable`]. Nobody took access away, and
//!   what is held goes on within its life.
//! - The source refuses (STS: the role's trust ended): [`KmsError::Denied`].
//! - The KMS refuses what was loaded: loaded anew once; when that gives the same or is refused again, `Denied`.

use std::{
    error::Error,
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

#[expect(deprecated, reason = "aws-config takes the file list in this type only")]
use aws_config::profile::profile_file::{ProfileFileKind, ProfileFiles};
use aws_config::{
    BehaviorVersion, Region, default_provider::credentials::DefaultCredentialsChain,
    profile::ProfileFileCredentialsProvider, provider_config::ProviderConfig, retry::RetryConfig,
    timeout::TimeoutConfig,
};
use aws_credential_types::{
    Credentials,
    provider::{ProvideCredentials, SharedCredentialsProvider, error::CredentialsError, future},
};
use aws_sdk_kms::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sts::operation::{
    assume_role::AssumeRoleError, assume_role_with_web_identity::AssumeRoleWithWebIdentityError,
};
use tokio::sync::watch;
use tracing::{instrument::WithSubscriber as _, subscriber::NoSubscriber};

use super::{CONNECT, http::Http};
use crate::{Cause, KmsError};

/// A load ends after this, whatever the chain is at.
const LOAD: Duration = Duration::from_secs(10);

/// So long a failed load speaks for the next callers.
const FAILED: Duration = Duration::from_secs(1);

/// So long after one load the next may start while what is held is still good.
const AGAIN: Duration = Duration::from_secs(30);

/// So long after credentials were loaded since the KMS refused others, the source is not asked again for that reason: a KMS that
/// refuses whatever it gives would have it asked by each call.
const RENEWED: Duration = Duration::from_secs(5);

/// Credentials of one provider, shared by all its addresses.
pub(super) struct Login {
    provider: String,
    region: String,
    file: Option<PathBuf>,
    profile: Option<String>,
    http: Http,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Kept between loads: the instance metadata's provider remembers its last answer.
    chain: Option<SharedCredentialsProvider>,
    held: Option<Held>,
    /// Counts what was loaded, so that two calls that were refused together load anew once.
    generation: u64,
    failed: Option<(Instant, KmsError)>,
    /// When they were loaded anew last since the KMS had refused them.
    renewed: Option<Instant>,
    loading: Option<watch::Receiver<Option<Result<(), KmsError>>>>,
}

struct Held {
    credentials: Credentials,
    loaded: Instant,
    /// From the loading to the end; `None`: they have no end.
    life: Option<Duration>,
}

impl Held {
    fn usable(&self) -> bool {
        self.credentials.expiry().is_none_or(|end| end > SystemTime::now())
    }

    /// From 80 % of their life on.
    fn due(&self) -> bool {
        let age = self.loaded.elapsed();
        self.life.is_some_and(|life| age >= life * 4 / 5) && age >= AGAIN
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("provider", &self.provider).finish_non_exhaustive()
    }
}

impl Login {
    pub(super) fn new(provider: &str, config: &super::Config, http: Http) -> Arc<Self> {
        Arc::new(Self {
            provider: provider.to_owned(),
            region: config.region.clone(),
            file: config.credentials_file.clone(),
            profile: config.profile.clone(),
            http,
            state: Mutex::default(),
        })
    }

    /// Sees to it that there are credentials, and gives their generation.
    ///
    /// # Errors
    /// As the module says.
    pub(super) async fn generation(self: &Arc<Self>) -> Result<u64, KmsError> {
        loop {
            let mut loading = {
                let mut state = self.state();
                if let Some(held) = state.held.as_ref().filter(|held| held.usable()) {
                    if held.due() && !state.failed_lately() {
                        self.load(&mut state);
                    }
                    return Ok(state.generation);
                }
                if state.loading.is_none()
                    && let Some((at, error)) = &state.failed
                    && at.elapsed() < FAILED
                {
                    return Err(error.clone());
                }
                self.load(&mut state)
            };
            match loading.wait_for(Option::is_some).await.as_deref() {
                Ok(Some(Ok(()))) => {}
                Ok(Some(Err(error))) => return Err(error.clone()),
                _ => {
                    return Err(KmsError::local(format!(
                        "[kms.aws.{}] loading credentials ended",
                        self.provider
                    )));
                }
            }
        }
    }

    /// After the KMS refused the credentials of this generation: loads them anew from the start, unless someone did.
    /// `false` when the source gives the same ones again, or was asked for this reason just now.
    ///
    /// # Errors
    /// As [`Self::generation`].
    pub(super) async fn renew(self: &Arc<Self>, refused: u64) -> Result<bool, KmsError> {
        let before = {
            let mut state = self.state();
            if state.generation != refused {
                return Ok(true);
            }
            // One that is under way is joined.
            if state.loading.is_none() {
                if state.renewed.is_some_and(|at| at.elapsed() < RENEWED) {
                    return Ok(false);
                }
                state.renewed = Some(Instant::now());
            }
            // A new chain: files are read once by one.
            state.chain = None;
            state.held.take().map(|held| held.credentials)
        };
        self.generation().await?;
        let state = self.state();
        let same = match (&before, &state.held) {
            (Some(before), Some(held)) => {
                before.access_key_id() == held.credentials.access_key_id()
                    && before.session_token() == held.credentials.session_token()
            }
            _ => false,
        };
        Ok(!same)
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts loading unless that is under way. Goes on when nobody waits any more.
    fn load(self: &Arc<Self>, state: &mut State) -> watch::Receiver<Option<Result<(), KmsError>>> {
        if let Some(loading) = &state.loading {
            return loading.clone();
        }
        let (sender, receiver) = watch::channel(None);
        state.loading = Some(receiver.clone());
        let login = Arc::clone(self);
        let load = async move {
            let loaded = login.loaded().await;
            let mut state = login.state();
            state.loading = None;
            let outcome = match loaded {
                Ok(credentials) => {
                    let left = |end: SystemTime| end.duration_since(SystemTime::now()).unwrap_or_default();
                    let life = credentials.expiry().map(left);
                    state.held = Some(Held { credentials, loaded: Instant::now(), life });
                    state.generation += 1;
                    state.failed = None;
                    Ok(())
                }
                Err(error) => {
                    state.failed = Some((Instant::now(), error.clone()));
                    Err(error)
                }
            };
            drop(state);
            sender.send_replace(Some(outcome));
        };
        // At TRACE the SDK writes whole answers, secrets included: nothing of a load is traced.
        tokio::spawn(load.with_subscriber(NoSubscriber::new()));
        receiver
    }

    async fn loaded(&self) -> Result<Credentials, KmsError> {
        let chain = self.state().chain.clone();
        let chain = match chain {
            Some(chain) => chain,
            None => {
                let chain = self.chain().await;
                self.state().chain = Some(chain.clone());
                chain
            }
        };
        let loaded = match tokio::time::timeout(LOAD, chain.provide_credentials()).await {
            Ok(Ok(credentials)) => credentials,
            Ok(Err(error)) => return Err(self.why(&error)),
            Err(_) => return Err(self.unavailable(Cause::Timeout, "no answer of their source in time")),
        };
        if loaded.expiry().is_some_and(|end| end <= SystemTime::now()) {
            return Err(
                self.unavailable(Cause::Local, "their source gives expired ones; is the clock right?")
            );
        }
        Ok(loaded)
    }

    async fn chain(&self) -> SharedCredentialsProvider {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT)
            .operation_attempt_timeout(Duration::from_secs(3))
            .build();
        let region = Region::new(self.region.clone());
        let config = ProviderConfig::without_region()
            .with_region(Some(region.clone()))
            .with_http_client(self.http.clone())
            .with_behavior_version(Some(BehaviorVersion::latest()))
            .with_retry_config(RetryConfig::standard().with_max_attempts(2))
            .with_timeout_config(timeouts);
        if let Some(file) = &self.file {
            #[expect(deprecated, reason = "aws-config takes the file list in this type only")]
            let files = ProfileFiles::builder().with_file(ProfileFileKind::Credentials, file).build();
            let mut builder =
                ProfileFileCredentialsProvider::builder().configure(&config).profile_files(files);
            if let Some(profile) = &self.profile {
                builder = builder.profile_name(profile);
            }
            return SharedCredentialsProvider::new(builder.build());
        }
        let mut builder = DefaultCredentialsChain::builder().configure(config).region(region);
        if let Some(profile) = &self.profile {
            builder = builder.profile_name(profile);
        }
        SharedCredentialsProvider::new(builder.build().await)
    }

    fn unavailable(&self, cause: Cause, why: &str) -> KmsError {
        KmsError::Unavailable(cause, format!("[kms.aws.{}] no credentials: {why}", self.provider))
    }

    /// In our own words: the texts of sources may carry what they were given.
    fn why(&self, error: &CredentialsError) -> KmsError {
        if let Some(code) = refused_by_sts(error) {
            return KmsError::Denied(format!(
                "of [kms.aws.{}]: STS refuses to give credentials ({code}); look at the role's trust policy",
                self.provider
            ));
        }
        let in_file = matches!(
            error,
            CredentialsError::CredentialsNotLoaded(_) | CredentialsError::InvalidConfiguration(_)
        );
        if let Some(file) = self.file.as_ref().filter(|_| in_file) {
            let why = "cannot be read, or has no such profile with credentials (SSO and credential_process are not built in)";
            return self.unavailable(Cause::Local, &format!("credentials_file {} {why}", file.display()));
        }
        match error {
            CredentialsError::CredentialsNotLoaded(_) => self.unavailable(
                Cause::Local,
                "none in the environment, the profile files, a web identity, the container or the instance metadata",
            ),
            CredentialsError::InvalidConfiguration(_) => self.unavailable(
                Cause::Local,
                "a profile cannot be used: SSO and credential_process are not built in, or a line is wrong",
            ),
            CredentialsError::ProviderTimedOut(_) => {
                self.unavailable(Cause::Timeout, "no answer of their source in time")
            }
            _ => self.unavailable(Cause::Connect, "their source (STS, or metadata) cannot be reached or does not work"),
        }
    }
}

/// The error code with which STS refused to give credentials to who may no longer have them.
fn refused_by_sts(error: &CredentialsError) -> Option<String> {
    fn code<'a, E>(error: &'a (dyn Error + 'static)) -> Option<&'a str>
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        error.downcast_ref::<SdkError<E>>()?.as_service_error()?.code()
    }
    let mut next = error.source();
    while let Some(error) = next {
        let code = code::<AssumeRoleWithWebIdentityError>(error).or_else(|| code::<AssumeRoleError>(error));
        if let Some(code @ ("AccessDenied" | "AccessDeniedException")) = code {
            return Some(code.to_owned());
        }
        next = error.source();
    }
    None
}

impl State {
    /// Too lately to try again while what is held is still good.
    fn failed_lately(&self) -> bool {
        self.failed.as_ref().is_some_and(|(at, _)| at.elapsed() < AGAIN)
    }
}

/// How the SDK asks: by then [`Login::generation`] has seen to it that they are there.
#[derive(Debug)]
pub(super) struct Provider(pub(super) Arc<Login>);

impl ProvideCredentials for Provider {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        let held = self.0.state().held.as_ref().map(|held| held.credentials.clone());
        future::ProvideCredentials::ready(held.ok_or_else(CredentialsError::not_loaded_no_source))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(age: u64, life: Option<u64>) -> Held {
        let now = SystemTime::now();
        let end = life.map(|life| now + Duration::from_secs(life) - Duration::from_secs(age));
        let credentials = Credentials::new("id", "secret", None, end, "test");
        let loaded = Instant::now().checked_sub(Duration::from_secs(age)).unwrap();
        Held { credentials, loaded, life: life.map(Duration::from_secs) }
    }

    #[test]
    fn credentials_are_renewed_at_four_fifths_of_their_life() {
        assert!(!held(79, Some(100)).due());
        assert!(held(80, Some(100)).due() && held(80, Some(100)).usable());
        assert!(!held(25, Some(30)).due(), "not more often than every 30 s");
        assert!(!held(1000, None).due() && held(1000, None).usable(), "these have no end");
        assert!(!held(101, Some(100)).usable());
    }
}
