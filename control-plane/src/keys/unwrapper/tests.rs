//! Many who want one key, over the layer around a KMS that counts.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};
use std::time::Duration;

use async_trait::async_trait;
use sealgate_envelope::{BucketId, Ik, IkContext, IkId, IkRecord, TenantId};
use sealgate_kms::{Cause, Kms, KmsError, Resilient, Settings, Silent};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use super::{Owner, Unwrapper};
use crate::{Error, ManualClock, metrics::Metrics};

const OWNER: Owner = Owner { unproved_life: 86_400 };

/// Opens what lies in the record; waits for a permit before.
struct Counting {
    calls: AtomicUsize,
    gate: Semaphore,
    failure: Mutex<Option<KmsError>>,
}

#[async_trait]
impl Kms for Counting {
    fn provider(&self) -> &str {
        "kms"
    }
    async fn create_kek(&self, _: &str) -> Result<String, KmsError> {
        Err(KmsError::Unsupported("not here".to_owned()))
    }
    async fn current_version(&self, _: &str) -> Result<String, KmsError> {
        Ok("1".to_owned())
    }
    async fn wrap(&self, _: &str, _: &str, _: &[u8], ik: &Ik) -> Result<Vec<u8>, KmsError> {
        Ok(ik.expose().to_vec())
    }
    async fn unwrap(&self, _: &str, _: &str, _: &[u8], wrapped: &[u8]) -> Result<Ik, KmsError> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        drop(self.gate.acquire().await);
        if let Some(error) = self.failure.lock().unwrap().clone() {
            return Err(error);
        }
        Ok(Ik::from_bytes(&Zeroizing::new(wrapped.try_into().unwrap())))
    }
    fn version_of(&self, _: &str, version: &str, _: &[u8]) -> String {
        version.to_owned()
    }
    async fn rotate(&self, _: &str) -> Result<(), KmsError> {
        Ok(())
    }
    async fn destroy(&self, _: &str) -> Result<u64, KmsError> {
        Ok(0)
    }
    async fn ready(&self) -> Result<(), KmsError> {
        Ok(())
    }
}

fn unwrapper(permits: usize) -> (Arc<Unwrapper>, Arc<Counting>) {
    let kms =
        Counting { calls: AtomicUsize::new(0), gate: Semaphore::new(permits), failure: Mutex::default() };
    let kms = Arc::new(kms);
    let layer =
        Resilient::new("kms", vec![kms.clone() as Arc<dyn Kms>], &[], Settings::default(), Arc::new(Silent));
    let metrics = Arc::new(Metrics::new().unwrap());
    (Arc::new(Unwrapper::new(Arc::new(layer), Arc::new(ManualClock::new(1_000_000)), metrics)), kms)
}

fn record(n: u8) -> IkRecord {
    let context = IkContext {
        tenant: TenantId::from_bytes([1; 16]),
        bucket: BucketId::from_bytes([2; 16]),
        ik: IkId::from_bytes([n; 16]),
        created: 1_000_000,
        kek: "kms/key".to_owned(),
        kek_version: "1".to_owned(),
    };
    IkRecord { context, wrapped: vec![n; 32] }
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_who_want_one_cold_key_make_one_call_and_half_of_them_may_hang_up() {
    let (unwrapper, kms) = unwrapper(0);
    let waiting: Vec<_> = (0..10_000)
        .map(|_| {
            let unwrapper = Arc::clone(&unwrapper);
            tokio::spawn(async move { unwrapper.get(&record(7), OWNER).await.map(|held| *held.ik.expose()) })
        })
        .collect();
    while kms.calls.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    // The first of them, for whom the call was begun, among those who hang up.
    let (gone, staying): (Vec<_>, Vec<_>) = waiting.into_iter().enumerate().partition(|(n, _)| n % 2 == 0);
    gone.iter().for_each(|(_, task)| task.abort());
    for (_, task) in gone {
        assert!(task.await.unwrap_err().is_cancelled());
    }
    kms.gate.add_permits(1);
    for (_, task) in staying {
        assert_eq!(task.await.unwrap().unwrap(), [7; 32]);
    }
    assert_eq!(kms.calls.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn while_a_breaker_is_open_they_are_all_told_at_once_when_to_come_again() {
    let (unwrapper, kms) = unwrapper(1_000);
    *kms.failure.lock().unwrap() = Some(KmsError::Unavailable(Cause::Connect, "refused".to_owned()));
    for n in 0..5 {
        assert!(matches!(unwrapper.get(&record(n), OWNER).await, Err(Error::Unavailable(_))));
    }
    let (calls, began) = (kms.calls.load(Ordering::SeqCst), tokio::time::Instant::now());
    for n in 0..=255 {
        let Err(error) = unwrapper.get(&record(n), OWNER).await else { panic!("nothing was opened before") };
        assert!(matches!(error, Error::NotAsked(..)), "{error}");
        assert!((1..=6).contains(&error.retry_after().unwrap()));
    }
    assert_eq!((began.elapsed().as_millis(), kms.calls.load(Ordering::SeqCst)), (0, calls));
}

#[tokio::test]
async fn a_provider_is_examined_with_a_record_under_none_of_the_keks_that_it_refused() {
    let (unwrapper, _) = unwrapper(1_000);
    let mut other = record(2);
    other.context.kek = "kms/other".to_owned();
    for record in [&record(1), &other] {
        unwrapper.get(record, OWNER).await.unwrap();
    }
    let with = |refused: &[&str]| {
        let refused = refused.iter().map(|kek| (*kek).to_owned()).collect();
        unwrapper.sample("kms", &refused).map(|record| record.context.kek.clone())
    };
    assert_eq!(with(&["kms/key"]).as_deref(), Some("kms/other"));
    assert_eq!(with(&["kms/other"]).as_deref(), Some("kms/key"));
    assert_eq!(with(&["kms/key", "kms/other"]), None);
}

#[tokio::test(start_paused = true)]
async fn a_kek_that_was_used_a_million_times_is_proved_again_whatever_the_time() {
    let (unwrapper, kms) = unwrapper(Semaphore::MAX_PERMITS);
    unwrapper.get(&record(1), OWNER).await.unwrap();
    let keeping = tokio::spawn(Arc::clone(&unwrapper).keep());
    // The first is one, too; the last of them would be the millionth.
    for _ in 2..1 << 20 {
        unwrapper.get(&record(1), OWNER).await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(kms.calls.load(Ordering::SeqCst), 1);
    unwrapper.get(&record(1), OWNER).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(kms.calls.load(Ordering::SeqCst), 2);
    keeping.abort();
}
