//! `verify` finds what is damaged and counts what is not.

use crate::world::{BUCKET, PARTS, SINGLE, SIZES, Stored, World, plaintext};

#[test]
fn a_sound_bucket() {
    let world = World::with_objects();
    let total = 200_000 + SIZES.iter().sum::<usize>();
    for arguments in [vec!["s3://photos"], vec!["s3://photos", "--quick"], vec![]] {
        let run = world.run(&[&["verify", "--data", ".", "--json"], &arguments[..]].concat());
        run.succeeded();
        let summary = run.stdout_json();
        assert_eq!(summary["objects"], 4);
        assert_eq!(summary["plaintext-bytes"], total);
        assert_eq!(summary["ik-records"], 1);
        assert_eq!(summary["failures"], 0);
    }
}

#[test]
fn damage_is_found_and_the_rest_is_still_checked() {
    let world = World::with_objects();
    let mut flipped = world.single("2025/flipped", &plaintext(100_000));
    flipped.body[70_000] ^= 0x80;
    world.put("2025/flipped", &flipped);
    let mut bare = world.single("2025/bare", &plaintext(1));
    bare.metadata.clear();
    world.put("2025/bare", &bare);
    world.put("2025/foreign", &Stored { body: b"plaintext!".to_vec(), metadata: Default::default() });

    let run = world.run(&["verify", "--data", ".", "s3://photos"]);
    run.failed(4, "3 of 7 objects did not verify");
    let lines = String::from_utf8(run.stdout().to_vec()).unwrap();
    for key in ["2025/flipped", "2025/bare", "2025/foreign"] {
        assert_eq!(lines.matches(key).count(), 1, "{lines}");
    }
    assert!(lines.contains("chunk 1: does not open") && !lines.contains(SINGLE), "{lines}");

    // A quick run does not look at chunks, and a prefix leaves the rest out.
    let quick = world.run(&["verify", "--data", ".", "--quick", "s3://photos/2025/f"]);
    quick.failed(4, "1 of 2 objects did not verify");
    world.run(&["verify", "--data", ".", "s3://photos/large/"]).succeeded();
}

#[test]
fn a_prefix_that_nothing_begins_with_is_no_sound_backup() {
    let world = World::with_objects();
    world.run(&["verify", "--data", ".", "s3://photos/nosuch/"]).failed(3, "no object's key begins with");
}

#[test]
fn a_body_in_a_file() {
    let world = World::new();
    let mut stored = world.multipart(PARTS, &SIZES);
    world.write("ik", &world.record.to_bytes().unwrap());
    world.write("body", &stored.body);
    // The record is found in the bucket, where it was written.
    world.run(&["verify", "--data", ".", "--body", "body"]).succeeded();
    let arguments = ["verify", "--data", ".", "--body", "body", "--ik-record", "ik"];
    world.run(&arguments).succeeded();
    stored.body[6 << 20] ^= 1;
    world.write("body", &stored.body);
    world.run(&arguments).failed(4, "did not verify");
}

#[test]
fn a_keyring_that_is_not_there_ends_the_run() {
    let world = World::with_objects();
    let run = world.run(&["verify", "--data", ".", "--keyring", "missing", &format!("s3://{BUCKET}")]);
    run.failed(6, "missing");
    assert!(run.stdout().is_empty(), "one error, not one for each object");
}
