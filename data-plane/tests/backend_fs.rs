//! What only the filesystem backend promises: crashes, leftovers, readers that nobody disturbs, nothing outside the root.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod filesystem {
    mod crash;
    mod damage;
    mod settings;
    pub mod support;
    mod version_crash;
    mod version_steps;
    mod versions;
}

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use sealgate_data_plane::backend::fs::{FsBackend, offline};
use sealgate_data_plane::backend::{Backend as _, Conditions, GetOptions, PutOptions, StoredRange, Upload};

use filesystem::support::{
    BUCKET, bodies, collect, files, fresh, get, keys, multipart, pending, put, run, upload,
};

#[test]
fn nothing_is_left_behind_and_nothing_lies_outside() {
    let (directory, root, backend) = fresh();
    run(async {
        let odd = [
            "a",
            "a/b",
            "a//b",
            "../x",
            "./x",
            "/etc/passwd",
            "..",
            ".",
            "../../../../tmp/escaped",
            "\0",
            "a\nb",
            "/",
        ];
        for key in odd {
            put(&backend, key, key.to_owned()).await;
            put(&backend, key, key.to_owned()).await;
        }
        for key in odd {
            assert_eq!(get(&backend, key).await, key.as_bytes(), "{key:?}");
        }
        multipart(&backend, "big", &[Bytes::from_static(b"12"), Bytes::new(), Bytes::from_static(b"345")])
            .await;
        assert_eq!(get(&backend, "big").await, Bytes::from_static(b"12345"));
        let mut expected = odd.map(str::to_owned).to_vec();
        expected.push("big".to_owned());
        expected.sort();
        assert_eq!(keys(&backend).await, expected);
        assert_eq!(bodies(&root), odd.len() + 2, "replaced bodies are gone");
        assert_eq!(pending(&root), 0);
        for key in &expected {
            backend.delete(BUCKET, key, None, Conditions::default()).await.unwrap();
        }
    });
    assert_eq!((bodies(&root), pending(&root)), (0, 0));
    let tree = root.join("buckets").join(BUCKET).join("tree");
    assert_eq!(fs::read_dir(&tree).unwrap().count(), 0, "empty directories are gone");
    let outside: Vec<_> =
        fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(outside, ["root"]);
}

#[test]
fn only_the_owner_may_read() {
    let (_directory, root, backend) = fresh();
    run(put(&backend, "a/b", "x"));
    for path in files(&root) {
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{}", path.display());
        let parent = fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777;
        assert_eq!(parent, 0o700, "{}", path.display());
    }
}

#[test]
fn a_read_survives_overwriting_and_deletion() {
    let (_directory, root, backend) = fresh();
    run(async {
        let single = Bytes::from(vec![1; 3_000_000]);
        let parts =
            [Bytes::from(vec![2; 1_000_000]), Bytes::from(vec![3; 1_000_000]), Bytes::from(vec![4; 10])];
        for overwrite in [true, false] {
            put(&backend, "single", single.clone()).await;
            multipart(&backend, "parts", &parts).await;
            let mut reads = Vec::new();
            for key in ["single", "parts"] {
                let mut body = backend.get(BUCKET, key, GetOptions::default()).await.unwrap().body;
                reads.push((body.next().await.unwrap().unwrap(), body));
                if overwrite {
                    put(&backend, key, "new").await;
                } else {
                    backend.delete(BUCKET, key, None, Conditions::default()).await.unwrap();
                }
            }
            for ((first, rest), whole) in reads.into_iter().zip([single.clone(), parts.concat().into()]) {
                assert!(first.len() < whole.len());
                assert_eq!([first, collect(rest).await].concat(), whole);
            }
            // The reader's end removes what it had held, on the blocking pool.
            let gone = async {
                while pending(&root) > 0 {
                    tokio::task::yield_now().await;
                }
            };
            tokio::time::timeout(std::time::Duration::from_secs(10), gone)
                .await
                .expect("nothing is left in new/");
        }
    });
    assert_eq!((bodies(&root), pending(&root)), (0, 0));
}

#[test]
fn readers_and_writers_of_one_key_always_see_a_whole_object() {
    let (_directory, root, backend) = fresh();
    run(put(&backend, "k", vec![0; 300_000]));
    std::thread::scope(|scope| {
        for writer in 1..4_u8 {
            let root = root.clone();
            scope.spawn(move || {
                let backend = FsBackend::open(root).unwrap();
                run(async {
                    for _ in 0..25 {
                        put(&backend, "k", vec![writer; 300_000 + usize::from(writer)]).await;
                    }
                });
            });
        }
        for _ in 0..2 {
            let root = root.clone();
            scope.spawn(move || {
                let backend = FsBackend::open(root).unwrap();
                run(async {
                    for _ in 0..100 {
                        let body = get(&backend, "k").await;
                        let writer = usize::from(body[0]);
                        assert_eq!(body.len(), 300_000 + writer);
                        assert!(body.iter().all(|byte| usize::from(*byte) == writer));
                    }
                });
            });
        }
    });
    assert_eq!((bodies(&root), pending(&root)), (1, 0));
}

#[test]
fn one_creator_wins_among_threads() {
    let (_directory, root, _backend) = fresh();
    for round in 0..5 {
        let wins: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..6)
                .map(|_| {
                    let root = root.clone();
                    scope.spawn(move || {
                        let backend = FsBackend::open(root).unwrap();
                        let conditions =
                            Conditions { if_none_match: Some("*".into()), ..Conditions::default() };
                        let options = PutOptions { conditions, ..PutOptions::default() };
                        let key = format!("deep/{round}/k");
                        usize::from(run(backend.put(BUCKET, &key, options, upload("x"))).is_ok())
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(wins, 1);
    }
}

#[test]
fn leftovers_are_invisible_and_swept() {
    let (_directory, root, backend) = fresh();
    let bucket = root.join("buckets").join(BUCKET);
    let name = "0123456789abcdef0123456789abcdef";
    run(async {
        put(&backend, "k", "old").await;
        // Crashed while the body came in; crashed right before the commit; crashed right after it.
        fs::write(bucket.join(format!("new/{name}.meta")), b"").unwrap();
        fs::write(bucket.join(format!("bodies/0/{name}.body")), b"half").unwrap();
        let live = bucket.join("tree/Lk");
        let old = fs::read(&live).unwrap();
        let etag = backend.head(BUCKET, "k", GetOptions::default()).await.unwrap().etag;
        fs::write(bucket.join(format!("new/{etag}.meta")), &old).unwrap();
        let body = bucket.join(format!("bodies/{}/{etag}.body", &etag[..1]));
        let copy = fs::read(&body).unwrap();
        let new = put(&backend, "k", "new").await;
        fs::write(bucket.join(format!("new/{new}.meta")), &old).unwrap();
        fs::write(&body, copy).unwrap();
        assert_eq!(keys(&backend).await, ["k"]);
        assert_eq!((bodies(&root), pending(&root)), (3, 3));
    });
    let backend = FsBackend::open(root.clone()).unwrap();
    assert_eq!((bodies(&root), pending(&root)), (1, 0));
    assert_eq!(run(get(&backend, "k")), "new");
}

#[test]
fn a_sweep_leaves_writes_in_progress_alone() {
    let (_directory, root, backend) = fresh();
    run(async {
        let other = root.clone();
        let swept = stream::once(async move {
            let before = pending(&other);
            tokio::task::spawn_blocking(move || FsBackend::open(other).unwrap()).await.unwrap();
            assert_eq!(before, 1, "the write has begun");
            Ok(Bytes::from(vec![2; 1_000_000]))
        });
        let body = stream::iter([Ok(Bytes::from(vec![1; 1_000_000]))]).chain(swept);
        let upload = Upload { length: 2_000_000, stream: Box::pin(body) };
        backend.put(BUCKET, "k", PutOptions::default(), upload).await.unwrap();
        let range =
            GetOptions { range: Some(StoredRange::Inclusive(999_999, 1_000_000)), ..GetOptions::default() };
        let body = collect(backend.get(BUCKET, "k", range).await.unwrap().body).await;
        assert_eq!(body, Bytes::from_static(&[1, 2]));
    });
}

/// A crash between the commit of Complete and the removal of the upload must not make the parts deletable.
#[test]
fn a_completed_upload_that_was_left_behind_is_over() {
    let (_directory, root, backend) = fresh();
    let uploads = root.join("buckets").join(BUCKET).join("uploads");
    run(async {
        let id = backend.create_upload(BUCKET, "k", PutOptions::default()).await.unwrap();
        let mut listed = Vec::new();
        for number in [1, 2, 3] {
            let outcome = backend
                .upload_part(BUCKET, "k", &id, number, upload(format!("part {number}")))
                .await
                .unwrap();
            listed.push((number, outcome.etag));
        }
        let saved: Vec<_> =
            files(&uploads).into_iter().map(|path| (fs::read(&path).unwrap(), path)).collect();
        backend.complete_upload(BUCKET, "k", &id, &listed[..2], Conditions::default()).await.unwrap();
        fs::create_dir(uploads.join(&id)).unwrap();
        for (bytes, path) in saved {
            fs::write(path, bytes).unwrap();
        }
        let refused = backend.abort_upload(BUCKET, "k", &id).await.expect_err("it is over");
        assert!(refused.is("NoSuchUpload"), "{refused}");
        assert_eq!(get(&backend, "k").await, "part 1part 2");
        let reopened = FsBackend::open(root.clone()).unwrap();
        assert_eq!(fs::read_dir(&uploads).unwrap().count(), 0);
        assert_eq!(get(&reopened, "k").await, "part 1part 2");
        assert_eq!(bodies(&root), 2);
    });
}

#[test]
fn offline_reading() {
    let (_directory, root, backend) = fresh();
    run(async {
        put(&backend, "b/c", "one").await;
        multipart(&backend, "a é", &[Bytes::from_static(b"12"), Bytes::from_static(b"345")]).await;
    });
    assert_eq!(offline::buckets(&root).unwrap(), [BUCKET]);
    let found: Vec<_> = offline::list(&root, BUCKET, "").unwrap().map(|object| object.unwrap().key).collect();
    assert_eq!(found, ["a é", "b/c"]);
    let (object, mut body) = offline::open(&root, BUCKET, "a é").unwrap();
    let mut text = String::new();
    body.read_to_string(&mut text).unwrap();
    assert_eq!((text.as_str(), object.size), ("12345", 5));
    assert_eq!(offline::open(&root, BUCKET, "nope").err().unwrap().kind(), std::io::ErrorKind::NotFound);
}

#[test]
fn a_root_of_another_version_is_refused() {
    let (_directory, root, _backend) = fresh();
    fs::write(root.join("sealgate-filesystem"), b"2\n").unwrap();
    assert!(FsBackend::open(root).is_err());
}
