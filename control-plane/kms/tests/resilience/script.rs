//! An address that does what a test says, and counts.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use sealgate_envelope::Ik;
use sealgate_kms::{Cause, Kind, Kms, KmsError, Observer, Operation, Outcome, Phase, Resilient, Settings};
use tokio::time::{Instant, sleep};
use zeroize::Zeroizing;

/// What an address does with a call.
#[derive(Clone, Debug)]
pub enum Act {
    Answer,
    /// It answers after this time.
    After(Duration),
    Fail(KmsError),
    Hang,
}

type Script = Box<dyn FnMut(&'static str, Duration) -> Act + Send>;

/// See the module.
pub struct Address {
    start: Instant,
    script: Mutex<Script>,
    calls: Mutex<BTreeMap<&'static str, usize>>,
    in_flight: AtomicUsize,
    most: AtomicUsize,
    alters: AtomicBool,
}

/// Under way, until it is dropped.
struct UnderWay<'a>(&'a Address);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Address {
    /// `script` gets what is called, and the time since the start.
    pub fn new(script: impl FnMut(&'static str, Duration) -> Act + Send + 'static) -> Arc<Self> {
        Arc::new(Self {
            start: Instant::now(),
            script: Mutex::new(Box::new(script)),
            calls: Mutex::default(),
            in_flight: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
            alters: AtomicBool::new(false),
        })
    }

    pub fn good() -> Arc<Self> {
        Self::new(|_, _| Act::Answer)
    }

    pub fn set(&self, script: impl FnMut(&'static str, Duration) -> Act + Send + 'static) {
        *self.script.lock().unwrap() = Box::new(script);
    }

    /// From now on it opens records to another key than was wrapped.
    pub fn alter(&self) {
        self.alters.store(true, Ordering::SeqCst);
    }

    pub fn calls(&self, what: &str) -> usize {
        self.calls.lock().unwrap().get(what).copied().unwrap_or(0)
    }

    /// Without those of `ready`, which touch no key.
    pub fn all_calls(&self) -> usize {
        self.calls.lock().unwrap().iter().filter(|(what, _)| **what != "ready").map(|(_, n)| n).sum()
    }

    /// Forgets what was counted.
    pub fn forget(&self) {
        self.calls.lock().unwrap().clear();
        self.most.store(0, Ordering::SeqCst);
    }

    /// The most calls at a time.
    pub fn most(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }

    async fn act(&self, what: &'static str) -> Result<(), KmsError> {
        *self.calls.lock().unwrap().entry(what).or_default() += 1;
        self.most.fetch_max(self.in_flight.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        let _under_way = UnderWay(self);
        let act = self.script.lock().unwrap()(what, self.start.elapsed());
        match act {
            Act::Answer => Ok(()),
            Act::After(time) => {
                sleep(time).await;
                Ok(())
            }
            Act::Fail(error) => Err(error),
            Act::Hang => std::future::pending().await,
        }
    }
}

#[async_trait]
impl Kms for Address {
    fn provider(&self) -> &str {
        "scripted"
    }
    async fn create_kek(&self, name: &str) -> Result<String, KmsError> {
        self.act("create_kek").await.map(|()| format!("scripted/{name}"))
    }
    async fn current_version(&self, _: &str) -> Result<String, KmsError> {
        self.act("current_version").await.map(|()| "1".to_owned())
    }
    async fn wrap(&self, _: &str, _: &str, _: &[u8], ik: &Ik) -> Result<Vec<u8>, KmsError> {
        self.act("wrap").await.map(|()| ik.expose().to_vec())
    }
    async fn unwrap(&self, _: &str, _: &str, _: &[u8], wrapped: &[u8]) -> Result<Ik, KmsError> {
        self.act("unwrap").await?;
        let mut bytes: [u8; 32] = wrapped.try_into().map_err(|_| KmsError::BadCiphertext)?;
        bytes[31] ^= u8::from(self.alters.load(Ordering::SeqCst));
        Ok(Ik::from_bytes(&Zeroizing::new(bytes)))
    }
    fn version_of(&self, _: &str, version: &str, _: &[u8]) -> String {
        version.to_owned()
    }
    async fn rotate(&self, _: &str) -> Result<(), KmsError> {
        self.act("rotate").await
    }
    async fn destroy(&self, _: &str) -> Result<u64, KmsError> {
        self.act("destroy").await.map(|()| 0)
    }
    async fn ready(&self) -> Result<(), KmsError> {
        self.act("ready").await
    }
}

/// What the layer told.
#[derive(Default)]
pub struct Told {
    pub calls: Mutex<Vec<(Operation, Outcome, Duration)>>,
    pub attempts: Mutex<Vec<(Kind, Outcome)>>,
    pub phases: Mutex<Vec<(usize, Operation, Phase)>>,
    pub queued: Mutex<Vec<Duration>>,
}

impl Observer for Told {
    fn call(&self, _: &str, operation: Operation, outcome: Outcome, took: Duration) {
        self.calls.lock().unwrap().push((operation, outcome, took));
    }
    fn attempt(&self, _: &str, _: Operation, kind: Kind, outcome: Outcome) {
        self.attempts.lock().unwrap().push((kind, outcome));
    }
    fn queued(&self, _: &str, waited: Duration) {
        self.queued.lock().unwrap().push(waited);
    }
    fn breaker(&self, _: &str, address: usize, operation: Operation, phase: Phase) {
        self.phases.lock().unwrap().push((address, operation, phase));
    }
}

impl Told {
    pub fn kinds(&self, kind: Kind) -> usize {
        self.attempts.lock().unwrap().iter().filter(|(it, _)| *it == kind).count()
    }
}

/// A layer around these addresses.
pub fn layer(addresses: &[&Arc<Address>]) -> (Resilient, Arc<Told>) {
    layer_with(addresses, Settings::default())
}

pub fn layer_with(addresses: &[&Arc<Address>], settings: Settings) -> (Resilient, Arc<Told>) {
    let told = Arc::new(Told::default());
    let addresses = addresses.iter().map(|it| Arc::clone(it) as Arc<dyn Kms>).collect();
    (Resilient::new("kms", addresses, &["one".to_owned()], settings, told.clone()), told)
}

pub fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub fn failure(cause: Cause) -> KmsError {
    KmsError::Unavailable(cause, "as the test wants it".to_owned())
}

pub fn server() -> Act {
    Act::Fail(failure(Cause::Server))
}

/// Unwraps a record that opens; gives how it went and the time that it took.
pub async fn unwrap(kms: &Resilient) -> (Result<(), KmsError>, Duration) {
    let began = Instant::now();
    let opened = kms.unwrap("kms/key", "1", b"context", &[7; 32]).await;
    let result = opened.map(|ik| assert_eq!(ik.expose(), &[7; 32]));
    (result, began.elapsed())
}

pub async fn wrap(kms: &Resilient) -> (Result<(), KmsError>, Duration) {
    let (began, ik) = (Instant::now(), Ik::generate().unwrap());
    let wrapped = kms.wrap("kms/key", "1", b"context", &ik).await;
    (wrapped.map(drop), began.elapsed())
}

/// Calls that succeed, so that the retry budget has this many attempts.
pub async fn save(kms: &Resilient, attempts: usize) {
    for _ in 0..attempts * 10 {
        unwrap(kms).await.0.unwrap();
    }
}

/// The breaker's phase, of an address and operation.
pub fn phase(kms: &Resilient, address: usize, operation: Operation) -> Phase {
    kms.view().addresses[address].breakers[operation as usize].state
}
