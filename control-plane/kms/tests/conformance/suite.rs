//! What every [`Kms`] does, whatever is behind it. A provider's test opens one, says in [`Subject`] what cannot be asked
//! through the trait, and calls [`conforms`]: every case must pass, and each names itself in its failure.

use std::collections::BTreeSet;

use async_trait::async_trait;
use sealgate_envelope::Ik;
use sealgate_kms::{Kms, KmsError};
use zeroize::Zeroizing;

/// A provider under test, and what is known about its KMS from elsewhere.
#[async_trait]
pub trait Subject: Sync {
    fn kms(&self) -> &dyn Kms;

    /// A well-formed reference of this provider that names no KEK.
    fn missing(&self) -> String;

    /// Every KEK that the KMS holds, asked behind the provider's back: what must not have come by accident.
    async fn keks(&self) -> BTreeSet<String>;

    /// Whether `version_of` tells under which version something was wrapped.
    fn tells_versions(&self) -> bool;

    /// Whether every byte of a wrapped key is altered, or (each is a request) some twenty of them.
    fn every_byte(&self) -> bool;

    /// Whether this KMS refuses a destroyed KEK. Some that stand in for a real one in tests do not: say so beside it.
    fn destruction_holds(&self) -> bool {
        true
    }
}

const CONTEXT: &[u8] = b"\x00context \xff of an IK";

/// Every case, on KEKs whose names begin with `conformance-`. The KMS has none of these before.
pub async fn conforms(subject: &dyn Subject) {
    let kms = subject.kms();
    kms.ready().await.expect("ready");
    making_a_kek_twice_makes_one(subject).await;
    references_name_their_provider(kms).await;
    what_is_wrapped_comes_back(kms).await;
    nothing_else_opens(subject).await;
    a_missing_kek_is_not_found_and_not_made(subject).await;
    another_providers_kek_is_not_found(kms).await;
    a_rotated_kek_opens_what_its_old_versions_wrapped(subject).await;
    many_at_once_do_not_mix(kms).await;
    what_is_destroyed_opens_no_more(subject).await;
}

pub fn ik(byte: u8) -> Ik {
    Ik::from_bytes(&Zeroizing::new([byte; 32]))
}

/// Wraps as the control plane does: the version is asked for first. Gives it with the bytes.
pub async fn wrap(kms: &dyn Kms, kek: &str, context: &[u8], ik: &Ik) -> (String, Vec<u8>) {
    let version = kms.current_version(kek).await.expect("current version");
    let wrapped = kms.wrap(kek, &version, context, ik).await.expect("wrap");
    (version, wrapped)
}

async fn opens(kms: &dyn Kms, kek: &str, version: &str, context: &[u8], wrapped: &[u8], byte: u8) {
    let opened = kms.unwrap(kek, version, context, wrapped).await.expect("unwrap");
    assert_eq!(opened.expose(), &[byte; 32]);
}

async fn refused(kms: &dyn Kms, kek: &str, version: &str, context: &[u8], wrapped: &[u8]) -> KmsError {
    match kms.unwrap(kek, version, context, wrapped).await {
        Ok(_) => panic!("opened under {kek} version {version:?}, context {context:?}: {wrapped:?}"),
        Err(error) => error,
    }
}

async fn making_a_kek_twice_makes_one(subject: &dyn Subject) {
    let kms = subject.kms();
    let before = subject.keks().await.len();
    let first = kms.create_kek("conformance-twice").await.expect("create");
    let (version, wrapped) = wrap(kms, &first, CONTEXT, &ik(1)).await;
    let again = kms.create_kek("conformance-twice").await.expect("create again");
    assert_eq!(first, again, "the same name, the same KEK");
    assert_eq!(subject.keks().await.len(), before + 1);
    opens(kms, &again, &version, CONTEXT, &wrapped, 1).await;
    assert_eq!(
        kms.current_version(&again).await.expect("current version"),
        version,
        "making it again does not rotate it"
    );
}

async fn references_name_their_provider(kms: &dyn Kms) {
    let kek = kms.create_kek("conformance-reference").await.expect("create");
    let prefix = format!("{}/", kms.provider());
    assert!(kek.starts_with(&prefix), "{kek}");
    assert!(kek.len() > prefix.len() && kek.is_ascii(), "{kek}");
}

async fn what_is_wrapped_comes_back(kms: &dyn Kms) {
    let kek = kms.create_kek("conformance-trip").await.expect("create");
    let long = [0x5a_u8; 320];
    for (byte, context) in [(0, CONTEXT), (255, b"c"), (7, &long)] {
        let (version, wrapped) = wrap(kms, &kek, context, &ik(byte)).await;
        assert!(!wrapped.windows(32).any(|window| window == [byte; 32]), "the key in the clear");
        opens(kms, &kek, &version, context, &wrapped, byte).await;
        opens(kms, &kek, &version, context, &wrapped, byte).await;
        let (_, fresh) = wrap(kms, &kek, context, &ik(byte)).await;
        assert_ne!(wrapped, fresh, "each wrap is fresh");
    }
}

async fn nothing_else_opens(subject: &dyn Subject) {
    let kms = subject.kms();
    let kek = kms.create_kek("conformance-a").await.expect("create");
    let other = kms.create_kek("conformance-b").await.expect("create");
    let (version, wrapped) = wrap(kms, &kek, CONTEXT, &ik(2)).await;

    let cut = &CONTEXT[..CONTEXT.len() - 1];
    let longer = [CONTEXT, b"!"].concat();
    let mut bit = CONTEXT.to_vec();
    bit[3] ^= 1;
    for context in [cut, &longer, &bit, b"", b"other"] {
        let error = refused(kms, &kek, &version, context, &wrapped).await;
        assert_eq!(error, KmsError::BadCiphertext, "context {context:?}");
    }
    let error = refused(kms, &other, &version, CONTEXT, &wrapped).await;
    assert_eq!(error, KmsError::BadCiphertext, "another KEK");

    let step = if subject.every_byte() { 1 } else { wrapped.len().div_ceil(20) };
    // The ends are where lengths, versions and tags lie.
    let positions = (0..wrapped.len()).filter(|i| i % step == 0 || *i < 12 || i + 2 > wrapped.len());
    for i in positions {
        let mut flipped = wrapped.clone();
        flipped[i] ^= 1;
        let error = refused(kms, &kek, &version, CONTEXT, &flipped).await;
        assert_eq!(error, KmsError::BadCiphertext, "byte {i} altered");
        let error = refused(kms, &kek, &version, CONTEXT, &wrapped[..i]).await;
        assert_eq!(error, KmsError::BadCiphertext, "cut at {i}");
    }
    for end in [&b"\n"[..], b"=", b"A", b"AAAA", b"\0"] {
        let error = refused(kms, &kek, &version, CONTEXT, &[&wrapped, end].concat()).await;
        assert_eq!(error, KmsError::BadCiphertext, "{end:?} appended");
    }
    let huge = [&wrapped[..], &[b'A'; 8192]].concat();
    assert_eq!(refused(kms, &kek, &version, CONTEXT, &huge).await, KmsError::BadCiphertext, "far too long");
    opens(kms, &kek, &version, CONTEXT, &wrapped, 2).await;
}

async fn a_missing_kek_is_not_found_and_not_made(subject: &dyn Subject) {
    let kms = subject.kms();
    let kek = kms.create_kek("conformance-there").await.expect("create");
    let (version, wrapped) = wrap(kms, &kek, CONTEXT, &ik(3)).await;
    let missing = subject.missing();
    let before = subject.keks().await;
    // Every call, and wrapping twice: what one leaves behind must not help the next.
    let not_found = |what: &str, error: KmsError| {
        assert!(matches!(error, KmsError::NotFound(_)), "{what}: {error:?}");
    };
    for _ in 0..2 {
        let error = kms.wrap(&missing, &version, CONTEXT, &ik(3)).await.expect_err("wrap");
        not_found("wrap", error);
        not_found("unwrap", refused(kms, &missing, &version, CONTEXT, &wrapped).await);
        not_found("rotate", kms.rotate(&missing).await.expect_err("rotate"));
        assert_eq!(subject.keks().await, before, "a KEK came by accident");
    }
    match kms.current_version(&missing).await {
        Err(error) => not_found("current version", error),
        Ok(version) => assert_eq!(version, "", "a version of a KEK that is not there"),
    }
    // A destruction may be repeated after a crash: a KMS may say that it is gone, or that it knows none.
    if let Err(error) = kms.destroy(&missing).await {
        not_found("destroy", error);
    }
    assert_eq!(subject.keks().await, before);
}

async fn another_providers_kek_is_not_found(kms: &dyn Kms) {
    let kek = kms.create_kek("conformance-own").await.expect("create");
    let (version, wrapped) = wrap(kms, &kek, CONTEXT, &ik(4)).await;
    let name = kek.split_once('/').expect("a prefix").1;
    let provider = kms.provider();
    for foreign in [
        format!("elsewhere/{name}"),
        format!("{provider}x/{name}"),
        format!("{provider}{name}"),
        format!("/{name}"),
        format!("{provider}/"),
        name.to_owned(),
        provider.to_owned(),
        String::new(),
    ] {
        let error = refused(kms, &foreign, &version, CONTEXT, &wrapped).await;
        assert!(matches!(error, KmsError::NotFound(_)), "unwrap {foreign:?}: {error:?}");
        let error = kms.wrap(&foreign, &version, CONTEXT, &ik(4)).await.expect_err("wrap");
        assert!(matches!(error, KmsError::NotFound(_)), "wrap {foreign:?}: {error:?}");
        let error = kms.current_version(&foreign).await.expect_err("current version");
        assert!(matches!(error, KmsError::NotFound(_)), "current version {foreign:?}: {error:?}");
        let error = kms.rotate(&foreign).await.expect_err("rotate");
        assert!(matches!(error, KmsError::NotFound(_)), "rotate {foreign:?}: {error:?}");
    }
    let error = kms.destroy(&format!("elsewhere/{name}")).await.expect_err("destroy");
    assert!(matches!(error, KmsError::NotFound(_)), "destroy: {error:?}");
    opens(kms, &kek, &version, CONTEXT, &wrapped, 4).await;
}

async fn a_rotated_kek_opens_what_its_old_versions_wrapped(subject: &dyn Subject) {
    let kms = subject.kms();
    let kek = kms.create_kek("conformance-rotated").await.expect("create");
    let mut made = vec![wrap(kms, &kek, CONTEXT, &ik(0)).await];
    for byte in 1..4 {
        kms.rotate(&kek).await.expect("rotate");
        made.push(wrap(kms, &kek, CONTEXT, &ik(byte)).await);
    }
    let mut versions = BTreeSet::new();
    for ((version, wrapped), byte) in made.iter().zip(0..) {
        opens(kms, &kek, version, CONTEXT, wrapped, byte).await;
        versions.insert(kms.version_of(&kek, version, wrapped));
    }
    if subject.tells_versions() {
        assert_eq!(versions.len(), made.len(), "each version has a name of its own: {versions:?}");
        let (version, wrapped) = wrap(kms, &kek, CONTEXT, &ik(9)).await;
        let (newest, bytes) = &made[3];
        assert_eq!(kms.version_of(&kek, &version, &wrapped), kms.version_of(&kek, newest, bytes));
    } else {
        assert_eq!(versions, BTreeSet::from([String::new()]), "what tells nothing is empty");
    }
}

async fn many_at_once_do_not_mix(kms: &dyn Kms) {
    let kek = kms.create_kek("conformance-many").await.expect("create");
    let kek = kek.as_str();
    let each = (0..32_u8).map(|byte| async move {
        let context = [CONTEXT, &[byte]].concat();
        let (version, wrapped) = wrap(kms, kek, &context, &ik(byte)).await;
        opens(kms, kek, &version, &context, &wrapped, byte).await;
        let neighbour = [CONTEXT, &[byte ^ 1]].concat();
        let error = refused(kms, kek, &version, &neighbour, &wrapped).await;
        assert_eq!(error, KmsError::BadCiphertext);
    });
    futures_util::future::join_all(each).await;
}

async fn what_is_destroyed_opens_no_more(subject: &dyn Subject) {
    let kms = subject.kms();
    let kek = kms.create_kek("conformance-destroyed").await.expect("create");
    let kept = kms.create_kek("conformance-kept").await.expect("create");
    let (version, wrapped) = wrap(kms, &kek, CONTEXT, &ik(5)).await;
    kms.rotate(&kek).await.expect("rotate");
    let (kept_version, kept_wrapped) = wrap(kms, &kept, CONTEXT, &ik(6)).await;
    let gone = kms.destroy(&kek).await.expect("destroy");
    assert!(gone > 1_700_000_000, "Unix seconds: {gone}");
    opens(kms, &kept, &kept_version, CONTEXT, &kept_wrapped, 6).await;
    if !subject.destruction_holds() {
        return;
    }
    let gone = |error: &KmsError| matches!(error, KmsError::NotFound(_) | KmsError::Denied(_));
    for _ in 0..2 {
        let error = refused(kms, &kek, &version, CONTEXT, &wrapped).await;
        assert!(gone(&error), "unwrap: {error:?}");
        let error = kms.wrap(&kek, &version, CONTEXT, &ik(5)).await.expect_err("wrap");
        assert!(gone(&error), "wrap: {error:?}");
    }
}
