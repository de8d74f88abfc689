//! A genuine object, and what an input does to its bytes: nothing comes out that was not put in.

use sealgate_envelope::size::{self, STORED_CHUNK};
use sealgate_envelope::{
    BucketId, Error, Ik, IkId, Kind, ObjectKeys, PartOpener, PartReader, PartSealer, Recovery, Suite,
    TenantId, Trailer, TrailerPlain, trailer,
};
use std::sync::{Arc, LazyLock};
use zeroize::Zeroizing;

/// Two chunks, the last one short.
const SIZE: usize = 65_536 + 200;

struct Genuine {
    keys: Arc<ObjectKeys>,
    plaintext: Vec<u8>,
    body: Vec<u8>,
}

static OBJECTS: LazyLock<[Genuine; 2]> =
    LazyLock::new(|| [genuine(Suite::Aes256Gcm), genuine(Suite::ChaCha20Poly1305)]);

fn genuine(suite: Suite) -> Genuine {
    let keys = Arc::new(ObjectKeys::generate(suite).unwrap());
    let plaintext: Vec<u8> = (0..SIZE).map(|at| (at / 7) as u8).collect();
    let mut sealer = PartSealer::new(&keys, 0).unwrap();
    let mut body = Vec::new();
    for chunk in plaintext.chunks(65_536) {
        let mut sealed = vec![0; chunk.len() + 28];
        sealer.seal_into(chunk, &mut sealed, chunk.len() < 65_536).unwrap();
        body.extend(sealed);
    }
    let (ik, id) = (Ik::from_bytes(&Zeroizing::new([7; 32])), IkId::from_bytes([1; 16]));
    let (tenant, bucket) = (TenantId::from_bytes([2; 16]), BucketId::from_bytes([3; 16]));
    let recovery = Recovery::seal(&keys, Kind::Single, id, &ik, tenant, bucket).unwrap();
    let plain = TrailerPlain { plaintext_len: SIZE as u64, parts: Vec::new(), checksums: Vec::new() };
    body.extend(plain.seal(&keys, &recovery).unwrap());
    Genuine { keys, plaintext, body }
}

/// Opens a body as a GET does; what it gives is released chunk by chunk.
fn read(keys: &Arc<ObjectKeys>, body: &[u8], released: &mut Vec<u8>) -> Result<(), Error> {
    let size = size::plaintext_size(body.len() as u64).ok_or(Error::Size("none"))?;
    let suffix = &body[body.len() - size::suffix_len(size) as usize..];
    let trailer = Trailer::open(keys, Kind::Single, body.len() as u64, trailer::split(suffix)?.1)?;
    let mut reader = PartReader::new(PartOpener::new(keys, 0, None)?, trailer.plaintext_len())?;
    for chunk in body[..trailer.table().trailer_start() as usize].chunks(STORED_CHUNK) {
        released.extend_from_slice(reader.open_next(&mut chunk.to_vec())?);
    }
    Ok(())
}

/// The input is a list of edits, seven bytes each: what, where (u24), how far or with what (u24).
pub fn chunks(data: &[u8]) {
    let Some((suite, edits)) = data.split_first() else { return };
    let object = &OBJECTS[usize::from(suite & 1)];
    let mut body = object.body.clone();
    for edit in edits.chunks_exact(7).take(8) {
        let number = |bytes: &[u8]| bytes.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
        let (at, with) = (number(&edit[1..4]), number(&edit[4..7]));
        match edit[0] % 6 {
            0 if !body.is_empty() => {
                let at = at % body.len();
                body[at] ^= (with as u8).max(1);
            }
            1 => body.truncate(at),
            2 => body.extend(std::iter::repeat_n(with as u8, at % 1000)),
            3 => {
                let (at, end) = (at.min(body.len()), at.saturating_add(with).min(body.len()));
                body.drain(at..end);
            }
            // Chunks change places.
            4 if body.len() >= 2 * 228 => body[..2 * 228].rotate_left(at % 456),
            5 => {
                let end = with.min(body.len());
                let copied = body[at.min(end)..end].to_vec();
                body.extend(copied);
            }
            _ => {}
        }
        if body.len() > 400_000 {
            return;
        }
    }
    let mut released = Vec::new();
    let done = read(&object.keys, &body, &mut released);
    assert!(object.plaintext.starts_with(&released), "bytes came out that were not put in");
    assert_eq!(
        done.is_ok(),
        body == object.body,
        "an altered body was taken for whole, or a whole one refused"
    );
}
