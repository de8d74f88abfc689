//! Records of the object format: what parses is written back the same, and opens only if it is genuine.

use super::selected;
use sealgate_envelope::hidden::{self, HiddenName};
use sealgate_envelope::{
    BucketId, Envelope, Ik, IkId, IkRecord, Kind, NoteName, ObjectKeys, Recovery, RecoveryCard, Scope, Suite,
    TenantId, Trailer, UploadRecord, etag, fuzz, metadata as sealed, trailer as tail,
};
use std::sync::LazyLock;
use zeroize::Zeroizing;

/// A key that sealed nothing that an input could hold: whatever opens under it was forged.
struct Foreign {
    ik: Ik,
    keys: ObjectKeys,
    envelope: Envelope,
}

static FOREIGN: LazyLock<Foreign> = LazyLock::new(|| {
    let ik = Ik::from_bytes(&Zeroizing::new([0x42; 32]));
    let keys = ObjectKeys::generate(Suite::Aes256Gcm).unwrap();
    let envelope =
        Envelope::seal_object(&keys, Some(9), true, IkId::from_bytes([1; 16]), &ik, &scope()).unwrap();
    Foreign { ik, keys, envelope }
});

fn scope() -> Scope<'static> {
    Scope { tenant: TenantId::from_bytes([2; 16]), bucket: BucketId::from_bytes([3; 16]), key: b"key" }
}

pub fn envelope(data: &[u8]) {
    if let Ok(text) = str::from_utf8(data)
        && let Ok(envelope) = Envelope::parse_header(text)
    {
        assert_eq!(envelope.to_header(), text);
        assert!(envelope.open(&FOREIGN.ik, &scope()).is_err());
    }
    if let Ok(envelope) = Envelope::parse(data) {
        assert_eq!(envelope.to_bytes(), data);
        assert!(envelope.open(&FOREIGN.ik, &scope()).is_err());
    }
}

pub fn metadata(data: &[u8]) {
    if let Ok(text) = str::from_utf8(data) {
        assert!(sealed::open(&FOREIGN.keys, &FOREIGN.envelope, Some(text)).is_err());
    }
    // As whoever holds the DEK could have sealed it.
    if let Ok(metadata) = fuzz::metadata_text(data) {
        let names: Vec<_> = metadata.keys().collect();
        assert!(names.is_sorted());
        assert!(metadata.values().flatten().all(|byte| !matches!(byte, b'\r' | b'\n' | 0)));
        assert!(metadata.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() <= 65_536);
    }
}

pub fn trailer(data: &[u8]) {
    let (how, data) = selected(data);
    let kind = if how & 1 == 0 { Kind::Single } else { Kind::Multipart };
    if let Ok((before, trailer)) = tail::split(data) {
        assert_eq!([before, trailer].concat(), data);
    }
    if let Ok(recovery) = tail::recovery_of(data) {
        assert_eq!(recovery.to_bytes(), data[data.len() - 103..data.len() - 4]);
        assert!(Recovery::open(&recovery, &FOREIGN.ik, scope().tenant, scope().bucket).is_err());
    }
    assert!(Trailer::open(&FOREIGN.keys, kind, data.len() as u64, data).is_err());
    // As whoever holds the DEK could have sealed it: P in front.
    if let Some((size, _)) = data.split_first_chunk()
        && let Ok(parts) = fuzz::trailer_text(kind, u64::from_be_bytes(*size), data)
    {
        let total: u64 = parts.iter().map(|part| part.size).sum();
        assert!(kind == Kind::Single || total == u64::from_be_bytes(*size));
        assert!(parts.windows(2).all(|pair| pair[0].number < pair[1].number && pair[0].size >= 5 << 20));
    }
}

pub fn upload_record(data: &[u8]) {
    if let Ok(record) = UploadRecord::parse(data) {
        assert_eq!(record.to_bytes().unwrap(), data);
        assert!(record.open(&FOREIGN.ik, scope().tenant, record.name()).is_err());
        let _ = record.name().record_name();
    }
}

pub fn note(data: &[u8]) {
    if let Ok(text) = str::from_utf8(data)
        && let Ok(name) = NoteName::parse(text)
    {
        assert_eq!(name.to_key(), text);
        assert!(name.open(&FOREIGN.keys, "upload").is_err());
    }
    if let Ok(note) = fuzz::note_text(data) {
        assert!(note.size < 1 << 40 && note.checksums.len() <= 10);
    }
}

pub fn name(data: &[u8]) {
    if let Ok(marker) = hidden::parse_bucket_marker(data) {
        assert_eq!(hidden::bucket_marker(marker), data);
    }
    let Ok(text) = str::from_utf8(data) else { return };
    assert_eq!(etag::to_backend(&etag::to_client(text)), text);
    if HiddenName::parse(text).is_ok() {
        assert!(hidden::is_hidden(data) && hidden::could_be_hidden(text));
    }
    assert!(!hidden::is_hidden(data) || hidden::could_be_hidden(text));
    if let Ok(card) = text.parse::<RecoveryCard>() {
        assert_eq!(card.to_string().parse(), Ok(card));
    }
}

pub fn ik_record(data: &[u8]) {
    if let Ok(record) = IkRecord::parse(data) {
        assert_eq!(record.to_bytes().unwrap(), data);
        let name = hidden::ik_record_name(&record).unwrap();
        assert!(HiddenName::parse(&name).is_ok());
    }
}
