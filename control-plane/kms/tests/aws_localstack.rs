//! The AWS provider against LocalStack, which answers for disabled and destroyed keys as AWS does.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

#[path = "aws/servers.rs"]
mod servers;
#[path = "conformance/suite.rs"]
mod suite;

use std::{collections::BTreeSet, sync::Arc};

use async_trait::async_trait;
use sealgate_kms::{Kms, KmsError, aws};
use serde_json::json;
use servers::{HOME, OTHER, Section, Server, key_ids, localstack};
use suite::ik;

const CONTEXT: &[u8] = b"an IK's context";

struct LocalStack {
    kms: Arc<dyn Kms>,
    server: Server,
    _section: Section,
}

#[async_trait]
impl suite::Subject for LocalStack {
    fn kms(&self) -> &dyn Kms {
        &*self.kms
    }

    fn missing(&self) -> String {
        "aws-eu/00000000-0000-4000-8000-000000000000".to_owned()
    }

    async fn keks(&self) -> BTreeSet<String> {
        key_ids(&self.server, HOME).into_iter().collect()
    }

    fn tells_versions(&self) -> bool {
        false
    }

    fn every_byte(&self) -> bool {
        false
    }
}

/// One test, since LocalStack takes its time to start.
#[tokio::test]
async fn aws_conforms_before_localstack() {
    let server = localstack();
    let section = Section::new(&server.url());
    let kms = aws::open("aws-eu", &section.config).unwrap().remove(0);
    let subject = LocalStack { kms, server, _section: section };
    suite::conforms(&subject).await;
    a_disabled_key_is_denied_until_it_is_enabled(&subject).await;
    a_destroyed_key_is_denied_and_its_end_is_told_again(&subject).await;
    what_one_region_wrapped_another_opens(&subject.server).await;
}

fn denied(error: &KmsError) {
    assert!(matches!(error, KmsError::Denied(_)), "{error:?}");
}

async fn a_disabled_key_is_denied_until_it_is_enabled(subject: &LocalStack) {
    let kms = &subject.kms;
    let kek = kms.create_kek("disabled").await.unwrap();
    let wrapped = kms.wrap(&kek, "", CONTEXT, &ik(1)).await.unwrap();
    let key = json!({"KeyId": kek.strip_prefix("aws-eu/").unwrap()});
    servers::kms(&subject.server, HOME, "DisableKey", key.clone());
    denied(&kms.current_version(&kek).await.unwrap_err());
    denied(&kms.wrap(&kek, "", CONTEXT, &ik(1)).await.unwrap_err());
    denied(&kms.unwrap(&kek, "", CONTEXT, &wrapped).await.err().unwrap());
    servers::kms(&subject.server, HOME, "EnableKey", key);
    assert_eq!(kms.current_version(&kek).await.unwrap(), "");
    assert_eq!(kms.unwrap(&kek, "", CONTEXT, &wrapped).await.unwrap().expose(), &[1; 32]);
}

async fn a_destroyed_key_is_denied_and_its_end_is_told_again(subject: &LocalStack) {
    let kms = &subject.kms;
    let kek = kms.create_kek("destroyed").await.unwrap();
    let wrapped = kms.wrap(&kek, "", CONTEXT, &ik(1)).await.unwrap();
    let gone = kms.destroy(&kek).await.unwrap();
    assert_eq!(kms.destroy(&kek).await.unwrap(), gone, "repeated after a crash");
    denied(&kms.current_version(&kek).await.unwrap_err());
    denied(&kms.wrap(&kek, "", CONTEXT, &ik(1)).await.unwrap_err());
    denied(&kms.unwrap(&kek, "", CONTEXT, &wrapped).await.err().unwrap());
    denied(&kms.rotate(&kek).await.unwrap_err());
    denied(&kms.create_kek("destroyed").await.unwrap_err());
}

async fn what_one_region_wrapped_another_opens(server: &Server) {
    let section = Section::new(&server.url()).with_replica(&server.url());
    let addresses = aws::open("aws-eu", &section.config).unwrap();
    let (home, other) = (&addresses[0], &addresses[1]);
    let kek = home.create_kek("multi").await.unwrap();
    let id = kek.strip_prefix("aws-eu/").unwrap();
    assert_eq!(key_ids(server, OTHER), [id]);
    // By its id, and by an ARN, which names the home region: the other region asks for its own key.
    for kek in [kek.clone(), format!("aws-eu/arn:aws:kms:{HOME}:000000000000:key/{id}")] {
        for (from, to) in [(home, other), (other, home)] {
            let wrapped = from.wrap(&kek, "", CONTEXT, &ik(3)).await.unwrap();
            assert_eq!(to.unwrap(&kek, "", CONTEXT, &wrapped).await.unwrap().expose(), &[3; 32]);
            let error = to.unwrap(&kek, "", b"another", &wrapped).await.err().unwrap();
            assert_eq!(error, KmsError::BadCiphertext);
        }
    }
}
