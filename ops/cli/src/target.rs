//! Where a command writes data: a file that appears whole or not at all, or stdout.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Stdout, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::failure::{Exit, Failure, Outcome};

/// An output. A file is written beside its place and renamed by [`Target::commit`]; dropped before that, it is removed.
pub enum Target {
    /// Not yet where it belongs.
    File {
        /// Open for writing.
        file: File,
        /// Its name for now.
        temporary: PathBuf,
        /// Its name when it is complete.
        path: PathBuf,
    },
    /// What is written is out.
    Stdout(Stdout),
    /// Nothing is kept.
    Nowhere,
}

impl Target {
    /// A file, or stdout for `-`.
    ///
    /// # Errors
    /// When the directory is missing or cannot be written, or the path is a directory.
    pub fn open(path: &Path) -> Outcome<Self> {
        if path == Path::new("-") {
            return Ok(Self::Stdout(io::stdout()));
        }
        if path.is_dir() {
            return Err(Failure::usage(format!("{}: is a directory", path.display())).hint("name a file"));
        }
        let mut random = [0_u8; 8];
        getrandom::fill(&mut random)
            .map_err(|_| Failure::new(Exit::Failure, "the system gives no randomness"))?;
        let temporary = path.with_file_name(format!(".sealgate-{}.partial", hex::encode(random)));
        // Plaintext: for whoever asked for it, unless they say otherwise.
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)
            .map_err(|error| Failure::file(path, &error))?;
        Ok(Self::File { file, temporary, path: path.to_owned() })
    }

    /// Whether stdout is taken by the data.
    pub fn is_stdout(&self) -> bool {
        matches!(self, Self::Stdout(_))
    }

    /// Makes what was written durable and gives it its name.
    ///
    /// # Errors
    /// The file system's; the file is gone then.
    pub fn commit(mut self) -> Outcome<()> {
        match &mut self {
            Self::File { file, temporary, path } => {
                let done = file.sync_all().and_then(|()| fs::rename(&*temporary, &*path));
                done.map_err(|error| Failure::file(path, &error))
            }
            Self::Stdout(out) => out.flush().map_err(|error| Failure::io(&"stdout", &error)),
            Self::Nowhere => Ok(()),
        }
    }

    /// Its name, for messages.
    pub fn name(&self) -> String {
        match self {
            Self::File { path, .. } => path.display().to_string(),
            Self::Stdout(_) => "stdout".to_owned(),
            Self::Nowhere => "nowhere".to_owned(),
        }
    }
}

impl Write for Target {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::File { file, .. } => file.write(bytes),
            Self::Stdout(out) => out.write(bytes),
            Self::Nowhere => Ok(bytes.len()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::File { file, .. } => file.flush(),
            Self::Stdout(out) => out.flush(),
            Self::Nowhere => Ok(()),
        }
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if let Self::File { temporary, .. } = self {
            // After a commit there is nothing of that name.
            let _ = fs::remove_file(temporary);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::*;

    #[test]
    fn a_file_appears_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        let mut target = Target::open(&path).unwrap();
        target.write_all(b"half").unwrap();
        drop(target);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        let mut target = Target::open(&path).unwrap();
        target.write_all(b"whole").unwrap();
        assert!(!path.exists());
        target.commit().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"whole");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert!(Target::open(dir.path()).is_err());
    }
}
