//! The files that AWS tools share: `credentials` and `config`, with one section a profile.

use std::collections::BTreeMap;
use std::path::Path;

use zeroize::Zeroizing;

use crate::failure::{Failure, Outcome};

/// The largest file that is read, in bytes.
const MAX_FILE: u64 = 1 << 20;
/// What one that does not tell its size, a pipe, is expected to have at most.
const USUAL: u64 = 16 << 10;

/// Which of the two spellings of a section's name a file uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sections {
    /// `[name]`
    Credentials,
    /// `[profile name]`, and `[default]`
    Config,
}

/// The settings of one profile; nothing when the file is not there or has no such section. Values may be secret.
pub fn read(path: &Path, sections: Sections, profile: &str) -> Outcome<BTreeMap<String, Zeroizing<String>>> {
    use std::io::Read as _;
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(Failure::file(path, &error)),
    };
    // Capacity first: a growing buffer would leave copies of the secrets behind.
    let length = file.metadata().map_or(0, |about| about.len()).clamp(USUAL, MAX_FILE);
    let mut text = Zeroizing::new(String::with_capacity(usize::try_from(length).unwrap_or(0) + 1));
    file.take(MAX_FILE).read_to_string(&mut text).map_err(|error| Failure::file(path, &error))?;
    Ok(parse(&text, sections, profile))
}

fn parse(text: &str, sections: Sections, profile: &str) -> BTreeMap<String, Zeroizing<String>> {
    let mut settings = BTreeMap::new();
    let mut inside = false;
    for line in text.lines() {
        // Indented lines are nested settings of services; none of them is ours.
        if line.starts_with([' ', '\t', '#', ';']) {
            continue;
        }
        if let Some(name) = line.trim_end().strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            inside = match sections {
                Sections::Config if profile != "default" => {
                    name.trim().strip_prefix("profile ").is_some_and(|name| name.trim() == profile)
                }
                _ => name.trim() == profile,
            };
        } else if let (true, Some((name, value))) = (inside, line.split_once('=')) {
            settings.insert(name.trim().to_lowercase(), Zeroizing::new(value.trim().to_owned()));
        }
    }
    settings
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::*;

    const CONFIG: &str = "# c\n[default]\nregion = r0\n[profile other]\nregion=r1\ns3 =\n  endpoint_url = nested\n\
                          endpoint_url = http://x\n[services y]\nregion = r2\n";

    #[test]
    fn sections_and_settings() {
        let other = parse(CONFIG, Sections::Config, "other");
        assert_eq!(other["region"].as_str(), "r1");
        assert_eq!(other["endpoint_url"].as_str(), "http://x");
        assert_eq!(parse(CONFIG, Sections::Config, "default")["region"].as_str(), "r0");
        assert!(parse(CONFIG, Sections::Config, "y").is_empty());
        assert!(parse(CONFIG, Sections::Credentials, "other").is_empty());
        let keys = parse("[other]\naws_access_key_id = A=B\n", Sections::Credentials, "other");
        assert_eq!(keys["aws_access_key_id"].as_str(), "A=B");
    }

    #[test]
    fn a_file_with_a_secret_is_wiped() {
        use std::io::Write as _;

        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("credentials");
        let (secret, needle) = crate::memory::Needle::new(40);
        let mut file = std::fs::File::create(&path).unwrap();
        file.write_all(b"[p]\naws_access_key_id = A\naws_secret_access_key = ").unwrap();
        file.write_all(secret.as_bytes()).unwrap();
        // More than a buffer that grows begins with, and than is usual.
        file.write_all(&[&b"\n"[..], &b"# filler\n".repeat(4_000)].concat()).unwrap();
        drop(file);
        let found = read(&path, Sections::Credentials, "p").unwrap();
        assert!(found["aws_secret_access_key"] == secret && needle.found().unwrap() > 0);
        drop((found, secret));
        assert_eq!(needle.found().unwrap(), 0);
    }
}
