//! The end of a migration: freeze, last pass, exchange of names, end of the freeze.

use std::time::{Duration, Instant};

use serde_json::json;

use super::admin::{self, Bucket, Settled};
use super::{Freeze, LOOK_AGAIN, Migration, Passes, uploads};
use crate::failure::{Exit, Failure, Outcome};

/// Most passes under the freeze: the second has nothing to do, unless something went wrong in the first.
const FROZEN_PASSES: u32 = 3;

impl Migration<'_> {
    pub(super) async fn switch(&self, passes: &mut Passes<'_>, source: &Bucket) -> Outcome<()> {
        let (from, to) = (&*self.arguments.from.bucket, &*self.arguments.to.bucket);
        let began = Instant::now();
        self.freeze.set(Freeze::Own);
        let first = admin::freeze(self.admin, from, true).await?;
        self.drained(from, first).await?;
        let open = uploads::open(passes.copier.backend, from).await?;
        if open.found > 0 && !self.arguments.abort_uploads {
            return Err(Failure::new(
                Exit::Failure,
                format!("s3://{from}: {open} uploads are in progress; the bucket is as it was"),
            )
            .hint("let them be completed, or give --abort-uploads"));
        }
        if open.found > 0 {
            uploads::abort_all(passes.copier.backend, from).await?;
        }
        let mut last = passes.run(true, !self.arguments.tags_unchanged).await?;
        for left in (0..FROZEN_PASSES).rev() {
            // Copies are compared in their own pass, deletions only in the next.
            if last.repaired == 0 && last.changed == 0 && last.deleted == 0 {
                break;
            }
            if left == 0 {
                return Err(Failure::new(
                    Exit::Integrity,
                    format!("s3://{to}: does not become what s3://{from} is"),
                )
                .hint("does anything else write to it?"));
            }
            last = passes.run(true, false).await?;
        }
        // From here on only what the registry says counts: the names may have been exchanged although no answer came.
        self.freeze.set(Freeze::PastSwitch);
        if let Err(failure) = admin::switch(self.admin, from, to, &source.id).await {
            match admin::bucket(self.admin, from).await {
                Ok(bucket) if bucket.id == source.id => {
                    self.freeze.set(Freeze::Own);
                    return Err(failure);
                }
                Ok(_) => {}
                Err(_) => return Err(failure),
            }
        }
        self.end_with(json!({"keys": last.keys, "versions": last.versions, "bytes": last.bytes}), Some(began))
            .await
    }

    /// After the exchange of names: the freeze ends when every node knows of it.
    pub(super) async fn end(&self) -> Outcome<()> {
        self.end_with(json!({}), None).await
    }

    async fn end_with(&self, copied: serde_json::Value, began: Option<Instant>) -> Outcome<()> {
        let (from, to) = (&*self.arguments.from.bucket, &*self.arguments.to.bucket);
        if admin::bucket(self.admin, from).await?.frozen {
            self.freeze.set(Freeze::PastSwitch);
            let first = admin::settled(self.admin, from).await?;
            self.wait(from, first, |waited| {
                Failure::new(Exit::Unavailable, format!("s3://{from} is the copy now: {waited}")).hint(
                    "bring those nodes back, or revoke them (DELETE /v1/nodes/NAME): --unfreeze does not wait for them",
                )
            })
            .await?;
            admin::freeze(self.admin, from, false).await?;
        }
        self.freeze.set(Freeze::Nobodys);
        let frozen = began.map_or(0.0, |began| began.elapsed().as_secs_f64());
        let text = format!(
            "s3://{from} is the copy now; what it was is s3://{to}, frozen (clients waited {frozen:.1} s)"
        );
        self.out.line(
            &text,
            &json!({"switched": true, "bucket": from, "old": to, "frozen_seconds": frozen, "copied": copied}),
        )
    }

    pub(super) async fn unfreeze(&self) -> Outcome<()> {
        let from = &*self.arguments.from.bucket;
        admin::freeze(self.admin, from, false).await?;
        self.freeze.set(Freeze::Nobodys);
        self.out.line(&format!("s3://{from} takes writes"), &json!({"bucket": from, "frozen": false}))
    }

    /// Waits until no write that was let in before the freeze is in flight.
    async fn drained(&self, from: &str, first: Settled) -> Outcome<()> {
        self.wait(from, first, |waited| {
            Failure::new(
                Exit::Unavailable,
                format!("s3://{from}: may still be written to: {waited}; the bucket is as it was"),
            )
            .hint(
                "give --drain SECONDS for longer writes; revoke nodes that are gone (DELETE /v1/nodes/NAME)",
            )
        })
        .await
    }

    async fn wait(&self, name: &str, first: Settled, late: impl Fn(String) -> Failure) -> Outcome<()> {
        let (mut found, until) = (first, Instant::now() + Duration::from_secs(self.arguments.drain));
        while !found.is_all() {
            if Instant::now() >= until {
                return Err(late(found.text()));
            }
            self.say(&format!("waiting: {}", found.text()));
            tokio::time::sleep(LOOK_AGAIN).await;
            found = admin::settled(self.admin, name).await?;
        }
        Ok(())
    }
}
