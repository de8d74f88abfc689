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
        let state = self.registry.state();
        let buckets: HashSet<BucketId> =
            state.buckets.values().filter(|bucket| bucket.tenant == tenant).map(|bucket| bucket.id).collect();
        self.unwrapper.cut(tenant, &buckets, cut);
    }
}
