//! The layer around the addresses of one KMS that makes it bearable when it fails: the only one that retries.
//!
//! A call waits for its turn (bounded, at most to its deadline), goes to the address that served last, and gets a second
//! attempt, on another address, where that may help and the budget has it. An unwrap that takes longer than nearly all do gets
//! a second one beside it. What has failed again and again is not asked at all for a while: that error comes at once, with the
//! time after which it is worth trying again. A change of a KEK is never sent twice, unless nobody can have heard the first.
//!
//! The layer knows keys only on their way through. What is shared between callers (who asks for the same ciphertext at the same
//! time) is not its matter: the key service does that by IK, with a cache behind it.
//!
//! A caller who goes away takes its call along: places, turns and probes are given back by `Drop`.

mod address;
mod attempt;
mod budget;
mod bulkhead;
mod call;
mod examine;
mod jitter;
mod latency;
mod limiter;
mod negative;
mod observer;
mod progress;
mod settings;
mod view;

use std::sync::{Arc, Mutex, PoisonError, RwLock};

use async_trait::async_trait;
pub use examine::Sample;
pub(crate) use jitter::Jitter;
pub use observer::{Kind, Observer, Operation, Outcome, Silent};
pub(crate) use progress::step;
use sealgate_envelope::Ik;
pub use settings::Settings;
use tokio::time::Instant;
pub use view::{AddressView, BreakerView, ProviderView};

use self::{
    address::Address,
    budget::Budget,
    bulkhead::Bulkhead,
    latency::Latency,
    limiter::Limiter,
    negative::{Negative, question},
};
use crate::{Kms, KmsError};

/// See the module. A handle: clones are the same layer. Time is tokio's.
#[derive(Clone)]
pub struct Resilient(Arc<Layer>);

struct Layer {
    name: String,
    addresses: Vec<Address>,
    settings: Settings,
    observer: RwLock<Arc<dyn Observer>>,
    budget: Budget,
    bulkhead: Bulkhead,
    managing: Bulkhead,
    limiter: Limiter,
    negative: Negative,
    latency: Latency,
    jitter: Mutex<Jitter>,
    /// The address that served last.
    preferred: Mutex<Option<usize>>,
}

impl Layer {
    fn observer(&self) -> Arc<dyn Observer> {
        Arc::clone(&self.observer.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Resilient {
    /// Around the addresses of the provider of this name. `addresses` are what they are called in views and errors: as the
    /// configuration names them, without anything secret; those without a name get their number.
    #[must_use]
    pub fn new(
        name: &str,
        addresses: Vec<Arc<dyn Kms>>,
        labels: &[String],
        settings: Settings,
        observer: Arc<dyn Observer>,
    ) -> Self {
        let seed = jitter::seed();
        let addresses = addresses.into_iter().enumerate().map(|(number, kms)| {
            let label = labels.get(number).cloned().unwrap_or_else(|| format!("#{}", number + 1));
            Address::new(kms, label, &settings.breaker, seed.wrapping_add((number as u64) << 8))
        });
        Self(Arc::new(Layer {
            name: name.to_owned(),
            addresses: addresses.collect(),
            observer: RwLock::new(observer),
            budget: Budget::new(settings.retry_percent, settings.retry_reserve),
            bulkhead: Bulkhead::new(settings.in_flight, settings.waiting),
            managing: Bulkhead::new(settings.in_flight_manage, settings.waiting),
            limiter: Limiter::new(settings.rate_least, settings.rate_most),
            negative: Negative::new(settings.negative, settings.negative_most),
            latency: Latency::default(),
            jitter: Mutex::new(Jitter::new(seed)),
            preferred: Mutex::new(None),
            settings,
        }))
    }

    /// From now on this one is told.
    pub fn observe(&self, observer: Arc<dyn Observer>) {
        *self.layer().observer.write().unwrap_or_else(PoisonError::into_inner) = observer;
    }

    /// The provider as it is now.
    #[must_use]
    pub fn view(&self) -> ProviderView {
        let layer = self.layer();
        let (in_flight, waiting) = layer.bulkhead.load();
        let (managing, waiting_to_manage) = layer.managing.load();
        let preferred = layer.prefer(|it| it);
        let addresses = layer.addresses.iter().enumerate();
        ProviderView {
            provider: layer.name.clone(),
            healthy: self.healthy(),
            addresses: addresses.map(|(number, it)| it.view(preferred == Some(number))).collect(),
            in_flight: in_flight + managing,
            waiting: waiting + waiting_to_manage,
            limit_per_second: layer.limiter.rate(),
            retries_saved: layer.budget.saved(),
        }
    }

    /// Whether every operation on keys has an address whose breaker is closed.
    #[must_use]
    pub fn healthy(&self) -> bool {
        Operation::ON_KEYS.into_iter().all(|operation| self.layer().closed(operation, &[]))
    }

    fn layer(&self) -> &Layer {
        &self.0
    }
}

#[async_trait]
impl Kms for Resilient {
    fn provider(&self) -> &str {
        &self.layer().name
    }

    async fn create_kek(&self, name: &str) -> Result<String, KmsError> {
        let made = self.layer().call(Operation::Manage, |kms| kms.create_kek(name)).await;
        self.layer().negative.clear();
        made
    }

    async fn current_version(&self, kek: &str) -> Result<String, KmsError> {
        self.layer().call(Operation::CurrentVersion, |kms| kms.current_version(kek)).await
    }

    async fn wrap(&self, kek: &str, version: &str, context: &[u8], ik: &Ik) -> Result<Vec<u8>, KmsError> {
        self.layer().call(Operation::Wrap, |kms| kms.wrap(kek, version, context, ik)).await
    }

    async fn unwrap(&self, kek: &str, version: &str, context: &[u8], wrapped: &[u8]) -> Result<Ik, KmsError> {
        let (layer, asked) = (self.layer(), question(kek, version, context, wrapped));
        if let Some(refused) = layer.negative.get(&asked, Instant::now()) {
            return Err(refused);
        }
        let result = layer.call(Operation::Unwrap, |kms| kms.unwrap(kek, version, context, wrapped)).await;
        if let Err(error) = &result {
            layer.negative.put(asked, error, Instant::now());
        }
        result
    }

    fn version_of(&self, kek: &str, version: &str, wrapped: &[u8]) -> String {
        let address = self.layer().addresses.first();
        address.map_or_else(|| version.to_owned(), |address| address.kms.version_of(kek, version, wrapped))
    }

    async fn rotate(&self, kek: &str) -> Result<(), KmsError> {
        let rotated = self.layer().call(Operation::Manage, |kms| kms.rotate(kek)).await;
        self.layer().negative.clear();
        rotated
    }

    async fn destroy(&self, kek: &str) -> Result<u64, KmsError> {
        let destroyed = self.layer().call(Operation::Manage, |kms| kms.destroy(kek)).await;
        self.layer().negative.clear();
        destroyed
    }

    /// Whether any address would answer.
    async fn ready(&self) -> Result<(), KmsError> {
        self.examine(&Sample::Nothing).await
    }

    fn resilient(&self) -> Vec<Resilient> {
        vec![self.clone()]
    }
}
