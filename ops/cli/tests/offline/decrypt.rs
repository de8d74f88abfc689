//! Objects come back, from the backend's directory, from files, and from the bare body.

use crate::world::{BUCKET, EMPTY, MARKER, PARTS, SINGLE, SIZES, World, plaintext, record};
use sealgate_envelope::hidden;
use sealgate_kms::{Keyring, Unlock};

fn url(key: &str) -> String {
    format!("s3://{BUCKET}/{key}")
}

#[test]
fn every_kind_of_object_from_the_directory() {
    let world = World::with_objects();
    let parts = SIZES.iter().sum();
    for (key, len) in [(SINGLE, 200_000), (PARTS, parts), (EMPTY, 0), (MARKER, 0)] {
        let (run, written) = world.decrypt(&["--json", &url(key)]);
        run.succeeded();
        assert!(written.unwrap() == plaintext(len), "{key}");
        let shown = run.stdout_json();
        assert_eq!(shown["key"], key);
        assert_eq!(shown["plaintext-bytes"], len);
        assert_eq!(shown["proved-by"], "envelope");
        assert_eq!(shown["bucket-on-card"], BUCKET);
        assert_eq!(shown["metadata"]["content-type"], "image/jpeg");
        assert_eq!(shown["metadata"]["x-amz-meta-note"].as_str().unwrap().len(), 1200);
    }
}

#[test]
fn every_option_given_on_its_own() {
    let world = World::with_objects();
    let run = world.run(&[
        "decrypt",
        "--fs-root",
        "backend",
        "--bucket",
        BUCKET,
        "--key",
        SINGLE,
        "--recovery-card",
        "recovery",
        "--keyring",
        "control-plane/keyring.json",
        "--key-file",
        "control-plane/keyring.key",
        "-o",
        "out",
    ]);
    run.succeeded();
    assert!(std::fs::read(world.path("out")).unwrap() == plaintext(200_000));
}

#[test]
fn stdout_carries_the_bytes_and_nothing_else() {
    let world = World::with_objects();
    let data = world.dir.path().to_str().unwrap();
    let run = world.run(&["decrypt", "--data", data, &url(SINGLE), "-o", "-"]);
    run.succeeded();
    assert!(run.stdout() == plaintext(200_000));
}

#[test]
fn from_a_body_and_its_metadata_in_files() {
    let world = World::new();
    for stored in [world.single("the/key", &plaintext(70_000)), world.multipart("the/key", &SIZES)] {
        world.write("body", &stored.body);
        let names: serde_json::Map<_, _> = stored
            .metadata
            .iter()
            .map(|(name, value)| (format!("X-Amz-Meta-{name}"), value.clone().into()))
            .collect();
        world.write(
            "meta.json",
            serde_json::json!({"ContentLength": 1, "Metadata": names}).to_string().as_bytes(),
        );
        world.write("ik", &world.record.to_bytes().unwrap());
        let files = ["--body", "body", "--metadata", "meta.json", "--ik-record", "ik"];
        let (run, written) = world.decrypt(&[&files[..], &["--key", "the/key", "--json"]].concat());
        run.succeeded();
        let len = usize::try_from(run.stdout_json()["plaintext-bytes"].as_u64().unwrap()).unwrap();
        assert!(len >= 70_000 && written.unwrap() == plaintext(len));
        std::fs::remove_file(world.path("out")).unwrap();

        let (run, written) = world.decrypt(&[&files[..], &["--key", "another/key"]].concat());
        run.failed(4, "wrapped DEK does not open");
        assert!(written.is_none(), "the envelope is bound to the key");
    }
}

#[test]
fn from_the_bare_body_with_a_record_from_a_directory() {
    let world = World::new();
    std::fs::create_dir(world.path("records")).unwrap();
    world.write("records/other", b"not a record");
    world.write("records/ik", &world.record.to_bytes().unwrap());
    for (stored, len) in [
        (world.single("k", &plaintext(70_000)), 70_000),
        (world.single("k", &[]), 0),
        (world.multipart("k", &SIZES), SIZES.iter().sum()),
    ] {
        world.write("body", &stored.body);
        let (run, written) = world.decrypt(&["--body", "body", "--ik-record", "records", "--json"]);
        run.succeeded();
        assert!(written.unwrap() == plaintext(len));
        assert!(run.stdout_json()["proved-by"].as_str().unwrap().starts_with("recovery block"));
    }
}

#[test]
fn an_object_that_lost_envelope_and_name_is_recovered_from_its_bucket() {
    let world = World::new();
    let mut stored = world.multipart("before", &SIZES);
    stored.metadata.clear();
    world.put("after", &stored);
    let (run, written) = world.decrypt(&[&url("after")]);
    run.failed(4, "envelope is lost");
    assert!(run.stderr().contains("--without-envelope") && written.is_none());
    let (run, written) = world.decrypt(&[&url("after"), "--without-envelope"]);
    run.succeeded();
    assert!(written.unwrap() == plaintext(SIZES.iter().sum()));
}

#[test]
fn copies_of_a_record_do_not_confuse() {
    let world = World::with_objects();
    let name = hidden::ik_record_name(&world.record).unwrap();
    let copy = format!("{}{}", hidden::ik_records_prefix(world.ik_id), "0".repeat(32));
    assert!(copy < name);
    let garbage = crate::world::Stored { body: b"garbage".to_vec(), metadata: Default::default() };
    world.put(&copy, &garbage);
    let (run, written) = world.decrypt(&[&url(SINGLE)]);
    run.succeeded();
    assert!(written.unwrap() == plaintext(200_000));
}

#[test]
fn a_keyring_with_a_passphrase() {
    let world = World::new();
    world.write("pass", b"correct horse battery\n");
    world.write("other", b"wrong horse battery\n");
    let unlock = Unlock::passphrase_file(&world.path("pass")).unwrap();
    let mut keyring = Keyring::create(&world.path("keyring"), &unlock).unwrap();
    keyring.create_kek("tenant", 1).unwrap();
    let record = record(&keyring, (world.tenant, world.bucket), "local/tenant", world.ik_id, &world.ik);
    world.write("ik", &record.to_bytes().unwrap());
    world.write("body", &world.single("k", b"by passphrase").body);
    let arguments = ["--body", "body", "--ik-record", "ik", "--keyring", "keyring", "--passphrase-file"];
    let (run, written) = world.decrypt(&[&arguments[..], &["other"]].concat());
    run.failed(5, "wrong passphrase");
    assert!(written.is_none());
    let (run, written) = world.decrypt(&[&arguments[..], &["pass"]].concat());
    run.succeeded();
    assert_eq!(written.unwrap(), b"by passphrase");
}
