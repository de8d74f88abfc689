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

const PREFIX: &str = ".sealgate-";
const SUFFIX: &str = ".partial";

/// Whether a name is one that files have while they are written.
pub fn is_partial(name: &str) -> bool {
    let random = name.strip_prefix(PREFIX).and_then(|rest| rest.strip_suffix(SUFFIX));
    random.is_some_and(|random| random.len() == 16 && random.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

impl Target {
    /// A file, or stdout for `-`.
    ///
    /// # Errors
    /// When the directory is missing or cannot be written, or the path is a directory, a device or a pipe.
    pub fn open(path: &Path) -> Outcome<Self> {
        if path == Path::new("-") {
            return Ok(Self::Stdout(io::stdout()));
        }
        if path.is_dir() {
            return Err(Failure::usage(format!("{}: is a directory", path.display())).hint("name a file"));
        }
        // It would be replaced by the file.
        if path.metadata().is_ok_and(|there| !there.is_file()) {
            return Err(Failure::usage(format!("{}: is no regular file", path.display()))
                .hint("-o - writes to stdout, which can be sent to it"));
        }
        let mut random = [0_u8; 8];
        getrandom::fill(&mut random)
            .map_err(|_| Failure::new(Exit::Failure, "the system gives no randomness"))?;
        let temporary = path.with_file_name(format!("{PREFIX}{}{SUFFIX}", hex::encode(random)));
        // Plaintext: for whoever asked for it, unless they say otherwise.
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)
            .map_err(|error| Failure::file(path, &error))?;
        // Says to others that somebody is at it still. A file system without locks has none to ask for either.
        let _ = file.try_lock();
        Ok(Self::File { file, temporary, path: path.to_owned() })
    }

    /// Removes what a run that was killed left in a directory; what a process has open stays. Gives its subdirectories.
    ///
    /// # Errors
    /// The file system's.
    pub fn tidy(directory: &Path) -> io::Result<Vec<PathBuf>> {
        let mut below = Vec::new();
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                below.push(entry.path());
            } else if kind.is_file() && entry.file_name().to_str().is_some_and(is_partial) {
                let file = OpenOptions::new().write(true).open(entry.path())?;
                if file.try_lock().is_ok() {
                    fs::remove_file(entry.path())?;
                }
            }
        }
        Ok(below)
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

    use std::os::unix::fs::PermissionsExt as _;

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
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn what_a_killed_run_left_is_removed_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let left = dir.path().join(".sealgate-0123456789abcdef.partial");
        let others = ["sealgate-0123456789abcdef.partial", ".sealgate-0123.partial", "object"];
        for name in others {
            fs::write(dir.path().join(name), "mine").unwrap();
        }
        fs::create_dir(dir.path().join("below")).unwrap();
        let at_work = Target::open(&dir.path().join("out")).unwrap();
        fs::write(&left, "half").unwrap();
        assert_eq!(Target::tidy(dir.path()).unwrap(), [dir.path().join("below")]);
        assert!(!left.exists() && others.iter().all(|name| dir.path().join(name).exists()));
        at_work.commit().unwrap();
        assert!(dir.path().join("out").exists());
    }

    #[test]
    fn a_device_is_not_replaced_by_a_file() {
        let opened = Target::open(Path::new("/dev/null"));
        assert!(opened.is_err_and(|failure| failure.to_string().contains("no regular file")));
    }
}
