//! Where ciphertext comes from: a filesystem backend's directory, an S3 server, a file. Read-only.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use bytes::{Buf as _, Bytes};
use futures_util::StreamExt as _;
use sealgate_data_plane::backend::fs::offline;
use sealgate_data_plane::backend::{
    Backend as _, ByteStream, Conditions, GetOptions, ListFrom, ListOptions, StoredRange,
};
use serde_json::Value;

use crate::connection::Client;
use crate::failure::{Exit, Failure, Outcome};

/// The largest file of metadata that is read, in bytes.
const MAX_METADATA: u64 = 1 << 20;

/// An object as stored.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its key.
    pub key: String,
    /// T: bytes of the body.
    pub size: u64,
    /// The backend's, to notice an overwrite.
    pub etag: String,
    /// User metadata: lower-case names without `x-amz-meta-`.
    pub metadata: BTreeMap<String, String>,
}

/// What a listing hands over, one object at a time.
pub type Each<'a> = &'a mut dyn FnMut(Outcome<String>) -> Outcome<()>;

/// A bucket, or something like it.
pub trait Source {
    /// What is known of an object.
    fn find(&self, key: &str) -> Outcome<Found>;

    /// The object's bytes from one on. Fails when it is another object by now.
    fn read<'a>(&'a self, found: &Found, from: u64) -> Outcome<Box<dyn Read + 'a>>;

    /// The keys with a prefix, ascending. An error is about one key, and the listing goes on, unless `each` ends it.
    fn list(&self, prefix: &str, each: Each<'_>) -> Outcome<()>;

    /// How a key is called in messages.
    fn name(&self, key: &str) -> String;

    /// A small object whole, at most `limit` bytes.
    fn small(&self, key: &str, limit: u64) -> Outcome<Vec<u8>> {
        let found = self.find(key)?;
        let mut bytes = Vec::new();
        let read = self.read(&found, 0)?.take(limit + 1).read_to_end(&mut bytes);
        read.map_err(|error| Failure::io(&self.name(key), &error))?;
        if bytes.len() as u64 > limit {
            return Err(Failure::integrity(&self.name(key), &format!("longer than {limit} bytes")));
        }
        Ok(bytes)
    }
}

fn overwritten(name: &str) -> Failure {
    Failure::new(Exit::Failure, format!("{name}: was overwritten while it was read"))
        .hint("run the command again")
}

/// A bucket of a filesystem backend.
pub struct Directory {
    root: PathBuf,
    bucket: String,
}

impl Directory {
    /// A bucket below the backend's directory.
    pub fn new(root: PathBuf, bucket: String) -> Self {
        Self { root, bucket }
    }

    fn failure(&self, key: &str, error: &io::Error) -> Failure {
        let failure = Failure::io(&self.name(key), error);
        if failure.exit() != Exit::NotFound {
            return failure;
        }
        if !self.root.join("buckets").is_dir() {
            return failure.hint(format!(
                "{} is not the directory of a filesystem backend (it has no buckets/)",
                self.root.display()
            ));
        }
        failure
            .hint("keys are spelled exactly, without a leading slash; `sealgate verify` lists what is there")
    }
}

impl Source for Directory {
    fn find(&self, key: &str) -> Outcome<Found> {
        let opened = offline::open(&self.root, &self.bucket, key);
        let (object, _) = opened.map_err(|error| self.failure(key, &error))?;
        Ok(Found { key: object.key, size: object.size, etag: object.etag, metadata: object.metadata })
    }

    fn read<'a>(&'a self, found: &Found, from: u64) -> Outcome<Box<dyn Read + 'a>> {
        let opened = offline::open_from(&self.root, &self.bucket, &found.key, from);
        let (object, reader) = opened.map_err(|error| self.failure(&found.key, &error))?;
        if object.etag != found.etag {
            return Err(overwritten(&self.name(&found.key)));
        }
        Ok(Box::new(reader))
    }

    fn list(&self, prefix: &str, each: Each<'_>) -> Outcome<()> {
        let listed = offline::list(&self.root, &self.bucket, prefix);
        for item in listed.map_err(|error| self.failure(prefix, &error))? {
            each(item.map(|object| object.key).map_err(|error| self.failure(prefix, &error)))?;
        }
        Ok(())
    }

    fn name(&self, key: &str) -> String {
        format!("{}: s3://{}/{key}", self.root.display(), self.bucket)
    }
}

/// A bucket of an S3 server, read with the backend's own credentials.
pub struct Server {
    client: Client,
    bucket: String,
}

impl Server {
    /// A bucket of the server.
    pub fn new(client: Client, bucket: String) -> Self {
        Self { client, bucket }
    }
}

impl Source for Server {
    fn find(&self, key: &str) -> Outcome<Found> {
        let head = self.client.run(self.client.backend.head(&self.bucket, key, GetOptions::default()));
        let meta = head.map_err(|error| Failure::s3(&self.name(key), &error))?;
        Ok(Found { key: key.to_owned(), size: meta.size, etag: meta.etag, metadata: meta.metadata })
    }

    fn read<'a>(&'a self, found: &Found, from: u64) -> Outcome<Box<dyn Read + 'a>> {
        if from >= found.size {
            return Ok(Box::new(io::empty()));
        }
        let name = self.name(&found.key);
        let if_match = Some(format!("\"{}\"", found.etag));
        let options = GetOptions {
            range: (from > 0).then_some(StoredRange::From(from)),
            conditions: Conditions { if_match, ..Conditions::default() },
            version_id: None,
            ..GetOptions::default()
        };
        let answer = self.client.run(self.client.backend.get(&self.bucket, &found.key, options));
        let answer = answer.map_err(|error| {
            if error.is("PreconditionFailed") { overwritten(&name) } else { Failure::s3(&name, &error) }
        })?;
        if answer.meta.etag != found.etag || answer.meta.size != found.size {
            return Err(overwritten(&name));
        }
        Ok(Box::new(Blocking { client: &self.client, stream: answer.body, piece: Bytes::new() }))
    }

    fn list(&self, prefix: &str, each: Each<'_>) -> Outcome<()> {
        let mut from = ListFrom::Start;
        loop {
            let options = ListOptions { prefix: prefix.to_owned(), delimiter: None, from, max_keys: 1000 };
            let page = self.client.run(self.client.backend.list_v2(&self.bucket, options));
            let page = page.map_err(|error| Failure::s3(&self.name(prefix), &error))?;
            page.entries.into_iter().try_for_each(|entry| each(Ok(entry.key)))?;
            match page.next {
                Some(token) => from = ListFrom::Token(token),
                None => return Ok(()),
            }
        }
    }

    fn name(&self, key: &str) -> String {
        format!("{}: s3://{}/{key}", self.client.endpoint, self.bucket)
    }
}

/// An answer's body, read where blocking is what is wanted.
struct Blocking<'a> {
    client: &'a Client,
    stream: ByteStream,
    piece: Bytes,
}

impl Read for Blocking<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.client.run(self.stream.next()) {
                None => return Ok(0),
                Some(Ok(piece)) => self.piece = piece,
                Some(Err(error)) => {
                    return Err(io::Error::new(io::ErrorKind::ConnectionAborted, error.to_string()));
                }
            }
        }
        let count = out.len().min(self.piece.len());
        self.piece.copy_to_slice(&mut out[..count]);
        Ok(count)
    }
}

/// A body in a file, perhaps with its metadata in another.
pub struct BareBody {
    path: PathBuf,
    size: u64,
    metadata: BTreeMap<String, String>,
}

impl BareBody {
    /// Opens both.
    ///
    /// # Errors
    /// When they cannot be read, or the metadata is no JSON object of texts.
    pub fn open(path: &Path, metadata: Option<&Path>) -> Outcome<Self> {
        let about = std::fs::metadata(path).map_err(|error| Failure::file(path, &error))?;
        let metadata = metadata.map_or_else(|| Ok(BTreeMap::new()), read_metadata)?;
        Ok(Self { path: path.to_owned(), size: about.len(), metadata })
    }
}

impl Source for BareBody {
    fn find(&self, key: &str) -> Outcome<Found> {
        let (size, metadata) = (self.size, self.metadata.clone());
        Ok(Found { key: key.to_owned(), size, etag: String::new(), metadata })
    }

    fn read<'a>(&'a self, _: &Found, from: u64) -> Outcome<Box<dyn Read + 'a>> {
        let opened =
            File::open(&self.path).and_then(|mut file| file.seek(SeekFrom::Start(from)).map(|_| file));
        Ok(Box::new(opened.map_err(|error| Failure::file(&self.path, &error))?))
    }

    fn list(&self, _: &str, _: Each<'_>) -> Outcome<()> {
        Ok(())
    }

    fn name(&self, _: &str) -> String {
        self.path.display().to_string()
    }
}

/// User metadata as tools print it: `{"Metadata": {…}}` of `aws s3api head-object`, or the object itself; names with or
/// without `x-amz-meta-`.
pub fn read_metadata(path: &Path) -> Outcome<BTreeMap<String, String>> {
    let mut text = String::new();
    let opened = File::open(path).and_then(|file| file.take(MAX_METADATA).read_to_string(&mut text));
    opened.map_err(|error| Failure::file(path, &error))?;
    let invalid = |why: &dyn std::fmt::Display| {
        Failure::usage(format!("{}: {why}", path.display()))
            .hint("use the JSON that `aws s3api head-object` prints, or {\"x-amz-meta-sealgate\": \"…\"}")
    };
    let value: Value = serde_json::from_str(&text).map_err(|error| invalid(&error))?;
    let fields = value.get("Metadata").unwrap_or(&value);
    let fields = fields.as_object().ok_or_else(|| invalid(&"not a JSON object"))?;
    let texts = fields.iter().filter_map(|(name, value)| {
        let name = name.to_ascii_lowercase();
        let name = name.strip_prefix("x-amz-meta-").unwrap_or(&name).to_owned();
        Some((name, value.as_str()?.to_owned()))
    });
    Ok(texts.collect())
}
