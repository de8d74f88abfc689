//! The keys of a bucket in the order of their UTF-8 bytes, from any point on, reading no more directories than needed.
//!
//! Within a directory the names sort by what their keys begin with: a leaf by its name, a directory by its name and `/`.
//! So `a`, `a-b`, `a.b`, `a/…`, `a0` come out right although `a` and `a/` are neighbours on disk. A directory of any size
//! is read in batches of the next names in order: memory is bounded by depth times batch.

use std::collections::{BinaryHeap, VecDeque};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::names::{self, Tag};
use super::space;

/// Names taken out of a directory at a time.
const BATCH: usize = 1024;

/// Where to go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Bound {
    /// Keys greater than this one; all of them after the empty one, since no key is empty.
    After(Vec<u8>),
    /// Keys greater than all that begin with this.
    AfterPrefix(Vec<u8>),
}

impl Bound {
    fn admits(&self, key: &[u8]) -> bool {
        match self {
            Self::After(last) => key > last.as_slice(),
            Self::AfterPrefix(prefix) => key > prefix.as_slice() && !key.starts_with(prefix),
        }
    }

    /// Whether it admits any key that begins with `start`.
    fn admits_some(&self, start: &[u8]) -> bool {
        match self {
            Self::After(last) => start > last.as_slice() || last.starts_with(start),
            Self::AfterPrefix(prefix) => {
                !start.starts_with(prefix) && (start > prefix.as_slice() || prefix.starts_with(start))
            }
        }
    }
}

/// A name in a directory: what the keys under it begin with after the directory's own part, what it is, what it is called.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    sort: Vec<u8>,
    leaf: bool,
    name: std::ffi::OsString,
}

#[derive(Debug)]
struct Frame {
    path: PathBuf,
    /// What all keys below begin with.
    start: Vec<u8>,
    batch: VecDeque<Entry>,
    last: Option<Vec<u8>>,
    exhausted: bool,
}

/// Walks the keys with a prefix.
#[derive(Debug)]
pub(crate) struct Walk {
    prefix: Vec<u8>,
    bound: Bound,
    stack: Vec<Frame>,
}

impl Walk {
    pub(crate) fn new(tree: &Path, prefix: &str, bound: Bound) -> Self {
        // Directories that the prefix names whole are entered at once.
        let (path, start) = match prefix.rsplit_once('/') {
            Some((directories, _)) if prefix.len() <= names::MAX_KEY => {
                (names::directory_path(tree, directories), format!("{directories}/").into_bytes())
            }
            _ => (tree.to_path_buf(), Vec::new()),
        };
        let frame = Frame { path, start, batch: VecDeque::new(), last: None, exhausted: false };
        Self { prefix: prefix.as_bytes().to_vec(), bound, stack: vec![frame] }
    }

    /// Goes on beyond a bound that is not before the current key.
    pub(crate) fn skip_to(&mut self, bound: Bound) {
        self.bound = bound;
    }

    /// The next key and its metadata file.
    pub(crate) fn next(&mut self) -> io::Result<Option<(String, PathBuf)>> {
        while let Some(frame) = self.stack.last_mut() {
            if !self.bound.admits_some(&frame.start) {
                self.stack.pop();
                continue;
            }
            let Some(entry) = frame.batch.pop_front() else {
                if frame.exhausted {
                    self.stack.pop();
                } else {
                    frame.refill(&self.prefix, &self.bound)?;
                }
                continue;
            };
            let mut start = frame.start.clone();
            start.extend_from_slice(&entry.sort);
            if !is_wanted(&start, entry.leaf, &self.prefix, &self.bound) {
                continue;
            }
            let path = frame.path.join(&entry.name);
            if !entry.leaf {
                self.stack.push(Frame { path, start, batch: VecDeque::new(), last: None, exhausted: false });
            } else if let Ok(key) = String::from_utf8(start) {
                self.bound = Bound::After(key.as_bytes().to_vec());
                return Ok(Some((key, path)));
            }
        }
        Ok(None)
    }
}

fn is_wanted(start: &[u8], leaf: bool, prefix: &[u8], bound: &Bound) -> bool {
    if leaf {
        start.starts_with(prefix) && bound.admits(start)
    } else {
        (start.starts_with(prefix) || prefix.starts_with(start)) && bound.admits_some(start)
    }
}

impl Frame {
    /// Takes the next names in order out of the directory.
    fn refill(&mut self, prefix: &[u8], bound: &Bound) -> io::Result<()> {
        let entries = match fs::read_dir(&self.path) {
            Ok(entries) => entries,
            // Removed because it became empty.
            Err(e) if space::is_missing(&e) => {
                self.exhausted = true;
                return Ok(());
            }
            Err(e) => return Err(e),
        };
        let mut smallest = BinaryHeap::with_capacity(BATCH);
        self.exhausted = true;
        for entry in entries {
            let name = entry?.file_name();
            let Some((tag, mut sort)) = names::decode_name(name.as_bytes()) else { continue };
            if tag == Tag::Directory {
                sort.push(b'/');
            }
            if self.last.as_ref().is_some_and(|last| sort <= *last) {
                continue;
            }
            let start = [self.start.as_slice(), &sort].concat();
            let leaf = tag == Tag::Leaf;
            if !is_wanted(&start, leaf, prefix, bound) {
                continue;
            }
            smallest.push(Entry { sort, leaf, name });
            if smallest.len() > BATCH {
                smallest.pop();
                self.exhausted = false;
            }
        }
        self.batch = smallest.into_sorted_vec().into();
        self.last = self.batch.back().map(|entry| entry.sort.clone());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    /// Keys that meet at every boundary: separators, bytes beside them, components around the length at which they split.
    fn keys() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            4 => prop::sample::select(vec!["a", "b", "-", ".", "/", "0", "é", "\u{1}"]).prop_map(str::to_owned),
            1 => (78_usize..=81).prop_map(|count| "x".repeat(count)),
            1 => Just("x".repeat(160)),
        ];
        prop::collection::vec(piece, 1..5).prop_map(|pieces| pieces.concat())
    }

    fn walked(tree: &Path, prefix: &str, bound: Bound) -> Vec<String> {
        let mut walk = Walk::new(tree, prefix, bound);
        std::iter::from_fn(|| walk.next().unwrap().map(|(key, _)| key)).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn every_walk_is_the_sorted_list_cut_where_asked(
            stored in prop::collection::btree_set(keys(), 1..40),
            prefixes in prop::collection::vec(keys(), 4),
            bounds in prop::collection::vec(keys(), 4),
        ) {
            let directory = tempfile::tempdir().unwrap();
            for key in &stored {
                let path = names::leaf_path(directory.path(), key).unwrap();
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, b"").unwrap();
            }
            let sorted: Vec<_> = stored.iter().cloned().collect();
            prop_assert_eq!(walked(directory.path(), "", Bound::After(Vec::new())), sorted.clone());
            let some: BTreeSet<&str> = prefixes.iter().chain(&stored).map(String::as_str).chain(["", "a"]).collect();
            for prefix in some {
                for bound in bounds.iter().chain(stored.iter().take(4)) {
                    let wanted = |admits: &dyn Fn(&String) -> bool| -> Vec<String> {
                        sorted.iter().filter(|key| key.starts_with(prefix) && admits(key)).cloned().collect()
                    };
                    let after = walked(directory.path(), prefix, Bound::After(bound.clone().into_bytes()));
                    prop_assert_eq!(after, wanted(&|key| key > bound));
                    let beyond = walked(directory.path(), prefix, Bound::AfterPrefix(bound.clone().into_bytes()));
                    prop_assert_eq!(beyond, wanted(&|key| key > bound && !key.starts_with(bound.as_str())));
                }
            }
        }
    }

    #[test]
    fn a_directory_larger_than_a_batch() {
        let directory = tempfile::tempdir().unwrap();
        let keys: Vec<_> = (0..2 * BATCH + 3).map(|number| format!("{number:06}")).collect();
        for key in &keys {
            fs::write(names::leaf_path(directory.path(), key).unwrap(), b"").unwrap();
        }
        assert_eq!(walked(directory.path(), "", Bound::After(Vec::new())), keys);
    }
}
