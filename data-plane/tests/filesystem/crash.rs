//! Processes that die and disks that fill up.

use std::io::{BufRead as _, BufReader, ErrorKind, Write as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use bytes::Bytes;
use sealgate_data_plane::backend::fs::FsBackend;
use sealgate_data_plane::backend::{Backend as _, BackendError, Conditions, GetOptions, PutOptions};

use super::support::{BUCKET, bodies, files, fresh, get, keys, multipart, pending, put, run, upload};

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
            .args([
                "--exact",
                "filesystem::crash::child_that_writes_until_it_is_killed",
                "--ignored",
                "--nocapture",
            ])
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
    let script = "mount -t tmpfs -o size=3m tmpfs \"$SEALGATE_TEST_SMALL_DISK\" && exec \"$0\" --exact filesystem::crash::child_on_a_small_disk --ignored --nocapture";
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
