//! Several providers as one: each reference goes where it says, and nowhere else.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use sealgate_envelope::Ik;
use sealgate_kms::{Kms, KmsError, Router};

/// Writes down what it is asked.
struct Noted {
    name: &'static str,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Noted {
    fn note(&self, what: &str, kek: &str) {
        self.asked.lock().unwrap().push(format!("{}: {what} {kek}", self.name));
    }
}

#[async_trait]
impl Kms for Noted {
    fn provider(&self) -> &str {
        self.name
    }
    async fn create_kek(&self, name: &str) -> Result<String, KmsError> {
        self.note("create", name);
        Ok(format!("{}/{name}", self.name))
    }
    async fn current_version(&self, kek: &str) -> Result<String, KmsError> {
        self.note("version", kek);
        Ok(self.name.to_owned())
    }
    async fn wrap(&self, kek: &str, _: &str, _: &[u8], _: &Ik) -> Result<Vec<u8>, KmsError> {
        self.note("wrap", kek);
        Ok(self.name.as_bytes().to_vec())
    }
    async fn unwrap(&self, kek: &str, _: &str, _: &[u8], _: &[u8]) -> Result<Ik, KmsError> {
        self.note("unwrap", kek);
        Ok(Ik::generate().unwrap())
    }
    fn version_of(&self, _: &str, version: &str, _: &[u8]) -> String {
        format!("{version} of {}", self.name)
    }
    async fn rotate(&self, kek: &str) -> Result<(), KmsError> {
        self.note("rotate", kek);
        Ok(())
    }
    async fn destroy(&self, kek: &str) -> Result<u64, KmsError> {
        self.note("destroy", kek);
        Ok(7)
    }
    async fn ready(&self) -> Result<(), KmsError> {
        self.note("ready", "");
        Ok(())
    }
}

fn two() -> (Router, Arc<Mutex<Vec<String>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let provider = |name| Arc::new(Noted { name, asked: Arc::clone(&asked) }) as Arc<dyn Kms>;
    (Router::new([provider("local"), provider("vault-eu")], "vault-eu", "local").unwrap(), asked)
}

#[tokio::test]
async fn a_reference_goes_to_the_provider_that_it_names() {
    let (router, asked) = two();
    let ik = Ik::generate().unwrap();
    for provider in ["local", "vault-eu"] {
        let kek = format!("{provider}/tenant-a");
        assert_eq!(router.current_version(&kek).await.unwrap(), provider);
        assert_eq!(router.wrap(&kek, "", b"", &ik).await.unwrap(), provider.as_bytes());
        router.unwrap(&kek, "", b"", b"").await.unwrap();
        assert_eq!(router.version_of(&kek, "3", b""), format!("3 of {provider}"));
        router.rotate(&kek).await.unwrap();
        assert_eq!(router.destroy(&kek).await.unwrap(), 7);
        let wanted = ["version", "wrap", "unwrap", "rotate", "destroy"]
            .map(|what| format!("{provider}: {what} {provider}/tenant-a"));
        assert_eq!(std::mem::take(&mut *asked.lock().unwrap()), wanted);
    }
}

#[tokio::test]
async fn new_keks_are_made_where_the_configuration_or_the_caller_wants_them() {
    let (router, asked) = two();
    assert_eq!(router.provider(), "vault-eu");
    assert_eq!(router.create_kek("tenant-a").await.unwrap(), "vault-eu/tenant-a");
    assert_eq!(router.create_kek_at("local", "tenant-b").await.unwrap(), "local/tenant-b");
    assert_eq!(router.create_system_kek().await.unwrap(), "local/system");
    router.ready().await.unwrap();
    assert_eq!(asked.lock().unwrap()[3..], ["local: ready ", "vault-eu: ready "]);
}

#[tokio::test]
async fn a_provider_that_is_not_there_is_named_beside_those_that_are() {
    let (router, asked) = two();
    for kek in ["vault-us/tenant-a", "vault-us", "vault-eu/", "", "/x"] {
        let Err(KmsError::NotFound(text)) = router.unwrap(kek, "", b"", b"").await else { panic!("{kek}") };
        assert!(text.contains("local, vault-eu") || text.contains("<provider>/<name"), "{kek}: {text}");
    }
    // It does not count as destroyed.
    let unknown = router.destroy("vault-us/tenant-a").await.unwrap_err();
    assert!(unknown.is_transient() && unknown.to_string().contains("local, vault-eu"), "{unknown}");
    assert!(matches!(router.create_kek_at("vault-us", "x").await, Err(KmsError::NotFound(_))));
    assert_eq!(router.version_of("vault-us/x", "3", b""), "3");
    assert!(asked.lock().unwrap().is_empty(), "nobody was asked");
    let provider = |name| Arc::new(Noted { name, asked: Arc::clone(&asked) }) as Arc<dyn Kms>;
    assert!(matches!(Router::new([provider("local")], "vault-eu", "local"), Err(KmsError::NotFound(_))));
    assert!(matches!(Router::new([provider("local")], "local", "vault-eu"), Err(KmsError::NotFound(_))));
    let twice = Router::new([provider("local"), provider("local")], "local", "local");
    assert!(matches!(twice, Err(KmsError::Unsupported(_))));
}
