//! What must not come out, and with which exit code.

use sealgate_envelope::recovery_card::CardBucket;
use sealgate_envelope::{BucketId, RecoveryCard, TenantId, hidden};
use sealgate_kms::{Keyring, Unlock};

use crate::world::{BUCKET, PARTS, SINGLE, SIZES, Stored, World, body_file, plaintext, record};

fn url(key: &str) -> String {
    format!("s3://{BUCKET}/{key}")
}

#[test]
fn a_byte_flipped_anywhere_leaves_no_output() {
    let world = World::new();
    let stored = world.multipart(PARTS, &SIZES);
    let chunks: usize = stored.body.len() - 600;
    world.put(PARTS, &stored);
    let path = body_file(&world.path("backend"), stored.body.len());
    for (at, stage) in [
        (20, "chunk 0"),
        (3 << 20, "chunk"),
        (chunks, "does not open"),
        (stored.body.len() - 1, "trailer"),
        (stored.body.len() - 50, "trailer"),
    ] {
        let mut bytes = stored.body.clone();
        bytes[at] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let (run, written) = world.decrypt(&[&url(PARTS)]);
        run.failed(4, stage);
        assert!(written.is_none(), "byte {at}");
    }
}

#[test]
fn a_cut_body_is_an_integrity_failure() {
    let world = World::new();
    let stored = world.single(SINGLE, &plaintext(200_000));
    let cut = Stored { body: stored.body[..stored.body.len() - 65_564].to_vec(), metadata: stored.metadata };
    world.put(SINGLE, &cut);
    let (run, written) = world.decrypt(&[&url(SINGLE)]);
    run.failed(4, "size");
    assert!(written.is_none());
    let (run, _) = world.decrypt(&[&url(SINGLE), "--without-envelope"]);
    assert_eq!(run.code(), 4);
}

#[test]
fn on_stdout_what_came_before_the_damage_is_called_incomplete() {
    let world = World::new();
    let mut stored = world.single(SINGLE, &plaintext(200_000));
    stored.body[2 * 65_564 + 100] ^= 1;
    world.put(SINGLE, &stored);
    let data = world.dir.path().to_str().unwrap();
    let run = world.run(&["decrypt", "--data", data, &url(SINGLE), "-o", "-"]);
    run.failed(4, "incomplete");
    assert!(run.stdout() == &plaintext(200_000)[..2 * 65_536], "only chunks that were proved");
}

#[test]
fn an_object_moved_to_another_key_does_not_open() {
    let world = World::new();
    world.put("elsewhere", &world.single(SINGLE, &plaintext(10)));
    let (run, _) = world.decrypt(&[&url("elsewhere")]);
    run.failed(4, "--without-envelope");
}

#[test]
fn a_record_outside_the_card_is_refused_before_the_keyring_is_opened() {
    let world = World::with_objects();
    let pair = CardBucket {
        tenant: TenantId::random().unwrap(),
        bucket: BucketId::random().unwrap(),
        name: "other".to_owned(),
    };
    let own = CardBucket { tenant: world.tenant, bucket: world.bucket, name: String::new() };
    for card in [
        RecoveryCard::new(vec![pair], vec!["local/tenant".to_owned()]).unwrap(),
        RecoveryCard::new(vec![own], vec!["local/another".to_owned()]).unwrap(),
    ] {
        world.write("card", card.to_string().as_bytes());
        // Opening this keyring would fail with another code.
        let (run, written) =
            world.decrypt(&[&url(SINGLE), "--recovery-card", "card", "--keyring", "/nonexistent/keyring"]);
        run.failed(5, "the keyring was not asked");
        assert!(written.is_none());
        let (run, _) = world.decrypt(&[
            &url(PARTS),
            "--without-envelope",
            "--recovery-card",
            "card",
            "--keyring",
            "/nonexistent/keyring",
        ]);
        run.failed(5, "the keyring was not asked");
    }
}

#[test]
fn a_planted_record_with_a_key_of_its_own_is_refused() {
    // Somebody who can write to the bucket and has a keyring: body, envelope and record are all consistent.
    let world = World::new();
    let attacker = World::new();
    let key = attacker.path("control-plane/keyring.key");
    let keyring =
        Keyring::open(&attacker.path("control-plane/keyring.json"), &Unlock::key_file(&key).unwrap())
            .unwrap();
    let planted =
        record(&keyring, (attacker.tenant, attacker.bucket), "local/tenant", attacker.ik_id, &attacker.ik);
    let name = hidden::ik_record_name(&planted).unwrap();
    world.put(&name, &Stored { body: planted.to_bytes().unwrap(), metadata: Default::default() });
    world.put(SINGLE, &attacker.single(SINGLE, b"planted"));
    let (run, written) = world.decrypt(&[&url(SINGLE)]);
    run.failed(5, "not on the card");
    assert!(written.is_none());

    // The same with the victim's pair: the context does not match what the victim's keyring wrapped.
    let forged = record(&keyring, (world.tenant, world.bucket), "local/tenant", attacker.ik_id, &attacker.ik);
    world.write("forged", &forged.to_bytes().unwrap());
    let (run, written) = world.decrypt(&[&url(SINGLE), "--ik-record", "forged"]);
    run.failed(4, "does not open under its KEK");
    assert!(written.is_none());
}

#[test]
fn what_is_missing_is_named() {
    let world = World::with_objects();
    let (run, _) = world.decrypt(&[&url("no/such/key")]);
    run.failed(3, "no/such/key");
    let (run, _) = world.decrypt(&["s3://no-such-bucket/key"]);
    run.failed(3, "no-such-bucket");

    let lonely = World::new();
    lonely.write("body", &world.single("k", b"x").body);
    let (run, _) = lonely.decrypt(&["--body", "body"]);
    run.failed(3, &world.ik_id.to_string());

    let (run, _) = world.decrypt(&[&url(SINGLE), "--keyring", "missing"]);
    run.failed(6, "missing");
    world.write("wrong.key", &[9; 32]);
    let (run, _) = world.decrypt(&[&url(SINGLE), "--key-file", "wrong.key"]);
    run.failed(5, "wrong passphrase or key");

    let run = world.run(&["decrypt", "--fs-root", "backend", &url(SINGLE), "-o", "out"]);
    run.failed(2, "no recovery card");
    let run = world.run(&["decrypt", "-o", "out"]);
    run.failed(2, "no object is named");
    let other = BucketId::random().unwrap().to_string();
    let (run, _) = world.decrypt(&[&url(SINGLE), "--logical-bucket", &other]);
    run.failed(5, "logical bucket");
}

#[test]
fn a_kek_that_the_keyring_lost() {
    let world = World::with_objects();
    let unlock = Unlock::key_file(&world.path("control-plane/keyring.key")).unwrap();
    let mut other = Keyring::create(&world.path("other.json"), &unlock).unwrap();
    other.create_kek("unrelated", 1).unwrap();
    let (run, _) = world.decrypt(&[&url(SINGLE), "--keyring", "other.json"]);
    run.failed(3, "local/tenant");
    other.create_kek("tenant", 1).unwrap();
    let (run, _) = world.decrypt(&[&url(SINGLE), "--keyring", "other.json"]);
    run.failed(4, "does not open under its KEK");
}

#[test]
fn errors_as_json() {
    let world = World::with_objects();
    let (run, _) = world.decrypt(&["--json", &url("nothing")]);
    let error: serde_json::Value = serde_json::from_str(&run.stderr()).unwrap();
    assert_eq!((error["error"].as_str(), error["exit"].as_u64()), (Some("not-found"), Some(3)));
}
