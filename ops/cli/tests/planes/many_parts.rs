//! An upload of 10,000 parts. They would be 49 GiB, so 9,999 of them and their notes are said to be there by the storage, by
//! the thousand as storages list them; what Complete makes of them is real.

use std::sync::Arc;
use std::time::UNIX_EPOCH;

use bytes::Bytes;
use http::HeaderMap;
use sealgate_data_plane::backend::{
    ListEntry, ListFrom, ListOptions, ListPage, PartEntry, PartPage, PutOutcome,
};
use sealgate_data_plane::multipart::uploads::OpenUpload;
use sealgate_envelope::size::{chunks_size, stored_size};
use sealgate_envelope::{Kind, Note, NoteName, ObjectKeys, Suite, Trailer, hidden::RecordName, trailer};

use super::s3::bytes;
use super::steered::Steered;
use super::steering::{MIN_PART, Steering, upload_part};

const OBJECT: &str = "/bucket/object";
const COUNT: u16 = 10_000;

/// What the storage says of an upload whose parts nobody sent, and what it is given and told to make.
#[derive(Default)]
pub struct Invented {
    notes_prefix: String,
    notes: Vec<ListEntry>,
    parts: Vec<PartEntry>,
    given: Vec<u8>,
    committed: Vec<(u16, String)>,
}

impl Invented {
    /// A page of the notes, if that is what is listed.
    pub fn notes(&self, options: &ListOptions) -> Option<ListPage> {
        (options.prefix == self.notes_prefix).then(|| {
            let from = match &options.from {
                ListFrom::Token(token) => token.parse().unwrap(),
                _ => 0,
            };
            let end = self.notes.len().min(from + options.max_keys as usize);
            let next = (end < self.notes.len()).then(|| end.to_string());
            ListPage { entries: self.notes[from..end].to_vec(), next, ..ListPage::default() }
        })
    }

    /// A page of the parts.
    pub fn parts(&self, after: u16, most: u32) -> PartPage {
        let left = self.parts.iter().filter(|part| part.number > after);
        let parts: Vec<_> = left.take(most as usize).cloned().collect();
        let last = parts.last().map(|part| part.number);
        let next = last.filter(|last| *last != self.parts.last().unwrap().number);
        PartPage { parts, next, storage_class: None }
    }

    /// Takes the gateway's own part.
    pub fn keep(&mut self, given: Vec<u8>) -> PutOutcome {
        self.given = given;
        PutOutcome { etag: etag(COUNT), version_id: None, headers: HeaderMap::new() }
    }

    /// Completes the upload.
    pub fn commit(&mut self, parts: &[(u16, String)]) -> PutOutcome {
        self.committed = parts.to_vec();
        let etag = format!("{}-{}", "e".repeat(32), parts.len());
        PutOutcome { etag, version_id: None, headers: HeaderMap::new() }
    }
}

fn etag(number: u16) -> String {
    format!("{number:032x}")
}

fn note(number: u16) -> Note {
    let mut salt = [0; 12];
    salt[..2].copy_from_slice(&number.to_be_bytes());
    Note { salt, size: MIN_PART as u64 + u64::from(number), checksums: Vec::new() }
}

fn invent(keys: &ObjectKeys, record: &RecordName, id: &str) -> Invented {
    let mut invented = Invented { notes_prefix: record.notes_prefix(), ..Invented::default() };
    for number in 1..COUNT {
        let note = note(number);
        let name = NoteName::seal(keys, *record, id, number, &etag(number), &note).unwrap();
        invented.notes.push(ListEntry {
            key: name.to_key(),
            size: 0,
            etag: "0".repeat(32),
            last_modified: UNIX_EPOCH,
            storage_class: "STANDARD".to_owned(),
        });
        let size = chunks_size(note.size).unwrap();
        invented.parts.push(PartEntry { number, etag: etag(number), size, last_modified: UNIX_EPOCH });
    }
    invented
}

#[actix_rt::test]
async fn ten_thousand_parts_become_one_object() {
    let steering = Steering::start_over(Steered::new).await;
    // The bucket's own key comes into use.
    steering.plain.put("/bucket/first", "x").await.ok();
    let id = steering.steered.create_upload(OBJECT).await;
    let snapshot = steering.node.node().snapshot().unwrap();
    let bucket = snapshot.bucket("bucket").unwrap();
    // Keys that the test knows, in the place of those that lie in the record.
    let keys = Arc::new(ObjectKeys::generate(Suite::Aes256Gcm).unwrap());
    let record = RecordName::new(snapshot.gateway, bucket.id, &id, b"object").unwrap();
    let mut invented = invent(&keys, &record, &id);
    let upload = OpenUpload { keys: Arc::clone(&keys), record, upload_id: id.clone(), checksum: None };
    let node = steering.node.node();
    let ik = node.keys.active(bucket).await.unwrap().id;
    node.uploads.insert(bucket.id, "object", Arc::new(upload), ik, node.keys.mark(bucket.id));
    // The last is real: it lies in a stash, and its note in the storage.
    let last: Bytes = bytes(70_000, 1);
    let mut etags: Vec<_> = (1..COUNT).map(|number| format!("{}-0", etag(number))).collect();
    etags.push(upload_part(&steering.steered, OBJECT, &id, COUNT, &last).await);
    for name in steering.hidden().await.iter().filter(|name| name.starts_with(&invented.notes_prefix)) {
        invented.notes.push(ListEntry { key: name.clone(), ..invented.notes[0].clone() });
    }
    assert_eq!(invented.notes.len(), usize::from(COUNT));
    *steering.backend.invented.borrow_mut() = Some(invented);
    let made = steering.steered.complete(OBJECT, &id, &etags).await.ok();
    assert!(made.text().contains("-10000&quot;"), "{}", made.text());
    let invented = steering.backend.invented.borrow_mut().take().unwrap();
    let wanted: Vec<_> = (1..=COUNT).map(|number| (number, etag(number))).collect();
    assert!(invented.committed == wanted, "every part, and the gateway's own at the end");
    let size = (1..COUNT).map(|number| note(number).size).sum::<u64>() + last.len() as u64;
    let (stash, bytes) = trailer::split(&invented.given).unwrap();
    assert_eq!(stash.len() as u64, chunks_size(last.len() as u64).unwrap());
    let opened = Trailer::open(&keys, Kind::Multipart, stored_size(size).unwrap(), bytes).unwrap();
    let found: Vec<_> = opened.entries().iter().map(|entry| (entry.number, entry.size)).collect();
    let wanted: Vec<_> =
        (1..COUNT).map(|number| (number, note(number).size)).chain([(COUNT, last.len() as u64)]).collect();
    assert!(found == wanted, "the table has other parts");
    steering.stop().await;
}
