//! The recovery card: which tenants, buckets and KEKs the offline tools may believe. Not secret.

use sealgate_envelope::{RecoveryCard, recovery_card::CardBucket};

use crate::{Error, registry::State};

/// The card's text.
pub(crate) fn card(state: &State) -> Result<String, Error> {
    let buckets = state.buckets.values().map(|bucket| CardBucket {
        tenant: bucket.tenant,
        bucket: bucket.id,
        name: bucket.name.clone(),
    });
    let keks = state.tenants.values().map(|tenant| tenant.kek.clone());
    Ok(RecoveryCard::new(buckets.collect(), keks.collect())?.to_string())
}
