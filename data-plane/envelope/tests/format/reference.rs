//! A second implementation of suite 1, from the specification's text with `aes-gcm`, `hkdf` and `sha2` only.

use aes_gcm::{Aes256Gcm, KeyInit, Nonce, aead::Aead, aead::Payload};
use hkdf::Hkdf;
use sha2::Sha256;

pub struct Place<'a> {
    pub tenant: [u8; 16],
    pub bucket: [u8; 16],
    pub key: &'a [u8],
}

pub fn hkdf(ikm: &[u8], salt: &[u8], info: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    Hkdf::<Sha256>::new(Some(salt), ikm).expand(info, &mut out).unwrap();
    out
}

pub fn seal(key: &[u8; 32], nonce: [u8; 12], aad: &[u8], msg: &[u8]) -> Vec<u8> {
    Aes256Gcm::new(key.into()).encrypt(&Nonce::from(nonce), Payload { msg, aad }).unwrap()
}

pub fn open(key: &[u8; 32], nonce: [u8; 12], aad: &[u8], msg: &[u8]) -> Vec<u8> {
    Aes256Gcm::new(key.into()).decrypt(&Nonce::from(nonce), Payload { msg, aad }).expect("opens")
}

pub fn lp(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat()
}

/// "sealgate/v1/<what>" ‖ suite ‖ object id.
pub fn info(what: &str, object: &[u8]) -> Vec<u8> {
    [b"sealgate/v1/", what.as_bytes(), &[1], object].concat()
}

fn commitment(dek: &[u8; 32], object: &[u8]) -> [u8; 32] {
    hkdf(dek, b"", &[&b"sealgate/v1/commit"[..], &[1, 1], object].concat())
}

fn wrap_aad(purpose: u8, clear: &[u8], commitment: &[u8], place: &Place<'_>, after: &[u8]) -> Vec<u8> {
    [b"sealgate", &[purpose][..], clear, commitment, &place.tenant, &place.bucket, &lp(place.key), after]
        .concat()
}

fn wrap_key(ik: &[u8; 32], purpose: u8, salt: &[u8]) -> [u8; 32] {
    hkdf(ik, salt, &[&b"sealgate/v1/wrap"[..], &[purpose]].concat())
}

/// 141 bytes.
pub fn seal_envelope(
    dek: &[u8; 32],
    clear: &[u8; 61],
    ik: &[u8; 32],
    purpose: u8,
    place: &Place<'_>,
    after: &[u8],
) -> Vec<u8> {
    seal_with_commitment(dek, &commitment(dek, &clear[21..37]), clear, ik, purpose, place, after)
}

/// An envelope that commits to what it likes.
pub fn seal_with_commitment(
    dek: &[u8; 32],
    commitment: &[u8; 32],
    clear: &[u8; 61],
    ik: &[u8; 32],
    purpose: u8,
    place: &Place<'_>,
    after: &[u8],
) -> Vec<u8> {
    let key = wrap_key(ik, purpose, &clear[45..61]);
    let wrapped = seal(&key, [0; 12], &wrap_aad(purpose, clear, commitment, place, after), dek);
    [&clear[..], &wrapped, commitment].concat()
}

pub fn open_envelope(bytes: &[u8], ik: &[u8; 32], purpose: u8, place: &Place<'_>, after: &[u8]) -> [u8; 32] {
    let (clear, rest) = bytes.split_at(61);
    let (wrapped, stored) = rest.split_at(48);
    let key = wrap_key(ik, purpose, &clear[45..61]);
    let dek = open(&key, [0; 12], &wrap_aad(purpose, clear, stored, place, after), wrapped);
    let dek = dek.try_into().unwrap();
    assert_eq!(stored, commitment(&dek, &clear[21..37]));
    dek
}

/// The DEK from a recovery block.
pub fn open_recovery(block: &[u8], ik: &[u8; 32], place: &Place<'_>) -> [u8; 32] {
    let (clear, wrapped) = block.split_at(51);
    let aad = [b"sealgate", &[3][..], clear, &place.tenant, &place.bucket].concat();
    open(&wrap_key(ik, 3, &clear[35..51]), [0; 12], &aad, wrapped).try_into().unwrap()
}

fn part_key(dek: &[u8; 32], salt: &[u8], object: &[u8], part: u16) -> [u8; 32] {
    hkdf(dek, salt, &[&info("part", object)[..], &part.to_be_bytes()].concat())
}

pub fn chunk_nonce(index: u32, last: bool) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[7..11].copy_from_slice(&index.to_be_bytes());
    nonce[11] = last.into();
    nonce
}

pub fn seal_chunks(dek: &[u8; 32], object: &[u8], part: u16, salt: [u8; 12], plain: &[u8]) -> Vec<u8> {
    let key = part_key(dek, &salt, object, part);
    let count = plain.len().div_ceil(65_536);
    let chunks = plain.chunks(65_536).enumerate();
    chunks
        .flat_map(|(at, chunk)| {
            [salt.to_vec(), seal(&key, chunk_nonce(at as u32, at + 1 == count), b"", chunk)].concat()
        })
        .collect()
}

pub fn open_chunks(dek: &[u8; 32], object: &[u8], part: u16, stored: &[u8]) -> Vec<u8> {
    let count = stored.len().div_ceil(65_564);
    let chunks = stored.chunks(65_564).enumerate();
    chunks
        .flat_map(|(at, chunk)| {
            assert_eq!(chunk[..12], stored[..12], "one salt a part");
            let key = part_key(dek, &chunk[..12], object, part);
            open(&key, chunk_nonce(at as u32, at + 1 == count), b"", &chunk[12..])
        })
        .collect()
}

fn trailer_aad(kind: u8, object: &[u8], total: u64, len: u32, recovery: &[u8]) -> Vec<u8> {
    [b"sealgate", &[1, kind, 1][..], object, &total.to_be_bytes(), &len.to_be_bytes(), recovery].concat()
}

/// A trailer of `len` bytes with this text before its padding.
pub fn seal_trailer(
    dek: &[u8; 32],
    (kind, object): (u8, &[u8]),
    total: u64,
    len: u32,
    recovery: &[u8],
    text: &[u8],
) -> Vec<u8> {
    let salt = [0x5A; 12];
    let mut text = text.to_vec();
    text.resize(len as usize - 131, 0);
    let key = hkdf(dek, &salt, &info("trailer", object));
    let sealed = seal(&key, [0; 12], &trailer_aad(kind, object, total, len, recovery), &text);
    [&salt[..], &sealed, recovery, &len.to_be_bytes()].concat()
}

/// The text of a trailer, padding included.
pub fn open_trailer(dek: &[u8; 32], (kind, object): (u8, &[u8]), total: u64, bytes: &[u8]) -> Vec<u8> {
    let (bytes, len) = bytes.split_last_chunk::<4>().unwrap();
    let (sealed, recovery) = bytes.split_at(bytes.len() - 99);
    let key = hkdf(dek, &sealed[..12], &info("trailer", object));
    let aad = trailer_aad(kind, object, total, u32::from_be_bytes(*len), recovery);
    open(&key, [0; 12], &aad, &sealed[12..])
}
