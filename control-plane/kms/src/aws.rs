//! AWS KMS as a [`Kms`], through `aws-sdk-kms`. One [`AwsKms`] is one address: a region, or an endpoint in it.
//!
//! - **One layer retries, not this one**: the SDK's retries are off. A call is one request; it is made a second time only
//!   when AWS refused the credentials and others could be loaded.
//! - **Nothing hangs**: 500 ms to connect, 5 s for all of a call; who bounds it tighter drops the future.
//! - **The context is always bound**, as the encryption context `{"sealgate": base64url(context)}`; Decrypt always names the
//!   key, so that what another key made is refused and not opened.
//! - **The home region decides**: KEKs are made, rotated and destroyed there, and only it can say that one does not exist. An
//!   address in another region serves multi-region keys alone and answers for all else that another address has it.
//! - **No version**: AWS finds the key material in the ciphertext. `version` is empty.
//! - **Nothing of a call is traced**: at TRACE the SDK writes requests and answers with the keys in them, and it would do so
//!   for whoever turns logging up to look for a fault. What matters is in the errors.

mod config;
mod errors;
mod http;
mod life;
mod login;
mod name;
mod request;

use std::{fs, path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
use aws_sdk_kms::{
    Client,
    config::{
        BehaviorVersion, IdentityCache, Region, StalledStreamProtectionConfig,
        endpoint::{DefaultResolver, Params, ResolveEndpoint as _},
        http::HttpResponse,
        retry::RetryConfig,
        timeout::TimeoutConfig,
    },
    error::{ProvideErrorMetadata, SdkError},
};
use aws_smithy_types::body::SdkBody;
pub use config::{Config, Replica};
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use sealgate_envelope::Ik;
use tracing::{instrument::WithSubscriber as _, subscriber::NoSubscriber};
use zeroize::Zeroizing;

use self::{
    errors::{Asked, Failure, sorted},
    http::{Broken, Http},
    login::Login,
};
use crate::{Cause, Kms, KmsError};

/// For a connection: name, TCP and TLS.
const CONNECT: Duration = Duration::from_millis(500);

/// For a call as a whole.
const TOTAL: Duration = Duration::from_secs(5);

/// AWS's own bound of a ciphertext, in bytes.
const LONGEST_WRAPPED: usize = 6144;

/// One address of one provider.
pub struct AwsKms {
    shared: Arc<Shared>,
    /// Which of the addresses.
    here: usize,
}

/// What the addresses of a provider have in common.
struct Shared {
    provider: String,
    login: Arc<Login>,
    http: Http,
    addresses: Vec<Address>,
    grant_tokens: Option<PathBuf>,
    deletion_window_days: u8,
}

struct Address {
    region: String,
    endpoint: Option<String>,
    /// `[kms.aws.<name>] <region>`, for error texts.
    place: String,
    client: Client,
}

/// Opens a provider `[kms.aws.<name>]`: one [`Kms`] an address, the home region first. No request is made; the CA file is
/// read.
///
/// # Errors
/// `Unavailable(Local)` for a setting or a file that cannot be used, with its name.
pub fn open(name: &str, config: &Config) -> Result<Vec<Arc<dyn Kms>>, KmsError> {
    config::check(name, config)?;
    let unusable = |what: &str| KmsError::local(format!("[kms.aws.{name}] {what}"));
    let system = system_roots();
    let (mut trusted, mut with_ca) = (system.clone(), system);
    if let Some(path) = &config.ca_file {
        trusted = RootCertStore::empty();
        let wrong = |why: String| unusable(&format!("ca_file {}: {why}", path.display()));
        let pem = fs::read(path).map_err(|error| wrong(error.to_string()))?;
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
            trusted.add(certificate.clone()).map_err(|error| wrong(error.to_string()))?;
            with_ca.add(certificate).map_err(|error| wrong(error.to_string()))?;
        }
        if trusted.is_empty() {
            return Err(wrong("no certificate in it".to_owned()));
        }
    }
    let client = |roots| Http::new(roots).map_err(|error| unusable(&error.to_string()));
    let http = client(trusted)?;
    // STS lies elsewhere than a KMS behind a VPC endpoint with a CA of its own.
    let login = Login::new(name, config, client(with_ca)?);
    let addresses = config::addresses(config)
        .map(|(region, endpoint)| Address::new(name, region, endpoint, &http, &login))
        .collect::<Vec<_>>();
    let shared = Arc::new(Shared {
        provider: name.to_owned(),
        login,
        http,
        addresses,
        grant_tokens: config.grant_tokens_file.clone(),
        deletion_window_days: config.deletion_window_days,
    });
    let kms = |here| Arc::new(AwsKms { shared: Arc::clone(&shared), here }) as Arc<dyn Kms>;
    Ok((0..shared.addresses.len()).map(kms).collect())
}

fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

impl Address {
    fn new(name: &str, region: &str, endpoint: Option<&str>, http: &Http, login: &Arc<Login>) -> Self {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT)
            .read_timeout(TOTAL)
            .operation_timeout(TOTAL)
            .build();
        let mut config = aws_sdk_kms::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(region.to_owned()))
            .http_client(http.clone())
            .credentials_provider(login::Provider(Arc::clone(login)))
            // The login is the cache: two would each keep what the other has given up.
            .identity_cache(IdentityCache::no_cache())
            .retry_config(RetryConfig::disabled())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .timeout_config(timeouts);
        if let Some(endpoint) = endpoint {
            config = config.endpoint_url(endpoint);
        }
        Self {
            region: region.to_owned(),
            endpoint: endpoint.map(str::to_owned),
            place: format!("[kms.aws.{name}] {region}"),
            client: Client::from_conf(config.build()),
        }
    }
}

impl AwsKms {
    fn address(&self) -> &Address {
        &self.shared.addresses[self.here]
    }

    fn home(&self) -> &str {
        &self.shared.addresses[0].region
    }

    /// What the key of a reference is called here.
    fn key<'a>(&self, kek: &'a str) -> Result<std::borrow::Cow<'a, str>, KmsError> {
        name::key_at(kek, &self.shared.provider, self.home(), &self.address().region)
    }

    fn asked<'a>(&'a self, kek: &'a str, permission: &'static str) -> Asked<'a> {
        Asked { kek, permission, place: &self.address().place }
    }

    /// Makes a call, and once more with new credentials when AWS refused those it was made with.
    async fn call<T, E, F>(&self, asked: Asked<'_>, make: impl Fn() -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let login = &self.shared.login;
        let generation = login.generation().await?;
        let failure = match make().with_subscriber(NoSubscriber::new()).await {
            Ok(done) => return Ok(done),
            Err(error) => sorted(asked, &error),
        };
        if !failure.login || !login.renew(generation).await? {
            return Err(self.seen_from_here(failure));
        }
        let again = make().with_subscriber(NoSubscriber::new()).await;
        again.map_err(|error| self.seen_from_here(sorted(asked, &error)))
    }

    /// A region without a replica of a key says nothing about the key: a primary is never gone before its replicas.
    fn seen_from_here(&self, mut failure: Failure) -> Failure {
        if let KmsError::NotFound(text) = &failure.error
            && self.address().region != self.home()
        {
            failure.error = KmsError::Unavailable(Cause::Elsewhere, format!("no replica here: {text}"));
        }
        failure
    }

    /// What changes a KEK is done in the home region.
    fn at_home(&self, what: &str) -> Result<(), KmsError> {
        if self.here == 0 || self.address().region == self.home() {
            return Ok(());
        }
        let text = format!("{}: {what} is done in the home region {}", self.address().place, self.home());
        Err(KmsError::Unavailable(Cause::Elsewhere, text))
    }
}

#[async_trait]
impl Kms for AwsKms {
    fn provider(&self) -> &str {
        &self.shared.provider
    }

    async fn create_kek(&self, name: &str) -> Result<String, KmsError> {
        life::create(self, name).await
    }

    async fn current_version(&self, kek: &str) -> Result<String, KmsError> {
        let key = self.key(kek)?;
        let key = life::describe(self, &key, kek).await?;
        life::usable(&key, &self.address().place, kek)?;
        Ok(String::new())
    }

    async fn wrap(&self, kek: &str, version: &str, context: &[u8], ik: &Ik) -> Result<Vec<u8>, KmsError> {
        let key = self.key(kek)?;
        if !version.is_empty() {
            return Err(KmsError::NotFound(format!("{kek} version {version}: keys of AWS have none")));
        }
        let context = request::bound(context)
            .ok_or_else(|| KmsError::Unsupported("a context has 1 to 4096 bytes".to_owned()))?;
        let tokens = self.shared.tokens().await?;
        let body = request::encrypt(&key, &context, &tokens, ik)?;
        let client = &self.address().client;
        let done = self
            .call(self.asked(kek, "kms:Encrypt"), || {
                let body = body.clone();
                let put = move |request: &mut _| request::put(request, &body);
                client.encrypt().key_id(&*key).customize().mutate_request(put).send()
            })
            .await;
        let done = match done {
            Ok(done) => done,
            Err(failure) => return Err(life::looked_at(self, &key, kek, failure).await),
        };
        match done.ciphertext_blob {
            Some(blob) if (1..=LONGEST_WRAPPED).contains(&blob.as_ref().len()) => Ok(blob.into_inner()),
            _ => Err(self.no_answer("kms:Encrypt gave no ciphertext")),
        }
    }

    async fn unwrap(&self, kek: &str, version: &str, context: &[u8], wrapped: &[u8]) -> Result<Ik, KmsError> {
        let key = self.key(kek)?;
        if !version.is_empty() {
            return Err(KmsError::NotFound(format!("{kek} version {version}: keys of AWS have none")));
        }
        let Some(context) = request::bound(context) else { return Err(KmsError::BadCiphertext) };
        if !(1..=LONGEST_WRAPPED).contains(&wrapped.len()) {
            return Err(KmsError::BadCiphertext);
        }
        let tokens = self.shared.tokens().await?;
        let client = &self.address().client;
        let done = self
            .call(self.asked(kek, "kms:Decrypt"), || {
                client
                    .decrypt()
                    .key_id(&*key)
                    .encryption_context(request::LABEL, &context)
                    .set_grant_tokens(request::listed(&tokens))
                    .ciphertext_blob(wrapped.into())
                    .send()
            })
            .await;
        let done = match done {
            Ok(done) => done,
            Err(failure) => return Err(life::looked_at(self, &key, kek, failure).await),
        };
        let plaintext = done.plaintext.ok_or_else(|| self.no_answer("kms:Decrypt gave no plaintext"))?;
        let plaintext = Zeroizing::new(plaintext.into_inner());
        let mut bytes = Zeroizing::new([0_u8; 32]);
        if plaintext.len() != bytes.len() {
            return Err(KmsError::BadCiphertext);
        }
        bytes.copy_from_slice(&plaintext);
        Ok(Ik::from_bytes(&bytes))
    }

    fn version_of(&self, _: &str, _: &str, _: &[u8]) -> String {
        String::new()
    }

    async fn rotate(&self, kek: &str) -> Result<(), KmsError> {
        life::rotate(self, kek).await
    }

    async fn destroy(&self, kek: &str) -> Result<u64, KmsError> {
        life::destroy(self, kek).await
    }

    /// Credentials are there, and the endpoint answers. It is sent a request that is not signed, which AWS refuses before it
    /// looks at permissions or keys: that it answers is all that is asked. The connection stays open for the next call.
    async fn ready(&self) -> Result<(), KmsError> {
        self.shared.login.generation().await?;
        let address = self.address();
        let unusable = |why: String| KmsError::local(format!("{}: {why}", address.place));
        let params = Params::builder().region(&address.region).set_endpoint(address.endpoint.clone()).build();
        let params = params.map_err(|error| unusable(error.to_string()))?;
        let endpoint = DefaultResolver::new().resolve_endpoint(&params).await;
        let endpoint = endpoint.map_err(|error| unusable(error.to_string()))?;
        let request = ::http::Request::post(endpoint.url())
            .header("content-type", "application/x-amz-json-1.1")
            .header("x-amz-target", "TrentService.ListAliases")
            .body(SdkBody::from(r#"{"Limit":1}"#));
        let request = request.map_err(|error| unusable(error.to_string()))?;
        let failed = |cause, why: String| KmsError::Unavailable(cause, format!("{}: {why}", address.place));
        match self.shared.http.send(request, CONNECT, TOTAL).await {
            Ok(answer) if answer.status().is_server_error() => {
                Err(failed(Cause::Server, format!("status {}", answer.status().as_u16())))
            }
            Ok(_) => Ok(()),
            Err(broken @ Broken::Connect(..)) => Err(failed(Cause::Connect, broken.to_string())),
            Err(broken) => Err(failed(Cause::Timeout, broken.to_string())),
        }
    }
}

impl AwsKms {
    fn no_answer(&self, what: &str) -> KmsError {
        KmsError::Unavailable(Cause::Server, format!("{}: {what}", self.address().place))
    }
}

impl Shared {
    /// The grant tokens, read anew: a grant that was just made is in use with the next call.
    async fn tokens(&self) -> Result<request::Tokens, KmsError> {
        let Some(path) = &self.grant_tokens else { return Ok(request::Tokens::default()) };
        let wrong = |why: String| {
            KmsError::local(format!(
                "[kms.aws.{}] grant_tokens_file {}: {why}",
                self.provider,
                path.display()
            ))
        };
        let text = tokio::fs::read(path).await.map_err(|error| wrong(error.to_string()))?;
        request::tokens(Zeroizing::new(text)).map_err(wrong)
    }
}
