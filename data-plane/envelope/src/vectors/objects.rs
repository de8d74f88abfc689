//! Objects that open: every boundary of sizes and chunks, both suites, uploads, metadata, markers.

use super::make::{Bodies, Made, Plan, object};
use super::model::Piece;
use crate::metadata::Metadata;
use crate::size::{CHUNK, MIN_PART};
use crate::{Checksum, ChecksumCode, FullChecksum, Suite};
use std::collections::BTreeMap;

const C: u64 = CHUNK as u64;

pub(super) fn checksum(code: ChecksumCode) -> Checksum {
    Checksum::new(code, &vec![code.code() + 0xE0; code.value_len()]).unwrap()
}

pub(super) fn full(code: ChecksumCode, composite: bool) -> FullChecksum {
    FullChecksum { checksum: checksum(code), composite }
}

fn map(pairs: &[(&str, &str)]) -> Option<Metadata> {
    Some(pairs.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect())
}

pub(super) fn all(bodies: &mut Bodies) -> BTreeMap<String, Made> {
    let mut made = BTreeMap::new();
    let mut keep = |bodies: &mut Bodies, plan: Plan<'_>| {
        let name = plan.name.to_owned();
        assert!(made.insert(name, object(bodies, plan)).is_none());
    };
    for (suite, label) in [(Suite::Aes256Gcm, "aes"), (Suite::ChaCha20Poly1305, "chacha")] {
        for (what, size) in [
            ("empty", 0),
            ("one-byte", 1),
            ("chunk-less-one", C - 1),
            ("chunk", C),
            ("chunk-and-one", C + 1),
            ("three-chunks", 2 * C + 4321),
        ] {
            keep(bodies, Plan::single(&format!("single-{label}-{what}"), suite, size));
        }
        let two = vec![(1, MIN_PART, Some(checksum(ChecksumCode::Crc32c))), (2, C + 7, None)];
        let checksums = vec![full(ChecksumCode::Crc64Nvme, false), full(ChecksumCode::Sha512, true)];
        let metadata = map(&[("content-type", "video/mp4"), ("x-amz-meta-camera", "front")]);
        let name = format!("multipart-{label}-two-parts");
        keep(bodies, Plan { checksums, metadata, ..Plan::multipart(&name, suite, two) });
        let name = format!("multipart-{label}-one-part");
        keep(bodies, Plan::multipart(&name, suite, vec![(7, 70_000, None)]));
        let name = format!("multipart-{label}-empty");
        keep(bodies, Plan::multipart(&name, suite, vec![(1, 0, Some(checksum(ChecksumCode::Sha512)))]));
    }
    others(bodies, &mut keep);
    let mut marker = Plan::single("marker-bare", Suite::Aes256Gcm, 0);
    marker.key = "photos/2026/";
    let mut marker = object(bodies, marker);
    // The one exception of section 3: no bytes at all.
    marker.vector.body = bodies.body(Vec::<Piece>::new());
    bodies.keep("marker-bare", Vec::new());
    made.insert("marker-bare".to_owned(), marker);
    made
}

fn others(bodies: &mut Bodies, keep: &mut impl FnMut(&mut Bodies, Plan<'_>)) {
    let (aes, chacha) = (Suite::Aes256Gcm, Suite::ChaCha20Poly1305);
    // The trailer grows by 128 at each 5 MiB.
    keep(bodies, Plan::single("single-aes-5-mib-less-one", aes, MIN_PART - 1));
    keep(bodies, Plan::single("single-aes-5-mib", aes, MIN_PART));
    // Equal parts: swapping them must be seen. The last has number 10,000, as the gateway's own part on the backend may.
    let equal = vec![(3, MIN_PART, None), (10_000, MIN_PART, None)];
    keep(bodies, Plan::multipart("multipart-aes-equal-parts", aes, equal));
    // Every part costs one chunk more than T(P) counts; an empty last part.
    let worst = vec![
        (1, MIN_PART + 1, Some(checksum(ChecksumCode::Sha512))),
        (2, MIN_PART + 1, Some(checksum(ChecksumCode::Sha1))),
        (9, 0, Some(checksum(ChecksumCode::Md5))),
    ];
    keep(bodies, Plan::multipart("multipart-chacha-worst-split", chacha, worst));
    for code in ChecksumCode::ALL {
        let name = format!("checksum-{}", code.code());
        keep(bodies, Plan { checksums: vec![full(code, false)], ..Plan::single(&name, aes, 20) });
    }
    let most = [ChecksumCode::Crc32, ChecksumCode::Sha1, ChecksumCode::Sha512, ChecksumCode::Xxh128];
    let checksums = most.map(|code| full(code, false)).to_vec();
    keep(bodies, Plan { checksums, ..Plan::single("checksums-several", aes, 20) });

    let every = [
        ("cache-control", "no-cache"),
        ("content-disposition", "attachment; filename=\"a.txt\""),
        ("content-encoding", "gzip"),
        ("content-language", "de, en"),
        ("content-type", "text/plain; charset=utf-8"),
        ("expires", "Thu, 01 Dec 1994 16:00:00 GMT"),
        ("x-amz-checksum-crc32", "AAAAAA=="),
        ("x-amz-meta-name", "größe"),
    ];
    let long = "compressible ".repeat(150);
    for (name, suite, metadata) in [
        ("metadata-every-header", aes, map(&every)),
        ("metadata-chacha", chacha, map(&every)),
        ("metadata-plain", aes, map(&[("content-type", "a/b")])),
        ("metadata-deflated", aes, map(&[("x-amz-meta-long", long.as_str())])),
        ("metadata-empty", aes, map(&[])),
        ("metadata-empty-value", aes, map(&[("x-amz-meta-e", "")])),
    ] {
        keep(bodies, Plan { metadata, ..Plan::single(name, suite, 30) });
    }
    let key = "photos/2026/";
    keep(bodies, Plan { key, ..Plan::single("marker-copied", aes, 0) });
    keep(bodies, Plan { key, ..Plan::multipart("marker-multipart", aes, vec![(1, 0, None)]) });
    keep(bodies, Plan { key, ..Plan::single("slash-with-content", aes, 3) });
    let key = "k".repeat(1024);
    keep(bodies, Plan { key: &key, ..Plan::single("longest-key", aes, 3) });
}
