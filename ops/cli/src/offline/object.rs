//! Opening stored objects: docs/format.md, "Decrypting, step by step".
//!
//! [`open`] proves the DEK and the trailer, and with it where every byte lies; [`copy`] then opens each chunk at its place,
//! and checks at the end that the streamed trailer is the one that was opened and that nothing follows.

use std::io::{Read, Write};
use std::sync::Arc;

use sealgate_envelope::table::PartSpan;
use sealgate_envelope::{
    BucketId, Envelope, Error, IkId, Kind, Metadata, ObjectKeys, PartOpener, PartReader, Recovery, Scope,
    TenantId, Trailer, metadata, recovery, size, trailer,
};
use zeroize::Zeroizing;

use super::keys::{Keys, OpenedIk};
use super::source::{Found, Source};
use crate::failure::{Exit, Failure, Outcome};

/// The envelope's name among user metadata.
pub const ENVELOPE: &str = "sealgate";
/// The sealed metadata's.
pub const METADATA: &str = "sealgatemeta";

/// What the DEK came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// The envelope: key name and metadata are proved too.
    Envelope,
    /// The body's recovery block: the key name is not proved, the metadata is lost.
    Recovery,
}

/// An object whose DEK, and whose trailer if it has one, are proved.
pub struct Opened {
    keys: Arc<ObjectKeys>,
    /// How the DEK was found.
    pub proof: Proof,
    /// The bucket's tenant, as the IK's record proved.
    pub tenant: TenantId,
    /// The logical bucket likewise.
    pub bucket: BucketId,
    /// The IK that the DEK was wrapped under.
    pub ik: IkId,
    /// Single PUT or multipart upload.
    pub kind: Kind,
    /// The sealed metadata; none without envelope.
    pub metadata: Option<Metadata>,
    /// None for a directory marker without bytes.
    pub trailer: Option<Trailer>,
}

impl Opened {
    /// P.
    pub fn plaintext_len(&self) -> u64 {
        self.trailer.as_ref().map_or(0, Trailer::plaintext_len)
    }

    /// The keys, for their ids.
    pub fn keys(&self) -> &ObjectKeys {
        &self.keys
    }
}

/// Opens an object by its envelope, or, when that is not wanted, by its recovery block.
///
/// # Errors
/// What does not prove, and what can be done.
pub fn open(source: &dyn Source, found: &Found, keys: &Keys<'_>, proof: Proof) -> Outcome<Opened> {
    match proof {
        Proof::Envelope => by_envelope(source, found, keys),
        Proof::Recovery => by_recovery(source, found, keys),
    }
}

fn by_envelope(source: &dyn Source, found: &Found, keys: &Keys<'_>) -> Outcome<Opened> {
    let name = source.name(&found.key);
    let wrong = |error: Error| Failure::integrity(&name, &error);
    let header = found.metadata.get(ENVELOPE).ok_or_else(|| envelope_lost(&name))?;
    let envelope = Envelope::parse_header(header).map_err(|error| without_envelope(wrong(error)))?;
    let iks = keys.find(envelope.ik_id())?;
    let scope = |ik: &OpenedIk| Scope { tenant: ik.tenant, bucket: ik.bucket, key: found.key.as_bytes() };
    let (object, ik) = first(&iks, |ik| envelope.open(&ik.ik, &scope(ik)))
        .map_err(|error| without_envelope(wrong(error)))?;
    let header = found.metadata.get(METADATA).map(String::as_str);
    let metadata =
        metadata::open(&object, &envelope, header).map_err(|error| without_envelope(wrong(error)))?;
    let trailer = if found.size == 0 {
        if !found.key.ends_with('/') || envelope.plaintext_len() != Some(0) {
            return Err(Failure::integrity(
                &name,
                &"is empty, and its envelope is not that of a directory marker",
            ));
        }
        None
    } else {
        let stored = size::plaintext_size(found.size);
        let plain = stored.ok_or_else(|| wrong(Error::Size("not the size of any object")))?;
        if envelope.plaintext_len().is_some_and(|len| len != plain) {
            return Err(wrong(Error::Size("not that of the envelope's length")));
        }
        let suffix = suffix(source, found)?;
        let (_, bytes) = trailer::split(&suffix).map_err(wrong)?;
        Some(Trailer::open(&object, envelope.kind(), found.size, bytes).map_err(wrong)?)
    };
    Ok(Opened {
        keys: Arc::new(object),
        proof: Proof::Envelope,
        tenant: ik.tenant,
        bucket: ik.bucket,
        ik: envelope.ik_id(),
        kind: envelope.kind(),
        metadata: Some(metadata),
        trailer,
    })
}

fn by_recovery(source: &dyn Source, found: &Found, keys: &Keys<'_>) -> Outcome<Opened> {
    let name = source.name(&found.key);
    let wrong = |error: Error| Failure::integrity(&name, &error);
    if size::plaintext_size(found.size).is_none() {
        return Err(wrong(Error::Size("not the size of any object"))
            .hint("the body is cut, or is not Sealgate's: fetch it again"));
    }
    let suffix = suffix(source, found)?;
    let block = trailer::recovery_of(&suffix).map_err(wrong)?;
    let (_, bytes) = trailer::split(&suffix).map_err(wrong)?;
    let iks = keys.find(block.ik_id())?;
    // The trailer is what proves the DEK, so both must open with the same IK.
    let open = |ik: &OpenedIk| {
        let object = block.open(&ik.ik, ik.tenant, ik.bucket)?;
        let trailer = Trailer::open(&object, block.kind(), found.size, bytes)?;
        Ok((object, trailer))
    };
    let ((object, trailer), ik) = first(&iks, open).map_err(wrong)?;
    Ok(Opened {
        keys: Arc::new(object),
        proof: Proof::Recovery,
        tenant: ik.tenant,
        bucket: ik.bucket,
        ik: block.ik_id(),
        kind: block.kind(),
        metadata: None,
        trailer: Some(trailer),
    })
}

/// The first IK that opens something, or what the last one failed with.
fn first<T>(iks: &[OpenedIk], open: impl Fn(&OpenedIk) -> Result<T, Error>) -> Result<(T, &OpenedIk), Error> {
    let mut failed = Error::Wrap;
    for ik in iks {
        match open(ik) {
            Ok(opened) => return Ok((opened, ik)),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// The recovery block, parsed and not proved, with the bytes that hold the trailer.
///
/// # Errors
/// When the body is too short, or holds none.
pub fn recovery_block(source: &dyn Source, found: &Found) -> Outcome<(Recovery, Vec<u8>)> {
    let suffix = suffix(source, found)?;
    let block = trailer::recovery_of(&suffix);
    let block = block.map_err(|error| Failure::integrity(&source.name(&found.key), &error))?;
    Ok((block, suffix))
}

/// The end of the body: all of the trailer where the size is a valid one, else enough for the recovery block.
fn suffix(source: &dyn Source, found: &Found) -> Outcome<Vec<u8>> {
    let wanted = size::plaintext_size(found.size).map_or(recovery::LEN as u64 + 4, size::suffix_len);
    let wanted = wanted.min(found.size);
    let mut bytes = vec![0; usize::try_from(wanted).unwrap_or(0)];
    let mut reader = source.read(found, found.size - wanted)?;
    reader.read_exact(&mut bytes).map_err(|error| Failure::io(&source.name(&found.key), &error))?;
    Ok(bytes)
}

fn envelope_lost(name: &str) -> Failure {
    Failure::new(Exit::Integrity, format!("{name}: the envelope is lost (no x-amz-meta-sealgate)")).hint(
        "add --without-envelope: the body's recovery block opens it; key name and metadata are then not proved",
    )
}

fn without_envelope(failure: Failure) -> Failure {
    failure.hint(
        "was it renamed, moved or altered? --without-envelope recovers the body alone, without proof of its name",
    )
}

/// Writes the plaintext. Every byte that is written was proved at its place; only the end is still open until this
/// returns. `progress` hears of each chunk and may end the copy.
///
/// # Errors
/// The first byte that is not what was written, the output's own failure, or that of `progress`.
pub fn copy(
    source: &dyn Source,
    found: &Found,
    opened: &Opened,
    out: &mut dyn Write,
    mut progress: impl FnMut(u64) -> Outcome<()>,
) -> Outcome<()> {
    let Some(trailer) = &opened.trailer else { return Ok(()) };
    let name = source.name(&found.key);
    let mut body = source.read(found, 0)?;
    for part in trailer.table().parts() {
        copy_part(&name, opened, part, body.as_mut(), out, &mut progress)?;
    }
    let mut end = Vec::new();
    let expected = found.size - trailer.table().trailer_start();
    let read = body.take(expected + 1).read_to_end(&mut end);
    read.map_err(|error| Failure::io(&name, &error))?;
    if !trailer.is_made_of(&end) {
        return Err(Failure::integrity(&name, &"the end of the body is not the trailer that was opened"));
    }
    out.flush().map_err(|error| Failure::io(&"output", &error))
}

fn copy_part(
    name: &str,
    opened: &Opened,
    part: &PartSpan,
    body: &mut dyn Read,
    out: &mut dyn Write,
    progress: &mut dyn FnMut(u64) -> Outcome<()>,
) -> Outcome<()> {
    let wrong = |error: Error| {
        let place = if part.number == 0 { name.to_owned() } else { format!("{name}: part {}", part.number) };
        Failure::integrity(&place, &error)
    };
    let opener = PartOpener::new(&opened.keys, part.number, part.salt).map_err(wrong)?;
    let mut reader = PartReader::new(opener, part.plaintext_len()).map_err(wrong)?;
    // Opened where it lies: plaintext then.
    let mut chunk = Zeroizing::new(vec![0; size::STORED_CHUNK]);
    while let Some(len) = reader.next_stored_len() {
        let stored = &mut chunk[..len];
        body.read_exact(stored).map_err(|error| Failure::io(&name, &error))?;
        let plain = reader.open_next(stored).map_err(wrong)?;
        out.write_all(plain).map_err(|error| Failure::io(&"output", &error))?;
        progress(plain.len() as u64)?;
    }
    Ok(())
}
