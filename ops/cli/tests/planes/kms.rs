//! A KMS that fails, as S3 clients meet it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
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
    let mut failing = None;
    let control = world
        .control_over(|inner| {
            let kms = Arc::new(Failing { inner, fails: AtomicBool::new(false) });
            failing = Some(Arc::clone(&kms));
            let layer = Resilient::new("local", vec![kms], &[], Settings::default(), Arc::new(Silent));
            Router::only(Arc::new(layer))
        })
        .await;
    let failing = failing.unwrap();
    let client = tenant(&control).await;
    let endpoint = format!("https://{}", control.grpc_addr());
    let node = world.node(endpoint, identity(&issue(&control, "one").await)).await;
    let client = client.at(node.address());
    for bucket in ["/bucket", "/other"] {
        client.put(bucket, "").await.ok();
    }
    client.put("/bucket/object", "body").await.ok();

    failing.fails.store(true, Ordering::SeqCst);
    let told = loop {
        match refused(&client).await.expect("it was stored without a key") {
            // What is said while the KMS is still asked.
            2 => {}
            seconds => break seconds,
        }
    };
    assert!((3..=6).contains(&told), "5 s ± 20 %, and what has gone of it: {told}");
    let mut times = Vec::new();
    for _ in 0..20 {
        let began = Instant::now();
        let seconds = refused(&client).await.expect("it was stored without a key");
        times.push(began.elapsed());
        assert!((1..=6).contains(&seconds), "{seconds}");
    }
    let fastest = times.iter().min().unwrap();
    assert!(*fastest < Duration::from_millis(10), "nothing is waited for: {fastest:?}");
    assert_eq!(client.get("/bucket/object").await.ok().body, "body", "the node has its key");
    client.get("/other?list-type=2").await.ok();
    until("the node to know", async || *node.node().kms_degraded() == ["local"]).await;
    assert!(node.node().keys.failed() >= 20);

    failing.fails.store(false, Ordering::SeqCst);
    let back = Instant::now();
    until("the KMS to be asked again", async || refused(&client).await.is_none()).await;
    assert!(back.elapsed() < Duration::from_secs(10), "{:?}", back.elapsed());
    until("the node to know", async || node.node().kms_degraded().is_empty()).await;
    assert_eq!(client.get("/other/object").await.ok().body, "body");
    node.stop().await;
    control.stop().await;
}
