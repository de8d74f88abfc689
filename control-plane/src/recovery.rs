//! The recovery card: which tenants, buckets and KEKs the offline tools may believe. Not secret.

use std::{
    collections::BTreeSet,
    fs,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use sealgate_envelope::{BucketId, RecoveryCard, recovery_card::CardBucket};

use crate::{
    Error,
    metrics::Metrics,
    registry::{Registry, State, records::TenantRecord},
};

/// The file's name in the data directory.
pub(crate) const FILE: &str = "recovery-card";
/// Changes that come together are one write, which keeps out of the way of the store's own.
const GATHER: Duration = Duration::from_secs(1);
/// How soon a write that failed is tried again.
const RETRY: Duration = Duration::from_secs(60);

/// The card's text.
pub(crate) fn card(state: &State) -> Result<String, Error> {
    let buckets = state.buckets.values().map(|bucket| CardBucket {
        tenant: bucket.tenant,
        bucket: bucket.id,
        name: bucket.name.clone(),
    });
    // Sources of copies that are not registered any more: their names are not known any more either.
    let gone: BTreeSet<_> = state
        .sources
        .values()
        .filter(|source| state.bucket(source.owner).is_none())
        .map(|source| (source.tenant, source.owner))
        .collect();
    let gone = gone.into_iter().map(|(tenant, bucket)| CardBucket { tenant, bucket, name: String::new() });
    let buckets = buckets.chain(gone);
    let keks = state.tenants.values().flat_map(|tenant| named(tenant));
    Ok(RecoveryCard::new(buckets.collect(), keks.collect())?.to_string())
}

/// The card of one bucket, with the sources of its copies.
pub(crate) fn card_of(state: &State, id: BucketId) -> Result<String, Error> {
    let own = state.bucket(id).ok_or_else(|| Error::NotFound("no such bucket".to_owned()))?;
    let entry = |bucket: BucketId| {
        let name = state.bucket(bucket).map(|bucket| bucket.name.clone()).unwrap_or_default();
        CardBucket { tenant: own.tenant, bucket, name }
    };
    let prefix = format!("{id}/");
    let lent = state.sources.iter().filter(|(ids, _)| ids.starts_with(&prefix));
    let buckets = std::iter::once(id).chain(lent.map(|(_, source)| source.owner)).map(entry).collect();
    let keks = state.tenants.get(&own.tenant).map(|tenant| named(tenant));
    Ok(RecoveryCard::new(buckets, keks.unwrap_or_default())?.to_string())
}

/// The KEKs that copies of a tenant's key records name: all that ever wrapped one, but those that no copy names any more and
/// those that are gone.
fn named(tenant: &TenantRecord) -> Vec<String> {
    let named = tenant.keks.iter().filter(|used| !used.cleared && used.destroyed.is_none());
    named.map(|used| used.kek.clone()).collect()
}

/// Keeps the card in a file. It is looked at with each change of the registry, of which each day brings one: a file that was
/// lost comes back.
pub(crate) async fn keep(registry: Arc<Registry>, path: PathBuf, metrics: Arc<Metrics>) {
    let mut changes = registry.changes();
    loop {
        changes.mark_unchanged();
        let (of, to) = (Arc::clone(&registry), path.clone());
        let written = tokio::task::spawn_blocking(move || write_card(&of, &to)).await;
        metrics.card_written(matches!(written, Ok(Ok(()))));
        let changed = changes.changed();
        let gone = match written {
            Ok(Ok(())) => {
                let gone = changed.await.is_err();
                tokio::time::sleep(GATHER).await;
                gone
            }
            Ok(Err(error)) => {
                tracing::error!(%error, file = %path.display(), "the recovery card is not written; it is tried again");
                matches!(tokio::time::timeout(RETRY, changed).await, Ok(Err(_)))
            }
            Err(_) => true,
        };
        if gone {
            return;
        }
    }
}

/// Writes the card as it is now; returns when it lies there.
pub(crate) fn write_card(registry: &Registry, path: &Path) -> Result<(), Error> {
    // One at a time: they share the temporary file, and an older state must not come last.
    static WRITING: Mutex<()> = Mutex::new(());
    let _one = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
    write(path, &card(&registry.state())?)
}

/// Writes the card whole or not at all, unless it is there.
fn write(path: &Path, text: &str) -> Result<(), Error> {
    if fs::read(path).is_ok_and(|there| there == text.as_bytes()) {
        return Ok(());
    }
    let temporary = path.with_extension("new");
    let mut options = fs::OpenOptions::new();
    let written = options.write(true).create(true).truncate(true).mode(0o600).open(&temporary);
    written
        .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&temporary, path))
        // The new name is in the directory, and that is a file of its own: without this a power cut may take it back.
        .and_then(|()| fs::File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all())
        .map_err(|error| Error::Unavailable(error.to_string()))
}
