//! What was exported: a file of JSON lines. The first says from where to where; one with `begins` takes a file's name for a key,
//! one with `gives_back` leaves it to others, each other one is an object in its place.

use std::collections::{BTreeMap, HashMap};
use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::failure::{Failure, Outcome};

/// Which of a key's objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Of {
    /// The current one, whichever it is.
    Current,
    /// A version, by its id at the gateway.
    Version(String),
    /// A delete marker, by its id there.
    DeleteMarker(String),
}

impl Of {
    /// The id, where it has one.
    pub fn version_id(&self) -> Option<&str> {
        match self {
            Self::Current => None,
            Self::Version(id) | Self::DeleteMarker(id) => Some(id),
        }
    }
}

/// An object that was exported.
pub struct Line {
    /// The key.
    pub key: String,
    /// Which of its objects.
    pub of: Of,
    /// Bytes.
    pub size: u64,
    /// The gateway's ETag: whether the object has changed since.
    pub etag: String,
    /// The object's last modification.
    pub modified: SystemTime,
    /// Of what was written, in hex; none where it was not gathered.
    pub sha256: Option<String>,
    /// User metadata.
    pub metadata: BTreeMap<String, String>,
    /// Content-Type and the like.
    pub headers: BTreeMap<String, String>,
    /// Tags.
    pub tags: Vec<(String, String)>,
}

impl Line {
    /// As it stands in the manifest.
    pub fn to_json(&self) -> Value {
        let tags: serde_json::Map<_, _> =
            self.tags.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
        let mut line = json!({
            "key": self.key, "size": self.size, "etag": self.etag,
            "modified": OffsetDateTime::from(self.modified).format(&Rfc3339).unwrap_or_default(),
            "sha256": self.sha256, "metadata": self.metadata, "headers": self.headers, "tags": tags,
        });
        if let Some(id) = self.of.version_id() {
            line["version"] = json!(id);
            line["delete_marker"] = json!(matches!(self.of, Of::DeleteMarker(_)));
        }
        line
    }

    /// Of a delete marker.
    pub fn of_marker(key: &str, of: Of, modified: SystemTime) -> Self {
        let (metadata, headers) = (BTreeMap::new(), BTreeMap::new());
        let (key, etag) = (key.to_owned(), String::new());
        Self { key, of, size: 0, etag, modified, sha256: None, metadata, headers, tags: Vec::new() }
    }
}

/// The manifest of one export.
pub struct Manifest {
    path: PathBuf,
    file: File,
    /// By key and version: of the last line about it.
    known: HashMap<Name, Known>,
}

/// What an object was when it was exported.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Its ETag; empty where only its file's name is taken.
    etag: String,
    /// Its last modification, in Unix seconds.
    modified: i64,
}

impl Known {
    /// Whether it is what a listing shows. The ETag alone does not tell: an object that was copied onto itself with other metadata keeps
    /// it, and so does the same content that was put again into a plain prefix.
    pub fn is(&self, etag: &str, modified: SystemTime) -> bool {
        self.etag == etag && self.modified == OffsetDateTime::from(modified).unix_timestamp()
    }
}

/// Key, and the id of a version.
type Name = (String, Option<String>);

impl Manifest {
    /// Opens or begins one. `versions`: of all versions, not only the current ones.
    ///
    /// # Errors
    /// When it is another export's, or cannot be read or written.
    pub fn open(path: &Path, from: &str, to: &str, versions: bool) -> Outcome<Self> {
        let failed = |error| Failure::file(path, &error);
        // It tells what is in the bucket: for whoever exports it.
        let mut file = OpenOptions::new();
        let mut file = file.read(true).append(true).create(true).mode(0o600).open(path).map_err(failed)?;
        let first = json!({"export": from, "to": to, "versions": versions});
        let (mut known, mut whole) = (HashMap::new(), 0);
        let mut reader = BufReader::new(&file);
        let mut line = String::new();
        while reader.read_line(&mut line).map_err(failed)? > 0 && line.ends_with('\n') {
            let read: Value = serde_json::from_str(&line).unwrap_or(Value::Null);
            match (whole, read["key"].as_str(), read["etag"].as_str()) {
                (0, ..) if read == first => {}
                (0, ..) => {
                    return Err(Failure::usage(format!(
                        "{}: is the manifest of another export",
                        path.display()
                    ))
                    .hint("name another with --manifest, or another target"));
                }
                (_, Some(key), Some(etag)) => {
                    let name = (key.to_owned(), read["version"].as_str().map(str::to_owned));
                    let modified =
                        OffsetDateTime::parse(read["modified"].as_str().unwrap_or_default(), &Rfc3339);
                    let modified = modified.map_or(i64::MIN, OffsetDateTime::unix_timestamp);
                    known.insert(name, Known { etag: etag.to_owned(), modified });
                }
                (_, None, None) if read["begins"].is_string() => {
                    let key = read["begins"].as_str().unwrap_or_default().to_owned();
                    // Never an object's ETag: it is exported anew.
                    known.entry((key, None)).or_default();
                }
                (_, None, None) if read["gives_back"].is_string() => {
                    let key = read["gives_back"].as_str().unwrap_or_default().to_owned();
                    known.remove(&(key, None));
                }
                _ => {
                    return Err(Failure::integrity(&path.display(), &"a line is no object of an export")
                        .hint("remove the line, or begin anew with another --manifest"));
                }
            }
            whole += line.len() as u64;
            line.clear();
        }
        drop(reader);
        // A line that a crash cut: the object is exported again.
        file.set_len(whole).map_err(failed)?;
        file.seek(SeekFrom::End(0)).map_err(failed)?;
        let mut manifest = Self { path: path.to_owned(), file, known };
        if whole == 0 {
            manifest.write(&first)?;
        }
        Ok(manifest)
    }

    /// What an object was when it was exported.
    pub fn known(&self, key: &str, of: &Of) -> Option<&Known> {
        self.known.get(&(key.to_owned(), of.version_id().map(str::to_owned)))
    }

    /// Notes that what will lie under a key's file name, which is free, is this key's.
    ///
    /// # Errors
    /// The file's.
    pub fn begin(&mut self, key: &str) -> Outcome<()> {
        self.write(&json!({"begins": key}))
    }

    /// Takes back [`Manifest::begin`]: the file is not the key's after all.
    ///
    /// # Errors
    /// The file's.
    pub fn give_back(&mut self, key: &str) -> Outcome<()> {
        self.write(&json!({"gives_back": key}))
    }

    /// Adds an object that is whole in its place.
    ///
    /// # Errors
    /// The file's.
    pub fn add(&mut self, line: &Line) -> Outcome<()> {
        self.write(&line.to_json())?;
        let name = (line.key.clone(), line.of.version_id().map(str::to_owned));
        let modified = OffsetDateTime::from(line.modified).unix_timestamp();
        self.known.insert(name, Known { etag: line.etag.clone(), modified });
        Ok(())
    }

    /// Makes what was added durable.
    ///
    /// # Errors
    /// The file's.
    pub fn sync(&mut self) -> Outcome<()> {
        self.file.sync_all().map_err(|error| Failure::file(&self.path, &error))
    }

    /// One whose every write fails.
    #[cfg(test)]
    pub fn unwritable(path: &Path) -> Self {
        let file = File::open(path).unwrap_or_else(|error| unreachable!("{error}"));
        Self { path: path.to_owned(), file, known: HashMap::new() }
    }

    fn write(&mut self, line: &Value) -> Outcome<()> {
        let line = format!("{line}\n");
        self.file.write_all(line.as_bytes()).map_err(|error| Failure::file(&self.path, &error))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::*;

    fn line(key: &str, of: Of) -> Line {
        Line {
            key: key.to_owned(),
            of,
            size: 1,
            etag: format!("e-{key}"),
            modified: SystemTime::UNIX_EPOCH,
            sha256: None,
            metadata: BTreeMap::new(),
            headers: BTreeMap::new(),
            tags: Vec::new(),
        }
    }

    #[test]
    fn a_cut_line_is_forgotten_and_another_export_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m");
        let mut manifest = Manifest::open(&path, "s3://a", "out", true).unwrap();
        let version = Of::Version("v".to_owned());
        manifest.add(&line("one", version.clone())).unwrap();
        manifest.add(&line("two\nlines", Of::Current)).unwrap();
        drop(manifest);
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 3]).unwrap();
        let mut manifest = Manifest::open(&path, "s3://a", "out", true).unwrap();
        let one = manifest.known("one", &version).unwrap();
        assert!(one.is("e-one", SystemTime::UNIX_EPOCH));
        assert!(!one.is("e-two", SystemTime::UNIX_EPOCH), "other content");
        let later = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1);
        assert!(!one.is("e-one", later), "the same ETag with other metadata, or written again");
        assert_eq!(manifest.known("one", &Of::Current), None);
        assert_eq!(manifest.known("two\nlines", &Of::Current), None);
        manifest.add(&line("two\nlines", Of::Current)).unwrap();
        drop(manifest);
        assert_eq!(std::fs::read(&path).unwrap(), whole);
        for (from, to, versions) in
            [("s3://b", "out", true), ("s3://a", "elsewhere", true), ("s3://a", "out", false)]
        {
            assert!(Manifest::open(&path, from, to, versions).is_err(), "{from} {to} {versions}");
        }
    }
}
