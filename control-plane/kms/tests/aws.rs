//! The AWS provider against moto: what every provider does, multi-region keys, aliases, destruction.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

#[path = "aws/servers.rs"]
mod servers;
#[path = "conformance/suite.rs"]
mod suite;

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use sealgate_envelope::Ik;
use sealgate_kms::{Cause, Kms, KmsError, aws};
use serde_json::json;
use servers::{HOME, OTHER, Section, Server, key_ids, moto, reset};
use suite::ik;

const CONTEXT: &[u8] = b"an IK's context";

/// Moto says AccessDeniedException where AWS says IncorrectKeyException: of what another key made. The suite asks for the
/// difference between the two, so moto's word is put right here, in the test, and nowhere else. LocalStack says the right one.
struct PutRight(Arc<dyn Kms>);

#[async_trait]
impl Kms for PutRight {
    fn provider(&self) -> &str {
        self.0.provider()
    }

    async fn create_kek(&self, name: &str) -> Result<String, KmsError> {
        self.0.create_kek(name).await
    }

    async fn current_version(&self, kek: &str) -> Result<String, KmsError> {
        self.0.current_version(kek).await
    }

    async fn wrap(&self, kek: &str, version: &str, context: &[u8], ik: &Ik) -> Result<Vec<u8>, KmsError> {
        self.0.wrap(kek, version, context, ik).await
    }

    async fn unwrap(&self, kek: &str, version: &str, context: &[u8], wrapped: &[u8]) -> Result<Ik, KmsError> {
        self.0.unwrap(kek, version, context, wrapped).await.map_err(|error| match error {
            KmsError::Denied(text) if text.contains("AccessDeniedException") => KmsError::BadCiphertext,
            other => other,
        })
    }

    fn version_of(&self, kek: &str, version: &str, wrapped: &[u8]) -> String {
        self.0.version_of(kek, version, wrapped)
    }

    async fn rotate(&self, kek: &str) -> Result<(), KmsError> {
        self.0.rotate(kek).await
    }

    async fn destroy(&self, kek: &str) -> Result<u64, KmsError> {
        self.0.destroy(kek).await
    }

    async fn ready(&self) -> Result<(), KmsError> {
        self.0.ready().await
    }
}

struct Moto {
    kms: PutRight,
    server: Server,
    _section: Section,
}

fn provider(server: &Server) -> (Arc<dyn Kms>, Section) {
    let section = Section::new(&server.url());
    (aws::open("aws-eu", &section.config).unwrap().remove(0), section)
}

#[async_trait]
impl suite::Subject for Moto {
    fn kms(&self) -> &dyn Kms {
        &self.kms
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

    /// Moto lets a key that waits for its deletion encrypt and decrypt. LocalStack does not: `aws_localstack.rs`.
    fn destruction_holds(&self) -> bool {
        false
    }
}

#[tokio::test]
async fn aws_conforms_before_moto() {
    let server = moto();
    let (kms, section) = provider(&server);
    suite::conforms(&Moto { kms: PutRight(kms), server, _section: section }).await;
}

/// One test over one server, emptied between the cases: starting one takes longer than all of them.
#[tokio::test]
async fn keks_before_moto() {
    let server = moto();
    a_kek_is_found_again_by_its_alias_and_named_by_its_key(&server).await;
    reset(&server);
    a_key_that_is_there_is_taken_by_id_arn_or_alias_and_an_alias_is_no_reference(&server).await;
    reset(&server);
    a_key_of_another_kind_is_no_kek(&server).await;
    reset(&server);
    a_kek_of_several_regions_is_made_with_its_replicas(&server).await;
    reset(&server);
    only_the_home_region_says_that_there_is_no_key(&server).await;
    reset(&server);
    destruction_schedules_every_replica_and_says_when(&server).await;
}

async fn a_kek_is_found_again_by_its_alias_and_named_by_its_key(server: &Server) {
    let (kms, _section) = provider(server);
    let kek = kms.create_kek("tenant-1").await.unwrap();
    let id = kek.strip_prefix("aws-eu/").unwrap();
    assert_eq!(key_ids(server, HOME), [id]);
    let aliases = servers::kms(server, HOME, "ListAliases", json!({"KeyId": id}));
    assert_eq!(aliases["Aliases"][0]["AliasName"], "alias/sealgate/tenant-1");
    let tags = servers::kms(server, HOME, "ListResourceTags", json!({"KeyId": id}));
    assert_eq!(tags["Tags"], json!([{"TagKey": "sealgate:kek", "TagValue": "tenant-1"}]));
    let key = servers::kms(server, HOME, "DescribeKey", json!({"KeyId": id}));
    assert!(key["KeyMetadata"]["Description"].as_str().unwrap().contains("Sealgate KEK tenant-1"));

    // Another process, another connection, the same KEK.
    let (again, _section) = provider(server);
    assert_eq!(again.create_kek("tenant-1").await.unwrap(), kek);
    assert_eq!(key_ids(server, HOME).len(), 1);
}

async fn a_key_that_is_there_is_taken_by_id_arn_or_alias_and_an_alias_is_no_reference(server: &Server) {
    let (kms, _section) = provider(server);
    let symmetric = json!({"KeyUsage": "ENCRYPT_DECRYPT"});
    let make = || servers::kms(server, HOME, "CreateKey", symmetric.clone())["KeyMetadata"].clone();
    let (key, other) = (make(), make());
    let (id, arn) = (key["KeyId"].as_str().unwrap(), key["Arn"].as_str().unwrap());
    let alias = json!({"AliasName": "alias/payroll", "TargetKeyId": id});
    servers::kms(server, HOME, "CreateAlias", alias);

    let by_id = format!("aws-eu/{id}");
    assert_eq!(kms.create_kek(id).await.unwrap(), by_id);
    assert_eq!(kms.create_kek("alias/payroll").await.unwrap(), by_id);
    let by_arn = format!("aws-eu/{arn}");
    assert_eq!(kms.create_kek(arn).await.unwrap(), by_arn);
    let alias_arn = arn.replace(&format!("key/{id}"), "alias/payroll");
    assert_eq!(kms.create_kek(&alias_arn).await.unwrap(), by_arn);

    // The alias goes elsewhere; what was wrapped stays where it is.
    let wrapped = kms.wrap(&by_id, "", CONTEXT, &ik(1)).await.unwrap();
    let moved = json!({"AliasName": "alias/payroll", "TargetKeyId": other["KeyId"]});
    servers::kms(server, HOME, "UpdateAlias", moved);
    for kek in [&by_id, &by_arn] {
        assert_eq!(kms.unwrap(kek, "", CONTEXT, &wrapped).await.unwrap().expose(), &[1; 32]);
    }
    let error = kms.wrap("aws-eu/alias/payroll", "", CONTEXT, &ik(1)).await.unwrap_err();
    assert!(matches!(error, KmsError::NotFound(_)) && error.to_string().contains("alias"), "{error}");

    let elsewhere = arn.replace(HOME, "us-east-1");
    for missing in ["alias/none", "00000000-0000-4000-8000-000000000000", &elsewhere] {
        assert!(matches!(kms.create_kek(missing).await, Err(KmsError::NotFound(_))), "{missing}");
    }
    assert_eq!(key_ids(server, HOME).len(), 2, "no key came by accident");
}

async fn a_key_of_another_kind_is_no_kek(server: &Server) {
    let (kms, _section) = provider(server);
    let rsa = json!({"KeySpec": "RSA_2048", "KeyUsage": "SIGN_VERIFY"});
    let id = servers::kms(server, HOME, "CreateKey", rsa)["KeyMetadata"]["KeyId"].clone();
    let id = id.as_str().unwrap();
    for error in [
        kms.create_kek(id).await.unwrap_err(),
        kms.current_version(&format!("aws-eu/{id}")).await.unwrap_err(),
    ] {
        assert!(matches!(&error, KmsError::Unsupported(text) if text.contains("SIGN_VERIFY")), "{error}");
    }
}

/// Whether what one region wrapped opens in the other is LocalStack's to show: moto cannot read back what a multi-region
/// key made (it cuts the key's id at 36 characters).
async fn a_kek_of_several_regions_is_made_with_its_replicas(server: &Server) {
    let section = Section::new(&server.url()).with_replica(&server.url());
    let addresses = aws::open("aws-eu", &section.config).unwrap();
    let (home, other) = (&addresses[0], &addresses[1]);
    let kek = home.create_kek("tenant-1").await.unwrap();
    let id = kek.strip_prefix("aws-eu/").unwrap();
    assert!(id.starts_with("mrk-"), "{kek}");
    assert_eq!(key_ids(server, OTHER), [id], "the replica was made with it");
    assert_eq!(home.create_kek("tenant-1").await.unwrap(), kek, "again: the replica is there");
    assert_eq!(other.current_version(&kek).await.unwrap(), "");
    other.wrap(&kek, "", CONTEXT, &ik(3)).await.unwrap();
}

async fn only_the_home_region_says_that_there_is_no_key(server: &Server) {
    // A replica's address that nothing listens on: what is answered without it was not asked there.
    let section = Section::new(&server.url()).with_replica(&format!("http://{}", servers::free_port()));
    let (single, _single) = provider(server);
    let kek = single.create_kek("single").await.unwrap();
    let addresses = aws::open("aws-eu", &section.config).unwrap();
    let wrapped = addresses[0].wrap(&kek, "", CONTEXT, &ik(1)).await.unwrap();
    let standby = |error: KmsError| {
        assert!(matches!(error, KmsError::Unavailable(Cause::Elsewhere, _)), "{error:?}");
    };
    standby(addresses[1].unwrap(&kek, "", CONTEXT, &wrapped).await.err().unwrap());
    standby(addresses[1].wrap(&kek, "", CONTEXT, &ik(1)).await.unwrap_err());
    standby(addresses[1].create_kek("another").await.unwrap_err());
    let multi = "aws-eu/mrk-00000000000040008000000000000000";
    standby(addresses[1].rotate(multi).await.unwrap_err());
    standby(addresses[1].destroy(multi).await.unwrap_err());

    let section = Section::new(&server.url()).with_replica(&server.url());
    let addresses = aws::open("aws-eu", &section.config).unwrap();
    standby(addresses[1].wrap(multi, "", CONTEXT, &ik(1)).await.unwrap_err());
    let error = addresses[0].wrap(multi, "", CONTEXT, &ik(1)).await.unwrap_err();
    assert!(matches!(error, KmsError::NotFound(_)), "{error:?}");
}

async fn destruction_schedules_every_replica_and_says_when(server: &Server) {
    let mut section = Section::new(&server.url()).with_replica(&server.url());
    section.config.deletion_window_days = 7;
    let home = aws::open("aws-eu", &section.config).unwrap().remove(0);
    let kek = home.create_kek("tenant-1").await.unwrap();
    let id = kek.strip_prefix("aws-eu/").unwrap();

    // A provider that does not know of the replica refuses: the key would live on there.
    let (unaware, _section) = provider(server);
    let error = unaware.destroy(&kek).await.unwrap_err();
    assert!(matches!(&error, KmsError::Unsupported(text) if text.contains(OTHER)), "{error}");

    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let gone = home.destroy(&kek).await.unwrap();
    let days = (gone - now) as f64 / 86_400.0;
    assert!((6.9..14.1).contains(&days), "{days} days");
    for region in [HOME, OTHER] {
        let key = servers::kms(server, region, "DescribeKey", json!({"KeyId": id}));
        assert_eq!(key["KeyMetadata"]["KeyState"], "PendingDeletion", "{region}");
    }
    let error = home.current_version(&kek).await.unwrap_err();
    assert!(matches!(error, KmsError::Denied(_)), "{error:?}");
    let error = home.create_kek("tenant-1").await.unwrap_err();
    assert!(matches!(error, KmsError::Denied(_)), "not made anew behind a destroyed one's name: {error:?}");
    assert_eq!(key_ids(server, HOME).len(), 1);
}
