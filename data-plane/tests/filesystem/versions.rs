//! Versions against a model: whatever is done in whatever order, listings and reads say what the model says, and no body is
//! there that no version names.

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;
use http::{HeaderMap, Method};
use proptest::prelude::*;
use sealgate_data_plane::backend::fs::FsBackend;
use sealgate_data_plane::backend::{
    Backend as _, BackendError, Conditions, Forward, Forwarded, GetOptions, VersionEntry, VersionListOptions,
};

use super::support::{BUCKET, bodies, collect, files, fresh, keys, multipart, pending, put, run};

pub async fn forward(
    backend: &FsBackend,
    method: Method,
    key: Option<&str>,
    query: &[(&str, &str)],
    body: &str,
) -> Result<Forwarded, BackendError> {
    let query = query.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let (bucket, key) = (BUCKET.to_owned(), key.map(str::to_owned));
    let body = Bytes::copy_from_slice(body.as_bytes());
    backend.forward(Forward { method, bucket, key, query, headers: HeaderMap::new(), body }).await
}

pub async fn set_versioning(backend: &FsBackend, status: &str) {
    let body = format!("<VersioningConfiguration><Status>{status}</Status></VersioningConfiguration>");
    forward(backend, Method::PUT, None, &[("versioning", "")], &body).await.unwrap();
}

pub fn all(max_keys: u32) -> VersionListOptions {
    VersionListOptions {
        prefix: String::new(),
        delimiter: None,
        key_marker: String::new(),
        version_id_marker: String::new(),
        max_keys,
    }
}

/// All pages of all versions.
pub async fn listed(backend: &FsBackend, mut options: VersionListOptions) -> Vec<VersionEntry> {
    let mut found = Vec::new();
    loop {
        let page = backend.list_versions(BUCKET, options.clone()).await.unwrap();
        assert!(page.entries.len() + page.common_prefixes.len() <= options.max_keys as usize);
        found.extend(page.entries);
        match page.next {
            Some(next) => (options.key_marker, options.version_id_marker) = next,
            None => return found,
        }
    }
}

pub async fn get_version(backend: &FsBackend, key: &str, version: &str) -> Result<Bytes, BackendError> {
    let options = GetOptions { version_id: Some(version.to_owned()), ..GetOptions::default() };
    Ok(collect(backend.get(BUCKET, key, options).await?.body).await)
}

/// Files of versions that are not the current ones.
pub fn older(root: &Path) -> usize {
    let versions = root.join("buckets").join(BUCKET).join("versions");
    if versions.exists() { files(&versions).len() } else { 0 }
}

const KEYS: [&str; 4] = ["a", "a/b", "a/c", "b"];

#[derive(Clone, Debug)]
enum Step {
    Put(usize),
    Multipart(usize),
    Delete(usize),
    DeleteVersion(usize, usize),
    Tag(usize, usize),
    Enable,
    Suspend,
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let key = 0..KEYS.len();
    let step = prop_oneof![
        5 => key.clone().prop_map(Step::Put),
        1 => key.clone().prop_map(Step::Multipart),
        2 => key.clone().prop_map(Step::Delete),
        4 => (key.clone(), 0_usize..5).prop_map(|(key, at)| Step::DeleteVersion(key, at)),
        1 => (key, 0_usize..5).prop_map(|(key, at)| Step::Tag(key, at)),
        2 => Just(Step::Enable),
        1 => Just(Step::Suspend),
        1 => Just(Step::Reopen),
    ];
    prop::collection::vec(step, 1..40)
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Version {
    null: bool,
    /// None: a delete marker.
    body: Option<String>,
    segments: usize,
    tag: Option<String>,
}

#[derive(Default)]
struct Model {
    enabled: bool,
    ever: bool,
    /// Of each key its versions, the newest first.
    keys: BTreeMap<&'static str, Vec<Version>>,
}

impl Model {
    fn write(&mut self, key: &'static str, body: Option<String>, segments: usize) {
        let versions = self.keys.entry(key).or_default();
        if !self.enabled {
            versions.retain(|version| !version.null);
        }
        if body.is_some() || self.ever {
            versions.insert(0, Version { null: !self.enabled, body, segments, tag: None });
        }
    }
}

async fn take(backend: &mut FsBackend, root: &Path, model: &mut Model, number: usize, step: &Step) {
    let body = format!("body {number}");
    match *step {
        Step::Put(key) => {
            put(backend, KEYS[key], body.clone()).await;
            model.write(KEYS[key], Some(body), 1);
        }
        Step::Multipart(key) => {
            let (one, other) = body.split_at(3);
            let parts = [Bytes::copy_from_slice(one.as_bytes()), Bytes::copy_from_slice(other.as_bytes())];
            multipart(backend, KEYS[key], &parts).await;
            model.write(KEYS[key], Some(body), 2);
        }
        Step::Delete(key) => {
            let outcome = backend.delete(BUCKET, KEYS[key], None, Conditions::default()).await.unwrap();
            assert_eq!(outcome.delete_marker, model.ever);
            model.write(KEYS[key], None, 0);
        }
        Step::DeleteVersion(key, at) => {
            let versions = model.keys.entry(KEYS[key]).or_default();
            if at >= versions.len() {
                return;
            }
            let gone = versions.remove(at);
            let id =
                listed(backend, all(1000)).await.into_iter().filter(|entry| entry.object.key == KEYS[key]);
            let id = id.map(|entry| entry.version_id).nth(at).unwrap();
            let outcome = backend.delete(BUCKET, KEYS[key], Some(&id), Conditions::default()).await.unwrap();
            assert_eq!((outcome.version_id, outcome.delete_marker), (Some(id), gone.body.is_none()));
        }
        Step::Tag(key, at) => {
            let versions = model.keys.entry(KEYS[key]).or_default();
            let Some(version) = versions.get_mut(at).filter(|version| version.body.is_some()) else { return };
            let id =
                listed(backend, all(1000)).await.into_iter().filter(|entry| entry.object.key == KEYS[key]);
            let id = id.map(|entry| entry.version_id).nth(at).unwrap();
            let tagging =
                format!("<Tagging><TagSet><Tag><Key>k</Key><Value>{number}</Value></Tag></TagSet></Tagging>");
            let query = [("tagging", ""), ("versionId", id.as_str())];
            forward(backend, Method::PUT, Some(KEYS[key]), &query, &tagging).await.unwrap();
            version.tag = Some(number.to_string());
        }
        Step::Enable => {
            set_versioning(backend, "Enabled").await;
            (model.enabled, model.ever) = (true, true);
        }
        Step::Suspend => {
            set_versioning(backend, "Suspended").await;
            (model.enabled, model.ever) = (false, true);
        }
        Step::Reopen => *backend = FsBackend::open(root.to_owned()).unwrap(),
    }
}

async fn compare(backend: &FsBackend, root: &Path, model: &Model, page: u32) {
    let mut expected: Vec<(&str, bool, &Version)> = Vec::new();
    for (key, versions) in &model.keys {
        expected.extend(versions.iter().enumerate().map(|(at, version)| (*key, at == 0, version)));
    }
    let found = listed(backend, all(page)).await;
    let names: Vec<_> = found.iter().map(|entry| (entry.object.key.as_str(), entry.is_latest)).collect();
    assert_eq!(names, expected.iter().map(|(key, latest, _)| (*key, *latest)).collect::<Vec<_>>());
    for (entry, (key, _, version)) in found.iter().zip(&expected) {
        assert_eq!((entry.version_id == "null", entry.delete_marker), (version.null, version.body.is_none()));
        let got = get_version(backend, key, &entry.version_id).await;
        let query = [("tagging", ""), ("versionId", entry.version_id.as_str())];
        let tags = forward(backend, Method::GET, Some(key), &query, "").await;
        match &version.body {
            Some(body) => {
                assert_eq!((got.unwrap(), entry.object.size), (Bytes::from(body.clone()), body.len() as u64));
                let tags = String::from_utf8(tags.unwrap().body.to_vec()).unwrap();
                let tag = version.tag.as_ref().map(|tag| format!("<Value>{tag}</Value>"));
                assert_eq!(tag.is_some(), tags.contains("<Value>"));
                assert!(tag.is_none_or(|tag| tags.contains(&tag)));
            }
            None => {
                assert!(got.is_err_and(|error| error.is("MethodNotAllowed")));
                assert!(tags.is_err_and(|error| error.is("MethodNotAllowed")));
            }
        }
    }
    let current: Vec<_> = expected
        .iter()
        .filter(|(_, latest, version)| *latest && version.body.is_some())
        .map(|(key, _, version)| (*key, version.body.clone().unwrap()))
        .collect();
    assert_eq!(keys(backend).await, current.iter().map(|(key, _)| *key).collect::<Vec<_>>());
    for key in KEYS {
        let got = backend.get(BUCKET, key, GetOptions::default()).await;
        match current.iter().find(|(name, _)| *name == key) {
            Some((_, body)) => assert_eq!(collect(got.unwrap().body).await, body.as_bytes()),
            None => assert!(got.is_err_and(|error| error.is("NoSuchKey"))),
        }
    }
    let segments: usize = expected.iter().map(|(_, _, version)| version.segments).sum();
    let history: usize = expected.iter().filter(|(_, latest, _)| !latest).count();
    assert_eq!((bodies(root), older(root), pending(root)), (segments, history, 0), "nothing lies around");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn versions_are_what_the_model_says(steps in steps(), page in 1_u32..5) {
        let (_directory, root, mut backend) = fresh();
        run(async {
            let mut model = Model::default();
            for (number, step) in steps.iter().enumerate() {
                take(&mut backend, &root, &mut model, number, step).await;
                compare(&backend, &root, &model, page).await;
            }
        });
    }
}

#[test]
fn pages_go_on_where_versions_were_deleted_meanwhile() {
    let (_directory, _root, backend) = fresh();
    run(async {
        set_versioning(&backend, "Enabled").await;
        for n in 0..5 {
            put(&backend, "k", format!("{n}")).await;
        }
        let whole = listed(&backend, all(1000)).await;
        let first = backend.list_versions(BUCKET, all(2)).await.unwrap();
        let next = first.next.unwrap();
        // The one that the page ended with; the one before it is still there, and must not come again.
        let ended = &first.entries[1].version_id;
        backend.delete(BUCKET, "k", Some(ended), Conditions::default()).await.unwrap();
        let options = VersionListOptions { key_marker: next.0, version_id_marker: next.1, ..all(1000) };
        let rest: Vec<_> =
            listed(&backend, options).await.into_iter().map(|entry| entry.version_id).collect();
        assert_eq!(rest, whole[2..].iter().map(|entry| entry.version_id.clone()).collect::<Vec<_>>());
    });
}

#[test]
fn keys_of_the_gateway_itself_have_no_versions() {
    let (_directory, root, backend) = fresh();
    run(async {
        set_versioning(&backend, "Enabled").await;
        for n in 0..3 {
            put(&backend, ".sealgate/v1/note", format!("{n}")).await;
        }
        assert_eq!((bodies(&root), older(&root)), (1, 0));
        let outcome = backend.delete(BUCKET, ".sealgate/v1/note", None, Conditions::default()).await.unwrap();
        assert_eq!((outcome.version_id, outcome.delete_marker), (None, false));
    });
    assert_eq!(bodies(&root), 0);
}

#[test]
fn a_bucket_with_versions_stays() {
    let (_directory, _root, backend) = fresh();
    run(async {
        set_versioning(&backend, "Enabled").await;
        backend.delete(BUCKET, "k", None, Conditions::default()).await.unwrap();
        let refused = backend.delete_bucket(BUCKET).await.expect_err("a delete marker is left");
        assert!(refused.is("BucketNotEmpty"), "{refused}");
        let marker = listed(&backend, all(10)).await.remove(0);
        backend.delete(BUCKET, "k", Some(&marker.version_id), Conditions::default()).await.unwrap();
        backend.delete_bucket(BUCKET).await.unwrap();
    });
}

/// A read of many segments holds the record that it began with; tags make another one of the same bodies.
#[test]
fn a_read_survives_tags_and_then_the_deletion_of_its_version() {
    let (_directory, root, backend) = fresh();
    run(async {
        set_versioning(&backend, "Enabled").await;
        let parts =
            [Bytes::from(vec![1; 1_000_000]), Bytes::from(vec![2; 1_000_000]), Bytes::from(vec![3; 9])];
        multipart(&backend, "k", &parts).await;
        let version = listed(&backend, all(10)).await.remove(0).version_id;
        let read = backend.get(BUCKET, "k", GetOptions::default()).await.unwrap().body;
        let tagging = "<Tagging><TagSet><Tag><Key>k</Key><Value>v</Value></Tag></TagSet></Tagging>";
        forward(&backend, Method::PUT, Some("k"), &[("tagging", "")], tagging).await.unwrap();
        put(&backend, "k", "newer").await;
        backend.delete(BUCKET, "k", Some(&version), Conditions::default()).await.unwrap();
        assert_eq!(collect(read).await, parts.concat());
        let gone = async {
            while pending(&root) > 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(10), gone)
            .await
            .expect("nothing is left in new/");
        assert_eq!(bodies(&root), 1);
    });
}

/// Two readers, of the record before its tags changed and of the one after: the first that is done leaves the bodies to the other.
#[test]
fn the_last_reader_of_a_deleted_version_reads_it_to_its_end() {
    let (_directory, root, backend) = fresh();
    run(async {
        set_versioning(&backend, "Enabled").await;
        let parts = [Bytes::from(vec![1; 1_000_000]), Bytes::from(vec![2; 9])];
        multipart(&backend, "k", &parts).await;
        let version = listed(&backend, all(10)).await.remove(0).version_id;
        let before = backend.get(BUCKET, "k", GetOptions::default()).await.unwrap().body;
        let tagging = "<Tagging><TagSet><Tag><Key>k</Key><Value>v</Value></Tag></TagSet></Tagging>";
        forward(&backend, Method::PUT, Some("k"), &[("tagging", "")], tagging).await.unwrap();
        let after = backend.get(BUCKET, "k", GetOptions::default()).await.unwrap().body;
        backend.delete(BUCKET, "k", Some(&version), Conditions::default()).await.unwrap();
        assert_eq!(collect(before).await, parts.concat());
        // Sweeps now, whatever the reader's end has done by itself.
        FsBackend::open(root.clone()).unwrap();
        assert_eq!(collect(after).await, parts.concat());
        let gone = async {
            while bodies(&root) + pending(&root) > 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(10), gone).await.expect("nothing is left");
    });
}

/// A reader that names a version has no lock: what was not there at its first look, and is at its second, is not damaged.
#[test]
fn the_first_write_of_a_key_is_not_taken_for_damage() {
    let (_directory, root, backend) = fresh();
    const KEYS: usize = 300;
    std::thread::scope(|scope| {
        for _ in 0..2 {
            let root = root.clone();
            scope.spawn(move || {
                let backend = FsBackend::open(root).unwrap();
                run(async {
                    for key in 0..KEYS {
                        loop {
                            match get_version(&backend, &format!("k{key}"), "null").await {
                                Ok(_) => break,
                                Err(error) => assert!(error.is("NoSuchVersion"), "{error}"),
                            }
                        }
                    }
                });
            });
        }
        run(async {
            for key in 0..KEYS {
                put(&backend, &format!("k{key}"), "text").await;
            }
        });
    });
}
