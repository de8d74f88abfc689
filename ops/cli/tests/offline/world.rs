//! A keyring, a card, and a bucket with objects of every kind; and the binary to run against them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use bytes::Bytes;
use futures_util::stream;
use sealgate_data_plane::backend::fs::FsBackend;
use sealgate_data_plane::backend::{Backend as _, PutOptions, Upload};
use sealgate_envelope::recovery_card::CardBucket;
use sealgate_envelope::{
    BucketId, Envelope, Ik, IkContext, IkId, IkRecord, Kind, Metadata, ObjectKeys, PartEntry, PartSealer,
    Recovery, RecoveryCard, Scope, Suite, TenantId, TrailerPlain, hidden, metadata, size,
};
use sealgate_kms::{Keyring, Unlock};
use tempfile::TempDir;

pub const BUCKET: &str = "photos";
pub const SINGLE: &str = "2026/ä b.jpg";
pub const PARTS: &str = "large/parts";
pub const EMPTY: &str = "empty";
pub const MARKER: &str = "directory/";
/// Plaintext bytes of the parts of [`PARTS`]: several chunks, an odd end, all but the last of at least 5 MiB.
pub const SIZES: [usize; 3] = [5 << 20, (5 << 20) + 70_001, 100_003];

/// The layout of `sealgate dev`, made by hand.
pub struct World {
    pub dir: TempDir,
    pub tenant: TenantId,
    pub bucket: BucketId,
    pub ik_id: IkId,
    pub ik: Ik,
    pub record: IkRecord,
    runtime: tokio::runtime::Runtime,
    backend: FsBackend,
}

/// An object as a backend keeps it.
pub struct Stored {
    pub body: Vec<u8>,
    pub metadata: BTreeMap<String, String>,
}

impl World {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("control-plane")).unwrap();
        std::fs::write(dir.path().join("control-plane/keyring.key"), [7; 32]).unwrap();
        let unlock = Unlock::key_file(&dir.path().join("control-plane/keyring.key")).unwrap();
        let mut keyring = Keyring::create(&dir.path().join("control-plane/keyring.json"), &unlock).unwrap();
        let kek = keyring.create_kek("tenant", 1).unwrap();
        let (tenant, bucket) = (TenantId::random().unwrap(), BucketId::random().unwrap());
        let (ik_id, ik) = (IkId::random().unwrap(), Ik::generate().unwrap());
        let record = record(&keyring, (tenant, bucket), &kek, ik_id, &ik);
        let card = CardBucket { tenant, bucket, name: BUCKET.to_owned() };
        let card = RecoveryCard::new(vec![card], vec![kek]).unwrap();
        std::fs::write(dir.path().join("recovery"), card.to_string()).unwrap();
        let backend = FsBackend::open(dir.path().join("backend")).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(backend.create_bucket(BUCKET)).unwrap();
        let world = Self { dir, tenant, bucket, ik_id, ik, record, runtime, backend };
        let record = Stored { body: world.record.to_bytes().unwrap(), metadata: BTreeMap::new() };
        world.put(&hidden::ik_record_name(&world.record).unwrap(), &record);
        world
    }

    /// All kinds of objects.
    pub fn with_objects() -> Self {
        let world = Self::new();
        world.put(SINGLE, &world.single(SINGLE, &plaintext(200_000)));
        world.put(PARTS, &world.multipart(PARTS, &SIZES));
        world.put(EMPTY, &world.single(EMPTY, &[]));
        let marker = Stored { body: Vec::new(), ..world.single(MARKER, &[]) };
        world.put(MARKER, &marker);
        world
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        std::fs::write(self.path(name), bytes).unwrap();
        self.path(name)
    }

    pub fn put(&self, key: &str, stored: &Stored) {
        let body = Bytes::from(stored.body.clone());
        let upload = Upload { length: body.len() as u64, stream: Box::pin(stream::iter([Ok(body)])) };
        let options = PutOptions { metadata: stored.metadata.clone(), ..PutOptions::default() };
        self.runtime.block_on(self.backend.put(BUCKET, key, options, upload)).unwrap();
    }

    pub fn single(&self, key: &str, plain: &[u8]) -> Stored {
        let keys = ObjectKeys::generate(Suite::Aes256Gcm).unwrap();
        let mut body = seal_part(&mut PartSealer::new(&keys, 0).unwrap(), plain);
        body.extend(self.trailer(&keys, Kind::Single, plain.len() as u64, Vec::new()));
        Stored { body, metadata: self.metadata(&keys, key, Some(plain.len() as u64)) }
    }

    /// Parts with the numbers 2, 4, 6, …, of the other suite.
    pub fn multipart(&self, key: &str, sizes: &[usize]) -> Stored {
        let keys = ObjectKeys::generate(Suite::ChaCha20Poly1305).unwrap();
        let plain = plaintext(sizes.iter().sum());
        let (mut body, mut entries, mut rest) = (Vec::new(), Vec::new(), plain.as_slice());
        for (at, len) in sizes.iter().enumerate() {
            let number = u16::try_from(2 * (at + 1)).unwrap();
            let (part, after) = rest.split_at(*len);
            rest = after;
            let mut sealer = PartSealer::new(&keys, number).unwrap();
            body.extend(seal_part(&mut sealer, part));
            let (salt, etag) = (sealer.salt(), [number as u8; 16]);
            entries.push(PartEntry { number, size: *len as u64, salt, etag, checksum: None });
        }
        body.extend(self.trailer(&keys, Kind::Multipart, plain.len() as u64, entries));
        Stored { body, metadata: self.metadata(&keys, key, None) }
    }

    fn trailer(&self, keys: &ObjectKeys, kind: Kind, len: u64, parts: Vec<PartEntry>) -> Vec<u8> {
        let recovery = Recovery::seal(keys, kind, self.ik_id, &self.ik, self.tenant, self.bucket).unwrap();
        let plain = TrailerPlain { plaintext_len: len, parts, checksums: Vec::new() };
        plain.seal(keys, &recovery).unwrap()
    }

    fn metadata(&self, keys: &ObjectKeys, key: &str, len: Option<u64>) -> BTreeMap<String, String> {
        let scope = Scope { tenant: self.tenant, bucket: self.bucket, key: key.as_bytes() };
        let envelope = Envelope::seal_object(keys, len, true, self.ik_id, &self.ik, &scope).unwrap();
        // Long and repetitive: it is stored deflated.
        let values = [("content-type", b"image/jpeg".to_vec()), ("x-amz-meta-note", b"again ".repeat(200))];
        let values: Metadata = values.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let sealed = metadata::seal(keys, &envelope, &values).unwrap();
        assert!(sealed.len() < 300, "deflated");
        let pairs = [("sealgate", envelope.to_header()), ("sealgatemeta", sealed)];
        pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// Runs the binary with nothing of this machine's environment but a backend's credentials.
    pub fn run(&self, arguments: &[&str]) -> Run {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sealgate"));
        command.env_clear().current_dir(self.dir.path()).args(arguments);
        command.env("AWS_ACCESS_KEY_ID", "backend-id").env("AWS_SECRET_ACCESS_KEY", "backend-secret");
        Run(command.output().unwrap())
    }

    /// The same with `--data` and an output file, whose contents it gives.
    pub fn decrypt(&self, arguments: &[&str]) -> (Run, Option<Vec<u8>>) {
        let data = self.dir.path().to_str().unwrap();
        let run = self.run(&[&["decrypt", "--data", data, "-o", "out"], arguments].concat());
        let written = std::fs::read(self.path("out")).ok();
        let partial = std::fs::read_dir(self.dir.path()).unwrap();
        let names = partial.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        assert!(!names.into_iter().any(|name| name.ends_with(".partial")), "nothing half is left");
        (run, written)
    }
}

/// What the binary answered.
pub struct Run(Output);

impl Run {
    pub fn code(&self) -> i32 {
        self.0.status.code().unwrap()
    }

    pub fn stdout(&self) -> &[u8] {
        &self.0.stdout
    }

    pub fn stdout_json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.0.stdout).unwrap_or_else(|error| panic!("{error}: {}", self.stderr()))
    }

    pub fn stderr(&self) -> String {
        String::from_utf8(self.0.stderr.clone()).unwrap()
    }

    /// That it failed with this code and said this.
    pub fn failed(&self, code: i32, saying: &str) {
        let stderr = self.stderr();
        assert_eq!(self.code(), code, "{stderr}");
        assert!(stderr.contains(saying), "{saying:?} is not in: {stderr}");
    }

    pub fn succeeded(&self) {
        assert_eq!(self.code(), 0, "{}", self.stderr());
    }
}

/// A record as the KMS wraps it.
pub fn record(keyring: &Keyring, pair: (TenantId, BucketId), kek: &str, ik_id: IkId, ik: &Ik) -> IkRecord {
    let context = IkContext {
        tenant: pair.0,
        bucket: pair.1,
        ik: ik_id,
        created: 1_790_000_000,
        kek: kek.to_owned(),
        kek_version: "1".to_owned(),
    };
    let wrapped = keyring.wrap(kek, "1", &context.to_bytes().unwrap(), ik).unwrap();
    IkRecord { context, wrapped }
}

/// Bytes that differ from place to place.
pub fn plaintext(len: usize) -> Vec<u8> {
    (0..len as u64).map(|i| (i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect()
}

fn seal_part(sealer: &mut PartSealer, plain: &[u8]) -> Vec<u8> {
    let count = plain.len().div_ceil(size::CHUNK);
    let mut stored = Vec::new();
    for (at, chunk) in plain.chunks(size::CHUNK).enumerate() {
        let mut out = vec![0; chunk.len() + size::CHUNK_OVERHEAD];
        sealer.seal_into(chunk, &mut out, at + 1 == count).unwrap();
        stored.extend(out);
    }
    stored
}

/// Where the only body of an object of this many bytes lies.
pub fn body_file(root: &Path, size: usize) -> PathBuf {
    fn walk(dir: &Path, size: usize, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, size, found);
            } else if path.extension().is_some_and(|end| end == "body")
                && path.metadata().unwrap().len() == size as u64
            {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(root, size, &mut found);
    assert_eq!(found.len(), 1, "one body of that size");
    found.remove(0)
}
