//! KEKs are made, adopted, rotated and destroyed.

use aws_sdk_kms::{
    operation::describe_key::DescribeKeyOutput,
    types::{KeyMetadata, KeySpec, KeyState, KeyUsageType, Tag},
};

use super::{
    AwsKms,
    errors::{Asked, Failure, INVALID_STATE},
    name::{self, Wanted},
};
use crate::{Cause, KmsError};

/// Days to the end of a key that no reference ever named: AWS's least.
const ORPHAN_DAYS: i32 = 7;

const DAY: u64 = 24 * 60 * 60;

/// The state of a key.
///
/// # Errors
/// As the table in [`super::errors`].
pub(super) async fn describe(kms: &AwsKms, key: &str, kek: &str) -> Result<KeyMetadata, Failure> {
    let client = &kms.address().client;
    let tokens = kms.shared.tokens().await?;
    let asked = kms.asked(kek, "kms:DescribeKey");
    let describe =
        || client.describe_key().key_id(key).set_grant_tokens(super::request::listed(&tokens)).send();
    let DescribeKeyOutput { key_metadata, .. } = kms.call(asked, describe).await?;
    Ok(key_metadata.ok_or_else(|| kms.no_answer("kms:DescribeKey told nothing"))?)
}

/// Whether a key can wrap now. Asked anew each time: a key that is disabled must not go on for what was true before.
///
/// # Errors
/// `Denied` for one that is disabled or about to be deleted, `Unsupported` for one of another kind.
pub(super) fn usable(key: &KeyMetadata, place: &str, kek: &str) -> Result<(), KmsError> {
    let state = key.key_state().map_or("unknown", KeyState::as_str);
    let id = key.key_id();
    match key.key_state() {
        Some(KeyState::Enabled) => {}
        Some(KeyState::Creating | KeyState::Updating | KeyState::Unavailable) => {
            return Err(KmsError::Unavailable(Cause::Server, format!("{place}: the key {id} is {state}")));
        }
        _ => return Err(KmsError::Denied(format!("{kek} ({place}: the key {id} is {state})"))),
    }
    let (usage, spec) = (key.key_usage(), key.key_spec());
    if usage != Some(&KeyUsageType::EncryptDecrypt) || spec != Some(&KeySpec::SymmetricDefault) {
        let usage = usage.map_or("unknown", KeyUsageType::as_str);
        let spec = spec.map_or("unknown", KeySpec::as_str);
        return Err(KmsError::Unsupported(format!(
            "{place}: the key {id} is {spec}, {usage}; a KEK is SYMMETRIC_DEFAULT, ENCRYPT_DECRYPT"
        )));
    }
    Ok(())
}

/// What a failed Encrypt or Decrypt means once the key was looked at, where AWS names no state: a key of a custom key store that is
/// not connected, or whose hardware does not work, was taken from nobody.
pub(super) async fn looked_at(kms: &AwsKms, key: &str, kek: &str, failure: Failure) -> KmsError {
    if !failure.is(INVALID_STATE) {
        return failure.error;
    }
    let place = &kms.address().place;
    match describe(kms, key, kek).await.map(|described| usable(&described, place, kek)) {
        Ok(Err(state)) => state,
        Ok(Ok(())) => KmsError::Unavailable(
            Cause::Server,
            format!("{place}: {INVALID_STATE}, and the key is enabled: its custom key store does not work"),
        ),
        Err(unknown) if unknown.error.is_transient() => unknown.error,
        // Whoever may not look takes AWS's word as it is.
        Err(_) => failure.error,
    }
}

/// Gives the reference of the KEK of this name; makes it only if the name is Sealgate's and no alias has it.
pub(super) async fn create(kms: &AwsKms, name: &str) -> Result<String, KmsError> {
    kms.at_home("making a KEK")?;
    let provider = &kms.shared.provider;
    let wanted = match name::wanted(name)? {
        Wanted::Ours(name) => name,
        Wanted::Existing { name, by_arn } => {
            let home = kms.home();
            if let Some(region) = name::region_of(name).filter(|region| *region != home) {
                return Err(KmsError::NotFound(format!(
                    "{name}: lies in {region}; the home region is {home}"
                )));
            }
            // The alias is resolved here, once.
            let key = describe(kms, name, name).await?;
            usable(&key, &kms.address().place, name)?;
            let reference = if by_arn { key.arn().unwrap_or_default() } else { key.key_id() };
            let reference = format!("{provider}/{reference}");
            kms.key(&reference)?;
            return Ok(reference);
        }
    };
    let key = match describe(kms, &name::alias_of(wanted), wanted).await {
        Ok(key) => key,
        Err(failure) if matches!(failure.error, KmsError::NotFound(_)) => make(kms, wanted).await?,
        Err(failure) => return Err(failure.into()),
    };
    usable(&key, &kms.address().place, wanted)?;
    replicate(kms, &key, wanted).await?;
    Ok(format!("{provider}/{}", key.key_id()))
}

/// A new key, then its alias. Whoever is first with the alias has made the KEK; the other's key is given up.
async fn make(kms: &AwsKms, name: &str) -> Result<KeyMetadata, KmsError> {
    let client = &kms.address().client;
    let multi_region = kms.shared.addresses.iter().any(|address| address.region != kms.home());
    let asked = kms.asked(name, "kms:CreateKey and kms:TagResource");
    let description = description(kms, name);
    let tags = tags(name)?;
    let create = || {
        client
            .create_key()
            .description(&description)
            .multi_region(multi_region)
            .set_tags(Some(tags.clone()))
            .key_spec(KeySpec::SymmetricDefault)
            .key_usage(KeyUsageType::EncryptDecrypt)
            .send()
    };
    let made = kms.call(asked, create).await.map_err(quota)?;
    let key = made.key_metadata.ok_or_else(|| kms.no_answer("kms:CreateKey told no key"))?;
    let alias = name::alias_of(name);
    let asked = kms.asked(name, "kms:CreateAlias (on the alias and on the key)");
    let naming = || client.create_alias().alias_name(&alias).target_key_id(key.key_id()).send();
    let Err(failure) = kms.call(asked, naming).await else { return Ok(key) };
    give_up(kms, key.key_id(), name).await;
    if failure.is("AlreadyExistsException") {
        return Ok(describe(kms, &alias, name).await?);
    }
    Err(quota(failure).into())
}

/// A key without an alias would be a new one at each repetition: it goes. If even that fails, its description and tag tell
/// what it was.
async fn give_up(kms: &AwsKms, key: &str, name: &str) {
    let client = &kms.address().client;
    let asked = kms.asked(name, "kms:ScheduleKeyDeletion");
    let schedule = || client.schedule_key_deletion().key_id(key).pending_window_in_days(ORPHAN_DAYS).send();
    if let Err(failure) = kms.call(asked, schedule).await {
        tracing::warn!(key, error = %failure.error, "a KMS key that could not be named is left behind");
    }
}

/// Makes the replicas of a multi-region key that are missing. A repetition goes on where one ended.
async fn replicate(kms: &AwsKms, key: &KeyMetadata, name: &str) -> Result<(), KmsError> {
    if key.multi_region() != Some(true) {
        return Ok(());
    }
    let there: Vec<&str> = regions(key);
    let client = &kms.address().client;
    let asked = kms.asked(name, "kms:ReplicateKey (and kms:CreateKey, kms:TagResource in the other region)");
    let description = description(kms, name);
    let tags = tags(name)?;
    for region in other_regions(kms) {
        if there.contains(&region) {
            continue;
        }
        let replicate = || {
            client
                .replicate_key()
                .key_id(key.key_id())
                .replica_region(region)
                .description(&description)
                .set_tags(Some(tags.clone()))
                .send()
        };
        match kms.call(asked, replicate).await {
            Ok(_) => {}
            Err(failure) if failure.is("AlreadyExistsException") => {}
            Err(failure) => return Err(quota(failure).into()),
        }
    }
    Ok(())
}

/// Gives a key new material by RotateKeyOnDemand; the replicas get it from AWS.
pub(super) async fn rotate(kms: &AwsKms, kek: &str) -> Result<(), KmsError> {
    let key = kms.key(kek)?;
    kms.at_home("rotation")?;
    let client = &kms.address().client;
    let asked = kms.asked(kek, "kms:RotateKeyOnDemand");
    match kms.call(asked, || client.rotate_key_on_demand().key_id(&*key).send()).await {
        Ok(_) => Ok(()),
        Err(failure) if failure.is("LimitExceededException") => Err(unsupported(
            asked,
            "this key has had all the rotations on demand that AWS allows: move its tenants to a new KEK",
        )),
        Err(failure) if failure.is("ConflictException") => Err(unsupported(
            asked,
            "another rotation of this key is under way or starts within 20 minutes: try later",
        )),
        Err(failure) => Err(failure.into()),
    }
}

/// Schedules the deletion of a key, its replicas first: AWS counts a primary's days from the end of the last replica.
/// Repeated, it gives the time that was set. Until then `CancelKeyDeletion` takes it back.
pub(super) async fn destroy(kms: &AwsKms, kek: &str) -> Result<u64, KmsError> {
    let key = kms.key(kek)?;
    kms.at_home("destruction")?;
    let mut last = 0;
    if name::is_multi_region(&key) {
        let described = describe(kms, &key, kek).await?;
        let configured: Vec<&str> = other_regions(kms).collect();
        if let Some(unknown) = regions(&described).into_iter().find(|region| !configured.contains(region)) {
            return Err(unsupported(
                kms.asked(kek, "kms:ScheduleKeyDeletion"),
                &format!(
                    "the key has a replica in {unknown}, which is no region of this provider: list it, or delete that replica"
                ),
            ));
        }
        for (here, address) in kms.shared.addresses.iter().enumerate() {
            if address.region != kms.home() && regions(&described).contains(&address.region.as_str()) {
                let replica = AwsKms { shared: kms.shared.clone(), here };
                let key = replica.key(kek)?;
                last = last.max(schedule(&replica, &key, kek).await?);
            }
        }
    }
    let own = schedule(kms, &key, kek).await?;
    Ok(match own {
        0 => last + u64::from(kms.shared.deletion_window_days) * DAY,
        _ => own.max(last),
    })
}

/// When the key is gone, Unix seconds.
async fn schedule(kms: &AwsKms, key: &str, kek: &str) -> Result<u64, KmsError> {
    let client = &kms.address().client;
    let days = i32::from(kms.shared.deletion_window_days);
    let asked = kms.asked(kek, "kms:ScheduleKeyDeletion");
    let schedule = || client.schedule_key_deletion().key_id(key).pending_window_in_days(days).send();
    let date = match kms.call(asked, schedule).await {
        Ok(done) => done.deletion_date,
        // Scheduled before: a destruction may be repeated.
        Err(failure) if failure.is("KMSInvalidStateException") => {
            let described = describe(kms, key, kek).await?;
            match described.key_state() {
                Some(KeyState::PendingDeletion | KeyState::PendingReplicaDeletion) => described.deletion_date,
                _ => return Err(failure.into()),
            }
        }
        Err(failure) => return Err(failure.into()),
    };
    // None for a primary that waits for its replicas.
    Ok(date.and_then(|date| u64::try_from(date.secs()).ok()).unwrap_or(0))
}

fn other_regions(kms: &AwsKms) -> impl Iterator<Item = &str> {
    let addresses = &kms.shared.addresses;
    let home = kms.home();
    addresses.iter().enumerate().filter_map(move |(at, address)| {
        let region = address.region.as_str();
        let first = addresses[..at].iter().all(|before| before.region != region);
        (region != home && first).then_some(region)
    })
}

/// Where a multi-region key has replicas.
fn regions(key: &KeyMetadata) -> Vec<&str> {
    let replicas = key.multi_region_configuration().map(|all| all.replica_keys()).unwrap_or_default();
    replicas.iter().filter_map(|replica| replica.region()).collect()
}

fn description(kms: &AwsKms, name: &str) -> String {
    format!("Sealgate KEK {name} of {}: data is lost with it", kms.shared.provider)
}

fn tags(name: &str) -> Result<Vec<Tag>, KmsError> {
    let tag = Tag::builder().tag_key("sealgate:kek").tag_value(name).build();
    Ok(vec![tag.map_err(|error| KmsError::local(error.to_string()))?])
}

/// A quota of keys or aliases that is used up does not pass by itself, as throttling does.
fn quota(mut failure: Failure) -> Failure {
    if failure.is("LimitExceededException")
        && let KmsError::Throttled(_, text) = failure.error
    {
        failure.error =
            KmsError::Unsupported(format!("{text}: a quota of the account is used up, have it raised"));
    }
    failure
}

fn unsupported(asked: Asked<'_>, why: &str) -> KmsError {
    KmsError::Unsupported(format!("{}: {}: {why}", asked.place, asked.kek))
}
