//! Reads the vectors as section 14 of the format says, with the functions that everybody has.

use super::make::{Bodies, keys, sum, unhex};
use super::model::{
    Body, Copies, Etags, IkRecords, Keys, Names, Note, Object, Objects, Part, Place, Sizes, Uploads,
};
use crate::hidden::{self, HiddenName};
use crate::kdf::{self, Secret, sha256};
use crate::size::{self, STORED_CHUNK};
use crate::upload_record::ChecksumType;
use crate::{
    BucketId, Envelope, Error, GatewayId, Ik, IkRecord, Kind, NoteName, ObjectKeys, PartOpener, PartReader,
    Recovery, RecoveryCard, Scope, TenantId, Trailer, UploadName, UploadRecord, etag, metadata, trailer,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use zeroize::Zeroizing;

struct Opened {
    plaintext: Vec<u8>,
    metadata: BTreeMap<String, Vec<u8>>,
    trailer: Option<Trailer>,
}

fn ik_of(place: &Place) -> Ik {
    Ik::from_bytes(&Zeroizing::new(unhex(&place.ik)))
}

fn ids(place: &Place) -> (TenantId, BucketId) {
    (place.tenant.parse().unwrap(), place.bucket.parse().unwrap())
}

fn read(place: &Place, envelope: Option<&str>, header: Option<&str>, body: &[u8]) -> Result<Opened, Error> {
    let Some(envelope) = envelope else { return read_bare(place, body) };
    let envelope = Envelope::parse_header(envelope)?;
    let (tenant, bucket) = ids(place);
    let keys = envelope.open(&ik_of(place), &Scope { tenant, bucket, key: place.key.as_bytes() })?;
    let metadata = metadata::open(&keys, &envelope, header)?;
    if body.is_empty() {
        return if place.key.ends_with('/') && envelope.plaintext_len() == Some(0) {
            Ok(Opened { plaintext: Vec::new(), metadata, trailer: None })
        } else {
            Err(Error::Size("no marker"))
        };
    }
    let size = size::plaintext_size(body.len() as u64).ok_or(Error::Size("not the size of any object"))?;
    if envelope.plaintext_len().is_some_and(|wanted| wanted != size) {
        return Err(Error::Size("not the envelope's"));
    }
    Ok(Opened { metadata, ..read_body(keys, envelope.kind(), size, body)? })
}

fn read_bare(place: &Place, body: &[u8]) -> Result<Opened, Error> {
    let size = size::plaintext_size(body.len() as u64).ok_or(Error::Size("not the size of any object"))?;
    let recovery: Recovery = trailer::recovery_of(body)?;
    let (tenant, bucket) = ids(place);
    let keys = recovery.open(&ik_of(place), tenant, bucket)?;
    read_body(keys, recovery.kind(), size, body)
}

fn read_body(keys: ObjectKeys, kind: Kind, size: u64, body: &[u8]) -> Result<Opened, Error> {
    let keys = Arc::new(keys);
    let suffix = &body[body.len() - size::suffix_len(size) as usize..];
    let trailer = Trailer::open(&keys, kind, body.len() as u64, trailer::split(suffix)?.1)?;
    let mut plaintext = Vec::new();
    for part in trailer.table().parts() {
        let opener = PartOpener::new(&keys, part.number, part.salt)?;
        let mut reader = PartReader::new(opener, part.plaintext_len())?;
        let stored = &body[part.stored.start as usize..part.stored.end as usize];
        for chunk in stored.chunks(STORED_CHUNK) {
            plaintext.extend_from_slice(reader.open_next(&mut chunk.to_vec())?);
        }
        assert!(reader.is_done());
    }
    Ok(Opened { plaintext, metadata: BTreeMap::new(), trailer: Some(trailer) })
}

fn checked(bodies: &Bodies, body: &Body) -> Vec<u8> {
    let bytes = bodies.bytes(&body.pieces);
    assert_eq!((bytes.len() as u64, hex::encode(sha256(&[&bytes]))), (body.size, body.sha256.clone()));
    bytes
}

pub(super) fn objects(set: &Objects) -> Bodies {
    let mut bodies = Bodies::default();
    for object in &set.objects {
        let body = checked(&bodies, &object.body);
        let opened = read(&object.place, Some(&object.envelope), object.metadata_header.as_deref(), &body);
        let opened = opened.unwrap_or_else(|error| panic!("{}: {error}", object.name));
        assert_eq!(texts(&opened), object.metadata, "{}", object.name);
        agrees(object, &opened);
        if !body.is_empty() {
            agrees(object, &read(&object.place, None, None, &body).unwrap());
        }
        bodies.keep(&object.name, body);
    }
    for refused in &set.refused {
        let body = checked(&bodies, &refused.body);
        let opened =
            read(&refused.place, refused.envelope.as_deref(), refused.metadata_header.as_deref(), &body);
        assert_eq!(opened.err().map(|error| error.stage()), Some(&*refused.stage), "{}", refused.why);
    }
    bodies
}

pub(super) fn copies(set: &Copies, objects: &Objects, bodies: &Bodies) {
    for copy in &set.copies {
        let (of, body) =
            (objects.objects.iter().find(|of| of.name == copy.of).unwrap(), bodies.get(&copy.of));
        let envelope = Envelope::parse_header(&copy.envelope).unwrap();
        assert_eq!(envelope.ik_id().to_string(), copy.ik_id);
        assert_eq!(trailer::recovery_of(body).unwrap().ik_id().to_string(), copy.recovery_ik_id);
        let opened = read(&copy.place, Some(&copy.envelope), copy.metadata_header.as_deref(), body);
        let opened = opened.unwrap_or_else(|error| panic!("{}: {error}", copy.name));
        assert_eq!(texts(&opened), of.metadata, "{}", copy.name);
        agrees(of, &opened);
        agrees(of, &read(&copy.recovered, None, None, body).unwrap());
    }
    for refused in &set.refused {
        let (envelope, header) = (refused.envelope.as_deref(), refused.metadata_header.as_deref());
        let opened = read(&refused.place, envelope, header, bodies.get(&refused.of));
        assert_eq!(opened.err().map(|error| error.stage()), Some(&*refused.stage), "{}", refused.why);
    }
}

fn texts(opened: &Opened) -> BTreeMap<String, String> {
    let text = |value: &Vec<u8>| String::from_utf8(value.clone()).unwrap();
    opened.metadata.iter().map(|(name, value)| (name.clone(), text(value))).collect()
}

fn agrees(object: &Object, opened: &Opened) {
    let digest = hex::encode(sha256(&[&opened.plaintext]));
    assert_eq!(
        (opened.plaintext.len() as u64, digest),
        (object.size, object.sha256.clone()),
        "{}",
        object.name
    );
    let Some(trailer) = &opened.trailer else { return };
    let sums: Vec<_> = trailer.checksums().iter().map(|full| sum(&full.checksum, full.composite)).collect();
    let parts: Vec<_> = trailer
        .entries()
        .iter()
        .map(|entry| Part {
            number: entry.number,
            size: entry.size,
            salt: hex::encode(entry.salt),
            etag: hex::encode(entry.etag),
            checksum: entry.checksum.as_ref().map(|checksum| sum(checksum, false)),
        })
        .collect();
    assert_eq!((sums, parts), (object.checksums.clone(), object.parts.clone()), "{}", object.name);
}

pub(super) fn sizes(set: &Sizes) {
    for [plain, stored] in &set.pairs {
        assert_eq!((size::stored_size(*plain), size::plaintext_size(*stored)), (Some(*stored), Some(*plain)));
    }
    for stored in &set.refused {
        assert_eq!(size::plaintext_size(*stored), None, "{stored}");
    }
}

pub(super) fn etags(set: &Etags) {
    for [backend, client] in &set.pairs {
        assert_eq!((&etag::to_client(backend), &etag::to_backend(client)), (client, backend));
    }
    for [client, backend] in &set.to_backend {
        assert_eq!(&etag::to_backend(client), backend);
    }
    for [tag, bytes] in &set.in_tables {
        assert_eq!(&hex::encode(etag::etag16(tag)), bytes);
    }
}

pub(super) fn derived(set: &Keys) {
    for each in &set.derivations {
        let from = Secret::copy_of(&Zeroizing::new(unhex(&each.from)));
        let (salt, info) = (hex::decode(&each.salt).unwrap(), hex::decode(&each.info).unwrap());
        let derived = kdf::derive(&from, &salt, &[&info]).unwrap();
        assert_eq!(hex::encode(derived.expose()), each.derived, "{}", each.key);
    }
}

pub(super) fn ik_records(set: &IkRecords) {
    let parse = |text: &str| IkRecord::parse(&hex::decode(text).unwrap());
    let records: Vec<_> = set.records.iter().map(|each| parse(&each.record).unwrap()).collect();
    for (vector, record) in set.records.iter().zip(&records) {
        let context = &record.context;
        let ids = [context.tenant.to_string(), context.bucket.to_string(), context.ik.to_string()];
        assert_eq!(ids, [vector.tenant.clone(), vector.bucket.clone(), vector.ik_id.clone()]);
        assert_eq!(
            (context.created, &context.kek, &context.kek_version),
            (vector.created, &vector.kek, &vector.kek_version)
        );
        assert_eq!(
            (hex::encode(&record.wrapped), hex::encode(record.context().unwrap())),
            (vector.wrapped.clone(), vector.context.clone())
        );
        assert_eq!(
            (context.to_text().unwrap(), hidden::ik_record_name(record).unwrap()),
            (vector.context_text.clone(), vector.name.clone())
        );
    }
    for refused in &set.refused {
        assert_eq!(
            parse(&refused.bytes).err().map(|error| error.stage()),
            Some(&*refused.stage),
            "{}",
            refused.why
        );
    }
    for vector in &set.cards {
        let card: RecoveryCard = vector.card.parse().unwrap();
        let admits: Vec<_> =
            (0..records.len()).filter(|at| card.admit(&records[*at].context).is_ok()).collect();
        assert_eq!(admits, vector.admits, "{}", vector.card);
    }
    for refused in &set.refused_cards {
        let stage = refused.text.parse::<RecoveryCard>().err().map(|error| error.stage());
        assert_eq!(stage, Some(&*refused.stage), "{}", refused.why);
    }
}

fn open_record(
    record: &str,
    tenant: &str,
    ik: &str,
    upload_id: &str,
) -> Result<(UploadRecord, ObjectKeys), Error> {
    let record = UploadRecord::parse(&hex::decode(record).unwrap())?;
    let ik = Ik::from_bytes(&Zeroizing::new(unhex(ik)));
    // Looked for by its upload id, everything else as it says: what that proves is the wrap's to say.
    let expected = UploadName { upload_id: upload_id.to_owned(), ..record.name().clone() };
    let keys = record.open(&ik, tenant.parse().unwrap(), &expected)?;
    Ok((record, keys))
}

pub(super) fn uploads(set: &Uploads) {
    for vector in &set.records {
        let (record, keys) =
            open_record(&vector.record, &vector.tenant, &vector.ik, &vector.upload_id).unwrap();
        let name = record.name();
        assert_eq!(name.gateway, GatewayId::from_bytes(unhex(&vector.gateway)));
        assert_eq!((name.bucket.to_string(), &name.key[..]), (vector.bucket.clone(), vector.key.as_bytes()));
        assert_eq!(name.record_name().unwrap().record_key(), vector.name);
        let (code, form) = record.checksum().map_or((0, 0), |(code, form)| {
            (code.code(), if form == ChecksumType::FullObject { 1 } else { 2 })
        });
        assert_eq!((record.created(), code, form), (vector.created, vector.code, vector.form));
        assert_eq!(
            (u8::from(record.envelope().has_metadata()), keys.suite().code()),
            (vector.flags, vector.suite)
        );
        assert_eq!(
            (hex::encode(keys.dek().expose()), keys.object_id().to_string()),
            (vector.dek.clone(), vector.object_id.clone())
        );
    }
    for refused in &set.refused {
        let opened = open_record(&refused.record, &refused.tenant, &refused.ik, &refused.upload_id);
        assert_eq!(opened.err().map(|error| error.stage()), Some(&*refused.stage), "{}", refused.why);
    }
    for vector in &set.notes {
        let name = NoteName::parse(&vector.name).unwrap();
        let note = name.open(&keys(&vector.dek, vector.suite, &vector.object_id), &vector.upload_id).unwrap();
        let found = Note {
            salt: hex::encode(note.salt),
            size: note.size,
            checksums: note.checksums.iter().map(|each| sum(each, false)).collect(),
            part: name.part(),
            etag: name.backend_etag().to_owned(),
            ..vector.clone()
        };
        assert_eq!(&found, vector);
        assert_eq!(name.to_key(), vector.name);
    }
    for refused in &set.refused_notes {
        let keys = keys(&refused.dek, refused.suite, &refused.object_id);
        let opened = NoteName::parse(&refused.name).and_then(|name| name.open(&keys, &refused.upload_id));
        assert_eq!(opened.err().map(|error| error.stage()), Some(&*refused.stage), "{}", refused.why);
    }
}

pub(super) fn names(set: &Names) {
    for vector in &set.names {
        let (kind, fields) = match HiddenName::parse(&vector.name).unwrap() {
            HiddenName::Bucket => ("bucket", vec![]),
            HiddenName::IkRecord { ik, digest } => ("ik", vec![ik.to_string(), hex::encode(digest)]),
            HiddenName::UploadRecord(record) => ("upload", vec![record.to_string()]),
            HiddenName::Note(note) => {
                let payload = vector.name.rsplit('/').next().and_then(crate::text::decode).unwrap();
                let tag = note.backend_etag().to_owned();
                ("note", vec![note.record().to_string(), note.part().to_string(), tag, hex::encode(payload)])
            }
            HiddenName::Stash { record, part, salt } => {
                ("stash", vec![record.to_string(), part.to_string(), hex::encode(salt)])
            }
            HiddenName::Gone { record, at } => ("gone", vec![record.to_string(), at.to_string()]),
        };
        assert_eq!((kind, fields), (&*vector.kind, vector.fields.clone()), "{}", vector.name);
    }
    for refused in &set.refused {
        let stage = HiddenName::parse(&refused.text).err().map(|error| error.stage());
        assert_eq!(stage, Some(&*refused.stage), "{}", refused.why);
    }
    for [marker, bucket] in &set.markers {
        assert_eq!(&hidden::parse_bucket_marker(&hex::decode(marker).unwrap()).unwrap().to_string(), bucket);
    }
    for refused in &set.refused_markers {
        let stage = hidden::parse_bucket_marker(&hex::decode(&refused.bytes).unwrap())
            .err()
            .map(|error| error.stage());
        assert_eq!(stage, Some(&*refused.stage), "{}", refused.why);
    }
}
