//! The local keyring passes what every provider passes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

#[path = "conformance/suite.rs"]
mod suite;

use std::{collections::BTreeSet, path::PathBuf};

use async_trait::async_trait;
use sealgate_kms::{Keyring, Kms, LocalKms, Unlock};
use zeroize::Zeroizing;

struct Local {
    kms: LocalKms,
    path: PathBuf,
}

fn unlock() -> Unlock {
    Unlock::Key(Zeroizing::new([1; 32]))
}

#[async_trait]
impl suite::Subject for Local {
    fn kms(&self) -> &dyn Kms {
        &self.kms
    }

    fn missing(&self) -> String {
        "local/missing".to_owned()
    }

    async fn keks(&self) -> BTreeSet<String> {
        let keyring = Keyring::open(&self.path, &unlock()).unwrap();
        keyring.list().into_iter().map(|kek| kek.reference).collect()
    }

    fn tells_versions(&self) -> bool {
        true
    }

    fn every_byte(&self) -> bool {
        true
    }
}

#[tokio::test]
async fn the_local_keyring_conforms() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keyring");
    let kms = LocalKms::open_or_create(&path, &unlock()).unwrap();
    suite::conforms(&Local { kms, path }).await;
}
