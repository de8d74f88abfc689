//! Objects that were copied as they lie: another envelope over the same body, whose recovery block still names the IK
//! that the body was first written under.

use super::make::{BUCKET, IK_ID, KEY, Made, TENANT, ik, place, scope, secret, the_ik};
use super::model::{CopiedObject, Copies, Place, RefusedCopy};
use super::random::seeded;
use crate::{BucketId, Envelope, IkId, Scope, TenantId, metadata};
use std::collections::BTreeMap;

/// Where a copy lies, and the label and id of the IK that it is wrapped under.
struct Target {
    name: &'static str,
    of: &'static str,
    bucket: [u8; 16],
    key: &'static str,
    ik: (&'static str, [u8; 16]),
}

const OTHER_BUCKET: [u8; 16] = [0xE5; 16];
const OTHER_IK: (&str, [u8; 16]) = ("ik of the other bucket", [0xF6; 16]);
const LATER_IK: (&str, [u8; 16]) = ("ik of a later day", [0xC4; 16]);

const TARGETS: [Target; 4] = [
    Target {
        name: "under-another-key",
        of: "single-aes-three-chunks",
        bucket: BUCKET,
        key: "photos/copy.jpg",
        ik: ("ik", IK_ID),
    },
    Target { name: "under-a-later-ik", of: "single-chacha-one-byte", bucket: BUCKET, key: KEY, ik: LATER_IK },
    Target {
        name: "in-another-bucket",
        of: "metadata-every-header",
        bucket: OTHER_BUCKET,
        key: KEY,
        ik: OTHER_IK,
    },
    Target {
        name: "upload-in-another-bucket",
        of: "multipart-chacha-two-parts",
        bucket: OTHER_BUCKET,
        key: "films/copy.mp4",
        ik: OTHER_IK,
    },
];

fn copied(made: &BTreeMap<String, Made>, target: &Target) -> CopiedObject {
    let of = &made[target.of];
    let (label, ik_id) = target.ik;
    let to = Scope {
        tenant: TenantId::from_bytes(TENANT),
        bucket: BucketId::from_bytes(target.bucket),
        key: target.key.as_bytes(),
    };
    seeded(&format!("copy {}", target.name), || {
        let (envelope, keys): (Envelope, _) =
            of.envelope.rewrap(&the_ik(), &scope(KEY), IkId::from_bytes(ik_id), &ik(label), &to).unwrap();
        let sealed = of.vector.metadata_header.as_deref().map(|header| {
            let opened = metadata::open(&of.keys, &of.envelope, Some(header)).unwrap();
            metadata::seal(&keys, &envelope, &opened).unwrap()
        });
        CopiedObject {
            name: target.name.to_owned(),
            of: target.of.to_owned(),
            place: Place {
                tenant: hex::encode(TENANT),
                bucket: hex::encode(target.bucket),
                key: target.key.to_owned(),
                ik: hex::encode(secret(label)),
            },
            ik_id: hex::encode(ik_id),
            envelope: envelope.to_header(),
            metadata_header: sealed,
            recovery_ik_id: hex::encode(IK_ID),
            recovered: place(KEY),
        }
    })
}

pub(super) fn all(made: &BTreeMap<String, Made>) -> Copies {
    let copies = TARGETS.map(|target| copied(made, &target)).to_vec();
    let mut refused = Vec::new();
    for copy in &copies {
        let source = &made[&copy.of].vector;
        let mut push = |stage: &str, why: &str, change: &dyn Fn(&mut RefusedCopy)| {
            let mut one = RefusedCopy {
                stage: stage.to_owned(),
                why: format!("{}: {why}", copy.name),
                of: copy.of.clone(),
                place: copy.place.clone(),
                envelope: Some(copy.envelope.clone()),
                metadata_header: copy.metadata_header.clone(),
            };
            change(&mut one);
            refused.push(one);
        };
        push("wrap", "the source's envelope, not wrapped anew", &|one| {
            one.envelope = Some(source.envelope.clone());
        });
        push("wrap", "at the source's place", &|one| one.place = source.place.clone());
        if copy.metadata_header.is_some() {
            push("metadata", "the source's metadata, not sealed anew", &|one| {
                one.metadata_header = source.metadata_header.clone();
            });
        }
        if copy.ik_id != copy.recovery_ik_id {
            push("recovery", "without envelope: the IK of the copy's own place", &|one| one.envelope = None);
        }
        if copy.place.bucket != copy.recovered.bucket {
            push("recovery", "without envelope: the right IK, and the copy's own bucket", &|one| {
                one.envelope = None;
                one.place.ik = copy.recovered.ik.clone();
            });
        }
    }
    Copies { copies, refused }
}
