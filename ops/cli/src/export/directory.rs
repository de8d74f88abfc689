//! Into a directory: a file a key, below `objects/`, by the key's own name. A key that has no such name on this file system is refused,
//! never bent: two keys must not meet in one file, and none may leave the directory.

use std::cell::RefCell;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use indicatif::ProgressBar;
use sha2::{Digest as _, Sha256};

use super::manifest::{Line, Manifest, Of};
use super::{About, tags};
use crate::connection::Client;
use crate::failure::{Exit, Failure, Outcome};
use crate::location::Location;
use crate::target::{Target, is_partial};
use crate::transfer::get::fetch;

/// Of a component, in bytes: every common file system's.
const MAX_NAME: usize = 255;

/// The directory.
pub struct Directory {
    objects: PathBuf,
}

impl Directory {
    /// Makes it unless it is there.
    ///
    /// # Errors
    /// The file system's.
    pub fn open(root: &Path) -> Outcome<Self> {
        let objects = root.join("objects");
        // Plaintext: for whoever exports it, unless they say otherwise.
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&objects);
        made.map_err(|error| Failure::file(&objects, &error))?;
        Ok(Self { objects })
    }

    /// Removes what a run that was killed left half written.
    ///
    /// # Errors
    /// The file system's.
    pub fn tidy(&self) -> Outcome<()> {
        let mut directories = vec![self.objects.clone()];
        while let Some(directory) = directories.pop() {
            let below = Target::tidy(&directory);
            directories.extend(below.map_err(|error| Failure::file(&directory, &error))?);
        }
        Ok(())
    }

    /// Whether a key's file is there with this size.
    ///
    /// # Errors
    /// For a key that has none.
    pub fn has(&self, key: &str, size: u64) -> Outcome<bool> {
        let about = fs::symlink_metadata(self.path(key)?);
        Ok(about.is_ok_and(|about| if key.ends_with('/') { about.is_dir() } else { about.len() == size }))
    }

    /// Brings an object there. `was_here`: what lies under its name may be replaced, since it is this key's. Otherwise the name must be
    /// free; the manifest says whose it is, and an empty file takes it, which no second key can on any file system.
    ///
    /// # Errors
    /// [`Exit::Usage`] for a key that has no file name, else the gateway's and the file system's.
    pub async fn export(
        &self,
        client: &Client,
        from: &Location,
        was_here: bool,
        manifest: &RefCell<Manifest>,
    ) -> Outcome<Line> {
        let path = self.path(&from.key)?;
        let taken = |error: io::Error| match error.kind() {
            io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory => {
                refused(&from.key, "something lies under its file name already")
            }
            io::ErrorKind::InvalidFilename => refused(&from.key, "its file name would be too long"),
            _ => Failure::file(&path, &error),
        };
        let marker = from.key.ends_with('/');
        self.directories(if marker { &path } else { path.parent().unwrap_or(&path) }).map_err(taken)?;
        let reserved = match (marker, was_here) {
            (true, _) => None,
            (false, true) => {
                let about = fs::symlink_metadata(&path);
                if about.is_ok_and(|about| !about.is_file()) {
                    return Err(taken(io::ErrorKind::AlreadyExists.into()));
                }
                None
            }
            (false, false) => Some(Reserved::new(&path, &from.key, manifest, taken)?),
        };
        let target = if marker { Target::Nowhere } else { Target::open(&path)? };
        let mut hashed = Hashed { target, hash: Sha256::new(), bytes: 0 };
        let meta = fetch(client, from, None, &mut hashed, |_| ProgressBar::hidden()).await?;
        if marker && hashed.bytes > 0 {
            return Err(refused(&from.key, "it ends in / and has content"));
        }
        let tags = tags(client, from, &meta, &Of::Current).await?;
        let about = About::new(from, meta, tags)?;
        hashed.target.commit()?;
        if let Some(reserved) = reserved {
            reserved.keep();
        }
        Ok(about.line(&from.key, Of::Current, Some(hex::encode(hashed.hash.finalize()))))
    }

    /// Makes directories, none of which may lead elsewhere.
    fn directories(&self, wanted: &Path) -> io::Result<()> {
        let below = wanted.strip_prefix(&self.objects).map_err(io::Error::other)?;
        let mut path = self.objects.clone();
        for component in below.components() {
            path.push(component);
            match fs::symlink_metadata(&path) {
                Ok(about) if about.is_dir() => {}
                Ok(_) => return Err(io::ErrorKind::NotADirectory.into()),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    match fs::DirBuilder::new().mode(0o700).create(&path) {
                        // Another object of the same directory was faster.
                        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
                        made => made?,
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The path of a key's file.
    fn path(&self, key: &str) -> Outcome<PathBuf> {
        match unsafe_part(key) {
            Some(why) => Err(refused(key, why)),
            None => Ok(self.objects.join(key.strip_suffix('/').unwrap_or(key))),
        }
    }
}

/// Why a key is no relative path of its own spelling.
fn unsafe_part(key: &str) -> Option<&'static str> {
    let key = key.strip_suffix('/').unwrap_or(key);
    if key.contains('\0') {
        return Some("it holds a NUL");
    }
    key.split('/').find_map(|component| match component {
        "" => Some("it begins with / or holds //"),
        "." | ".." => Some("it holds . or .. as a directory"),
        partial if is_partial(partial) => Some("files that are being written have such names"),
        long if long.len() > MAX_NAME => Some("a component has more than 255 bytes"),
        _ => None,
    })
}

fn refused(key: &str, why: &str) -> Failure {
    Failure::new(Exit::Usage, format!("{key:?} cannot be a file below the directory: {why}"))
        .hint("export to an S3 server, which takes every key, or `sealgate get` it under another name")
}

/// A file name that was free, and a key's in the manifest; both given back when nothing came there.
struct Reserved<'a> {
    /// Where a file of ours lies.
    path: Option<PathBuf>,
    kept: bool,
    key: &'a str,
    manifest: &'a RefCell<Manifest>,
}

impl<'a> Reserved<'a> {
    /// Takes it; `taken` says why that cannot be.
    fn new(
        path: &Path,
        key: &'a str,
        manifest: &'a RefCell<Manifest>,
        taken: impl Fn(io::Error) -> Failure,
    ) -> Outcome<Self> {
        match fs::symlink_metadata(path) {
            Ok(_) => return Err(taken(io::ErrorKind::AlreadyExists.into())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(taken(error)),
        }
        // In the manifest first: a run killed between the two would leave a file that is nobody's.
        manifest.borrow_mut().begin(key)?;
        let mut reserved = Self { path: None, kept: false, key, manifest };
        // Where somebody was faster, it is dropped without a path and leaves their file alone.
        fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(taken)?;
        reserved.path = Some(path.to_owned());
        Ok(reserved)
    }

    fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        if let Some(path) = &self.path {
            let _ = fs::remove_file(path);
        }
        // Without this line the key would own what others put there later.
        let _ = self.manifest.borrow_mut().give_back(self.key);
    }
}

/// Writes and hashes.
struct Hashed {
    target: Target,
    hash: Sha256,
    bytes: u64,
}

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.target.write(bytes)?;
        let (written_bytes, _) = bytes.split_at(written);
        self.hash.update(written_bytes);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.target.flush()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::*;

    #[test]
    fn no_key_leaves_the_directory() {
        let long = "x".repeat(256);
        let partial = "a/.sealgate-0123456789abcdef.partial";
        for key in [
            "../x",
            "a/../../x",
            "/etc/passwd",
            "a//b",
            ".",
            "..",
            "a/./b",
            "a\0b",
            "",
            "/",
            "a//",
            &long,
            partial,
        ] {
            assert!(unsafe_part(key).is_some(), "{key:?}");
        }
        for key in ["a", "a/b", "a/", "..a/b..", ".hidden", "ä ö/日本", "C:\\x"] {
            assert_eq!(unsafe_part(key), None, "{key:?}");
        }
    }

    #[test]
    fn a_name_is_a_keys_before_a_file_lies_there_and_nobodys_when_nothing_came() {
        let dir = tempfile::tempdir().unwrap();
        let (path, lines) = (dir.path().join("file"), dir.path().join("manifest"));
        let manifest = || RefCell::new(Manifest::open(&lines, "s3://a", "out", false).unwrap());
        let owned = || manifest().borrow().known("key", &Of::Current).is_some();
        let taken = |error: io::Error| Failure::usage(error.to_string());
        // The order: where the manifest cannot be written, nothing lies there.
        fs::write(&lines, "").unwrap();
        let unwritable = RefCell::new(Manifest::unwritable(&lines));
        assert!(Reserved::new(&path, "key", &unwritable, taken).is_err());
        assert!(!path.exists(), "a file that the manifest does not know");
        // Nothing came: the name is free, and others may have it.
        let first = manifest();
        let reserved = Reserved::new(&path, "key", &first, taken).unwrap();
        assert!(path.exists() && owned());
        drop(reserved);
        assert!(!path.exists() && !owned());
        // It came.
        Reserved::new(&path, "key", &first, taken).unwrap().keep();
        assert!(path.exists() && owned());
        // Another's: it stays, and is not this key's.
        assert!(Reserved::new(&path, "other", &first, taken).is_err());
        assert!(path.exists() && manifest().borrow().known("other", &Of::Current).is_none());
    }

    #[test]
    fn no_link_leads_out_of_it() {
        let (dir, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let directory = Directory::open(dir.path()).unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), directory.objects.join("link")).unwrap();
        assert!(directory.directories(&directory.objects.join("link/below")).is_err());
        assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
    }
}
