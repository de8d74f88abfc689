//! A KMS that fails, as S3 clients meet it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use sealgate_envelope::Ik;
use sealgate_kms::{Cause, Kms, KmsError, Resilient, Router, Settings, Silent};

use super::s3::Client;
use super::world::{World, identity, issue, tenant, until};

/// The world's own KMS, and nobody listens there while it fails.
struct Failing {
    inner: Arc<Router>,
    fails: AtomicBool,
}

impl Failing {
    fn inner(&self) -> Result<&Router, KmsError> {
        if self.fails.load(Ordering::SeqCst) {
            return Err(KmsError::Unavailable(Cause::Connect, "as the test wants it".to_owned()));
        }
        Ok(&self.inner)
    }
}

#[async_trait]
impl Kms for Failing {
    fn provider(&self) -> &str {
        "local"
    }
    async fn create_kek(&self, name: &str) -> Result<String, KmsError> {
        self.inner()?.create_kek(name).await
    }
    async fn current_version(&self, kek: &str) -> Result<String, KmsError> {
        self.inner()?.current_version(kek).await
    }
    async fn wrap(&self, kek: &str, version: &str, context: &[u8], ik: &Ik) -> Result<Vec<u8>, KmsError> {
        self.inner()?.wrap(kek, version, context, ik).await
    }
    async fn unwrap(&self, kek: &str, version: &str, context: &[u8], wrapped: &[u8]) -> Result<Ik, KmsError> {
        self.inner()?.unwrap(kek, version, context, wrapped).await
    }
    fn version_of(&self, kek: &str, version: &str, wrapped: &[u8]) -> String {
        self.inner.version_of(kek, version, wrapped)
    }
    async fn rotate(&self, kek: &str) -> Result<(), KmsError> {
        self.inner()?.rotate(kek).await
    }
    async fn destroy(&self, kek: &str) -> Result<u64, KmsError> {
        self.inner()?.destroy(kek).await
    }
    async fn ready(&self) -> Result<(), KmsError> {
        self.inner()?.ready().await
    }
}

/// The layer, and how often a new key's version was asked of it.
struct Asked {
    layer: Resilient,
    times: AtomicUsize,
}

#[async_trait]
impl Kms for Asked {
    fn provider(&self) -> &str {
        self.layer.provider()
    }
    async fn create_kek(&self, name: &str) -> Result<String, KmsError> {
        self.layer.create_kek(name).await
    }
    async fn current_version(&self, kek: &str) -> Result<String, KmsError> {
        self.times.fetch_add(1, Ordering::SeqCst);
        self.layer.current_version(kek).await
    }
    async fn wrap(&self, kek: &str, version: &str, context: &[u8], ik: &Ik) -> Result<Vec<u8>, KmsError> {
        self.layer.wrap(kek, version, context, ik).await
    }
    async fn unwrap(&self, kek: &str, version: &str, context: &[u8], wrapped: &[u8]) -> Result<Ik, KmsError> {
        self.layer.unwrap(kek, version, context, wrapped).await
    }
    fn version_of(&self, kek: &str, version: &str, wrapped: &[u8]) -> String {
        self.layer.version_of(kek, version, wrapped)
    }
    async fn rotate(&self, kek: &str) -> Result<(), KmsError> {
        self.layer.rotate(kek).await
    }
    async fn destroy(&self, kek: &str) -> Result<u64, KmsError> {
        self.layer.destroy(kek).await
    }
    async fn ready(&self) -> Result<(), KmsError> {
        self.layer.ready().await
    }
    fn resilient(&self) -> Vec<Resilient> {
        self.layer.resilient()
    }
}

/// Seconds of Retry-After of a PUT that needs a key which nobody has; none once it is stored.
async fn refused(client: &Client) -> Option<u32> {
    let answer = client.put("/other/object", "body").await;
    if answer.status.is_success() {
        return None;
    }
    assert_eq!((answer.status.as_u16(), answer.tag("Code").as_str()), (503, "ServiceUnavailable"));
    Some(answer.headers["retry-after"].to_str().unwrap().parse().unwrap())
}

#[actix_rt::test]
async fn what_needs_no_new_key_is_served_and_the_rest_is_told_when_to_come_again() {
    let world = World::new();
    let (mut failing, mut asked) = (None, None);
    let control = world
        .control_over(|inner| {
            let kms = Arc::new(Failing { inner, fails: AtomicBool::new(false) });
            failing = Some(Arc::clone(&kms));
            let layer = Resilient::new("local", vec![kms], &[], Settings::default(), Arc::new(Silent));
            let layer = Arc::new(Asked { layer, times: AtomicUsize::new(0) });
            asked = Some(Arc::clone(&layer));
            Router::only(layer)
        })
        .await;
    let (failing, asked) = (failing.unwrap(), asked.unwrap());
    let client = tenant(&control).await;
    let endpoint = format!("https://{}", control.grpc_addr());
    let node = world.node(endpoint, identity(&issue(&control, "one").await)).await;
    let client = client.at(node.address());
    for bucket in ["/bucket", "/other"] {
        client.put(bucket, "").await.ok();
    }
    client.put("/bucket/object", "body").await.ok();

    failing.fails.store(true, Ordering::SeqCst);
    // While the KMS is still asked, it is 2 s; then 5 s ± 20 %, and twice that when a probe has failed, less what has gone of it.
    until("the breaker to open", async || {
        let seconds = refused(&client).await.expect("it was stored without a key");
        assert!((1..=12).contains(&seconds), "{seconds}");
        seconds > 2
    })
    .await;
    let (mut fastest, before, all) = (Duration::MAX, asked.times.load(Ordering::SeqCst), Instant::now());
    for _ in 0..50 {
        let began = Instant::now();
        refused(&client).await.expect("it was stored without a key");
        fastest = fastest.min(began.elapsed());
    }
    // That the layer waits for nothing is shown in paused time; here the machine and both planes have their share.
    println!("refused within {fastest:?} at best");
    // A node that was told so says so by itself, for a second at a time.
    let (times, seconds) = (asked.times.load(Ordering::SeqCst) - before, all.elapsed().as_secs() as usize);
    assert!(times <= seconds + 2, "the control plane was asked {times} times in {seconds} s");
    assert!(seconds < 25, "too slow to say anything: {seconds} s");
    assert_eq!(client.get("/bucket/object").await.ok().body, "body", "the node has its key");
    client.get("/other?list-type=2").await.ok();
    until("the node to know", async || *node.node().kms_degraded() == ["local"]).await;
    assert!(node.node().keys.failed() >= 20);

    failing.fails.store(false, Ordering::SeqCst);
    until("the KMS to be asked again", async || refused(&client).await.is_none()).await;
    until("the node to know", async || node.node().kms_degraded().is_empty()).await;
    assert_eq!(client.get("/other/object").await.ok().body, "body");
    node.stop().await;
    control.stop().await;
}
