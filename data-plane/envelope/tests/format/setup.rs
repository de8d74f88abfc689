//! A bucket with an IK, and objects in it.

use sealgate_envelope::{
    BucketId, Checksum, ChecksumCode, Envelope, Ik, IkId, Kind, ObjectKeys, PartEntry, PartSealer, Recovery,
    Scope, Suite, TenantId, size,
};
use std::sync::Arc;
use zeroize::Zeroizing;

pub const SUITES: [Suite; 2] = [Suite::Aes256Gcm, Suite::ChaCha20Poly1305];
pub const KEY: &[u8] = "photos/2026/ä.jpg".as_bytes();
pub const IK: [u8; 32] = [0x42; 32];

pub struct Bucket {
    pub tenant: TenantId,
    pub bucket: BucketId,
    pub ik_id: IkId,
    pub ik: Ik,
}

impl Bucket {
    pub fn new() -> Self {
        Self {
            tenant: TenantId::random().unwrap(),
            bucket: BucketId::random().unwrap(),
            ik_id: IkId::random().unwrap(),
            ik: Ik::from_bytes(&Zeroizing::new(IK)),
        }
    }

    pub fn scope<'a>(&self, key: &'a [u8]) -> Scope<'a> {
        Scope { tenant: self.tenant, bucket: self.bucket, key }
    }

    pub fn envelope(&self, keys: &ObjectKeys, plaintext_len: Option<u64>, metadata: bool) -> Envelope {
        Envelope::seal_object(keys, plaintext_len, metadata, self.ik_id, &self.ik, &self.scope(KEY)).unwrap()
    }

    pub fn recovery(&self, keys: &ObjectKeys, kind: Kind) -> Recovery {
        Recovery::seal(keys, kind, self.ik_id, &self.ik, self.tenant, self.bucket).unwrap()
    }
}

pub fn keys(suite: Suite) -> Arc<ObjectKeys> {
    Arc::new(ObjectKeys::generate(suite).unwrap())
}

/// Bytes that differ from place to place.
pub fn plaintext(len: usize) -> Vec<u8> {
    (0..len as u64).map(|i| (i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect()
}

/// Seals a part whole; gives its chunks one after another.
pub fn seal_part(sealer: &mut PartSealer, plain: &[u8]) -> Vec<u8> {
    let mut stored = Vec::new();
    let count = plain.len().div_ceil(size::CHUNK);
    for (at, chunk) in plain.chunks(size::CHUNK).enumerate() {
        let mut out = vec![0; chunk.len() + size::CHUNK_OVERHEAD];
        sealer.seal_into(chunk, &mut out, at + 1 == count).unwrap();
        stored.extend_from_slice(&out);
    }
    stored
}

/// An entry with the longest checksum, or none.
pub fn entry(number: u16, size: u64, checksum: bool) -> PartEntry {
    PartEntry {
        number,
        size,
        salt: [number as u8; 12],
        etag: [7; 16],
        checksum: checksum.then(|| Checksum::new(ChecksumCode::Sha512, &[9; 64]).unwrap()),
    }
}
