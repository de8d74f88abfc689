//! `inspect` needs no keys, and says what is wrong as far as that can be seen without.

use crate::world::{BUCKET, EMPTY, MARKER, PARTS, SINGLE, SIZES, World, plaintext};
use sealgate_envelope::hidden;
use serde_json::Value;

fn inspect(world: &World, arguments: &[&str]) -> Value {
    let run = world.run(&[&["--json", "inspect"], arguments].concat());
    run.succeeded();
    run.stdout_json()
}

/// What it shows of something that is no such thing at all.
fn malformed(world: &World, arguments: &[&str]) -> Value {
    let run = world.run(&[&["--json", "inspect"], arguments].concat());
    assert_eq!(run.code(), 4);
    run.stdout_json()
}

#[test]
fn a_stored_object() {
    let world = World::with_objects();
    let shown = inspect(&world, &["--data", ".", &format!("s3://{BUCKET}/{PARTS}")]);
    assert_eq!(shown["body"]["plaintext-bytes"], SIZES.iter().sum::<usize>());
    assert_eq!(shown["envelope"]["kind"], "multipart upload");
    assert_eq!(shown["envelope"]["suite"], "ChaCha20-Poly1305");
    assert_eq!(shown["recovery-block"]["ik-id"], world.ik_id.to_string());
    for key in [SINGLE, PARTS, EMPTY, MARKER] {
        let shown = inspect(&world, &["--fs-root", "backend", "--bucket", BUCKET, "--key", key]);
        assert_eq!(shown["problems"], serde_json::json!([]), "{key}");
    }
}

#[test]
fn a_lost_envelope_and_what_to_do() {
    let world = World::new();
    world.write("body", &world.single("k", &plaintext(5)).body);
    let shown = inspect(&world, &["--body", "body"]);
    assert_eq!(shown["body"]["plaintext-bytes"], 5);
    assert_eq!(shown["recovery-block"]["ik-id"], world.ik_id.to_string());
    let problem = shown["problems"][0].as_str().unwrap();
    assert!(problem.contains("envelope lost") && problem.contains("--without-envelope"), "{problem}");
    // The command that it gives, with what only the operator has in the place of the words in capitals.
    let next = shown["next"].as_str().unwrap().strip_prefix("sealgate ").unwrap().to_owned();
    world.write("record", &world.record.to_bytes().unwrap());
    let next = next
        .replace("CARD", "recovery")
        .replace("KEYRING", "control-plane/keyring.json")
        .replace("KEY-FILE", "control-plane/keyring.key")
        .replace("RECORDS", "record")
        .replace("OUTPUT", "out");
    world.run(&next.split(' ').collect::<Vec<_>>()).succeeded();
    assert_eq!(std::fs::read(world.dir.path().join("out")).unwrap(), plaintext(5));
}

#[test]
fn a_swapped_and_a_cut_body() {
    let world = World::new();
    let (mut one, other) = (world.single("k", &plaintext(5)), world.single("k", &plaintext(6)));
    one.body = other.body;
    world.put("k", &one);
    let shown = inspect(&world, &["--data", ".", "s3://photos/k"]);
    let problems = shown["problems"].to_string();
    assert!(problems.contains("different objects") && problems.contains("5 plaintext bytes"), "{problems}");
    world.write("body", &one.body[..one.body.len() - 40]);
    let shown = malformed(&world, &["--body", "body"]);
    assert!(shown["body"]["problem"].as_str().unwrap().contains("cut"), "{shown}");
}

#[test]
fn records_and_names() {
    let world = World::with_objects();
    let name = hidden::ik_record_name(&world.record).unwrap();
    let shown =
        inspect(&world, &["--data", ".", "--recovery-card", "recovery", &format!("s3://{BUCKET}/{name}")]);
    assert_eq!(shown["ik-record"]["on-card"], "yes");
    assert_eq!(shown["ik-record"]["name"], name.as_str());
    assert_eq!(shown["ik-record"]["kek"], "local/tenant");
    assert_eq!(shown["hidden-name"]["is"], "IK record");
    let envelope = &world.single("k", b"x").metadata["sealgate"];
    assert_eq!(inspect(&world, &["--envelope", envelope])["envelope"]["plaintext-bytes"], 1);
    let bad = malformed(&world, &["--envelope", "AAAA", "--name", ".sealgate/v1/other"]);
    assert_eq!(bad["envelope"]["problem"], "envelope header: not 188 characters");
    assert!(bad["hidden-name"]["problem"].is_string());
}

#[test]
fn what_is_malformed_is_no_success() {
    let world = World::new();
    world.write("record", b"no record");
    for arguments in [["--envelope", "AAAA"], ["--name", ".sealgate/v1/nothing"], ["--ik-record", "record"]] {
        world.run(&["inspect", arguments[0], arguments[1]]).failed(4, &arguments[0][2..]);
    }
}
