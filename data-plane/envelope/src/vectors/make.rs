//! What all vectors are made with: one bucket, objects in it, and the key holder's way around every writer's check.

use super::model::{Body, Chunks, Object, Part, Piece, Place, Slice, Sum};
use super::random::seeded;
use crate::aead::{BulkKey, ChunkCounter};
use crate::kdf::{Secret, sha256};
use crate::keys::Dek;
use crate::metadata::{self, Metadata};
use crate::size::{self, CHUNK};
use crate::{
    BucketId, Checksum, Envelope, FullChecksum, Ik, IkId, Kind, ObjectId, ObjectKeys, PartEntry, PartSealer,
    Recovery, SALT, Scope, Suite, TenantId, TrailerPlain,
};
use std::collections::BTreeMap;
use zeroize::Zeroizing;

pub(super) const TENANT: [u8; 16] = [0xA1; 16];
pub(super) const BUCKET: [u8; 16] = [0xB2; 16];
pub(super) const IK_ID: [u8; 16] = [0xC3; 16];
pub(super) const KEY: &str = "photos/2026/ä.jpg";

/// 32 bytes that a label decides.
pub(super) fn secret(label: &str) -> [u8; 32] {
    seeded(label, || crate::kdf::random().unwrap())
}

pub(super) fn ik(label: &str) -> Ik {
    Ik::from_bytes(&Zeroizing::new(secret(label)))
}

/// The IK of all objects but those that say otherwise.
pub(super) fn the_ik() -> Ik {
    ik("ik")
}

pub(super) fn scope(key: &str) -> Scope<'_> {
    Scope { tenant: TenantId::from_bytes(TENANT), bucket: BucketId::from_bytes(BUCKET), key: key.as_bytes() }
}

pub(super) fn place(key: &str) -> Place {
    Place {
        tenant: hex::encode(TENANT),
        bucket: hex::encode(BUCKET),
        key: key.to_owned(),
        ik: hex::encode(secret("ik")),
    }
}

/// Keys from bytes that a vector holds.
pub(super) fn keys(dek: &str, suite: u8, object: &str) -> ObjectKeys {
    let dek = Dek::of(Secret::copy_of(&Zeroizing::new(unhex(dek))));
    ObjectKeys::new(dek, Suite::from_code(suite).unwrap(), ObjectId::from_bytes(unhex(object)))
}

pub(super) fn unhex<const N: usize>(text: &str) -> [u8; N] {
    hex::decode(text).unwrap().try_into().unwrap()
}

/// Bytes of SHA-256(u64 0) ‖ SHA-256(u64 1) ‖ …
pub(super) fn plaintext(from: u64, to: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity((to - from) as usize + 64);
    for block in from / 32..to.div_ceil(32) {
        bytes.extend_from_slice(&sha256(&[&block.to_be_bytes()]));
    }
    let start = (from % 32) as usize;
    bytes[start..start + (to - from) as usize].to_vec()
}

pub(super) fn sum(checksum: &Checksum, composite: bool) -> Sum {
    Sum { code: checksum.code().code(), composite, value: hex::encode(checksum.value()) }
}

/// Every body that was put together so far, by its object's name.
#[derive(Default)]
pub(super) struct Bodies(BTreeMap<String, Vec<u8>>);

impl Bodies {
    pub(super) fn get(&self, name: &str) -> &[u8] {
        &self.0[name]
    }

    pub(super) fn bytes(&self, pieces: &[Piece]) -> Vec<u8> {
        let mut body = Vec::new();
        for piece in pieces {
            match piece {
                Piece::Hex(text) => body.extend(hex::decode(text).unwrap()),
                Piece::Slice(Slice { of, from, to }) => {
                    body.extend_from_slice(&self.0[of][*from as usize..*to as usize]);
                }
                Piece::Chunks(chunks) => body.extend(sealed(chunks)),
            }
        }
        body
    }

    pub(super) fn body(&self, pieces: Vec<Piece>) -> Body {
        described(&self.bytes(&pieces), pieces)
    }

    pub(super) fn keep(&mut self, name: &str, bytes: Vec<u8>) {
        self.0.insert(name.to_owned(), bytes);
    }
}

fn described(bytes: &[u8], pieces: Vec<Piece>) -> Body {
    Body { size: bytes.len() as u64, sha256: hex::encode(sha256(&[bytes])), pieces }
}

/// All chunks of a part, by the definition of chunks alone: a sealer draws its own salt.
fn sealed(chunks: &Chunks) -> Vec<u8> {
    let salt: [u8; SALT] = unhex(&chunks.salt);
    let key: BulkKey =
        keys(&chunks.dek, chunks.suite, &chunks.object_id).part_key(chunks.part, &salt).unwrap();
    let plain = plaintext(chunks.from, chunks.to);
    let (mut counter, mut body) = (ChunkCounter::new(), Vec::new());
    for (at, chunk) in plain.chunks(CHUNK).enumerate() {
        let (mut text, mut tag) = (chunk.to_vec(), [0; 16]);
        let last = (at + 1) * CHUNK >= plain.len();
        key.seal(counter.advance(last).unwrap(), &mut text, &mut tag).unwrap();
        body.extend([&salt[..], &text, &tag].concat());
    }
    body
}

/// What an object is made of.
pub(super) struct Plan<'a> {
    pub(super) name: &'a str,
    pub(super) suite: Suite,
    pub(super) key: &'a str,
    /// Number, size, own checksum; empty for a single PUT.
    pub(super) parts: Vec<(u16, u64, Option<Checksum>)>,
    /// P of a single PUT.
    pub(super) size: u64,
    pub(super) checksums: Vec<FullChecksum>,
    pub(super) metadata: Option<Metadata>,
}

impl<'a> Plan<'a> {
    pub(super) fn single(name: &'a str, suite: Suite, size: u64) -> Self {
        Self { name, suite, key: KEY, parts: Vec::new(), size, checksums: Vec::new(), metadata: None }
    }

    pub(super) fn multipart(name: &'a str, suite: Suite, parts: Vec<(u16, u64, Option<Checksum>)>) -> Self {
        let size = parts.iter().map(|(_, size, _)| size).sum();
        Self { name, suite, key: KEY, parts, size, checksums: Vec::new(), metadata: None }
    }
}

/// A vector with the keys that it was made with.
pub(super) struct Made {
    pub(super) vector: Object,
    pub(super) keys: ObjectKeys,
    pub(super) envelope: Envelope,
    pub(super) trailer: Vec<u8>,
}

/// Makes an object as a gateway does.
pub(super) fn object(bodies: &mut Bodies, plan: Plan<'_>) -> Made {
    seeded(plan.name, || {
        let keys = ObjectKeys::generate(plan.suite).unwrap();
        let kind = if plan.parts.is_empty() { Kind::Single } else { Kind::Multipart };
        let (ik_id, ik, scope) = (IkId::from_bytes(IK_ID), the_ik(), scope(plan.key));
        let len = (kind == Kind::Single).then_some(plan.size);
        let envelope =
            Envelope::seal_object(&keys, len, plan.metadata.is_some(), ik_id, &ik, &scope).unwrap();
        let header = plan.metadata.as_ref().map(|map| metadata::seal(&keys, &envelope, map).unwrap());

        let (mut pieces, mut entries, mut at) = (Vec::new(), Vec::new(), 0);
        let single = [(0, plan.size, None)];
        let parts = if plan.parts.is_empty() { &single[..] } else { &plan.parts };
        for (number, size, checksum) in parts {
            let salt = PartSealer::new(&keys, *number).unwrap().salt();
            let etag = crate::etag::etag16(&format!("{number}"));
            entries.push(PartEntry { number: *number, size: *size, salt, etag, checksum: checksum.clone() });
            if *size > 0 {
                pieces.push(Piece::Chunks(Chunks {
                    dek: hex::encode(keys.dek().expose()),
                    suite: plan.suite.code(),
                    object_id: keys.object_id().to_string(),
                    part: *number,
                    salt: hex::encode(salt),
                    from: at,
                    to: at + size,
                }));
            }
            at += size;
        }
        if kind == Kind::Single {
            entries.clear();
        }
        let recovery = Recovery::seal(&keys, kind, ik_id, &ik, scope.tenant, scope.bucket).unwrap();
        let plain = TrailerPlain {
            plaintext_len: plan.size,
            parts: entries.clone(),
            checksums: plan.checksums.clone(),
        };
        let trailer = plain.seal(&keys, &recovery).unwrap();
        pieces.push(Piece::Hex(hex::encode(&trailer)));
        let bytes = bodies.bytes(&pieces);
        // Small bodies stand there literally, so that a reader can begin without sealing anything.
        if plan.size <= 100 {
            pieces = vec![Piece::Hex(hex::encode(&bytes))];
        }
        let body = described(&bytes, pieces);
        bodies.keep(plan.name, bytes);
        let text = |map: Metadata| {
            map.into_iter().map(|(name, value)| (name, String::from_utf8(value).unwrap())).collect()
        };
        let part = |entry: PartEntry| Part {
            number: entry.number,
            size: entry.size,
            salt: hex::encode(entry.salt),
            etag: hex::encode(entry.etag),
            checksum: entry.checksum.map(|checksum| sum(&checksum, false)),
        };
        let vector = Object {
            name: plan.name.to_owned(),
            place: place(plan.key),
            ik_id: hex::encode(IK_ID),
            dek: hex::encode(keys.dek().expose()),
            envelope: envelope.to_header(),
            metadata_header: header,
            body,
            size: plan.size,
            sha256: hex::encode(sha256(&[&plaintext(0, plan.size)])),
            metadata: text(plan.metadata.unwrap_or_default()),
            checksums: plan.checksums.iter().map(|full| sum(&full.checksum, full.composite)).collect(),
            parts: entries.into_iter().map(part).collect(),
        };
        Made { vector, keys, envelope, trailer }
    })
}

impl Made {
    /// Where its trailer begins.
    pub(super) fn chunks_end(&self) -> u64 {
        self.vector.body.size - self.trailer.len() as u64
    }

    /// Its own bytes from one place to another.
    pub(super) fn slice(&self, from: u64, to: u64) -> Piece {
        Piece::Slice(Slice { of: self.vector.name.clone(), from, to })
    }

    /// Its body with other bytes at a place.
    pub(super) fn patched(&self, at: u64, bytes: &[u8]) -> Vec<Piece> {
        let end = at + bytes.len() as u64;
        let size = self.vector.body.size;
        [self.slice(0, at), Piece::Hex(hex::encode(bytes)), self.slice(end, size)]
            .into_iter()
            .filter(|piece| !matches!(piece, Piece::Slice(slice) if slice.from == slice.to))
            .collect()
    }

    /// Its body with one bit flipped.
    pub(super) fn flipped(&self, bodies: &Bodies, at: u64) -> Vec<Piece> {
        self.patched(at, &[bodies.get(&self.vector.name)[at as usize] ^ 1])
    }

    /// Its body with a trailer that says `text`, which no writer would: sealed by whoever holds the DEK.
    pub(super) fn with_text(&self, text: &[u8]) -> Vec<Piece> {
        let len = self.trailer.len();
        let mut text = text.to_vec();
        text.resize(len - 131, 0);
        let salt = [0x7A; SALT];
        let key = self.keys.one_shot("sealgate/v1/trailer", &salt).unwrap();
        let sealed = key.seal(&self.trailer_aad(), text).unwrap();
        let trailer = [&salt[..], &sealed, &self.trailer[len - 103..]].concat();
        vec![self.slice(0, self.chunks_end()), Piece::Hex(hex::encode(trailer))]
    }

    /// The text of its trailer, padding included.
    pub(super) fn text(&self) -> Vec<u8> {
        let salt: [u8; SALT] = self.trailer[..SALT].try_into().unwrap();
        let key = self.keys.one_shot("sealgate/v1/trailer", &salt).unwrap();
        key.open(&self.trailer_aad(), &self.trailer[SALT..self.trailer.len() - 103]).unwrap()
    }

    fn trailer_aad(&self) -> Vec<u8> {
        let len = self.trailer.len();
        let recovery = &self.trailer[len - 103..len - 4];
        let head = [1, self.envelope.kind().code(), self.keys.suite().code()];
        let (object, total) = (self.keys.object_id(), self.vector.body.size.to_be_bytes());
        let length = (len as u32).to_be_bytes();
        [b"sealgate", &head[..], object.as_bytes(), &total, &length, recovery].concat()
    }
}

/// Bytes that the chunks of a plaintext take.
pub(super) fn stored(plain: u64) -> u64 {
    size::chunks_size(plain).unwrap()
}
