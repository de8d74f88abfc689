//! How a bucket and a key become paths, and back.
//!
//! A key is any UTF-8 text, a path is not. The key is cut at each `/`; each component is escaped (every byte but
//! `A-Z a-z 0-9 . _ -` becomes `%XX`) and tagged by a first letter, so that no name is empty, `.` or `..`, and so that
//! the object `a` (`La`) and the objects under `a/` (`Da`) lie side by side:
//!
//! - `L…`: the last component, a metadata file; `D…`: any other, a directory;
//! - `C…`: the first 80 bytes of what is left of a component of 80 bytes or more, a directory; the rest follows in it.
//!
//! Cutting at 80 bytes of the key, not of the escaped text, keeps a directory sortable: `L` and `D` names hold fewer
//! than 80 bytes, `C` names exactly 80, so no name's keys lie between another's.

use std::path::{Path, PathBuf};

/// Bytes of a component in one name: 241 at most when every one is escaped, below the 255 of every file system.
const PIECE: usize = 80;
/// S3's limit for keys, in bytes.
pub(crate) const MAX_KEY: usize = 1024;

/// What a name in the tree stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tag {
    /// A metadata file: a key ends here.
    Leaf,
    /// A directory: a `/` follows.
    Directory,
    /// A directory: more of the same component follows.
    Continued,
}

/// Whether S3 allows the bucket name: 3 to 63 of `a-z 0-9 . -`, letters or digits at the ends, no two dots in a row.
/// Such a name is a safe file name, too.
pub(crate) fn is_bucket_name(name: &str) -> bool {
    let edge = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let bytes = name.as_bytes();
    (3..=63).contains(&bytes.len())
        && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-'))
        && edge(bytes.first())
        && edge(bytes.last())
        && !name.contains("..")
}

/// The path of a key's metadata file below `tree`, or none when S3 doesn't allow the key (empty or over 1,024 bytes).
pub(crate) fn leaf_path(tree: &Path, key: &str) -> Option<PathBuf> {
    if key.is_empty() || key.len() > MAX_KEY {
        return None;
    }
    let (directories, leaf) = key.rsplit_once('/').map_or((None, key), |(d, l)| (Some(d), l));
    let mut path = directories.map_or_else(|| tree.to_path_buf(), |d| directory_path(tree, d));
    push_component(&mut path, leaf, 'L');
    Some(path)
}

/// The directory that holds the keys below `directories` ‖ `/`.
pub(crate) fn directory_path(tree: &Path, directories: &str) -> PathBuf {
    let mut path = tree.to_path_buf();
    for component in directories.split('/') {
        push_component(&mut path, component, 'D');
    }
    path
}

fn push_component(path: &mut PathBuf, component: &str, tag: char) {
    let mut rest = component.as_bytes();
    while rest.len() >= PIECE {
        let (piece, after) = rest.split_at(PIECE);
        path.push(escape(piece, 'C'));
        rest = after;
    }
    path.push(escape(rest, tag));
}

fn escape(bytes: &[u8], tag: char) -> String {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut name = String::with_capacity(1 + bytes.len() * 3);
    name.push(tag);
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-') {
            name.push(char::from(byte));
        } else {
            name.push('%');
            name.push(char::from(HEX[usize::from(byte >> 4)]));
            name.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
    name
}

/// What a name in the tree stands for; none for a name that this module never makes.
pub(crate) fn decode_name(name: &[u8]) -> Option<(Tag, Vec<u8>)> {
    let (&letter, escaped) = name.split_first()?;
    let tag = match letter {
        b'L' => Tag::Leaf,
        b'D' => Tag::Directory,
        b'C' => Tag::Continued,
        _ => return None,
    };
    let mut bytes = Vec::with_capacity(escaped.len());
    let mut rest = escaped;
    while let Some((&first, after)) = rest.split_first() {
        if first == b'%' {
            bytes.push(unhex(*after.first()?)? << 4 | unhex(*after.get(1)?)?);
            rest = &after[2..];
        } else {
            bytes.push(first);
            rest = after;
        }
    }
    let fits = if tag == Tag::Continued { bytes.len() == PIECE } else { bytes.len() < PIECE };
    // Escaping again proves that there is one name a key: no lower-case hex, nothing escaped in vain, no `%2F`.
    (fits && !bytes.contains(&b'/') && escape(&bytes, char::from(letter)).as_bytes() == name)
        .then_some((tag, bytes))
}

fn unhex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::*;
    use proptest::prelude::*;
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;
    use std::path::Component;

    fn decode_path(path: &Path) -> Vec<u8> {
        let mut key = Vec::new();
        for component in path.components() {
            let Component::Normal(name) = component else { panic!("{path:?} leaves the tree") };
            let (tag, bytes) = decode_name(name.as_bytes()).unwrap_or_else(|| panic!("{path:?}"));
            key.extend(bytes);
            if tag == Tag::Directory {
                key.push(b'/');
            }
        }
        key
    }

    #[test]
    fn odd_keys_stay_below_the_tree_and_come_back() {
        let long = "x".repeat(1024);
        let slashes = "/".repeat(1024);
        for key in [
            "a",
            "a/b",
            "a//b",
            "/",
            "//",
            "../x",
            "./x",
            "..",
            ".",
            "a/../../b",
            "\0",
            "é/ü",
            "%2F",
            &long,
            &slashes,
        ] {
            let path = leaf_path(Path::new(""), key).unwrap();
            assert_eq!(decode_path(&path), key.as_bytes(), "{key}");
        }
        assert_eq!(leaf_path(Path::new(""), ""), None);
        assert_eq!(leaf_path(Path::new(""), &"x".repeat(1025)), None);
    }

    #[test]
    fn foreign_names_are_not_keys() {
        for name in ["", "a", "La/b", "L%2f", "L%41", "L%2F", "L%", "L%2", "Lé", "Cshort", "lost+found"] {
            assert_eq!(decode_name(name.as_bytes()), None, "{name}");
        }
    }

    #[test]
    fn bucket_names() {
        for good in ["abc", "a-b", "a.b", "123", &"a".repeat(63)] {
            assert!(is_bucket_name(good), "{good}");
        }
        for bad in ["", "ab", "..", "a..b", ".ab", "ab.", "-ab", "a/b", "aB1", "a_b", &"a".repeat(64)] {
            assert!(!is_bucket_name(bad), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn every_key_has_one_short_safe_path(key in "(?s).{1,300}") {
            prop_assume!(key.len() <= MAX_KEY);
            let path = leaf_path(Path::new(""), &key).unwrap();
            prop_assert_eq!(decode_path(&path), key.as_bytes());
            prop_assert!(path.iter().all(|name: &OsStr| name.len() <= 241));
            prop_assert!(path.as_os_str().len() <= 3 * MAX_KEY + 64);
        }
    }
}
