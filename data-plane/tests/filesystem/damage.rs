//! Damaged files: what they hide is lost, and nothing else.

use std::fs;
use std::path::Path;

use sealgate_data_plane::backend::fs::FsBackend;
use sealgate_data_plane::backend::{Backend as _, Conditions, PutOptions, UploadListOptions};

use super::support::{BUCKET, bodies, files, fresh, get, keys, pending, put, run, upload};

/// A disk's ways to damage a file.
const DAMAGES: [fn(&mut Vec<u8>); 4] = [
    |bytes| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
    },
    |bytes| bytes.truncate(bytes.len() / 2),
    |bytes| bytes.truncate(1),
    |bytes| bytes.fill(0),
];

fn damage(path: &Path, how: fn(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    how(&mut bytes);
    fs::write(path, bytes).unwrap();
}

/// A damaged metadata file that is replaced lies where garbage lies, under the name of the body that replaced it.
#[test]
fn what_replaced_a_damaged_object_outlives_every_sweep() {
    for how in DAMAGES {
        let (_directory, root, backend) = fresh();
        run(put(&backend, "k", "old"));
        damage(&root.join("buckets").join(BUCKET).join("tree/Lk"), how);
        run(put(&backend, "k", "new"));
        assert_eq!(pending(&root), 1, "the damaged file is no leftover, so nothing is tested");
        for _ in 0..2 {
            let backend = FsBackend::open(root.clone()).unwrap();
            assert_eq!(run(get(&backend, "k")), "new");
            // The damaged file went; the body that only it named did not.
            assert_eq!((pending(&root), bodies(&root)), (0, 2));
        }
    }
}

/// Each kind of leftover eight times, so that the directory's order does not decide.
const MANY: usize = 8;

#[test]
fn damaged_leftovers_do_not_stop_the_sweep() {
    let (_directory, root, backend) = fresh();
    let bucket = root.join("buckets").join(BUCKET);
    run(async {
        put(&backend, "k", "old").await;
        let old = fs::read(bucket.join("tree/Lk")).unwrap();
        put(&backend, "k", "live").await;
        for n in 0..MANY {
            // Of a crash after an exchange, in order and damaged.
            for (kind, bytes) in [("a", &old), ("b", &old[..old.len() - 1].to_vec())] {
                fs::write(bucket.join(format!("new/{kind}{n:031x}.meta")), bytes).unwrap();
            }
            // Of aborted uploads, in order and with a damaged part.
            for kind in ["c", "d"] {
                let id = backend.create_upload(BUCKET, "k", PutOptions::default()).await.unwrap();
                for number in [1, 2] {
                    backend.upload_part(BUCKET, "k", &id, number, upload("part")).await.unwrap();
                }
                if kind == "d" {
                    damage(&bucket.join(format!("uploads/{id}/00001.meta")), DAMAGES[1]);
                }
                let garbage = bucket.join(format!("new/{kind}{n:031x}.upload"));
                fs::rename(bucket.join("uploads").join(id), garbage).unwrap();
            }
        }
        assert_eq!((bodies(&root), pending(&root)), (1 + 4 * MANY, 4 * MANY));
    });
    let backend = FsBackend::open(root.clone()).unwrap();
    assert_eq!(run(get(&backend, "k")), "live");
    // What only damaged files named stays, all else went.
    assert_eq!((bodies(&root), pending(&root)), (1 + MANY, 0));
}

#[test]
fn a_damaged_upload_hides_no_other_and_does_not_stop_the_sweep() {
    let (_directory, root, backend) = fresh();
    let bucket = root.join("buckets").join(BUCKET);
    let uploads = bucket.join("uploads");
    run(async {
        let mut open = Vec::new();
        for n in 0..MANY {
            // One that was completed, and that a crash left behind.
            let key = format!("done/{n}");
            let id = backend.create_upload(BUCKET, &key, PutOptions::default()).await.unwrap();
            let part = backend.upload_part(BUCKET, &key, &id, 1, upload("part")).await.unwrap();
            let left: Vec<_> =
                files(&uploads.join(&id)).into_iter().map(|path| (fs::read(&path).unwrap(), path)).collect();
            let parts = [(1, part.etag)];
            backend.complete_upload(BUCKET, &key, &id, &parts, Conditions::default()).await.unwrap();
            fs::create_dir(uploads.join(&id)).unwrap();
            for (bytes, path) in left {
                fs::write(path, bytes).unwrap();
            }
            // Open ones, in order and damaged.
            for damaged in [false, true] {
                let key = format!("open/{n}");
                let id = backend.create_upload(BUCKET, &key, PutOptions::default()).await.unwrap();
                backend.upload_part(BUCKET, &key, &id, 1, upload("part")).await.unwrap();
                match damaged {
                    true => damage(&uploads.join(&id).join("upload.meta"), DAMAGES[0]),
                    false => open.push((key, id)),
                }
            }
        }
        let backend = FsBackend::open(root.clone()).unwrap();
        assert_eq!(fs::read_dir(&uploads).unwrap().count(), 2 * MANY, "completed uploads are still there");
        let options = UploadListOptions {
            prefix: String::new(),
            delimiter: None,
            key_marker: String::new(),
            upload_id_marker: String::new(),
            max_uploads: 1_000,
        };
        let listed = backend.list_uploads(BUCKET, options).await.unwrap().uploads;
        let listed: Vec<_> = listed.into_iter().map(|upload| (upload.key, upload.upload_id)).collect();
        assert_eq!(listed, open);
        for (key, id) in open {
            let parts = backend.list_parts(BUCKET, &key, &id, 0, 1_000).await.unwrap().parts;
            let parts = [(1, parts[0].etag.clone())];
            backend.complete_upload(BUCKET, &key, &id, &parts, Conditions::default()).await.unwrap();
            assert_eq!(get(&backend, &key).await, "part");
        }
        assert_eq!(keys(&backend).await.len(), 2 * MANY);
    });
}
