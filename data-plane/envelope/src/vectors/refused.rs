//! Objects that must not open, and the stage that must say so.

use super::make::{BUCKET, Bodies, IK_ID, KEY, Made, TENANT, place, scope, secret, stored, the_ik};
use super::model::{Body, Chunks, Piece, Place, RefusedObject};
use super::random::seeded;
use crate::size::{CHUNK, MIN_PART, STORED_CHUNK, stored_size};
use crate::wire::put_lp;
use crate::wrap::{Purpose, WrapKey};
use crate::{Envelope, GatewayId, IkId, SALT, UploadName, UploadRecord, metadata, text};
use flate2::{Compress, Compression, FlushCompress};
use std::collections::BTreeMap;

pub(super) fn all(bodies: &Bodies, made: &BTreeMap<String, Made>) -> Vec<RefusedObject> {
    let mut list = List { bodies, made, refused: Vec::new() };
    list.headers();
    list.wraps();
    list.metadata();
    list.sizes();
    list.trailers();
    list.tables();
    list.chunks();
    list.recovery();
    list.refused
}

struct List<'a> {
    bodies: &'a Bodies,
    made: &'a BTreeMap<String, Made>,
    refused: Vec<RefusedObject>,
}

impl<'a> List<'a> {
    fn made(&self, name: &str) -> &'a Made {
        &self.made[name]
    }

    fn push(&mut self, stage: &str, why: &str, of: &Made, change: impl FnOnce(&mut RefusedObject)) {
        let vector = of.vector.clone();
        let mut refused = RefusedObject {
            stage: stage.to_owned(),
            why: why.to_owned(),
            place: vector.place,
            envelope: Some(vector.envelope),
            metadata_header: vector.metadata_header,
            body: self.bodies.body(vec![of.slice(0, vector.body.size)]),
        };
        change(&mut refused);
        self.refused.push(refused);
    }

    /// With another body.
    fn body(&mut self, stage: &str, why: &str, of: &Made, pieces: Vec<Piece>) {
        let body: Body = self.bodies.body(pieces);
        self.push(stage, why, of, |refused| refused.body = body);
    }

    fn headers(&mut self) {
        let of = self.made("single-aes-one-byte");
        let bytes = of.envelope.to_bytes();
        for (why, at, value) in [
            ("version 2", 0, 2),
            ("version 0", 0, 0),
            ("kind 0", 1, 0),
            ("kind 3", 1, 3),
            ("suite 0", 2, 0),
            ("suite 3, reserved", 2, 3),
            ("chunks of 32 KiB", 3, 15),
            ("flag 2", 4, 2),
            ("above 50 TiB", 37, 1),
            ("kind 2 with a size", 1, 2),
        ] {
            let mut bytes = bytes;
            bytes[at] = value;
            self.push("header", why, of, |refused| refused.envelope = Some(text::encode(&bytes)));
        }
        let header = of.envelope.to_header();
        for (why, header) in [
            ("one character less", header[..187].to_owned()),
            ("padding", format!("{}=", &header[..187])),
            ("the other alphabet", format!("+{}", &header[1..])),
            ("140 bytes", text::encode(&bytes[..140])),
            ("142 bytes", text::encode(&[&bytes[..], &[0]].concat())),
            ("empty", String::new()),
        ] {
            self.push("header", why, of, |refused| refused.envelope = Some(header));
        }
    }

    fn wraps(&mut self) {
        let of = self.made("single-aes-one-byte");
        let other = |change: fn(&mut Place)| {
            let mut place = place(KEY);
            change(&mut place);
            place
        };
        for (why, place) in [
            ("another tenant", other(|place| place.tenant = "00".repeat(16))),
            ("another bucket", other(|place| place.bucket = "00".repeat(16))),
            ("another key", other(|place| place.key = "photos/2026/b.jpg".to_owned())),
            (
                "the same key in another Unicode normalisation",
                other(|place| place.key = "photos/2026/a\u{308}.jpg".to_owned()),
            ),
            ("another IK", other(|place| place.ik = hex::encode(secret("another ik")))),
        ] {
            self.push("wrap", why, of, |refused| refused.place = place);
        }
        let bytes = of.envelope.to_bytes();
        for (why, at) in [
            ("metadata flag set", 4),
            ("IK id", 5),
            ("object id", 21),
            ("size", 44),
            ("wrap salt", 45),
            ("wrapped DEK", 61),
            ("tag", 108),
            ("commitment", 140),
        ] {
            let mut bytes = bytes;
            bytes[at] ^= 1;
            self.push("wrap", why, of, |refused| refused.envelope = Some(text::encode(&bytes)));
        }
        let mut downgraded = bytes;
        downgraded[2] = 2;
        self.push("wrap", "another suite", of, |refused| refused.envelope = Some(text::encode(&downgraded)));
        let with = self.made("metadata-plain");
        let mut stripped = with.envelope.to_bytes();
        stripped[4] = 0;
        self.push("wrap", "metadata stripped, and its flag", with, |refused| {
            refused.envelope = Some(text::encode(&stripped));
            refused.metadata_header = None;
        });
        let multipart = self.made("multipart-aes-one-part");
        let mut single = multipart.envelope.to_bytes();
        single[1] = 1;
        single[37..45].copy_from_slice(&70_000_u64.to_be_bytes());
        self.push("wrap", "kind 2 as kind 1", multipart, |refused| {
            refused.envelope = Some(text::encode(&single));
        });
        let record = upload_record(multipart);
        self.push("wrap", "the envelope of its upload record", multipart, |refused| {
            refused.envelope = Some(record.envelope().to_header());
        });

        let other = self.made("single-aes-empty");
        let forged = committed_to(of, other.envelope.to_bytes()[109..].try_into().unwrap());
        self.push(
            "commitment",
            "a DEK that it does not commit to, wrapped by who holds the IK",
            of,
            |refused| {
                refused.envelope = Some(text::encode(&forged));
            },
        );
    }

    fn metadata(&mut self) {
        let of = self.made("metadata-plain");
        let bare = self.made("single-aes-one-byte");
        let header = of.vector.metadata_header.clone().unwrap();
        self.push("metadata", "a header without its flag", bare, |refused| {
            refused.metadata_header = Some(header.clone());
        });
        self.push("metadata", "a flag without its header", of, |refused| refused.metadata_header = None);
        let foreign = self.made("metadata-deflated").vector.metadata_header.clone();
        self.push("metadata", "another object's", of, |refused| refused.metadata_header = foreign);
        let again = seeded("another sealing", || {
            Envelope::seal_object(
                &of.keys,
                of.envelope.plaintext_len(),
                true,
                IkId::from_bytes(IK_ID),
                &the_ik(),
                &scope(KEY),
            )
            .unwrap()
        });
        let sealed = seeded("metadata of another envelope", || {
            metadata::seal(&of.keys, &again, &metadata::Metadata::new()).unwrap()
        });
        self.push("metadata", "of another envelope of the same object", of, |refused| {
            refused.metadata_header = Some(sealed);
        });
        for (why, header) in [
            ("padding", format!("{header}=")),
            ("one character less", header[..header.len() - 1].to_owned()),
            ("empty", String::new()),
            ("27 bytes", text::encode(&[0; 27])),
        ] {
            self.push("metadata", why, of, |refused| refused.metadata_header = Some(header));
        }
        for (why, plain) in metadata_texts() {
            let salt = [0x6D; SALT];
            let key = of.keys.one_shot("sealgate/v1/meta", &salt).unwrap();
            let sealed = key.seal(&of.envelope.to_bytes(), plain).unwrap();
            let header = text::encode(&[&salt[..], &sealed].concat());
            self.push("metadata", why, of, |refused| refused.metadata_header = Some(header));
        }
    }

    fn sizes(&mut self) {
        let of = self.made("single-aes-chunk-and-one");
        let size = of.vector.body.size;
        self.body("size", "cut by a byte", of, vec![of.slice(0, size - 1)]);
        self.body("size", "cut at the end of a chunk", of, vec![of.slice(0, STORED_CHUNK as u64)]);
        self.body("size", "a byte behind it", of, vec![of.slice(0, size), Piece::Hex("00".to_owned())]);
        self.body("size", "319 bytes", of, vec![of.slice(0, 319)]);
        self.body("size", "empty, no marker", self.made("single-aes-empty"), Vec::new());
        self.body("size", "an empty body where an upload was", self.made("marker-multipart"), Vec::new());
        let slash = self.made("slash-with-content");
        self.body("size", "an empty body at a marker's name with content", slash, Vec::new());
        let other = self.made("single-aes-chunk");
        self.body("size", "another object's body", of, vec![other.slice(0, other.vector.body.size)]);
    }

    fn trailers(&mut self) {
        let of = self.made("single-aes-chunk-and-one");
        let (start, size) = (of.chunks_end(), of.vector.body.size);
        for (why, at) in [
            ("salt", start),
            ("sealed text", start + 12),
            ("tag", size - 104),
            ("wrapped DEK of the recovery block", size - 5),
            ("IK id of the recovery block", size - 100),
        ] {
            self.body("trailer", why, of, of.flipped(self.bodies, at));
        }
        for (why, length) in [
            ("length 319", 319),
            ("length 321", 321_u32),
            ("length 0", 0),
            ("length above the body", u32::MAX),
            ("length above the largest", 1_280_193),
        ] {
            self.body("trailer", why, of, of.patched(size - 4, &length.to_be_bytes()));
        }
        let two = self.made("multipart-aes-two-parts");
        // Cut where the first part ends, padded to a size that the inverse accepts: its own trailer there.
        let cut = stored_size(MIN_PART).unwrap();
        let first = stored(MIN_PART);
        let trailer = two.slice(two.vector.body.size - (cut - first), two.vector.body.size);
        self.body(
            "trailer",
            "cut at the end of a part, trailer moved",
            two,
            vec![two.slice(0, first), trailer],
        );
        let (one, other) = (self.made("metadata-plain"), self.made("metadata-empty"));
        let mut pieces = vec![one.slice(0, one.chunks_end())];
        pieces.push(other.slice(other.chunks_end(), other.vector.body.size));
        self.body("recovery", "the trailer of another object of this size", one, pieces);
    }

    fn tables(&mut self) {
        let of = self.made("single-aes-one-byte");
        let text = |size: u64, count: u16, list: &[u8]| {
            [&size.to_be_bytes()[..], &count.to_be_bytes(), list].concat()
        };
        self.body("table", "another size", of, of.with_text(&text(2, 0, &[0])));
        self.body(
            "table",
            "parts in a single PUT",
            of,
            of.with_text(&text(1, 1, &[&[0][..], &entry(1, 1)].concat())),
        );
        let mut padded = text(1, 0, &[0]);
        padded.resize(189, 0);
        padded[188] = 1;
        self.body("table", "padding that is not zero", of, of.with_text(&padded));
        let list = |codes: &[(u8, usize)]| {
            let mut list = vec![codes.len() as u8];
            for (code, length) in codes {
                list.push(*code);
                list.extend(vec![7; *length]);
            }
            list
        };
        for (why, codes) in [
            ("checksum 0", &[(0, 4)][..]),
            ("checksum 11", &[(11, 4)]),
            ("descending checksums", &[(2, 4), (1, 4)]),
            ("a checksum twice", &[(1, 4), (1, 4)]),
            ("composite in a single PUT", &[(0x81, 4)]),
        ] {
            self.body("checksum", why, of, of.with_text(&text(1, 0, &list(codes))));
        }

        let two = self.made("multipart-aes-equal-parts");
        let size = 2 * MIN_PART;
        let parts = |parts: &[(u16, u64)]| {
            let entries: Vec<u8> = parts.iter().flat_map(|(number, size)| entry(*number, *size)).collect();
            text(size, parts.len() as u16, &[&[0][..], &entries].concat())
        };
        for (why, text) in [
            ("no parts", parts(&[])),
            ("part 0", parts(&[(0, MIN_PART), (1, MIN_PART)])),
            ("part 10,001", parts(&[(1, MIN_PART), (10_001, MIN_PART)])),
            ("a number twice", parts(&[(3, MIN_PART), (3, MIN_PART)])),
            ("descending numbers", parts(&[(4, MIN_PART), (3, MIN_PART)])),
            ("a small part before the last", parts(&[(3, MIN_PART - 1), (4, MIN_PART + 1)])),
            ("sizes that add up to less", parts(&[(3, MIN_PART), (4, MIN_PART - 1)])),
            ("another split, one chunk more", parts(&[(3, MIN_PART + 1), (4, MIN_PART - 1)])),
            ("more parts than stand there", text(size, 3, &[&[0][..], &entry(3, MIN_PART)].concat())),
        ] {
            self.body("table", why, two, two.with_text(&text));
        }
        let long = text(
            size,
            2,
            &[&list(&[(1, 4), (4, 20), (7, 64)])[..], &entry(3, MIN_PART), &entry(4, MIN_PART)].concat(),
        );
        self.body("checksum", "checksums of more than 78 bytes", two, two.with_text(&long));
        let mut text = two.text();
        text[8 + 2 + 1 + 7] = 11;
        self.body("checksum", "checksum 11 of a part", two, two.with_text(&text));
    }

    fn chunks(&mut self) {
        let of = self.made("single-chacha-three-chunks");
        let (chunk, end) = (STORED_CHUNK as u64, of.vector.body.size);
        for (why, at) in [
            ("salt of the first", 0),
            ("ciphertext", chunk + 12),
            ("tag", chunk - 1),
            ("salt of the second", chunk),
            ("tag of the last", of.chunks_end() - 1),
        ] {
            self.body("chunk", why, of, of.flipped(self.bodies, at));
        }
        let swapped = vec![of.slice(chunk, 2 * chunk), of.slice(0, chunk), of.slice(2 * chunk, end)];
        self.body("chunk", "swapped", of, swapped);
        let twice = vec![of.slice(0, chunk), of.slice(0, chunk), of.slice(2 * chunk, end)];
        self.body("chunk", "one twice", of, twice);
        let Piece::Chunks(own) = of.vector.body.pieces[0].clone() else { unreachable!("sealed chunks") };
        let another = Chunks { salt: "5a".repeat(SALT), ..own };
        let mut attempt = vec![Piece::Chunks(another)];
        attempt.push(of.slice(of.chunks_end(), end));
        let sealed = self.bodies.bytes(&attempt);
        let mixed = Piece::Hex(hex::encode(&sealed[2 * CHUNK + 56..of.chunks_end() as usize]));
        let mixed = vec![of.slice(0, 2 * chunk), mixed, of.slice(of.chunks_end(), end)];
        self.body("chunk", "the last of another attempt", of, mixed);
        let two = self.made("multipart-aes-equal-parts");
        let part = stored(MIN_PART);
        let swapped =
            vec![two.slice(part, 2 * part), two.slice(0, part), two.slice(2 * part, two.vector.body.size)];
        self.body("chunk", "two parts of one size swapped", two, swapped);
        let Piece::Chunks(own) = two.vector.body.pieces[1].clone() else { unreachable!("sealed chunks") };
        let again = Piece::Chunks(Chunks { salt: "5a".repeat(SALT), ..own });
        let whole = vec![two.slice(0, part), again, two.slice(2 * part, two.vector.body.size)];
        self.body("chunk", "a whole attempt that was not completed", two, whole);
        let one = self.made("single-aes-one-byte");
        self.body("chunk", "sealed as if another followed", one, {
            let salt = [0x5A; SALT];
            let key = one.keys.part_key(0, &salt).unwrap();
            let (mut text, mut tag) = ([0], [0; 16]);
            key.seal(crate::aead::ChunkCounter::new().advance(false).unwrap(), &mut text, &mut tag).unwrap();
            one.patched(0, &[&salt[..], &text, &tag].concat())
        });
    }

    fn recovery(&mut self) {
        let of = self.made("single-aes-chunk");
        let size = of.vector.body.size;
        for (why, at, value) in [
            ("version 2 in the recovery block", 0, 2),
            ("kind 2 in the recovery block", 1, 2),
            ("kind 3 in the recovery block", 1, 3),
            ("suite 2 in the recovery block", 2, 2),
            ("suite 4 in the recovery block", 2, 4),
            ("another object in the recovery block", 19, 0),
        ] {
            self.body("recovery", why, of, of.patched(size - 103 + at, &[value]));
        }
        for (why, change) in [
            ("without envelope: another tenant", (|place| place.tenant = "00".repeat(16)) as fn(&mut Place)),
            ("without envelope: another bucket", |place| place.bucket = "00".repeat(16)),
            ("without envelope: another IK", |place| place.ik = hex::encode(secret("another ik"))),
        ] {
            self.push("recovery", why, of, |refused| {
                refused.envelope = None;
                change(&mut refused.place);
            });
        }
        let flipped = self.bodies.body(of.flipped(self.bodies, size - 5));
        self.push("recovery", "without envelope: wrapped DEK", of, |refused| {
            refused.envelope = None;
            refused.body = flipped;
        });
        let kind = self.bodies.body(of.patched(size - 102, &[2]));
        self.push("recovery", "without envelope: kind 2", of, |refused| {
            refused.envelope = None;
            refused.body = kind;
        });
        let longer = self.made("single-aes-chunk-and-one");
        let cut = self.bodies.body(vec![longer.slice(1, longer.vector.body.size)]);
        self.push("size", "without envelope: a byte is missing", of, |refused| {
            refused.envelope = None;
            refused.body = cut;
        });
        let trailer = self.bodies.body(of.flipped(self.bodies, of.chunks_end() + 12));
        self.push("trailer", "without envelope: sealed text", of, |refused| {
            refused.envelope = None;
            refused.body = trailer;
        });
        let chunk = self.bodies.body(of.flipped(self.bodies, 99));
        self.push("chunk", "without envelope: ciphertext", of, |refused| {
            refused.envelope = None;
            refused.body = chunk;
        });
    }
}

/// A part entry without checksum.
fn entry(number: u16, size: u64) -> Vec<u8> {
    [&number.to_be_bytes()[..], &size.to_be_bytes()[3..], &[0], &[9; SALT], &[8; 16]].concat()
}

/// An envelope like `of`'s that commits to something else.
fn committed_to(of: &Made, commitment: [u8; 32]) -> [u8; 141] {
    let mut bytes = of.envelope.to_bytes();
    let (salt, key) =
        seeded("forged commitment", || WrapKey::fresh(&the_ik(), Purpose::Object).ok()).unwrap();
    bytes[45..61].copy_from_slice(&salt);
    bytes[109..].copy_from_slice(&commitment);
    let mut aad = [b"sealgate", &[1][..], &bytes[..61], &commitment, &TENANT, &BUCKET].concat();
    put_lp(&mut aad, KEY.as_bytes()).unwrap();
    bytes[61..109].copy_from_slice(&key.wrap(of.keys.dek(), &aad).unwrap());
    bytes
}

/// The record of the upload that an object came from.
fn upload_record(of: &Made) -> UploadRecord {
    let name = UploadName {
        gateway: GatewayId::from_bytes([0xD4; 16]),
        bucket: scope(KEY).bucket,
        upload_id: "upload-1".to_owned(),
        key: KEY.as_bytes().to_vec(),
    };
    let (ik_id, ik, tenant) = (IkId::from_bytes(IK_ID), the_ik(), scope(KEY).tenant);
    seeded("record", || UploadRecord::seal(&of.keys, false, (ik_id, &ik), tenant, name, 1, None).unwrap())
}

/// Metadata texts that only a holder of the DEK could seal.
fn metadata_texts() -> Vec<(&'static str, Vec<u8>)> {
    let pairs = |pairs: &[(&str, &[u8])]| {
        let mut text = Vec::new();
        for (name, value) in pairs {
            put_lp(&mut text, name.as_bytes()).unwrap();
            put_lp(&mut text, value).unwrap();
        }
        text
    };
    let plain = |text: Vec<u8>| [vec![0], text].concat();
    // A stored block of deflate: not compressed, so that no library's choices enter the vectors.
    let deflated = |text: &[u8], after: &[u8]| {
        let length = (text.len() as u16).to_le_bytes();
        let inverted = length.map(|byte| !byte);
        [&[1, 1][..], &length, &inverted, text, after].concat()
    };
    let one = pairs(&[("a", b"b")]);
    let many = pairs(&[("a", &[b'x'; 40_000]), ("b", &[b'x'; 40_000])]);
    let mut bomb = Vec::with_capacity(1000);
    Compress::new(Compression::best(), false).compress_vec(&many, &mut bomb, FlushCompress::Finish).unwrap();
    vec![
        ("no coding", Vec::new()),
        ("coding 2", [vec![2], one.clone()].concat()),
        ("names not sorted", plain(pairs(&[("b", b"1"), ("a", b"2")]))),
        ("a name twice", plain(pairs(&[("a", b"1"), ("a", b"2")]))),
        ("an upper-case name", plain(pairs(&[("A", b"1")]))),
        ("an empty name", plain(pairs(&[("", b"1")]))),
        ("a name with a space", plain(pairs(&[("a b", b"1")]))),
        ("a value with LF", plain(pairs(&[("a", b"1\n")]))),
        ("a value with CR", plain(pairs(&[("a", b"1\r")]))),
        ("a value with NUL", plain(pairs(&[("a", b"\0")]))),
        ("a value that ends early", plain(one[..one.len() - 1].to_vec())),
        ("above 64 KiB once inflated", [vec![1], bomb].concat()),
        ("bytes after the deflate stream", deflated(&one, b"x")),
        ("a deflate stream that does not end", [vec![1, 0], deflated(&one, b"")[2..].to_vec()].concat()),
        ("not deflate", vec![1, 0xFF, 0xFF]),
    ]
}
