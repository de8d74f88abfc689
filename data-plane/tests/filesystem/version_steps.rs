//! The states between the steps of a write, as a crash leaves them: each is the old one or the new one, stays so, and leaves
//! nothing behind.

use std::fs;
use std::path::{Path, PathBuf};

use sealgate_data_plane::backend::fs::FsBackend;
use sealgate_data_plane::backend::{Backend as _, Conditions};

use super::support::{BUCKET, bodies, files, fresh, pending, put, run};
use super::versions::{all, get_version, listed, older, set_versioning};

const STRAY: &str = "0123456789abcdef0123456789abcdef";

/// Where the current version of `k` lies.
fn leaf(root: &Path) -> PathBuf {
    root.join("buckets").join(BUCKET).join("tree/Lk")
}

fn in_new(root: &Path, id: &str) -> PathBuf {
    root.join("buckets").join(BUCKET).join(format!("new/{id}.meta"))
}

fn body(root: &Path, etag: &str) -> PathBuf {
    root.join("buckets").join(BUCKET).join(format!("bodies/{}/{etag}.body", &etag[..1]))
}

/// The file of an older version.
fn older_file(root: &Path, etag: &str) -> PathBuf {
    let versions = root.join("buckets").join(BUCKET).join("versions");
    files(&versions).into_iter().find(|path| path.to_string_lossy().contains(etag)).unwrap()
}

/// What the versions of `k` contain, the newest first.
async fn contents(backend: &FsBackend) -> Vec<String> {
    let mut found = Vec::new();
    for entry in listed(backend, all(1000)).await {
        let body = get_version(backend, "k", &entry.version_id).await.unwrap();
        found.push(String::from_utf8(body.to_vec()).unwrap());
    }
    found
}

async fn delete_newest(backend: &FsBackend) {
    let newest = listed(backend, all(1)).await.remove(0);
    backend.delete(BUCKET, "k", Some(&newest.version_id), Conditions::default()).await.unwrap();
}

/// The state is `expected`, before and after the next start, which leaves so many bodies and files of older versions.
async fn is(root: &Path, backend: &FsBackend, expected: &[&str], left: (usize, usize)) {
    assert_eq!(contents(backend).await, expected, "before the next start");
    let backend = FsBackend::open(root.to_owned()).unwrap();
    assert_eq!(contents(&backend).await, expected, "after the next start");
    assert_eq!((bodies(root), older(root), pending(root)), (left.0, left.1, 0), "nothing lies around");
}

#[test]
fn a_write_that_was_not_committed() {
    let (_directory, root, backend) = fresh();
    run(async {
        set_versioning(&backend, "Enabled").await;
        put(&backend, "k", "1").await;
        let second = put(&backend, "k", "2").await;
        let third = put(&backend, "k", "3").await;
        fs::rename(leaf(&root), in_new(&root, &third)).unwrap();
        fs::hard_link(older_file(&root, &second), leaf(&root)).unwrap();
        is(&root, &backend, &["2", "1"], (2, 1)).await;
    });
}

#[test]
fn a_write_that_was_committed_and_left_what_it_replaced() {
    let (_directory, root, backend) = fresh();
    run(async {
        set_versioning(&backend, "Enabled").await;
        put(&backend, "k", "1").await;
        let second = put(&backend, "k", "2").await;
        let third = put(&backend, "k", "3").await;
        fs::hard_link(older_file(&root, &second), in_new(&root, &third)).unwrap();
        is(&root, &backend, &["3", "2", "1"], (3, 2)).await;
    });
}

/// A new null version, and the last one still there.
async fn two_null_versions(root: &Path, backend: &FsBackend) {
    let first = put(backend, "k", "1").await;
    set_versioning(backend, "Enabled").await;
    put(backend, "k", "2").await;
    let (path, bytes) = (older_file(root, &first), body(root, &first));
    let (record, stored) = (fs::read(&path).unwrap(), fs::read(&bytes).unwrap());
    set_versioning(backend, "Suspended").await;
    put(backend, "k", "3").await;
    fs::write(&path, record).unwrap();
    fs::write(bytes, stored).unwrap();
    fs::hard_link(path, in_new(root, STRAY)).unwrap();
}

#[test]
fn a_null_version_that_took_the_place_of_another() {
    let (_directory, root, backend) = fresh();
    run(async {
        two_null_versions(&root, &backend).await;
        is(&root, &backend, &["3", "2"], (2, 1)).await;
    });
    let (_directory, root, backend) = fresh();
    run(async {
        two_null_versions(&root, &backend).await;
        // What counts no more does not come back when that goes, for which it did not count.
        delete_newest(&backend).await;
        is(&root, &backend, &["2"], (1, 0)).await;
    });
}

#[test]
fn a_deletion_that_made_an_older_version_the_current_one() {
    for steps in [1, 2, 3] {
        let (_directory, root, backend) = fresh();
        run(async {
            set_versioning(&backend, "Enabled").await;
            let first = put(&backend, "k", "1").await;
            let second = put(&backend, "k", "2").await;
            let older = older_file(&root, &first);
            if steps == 1 {
                // The older one is staged, nothing is exchanged.
                fs::hard_link(older, in_new(&root, STRAY)).unwrap();
                return is(&root, &backend, &["2", "1"], (2, 1)).await;
            }
            let (record, stored) = (fs::read(leaf(&root)).unwrap(), fs::read(body(&root, &second)).unwrap());
            delete_newest(&backend).await;
            // It was exchanged, and what was the current one is not removed yet.
            fs::create_dir_all(older.parent().unwrap()).unwrap();
            fs::hard_link(leaf(&root), &older).unwrap();
            fs::write(in_new(&root, STRAY), record).unwrap();
            fs::write(body(&root, &second), stored).unwrap();
            if steps == 2 {
                return is(&root, &backend, &["1"], (1, 0)).await;
            }
            delete_newest(&backend).await;
            is(&root, &backend, &[], (0, 0)).await;
        });
    }
}
