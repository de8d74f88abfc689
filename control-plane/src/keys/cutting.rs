//! Keys that are taken back: out of this process at once, and never handed out again until an operator says so.

use std::collections::HashSet;

use sealgate_envelope::{BucketId, IkId, TenantId};

use super::KeyService;

impl KeyService {
    /// Zeroizes an IK; `barred` keeps it out.
    pub(crate) fn bar(&self, bucket: BucketId, ik: IkId, barred: bool) {
        self.unwrapper.bar((bucket, ik), barred);
    }

    /// Zeroizes the IKs of a tenant; `cut` keeps them out.
    pub(crate) fn cut(&self, tenant: TenantId, cut: bool) {
        self.unwrapper.cut(tenant, &self.buckets_of(tenant), cut);
    }

    /// The IKs of a tenant live for so long without a proof, in seconds, beginning with those that are here.
    pub(crate) fn live(&self, tenant: TenantId, unproved_life: u64) {
        self.unwrapper.live(tenant, &self.buckets_of(tenant), unproved_life);
    }

    fn buckets_of(&self, tenant: TenantId) -> HashSet<BucketId> {
        let state = self.registry.state();
        state.buckets.values().filter(|bucket| bucket.tenant == tenant).map(|bucket| bucket.id).collect()
    }
}
