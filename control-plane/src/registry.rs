//! The registry: every change of tenants, buckets, credentials and nodes goes through it into the store.
//!
//! Reads come from [`State`], a consistent view in memory. Changes are made by one actor at a time (`RegistryActor`),
//! and each transaction still compares what it was decided on: a second control plane cannot slip in between.

pub mod adoption;
mod buckets;
mod credentials;
mod freeze;
mod identities;
pub(crate) mod iks;
mod lent;
pub(crate) mod life;
pub mod records;
pub(crate) mod report;
pub(crate) mod rewraps;
mod sealer;
mod state;
pub(crate) mod states;
mod tenants;

use std::sync::Arc;

use arc_swap::ArcSwap;
pub use credentials::NewCredential;
pub use sealer::Sealer;
use sealgate_store::{Compare, Op, Store, decode, encode};
pub use state::State;
pub(crate) use tenants::{TenantChange, check_label};
use tokio::sync::watch;

use crate::{
    Clock, Error,
    clock::DAY,
    pki::Authority,
    registry::records::{BucketRecord, CA, CaRecord, DAY_KEY, DayRecord},
};

/// The names that config gives to backends, and what new buckets get.
#[derive(Clone, Debug)]
pub struct Defaults {
    /// All regions that nodes get signing keys for; the first is the default.
    pub regions: Vec<String>,
    /// Backends by name, with their work bucket (empty: none).
    pub backends: Vec<(String, String)>,
    /// The backend of new buckets.
    pub default_backend: String,
    /// What precedes a bucket's name on the backend.
    pub backend_prefix: String,
}

impl Defaults {
    /// Whether a bucket of a backend is the one for the hidden objects of uploads.
    fn is_work_bucket(&self, backend: &str, bucket: &str) -> bool {
        self.backends.iter().any(|(name, work_bucket)| name == backend && work_bucket == bucket)
    }
}

/// A version that a node must have applied before its client is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// The store's epoch.
    pub epoch: u64,
    /// The config's version in it.
    pub version: u64,
}

/// See the module.
pub struct Registry {
    store: Arc<dyn Store>,
    sealer: Sealer,
    clock: Arc<dyn Clock>,
    defaults: Defaults,
    authority: Authority,
    state: ArcSwap<State>,
    changed: watch::Sender<u64>,
}

impl Registry {
    /// Opens the registry in a store whose secrets `sealer` opens; makes the CA on the first start.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub fn open(
        store: Arc<dyn Store>,
        sealer: Sealer,
        clock: Arc<dyn Clock>,
        defaults: Defaults,
    ) -> Result<Self, Error> {
        let authority = match store.get(CA)? {
            Some(found) => {
                let record: CaRecord = decode(&found.value)?;
                Authority::load(&record.certificate, &sealer.open(CA, &record.sealed_key)?)?
            }
            None => {
                let (authority, key) = Authority::create(clock.now())?;
                let sealed_key = sealer.seal(CA, &key)?;
                let record = CaRecord { certificate: authority.certificate_pem().to_owned(), sealed_key };
                store
                    .txn(&[Compare::Absent(CA.to_owned())], vec![Op::Put(CA.to_owned(), encode(&record)?)])?;
                authority
            }
        };
        let state = ArcSwap::from_pointee(State::empty(store.epoch()));
        let registry =
            Self { store, sealer, clock, defaults, authority, state, changed: watch::Sender::new(0) };
        registry.reload()?;
        let state = registry.state();
        let registered = |bucket: &&Arc<BucketRecord>| {
            registry.defaults.is_work_bucket(&bucket.backend, &bucket.backend_bucket)
        };
        if let Some(bucket) = state.buckets.values().find(registered) {
            return Err(Error::Invalid(format!(
                "backends.work_bucket: {:?} is the registered bucket {:?}; name another",
                bucket.backend_bucket, bucket.name
            )));
        }
        registry.set_day()?;
        Ok(registry)
    }

    /// Reads everything from the store again.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn reload(&self) -> Result<(), Error> {
        let mut state = State::empty(self.store.epoch());
        state.version = self.store.revision();
        for prefix in ["sys/", "tenant/", "bucket/", "credential/", "node/", records::SOURCE_PREFIX] {
            for (key, found) in self.store.scan(prefix)? {
                state.apply(&key, Some(&found.value))?;
            }
        }
        self.changed.send_replace(state.version);
        self.state.store(Arc::new(state));
        Ok(())
    }

    /// The registry as it is now.
    #[must_use]
    pub fn state(&self) -> Arc<State> {
        self.state.load_full()
    }

    /// Tells each new version of the config.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    pub(crate) fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// The CA of node certificates.
    #[must_use]
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// What config says about regions and backends.
    #[must_use]
    pub fn defaults(&self) -> &Defaults {
        &self.defaults
    }

    /// The version that is pushed now.
    #[must_use]
    pub fn version(&self) -> Version {
        let state = self.state.load();
        Version { epoch: state.epoch, version: state.version }
    }

    pub(crate) fn sealer(&self) -> &Sealer {
        &self.sealer
    }

    pub(crate) fn store(&self) -> &dyn Store {
        &*self.store
    }

    /// Whether changes can still be made. What was made is read all the same.
    pub(crate) fn writable(&self) -> bool {
        self.store.writable()
    }

    pub(crate) fn now(&self) -> u64 {
        self.clock.now()
    }

    /// Centres the signing keys on today. A new day is a new version, so a version always has the same content.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn set_day(&self) -> Result<Version, Error> {
        let day = self.now() / DAY;
        if self.state.load().day == day {
            return Ok(self.version());
        }
        self.commit(&[], vec![Op::Put(DAY_KEY.to_owned(), encode(&DayRecord { day })?)], false)
    }

    /// Writes a change, then shows it. `urgent` changes are pushed without waiting for more.
    pub(crate) fn commit(&self, compare: &[Compare], ops: Vec<Op>, urgent: bool) -> Result<Version, Error> {
        let revision = self.store.txn(compare, ops.clone()).inspect_err(|error| {
            if !self.writable() {
                tracing::error!(%error, "the store takes no changes any more: start the control plane again");
            }
        })?;
        if ops.iter().any(|op| state::is_config(op.key())) {
            let mut next = State::clone(&self.state.load());
            next.version = revision;
            if urgent {
                next.urgent = revision;
            }
            for op in &ops {
                match op {
                    Op::Put(key, value) => next.apply(key, Some(value))?,
                    Op::Delete(key) => next.apply(key, None)?,
                }
            }
            self.state.store(Arc::new(next));
            self.changed.send_replace(revision);
        }
        Ok(self.version())
    }

    /// The condition that a key is still as the store has it now.
    pub(crate) fn unchanged(&self, key: &str) -> Result<Compare, Error> {
        Ok(match self.store.get(key)? {
            Some(found) => Compare::Revision(key.to_owned(), found.revision),
            None => Compare::Absent(key.to_owned()),
        })
    }
}
