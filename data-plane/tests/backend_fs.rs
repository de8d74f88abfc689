//! What only the filesystem backend promises: crashes, leftovers, readers that nobody disturbs, nothing outside the root.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::collections::BTreeSet;
use std::fs;
use std::future::Future;
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use sealgate_data_plane::backend::fs::{FsBackend, offline};
use sealgate_data_plane::backend::{
    Backend as _, BackendError, ByteStream, Conditions, GetOptions, ListFrom, ListOptions, PutOptions,
    StoredRange, Upload,
};

const BUCKET: &str = "bucket";

fn run<T>(case: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(case)
}

fn upload(body: impl Into<Bytes>) -> Upload {
    let body = body.into();
    Upload { length: body.len() as u64, stream: Box::pin(stream::iter([Ok(body)])) }
}

async fn put(backend: &FsBackend, key: &str, body: impl Into<Bytes>) -> String {
    backend.put(BUCKET, key, PutOptions::default(), upload(body)).await.unwrap().etag
}

async fn collect(mut body: ByteStream) -> Bytes {
    let mut out = Vec::new();
    while let Some(piece) = body.next().await {
        out.extend_from_slice(&piece.unwrap());
    }
    out.into()
}

async fn get(backend: &FsBackend, key: &str) -> Bytes {
    collect(backend.get(BUCKET, key, GetOptions::default()).await.unwrap().body).await
}

async fn keys(backend: &FsBackend) -> Vec<String> {
    let options =
        ListOptions { prefix: String::new(), delimiter: None, from: ListFrom::Start, max_keys: 1000 };
    let page = backend.list_v2(BUCKET, options).await.unwrap();
    assert!(page.next.is_none());
    page.entries.into_iter().map(|entry| entry.key).collect()
}

/// All files below a directory.
fn files(dir: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            found.extend(files(&entry.path()));
        } else {
            found.insert(entry.path());
        }
    }
    found
}

fn bodies(root: &Path) -> usize {
    files(&root.join("buckets").join(BUCKET).join("bodies")).len()
}

fn pending(root: &Path) -> usize {
    fs::read_dir(root.join("buckets").join(BUCKET).join("new")).unwrap().count()
}

/// A root with an empty bucket.
fn fresh() -> (tempfile::TempDir, PathBuf, FsBackend) {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("root");
    let backend = FsBackend::open(root.clone()).unwrap();
    run(backend.create_bucket(BUCKET)).unwrap();
    (directory, root, backend)
}

async fn multipart(backend: &FsBackend, key: &str, parts: &[Bytes]) {
    let id = backend.create_upload(BUCKET, key, PutOptions::default()).await.unwrap();
    let mut listed = Vec::new();
    for (number, part) in (1..).zip(parts) {
        let outcome = backend.upload_part(BUCKET, key, &id, number, upload(part.clone())).await.unwrap();
        listed.push((number, outcome.etag));
    }
    backend.complete_upload(BUCKET, key, &id, &listed, Conditions::default()).await.unwrap();
}

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

/// The child of the next test: puts, overwrites, deletes and completes without end, and says what was acknowledged.
#[test]
#[ignore = "run by kill_9_loses_nothing_acknowledged as a process of its own"]
fn child_that_writes_until_it_is_killed() {
    let Ok(root) = std::env::var("SEALGATE_TEST_CRASH_ROOT") else { return };
    let backend = FsBackend::open(root.into()).unwrap();
    run(async {
        for round in 0_u32.. {
            let key = format!("d{}/k{}", round % 3, round % 7);
            let body =
                vec![u8::try_from(round % 251).unwrap(); usize::try_from(round % 5 * 200_000 + 1).unwrap()];
            let what = match round % 4 {
                3 => {
                    backend.delete(BUCKET, &key, None, Conditions::default()).await.unwrap();
                    "gone".to_owned()
                }
                2 => {
                    let half = Bytes::from(body);
                    multipart(&backend, &key, &[half.clone(), half.clone()]).await;
                    format!("{} {}", half.len() * 2, half[0])
                }
                _ => {
                    let (length, byte) = (body.len(), body[0]);
                    put(&backend, &key, body).await;
                    format!("{length} {byte}")
                }
            };
            let mut out = std::io::stdout().lock();
            writeln!(out, "ack {key} {what}").unwrap();
            out.flush().unwrap();
        }
    });
}

#[test]
fn kill_9_loses_nothing_acknowledged() {
    let (_directory, root, _backend) = fresh();
    let mut expected = std::collections::BTreeMap::new();
    for lines in [1, 7, 20, 33] {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_that_writes_until_it_is_killed", "--ignored", "--nocapture"])
            .env("SEALGATE_TEST_CRASH_ROOT", &root)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut acknowledged = Vec::new();
        let mut out = BufReader::new(child.stdout.take().unwrap()).lines();
        while acknowledged.len() < lines {
            let line = out.next().unwrap().unwrap();
            acknowledged.extend(line.split_once("ack ").map(|(_, rest)| rest.to_owned()));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // What it said between the last line read and its death counts, too.
        acknowledged.extend(
            out.map_while(Result::ok).filter_map(|line| line.strip_prefix("ack ").map(str::to_owned)),
        );
        for line in &acknowledged {
            let (key, what) = line.split_once(' ').unwrap();
            expected.insert(key.to_owned(), what.to_owned());
        }
        let round = acknowledged.len();
        let in_flight = format!("d{}/k{}", round % 3, round % 7);
        let backend = FsBackend::open(root.clone()).unwrap();
        run(async {
            let mut segments = 0;
            let found = keys(&backend).await;
            for key in &found {
                let body = get(&backend, key).await;
                let head = backend.head(BUCKET, key, GetOptions::default()).await.unwrap();
                segments += head.etag.split_once('-').map_or(1, |(_, count)| count.parse::<usize>().unwrap());
                assert!(body.iter().all(|byte| *byte == body[0]), "{key} is a mixture");
                if *key != in_flight {
                    assert_eq!(expected.get(key), Some(&format!("{} {}", body.len(), body[0])), "{key}");
                }
            }
            for (key, what) in expected.iter().filter(|(key, what)| **key != in_flight && *what != "gone") {
                assert!(found.contains(key), "{key} {what} was acknowledged");
            }
            // The upload in progress, if any, keeps its parts.
            let in_progress: usize = files(&root.join("buckets").join(BUCKET).join("uploads"))
                .iter()
                .filter(|path| !path.ends_with("upload.meta"))
                .count();
            assert_eq!(bodies(&root), segments + in_progress, "nothing else lies around");
            assert_eq!(pending(&root), 0);
            // What was in flight may have happened or not: from here on it is what it is.
            expected.remove(&in_flight);
            if found.contains(&in_flight) {
                let body = get(&backend, &in_flight).await;
                expected.insert(in_flight.clone(), format!("{} {}", body.len(), body[0]));
            }
            // The child begins at round 0 again; uploads that a crash left stay until somebody aborts them.
            let options = sealgate_data_plane::backend::UploadListOptions {
                prefix: String::new(),
                delimiter: None,
                key_marker: String::new(),
                upload_id_marker: String::new(),
                max_uploads: 1000,
            };
            for upload in backend.list_uploads(BUCKET, options).await.unwrap().uploads {
                backend.abort_upload(BUCKET, &upload.key, &upload.upload_id).await.unwrap();
            }
        });
    }
}

/// The child of the next test, on a file system of 3 MiB.
#[test]
#[ignore = "run by a_full_disk_stores_nothing as a process of its own"]
fn child_on_a_small_disk() {
    let Ok(directory) = std::env::var("SEALGATE_TEST_SMALL_DISK") else { return };
    let root = PathBuf::from(directory).join("root");
    let backend = FsBackend::open(root.clone()).unwrap();
    run(async {
        backend.create_bucket(BUCKET).await.unwrap();
        put(&backend, "old", "old").await;
        let id = backend.create_upload(BUCKET, "old", PutOptions::default()).await.unwrap();
        for _ in 0..2 {
            for key in ["old", "new"] {
                let outcome =
                    backend.put(BUCKET, key, PutOptions::default(), upload(vec![1; 5_000_000])).await;
                assert!(
                    matches!(&outcome, Err(BackendError::Io(e)) if e.kind() == ErrorKind::StorageFull),
                    "{outcome:?}"
                );
            }
            let outcome = backend.upload_part(BUCKET, "old", &id, 1, upload(vec![1; 5_000_000])).await;
            assert!(
                matches!(&outcome, Err(BackendError::Io(e)) if e.kind() == ErrorKind::StorageFull),
                "{outcome:?}"
            );
            assert_eq!(get(&backend, "old").await, "old");
            assert_eq!(keys(&backend).await, ["old"]);
            assert!(backend.list_parts(BUCKET, "old", &id, 0, 1000).await.unwrap().parts.is_empty());
            assert_eq!((bodies(&root), pending(&root)), (1, 0), "what could not be finished takes no room");
        }
        put(&backend, "old", vec![2; 1_000_000]).await;
    });
    println!("all of it was seen");
}

#[test]
fn a_full_disk_stores_nothing() {
    let directory = tempfile::tempdir().unwrap();
    // A mount of its own, which ends with the process; also without being root.
    let script = "mount -t tmpfs -o size=3m tmpfs \"$SEALGATE_TEST_SMALL_DISK\" && exec \"$0\" --exact child_on_a_small_disk --ignored --nocapture";
    let output = Command::new("unshare")
        .args(["--mount", "--map-root-user", "sh", "-c", script])
        .arg(std::env::current_exe().unwrap())
        .env("SEALGATE_TEST_SMALL_DISK", directory.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("all of it was seen"),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
