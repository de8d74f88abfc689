//! Config push: snapshots, ACK and NACK, tenants, midnight, restart.

use sealgate_control_plane::{
    registry::records::{RuleRecord, Tenants},
    signing,
};

use crate::support::{admin, now, start, start_at, until_status};

#[actix_rt::test]
async fn a_node_gets_a_snapshot_and_its_ack_is_recorded() {
    let dir = tempfile::tempdir().unwrap();
    let world = start(dir.path()).await;
    let (tenant, access_key, bucket) = world.tenant_with_bucket("t", "bucket").await;
    let node = world.node("n1", Tenants::All).await;
    let mut stream = node.subscribe().await;
    let received = stream.snapshot().await;
    let snapshot = &received.snapshot;
    assert_eq!(snapshot.version, world.handle.registry().version().version);
    assert_eq!(snapshot.gateway_id, world.handle.registry().state().gateway_id.as_bytes());
    assert_eq!(snapshot.regions, ["eu-central-1", "us-east-1"]);
    assert_eq!(snapshot.buckets[0].bucket_id, bucket.as_bytes());
    let credential = &snapshot.credentials[0];
    assert_eq!((&credential.access_key_id, &credential.tenant_id[..]), (&access_key, &tenant.as_bytes()[..]));
    assert_eq!(credential.signing_keys.len(), 20, "ten days in two regions");
    let today = now() / 86_400;
    assert_eq!(credential.signing_keys[0].date, signing::date(today - 7).unwrap());
    assert_eq!(credential.signing_keys[19].date, signing::date(today + 2).unwrap());
    stream.ack(&received).await;
    let version = snapshot.version;
    let status = until_status(&world, |status| status["nodes"]["n1"]["acked"][1] == version).await;
    assert_eq!(status["nodes"]["n1"]["connected"], true);
    assert!(status["nodes"]["n1"]["nack"].is_null());

    // A change is pushed; one push at a time, and the newest wins: what comes before the ACK comes in one.
    let create = |name: &str| {
        let begun = world.handle.registry().begin_create(tenant, name, "").unwrap();
        world.handle.registry().commit_create(begun.id).unwrap();
    };
    create("second");
    let second = stream.snapshot().await;
    create("third");
    create("fourth");
    stream.ack(&second).await;
    let received = stream.snapshot().await;
    assert_eq!(received.snapshot.buckets.len(), 4, "changes that come together are pushed together");
    stream.ack(&received).await;
    world.handle.stop().await;
}

#[actix_rt::test]
async fn a_refused_version_is_quarantined_and_the_next_one_comes() {
    let dir = tempfile::tempdir().unwrap();
    let world = start(dir.path()).await;
    let (tenant, ..) = world.tenant_with_bucket("t", "bucket").await;
    let node = world.node("n1", Tenants::All).await;
    let mut stream = node.subscribe().await;
    let good = stream.snapshot().await;
    stream.ack(&good).await;
    world.handle.registry().begin_create(tenant, "poison", "").unwrap();
    let poison = stream.snapshot().await;
    stream.nack(&poison, "bucket/poison", "no such backend").await;
    let status = until_status(&world, |status| !status["nodes"]["n1"]["nack"].is_null()).await;
    let report = &status["nodes"]["n1"];
    assert_eq!(report["nack"], "bucket/poison: no such backend");
    assert_eq!(report["quarantined"][1], poison.snapshot.version);
    assert_eq!(report["acked"][1], good.snapshot.version, "what it ran before is what it runs");
    // A node that comes back runs it no better, but one that has just started may have been mended.
    stream = node.subscribe().await;
    let again = stream.snapshot().await;
    assert_eq!(again.snapshot.version, poison.snapshot.version, "it is asked again");
    stream.nack(&again, "bucket/poison", "no such backend").await;
    until_status(&world, |status| !status["nodes"]["n1"]["quarantined"].is_null()).await;
    let next = world.handle.registry().begin_create(tenant, "harmless", "").unwrap();
    let next_version = world.handle.registry().version().version;
    let received = stream.snapshot().await;
    assert_eq!(received.snapshot.version, next_version, "the refused version is not sent again");
    assert!(received.snapshot.buckets.iter().any(|bucket| bucket.bucket_id == next.id.as_bytes()));
    stream.ack(&received).await;
    until_status(&world, |status| status["nodes"]["n1"]["quarantined"].is_null()).await;
    world.handle.stop().await;
}

#[actix_rt::test]
async fn an_ack_of_something_else_is_not_an_ack() {
    let dir = tempfile::tempdir().unwrap();
    let world = start(dir.path()).await;
    world.tenant_with_bucket("t", "bucket").await;
    let mut stream = world.node("n1", Tenants::All).await.subscribe().await;
    let mut received = stream.snapshot().await;
    received.digest = vec![0; 32];
    stream.ack(&received).await;
    let status = until_status(&world, |status| !status["nodes"]["n1"]["nack"].is_null()).await;
    assert!(status["nodes"]["n1"]["acked"].is_null());
    world.handle.stop().await;
}

#[actix_rt::test]
async fn a_node_sees_its_own_tenants_only() {
    let dir = tempfile::tempdir().unwrap();
    let world = start(dir.path()).await;
    let (ours, our_key, our_bucket) = world.tenant_with_bucket("ours", "our-bucket").await;
    let (_, _, their_bucket) = world.tenant_with_bucket("theirs", "their-bucket").await;
    let node = world.node("n1", Tenants::These(vec![ours])).await;
    let received = node.subscribe().await.snapshot().await;
    let names: Vec<_> = received.snapshot.buckets.iter().map(|bucket| bucket.name.as_str()).collect();
    assert_eq!(names, ["our-bucket"]);
    let ids: Vec<_> = received.snapshot.credentials.iter().map(|one| one.access_key_id.as_str()).collect();
    assert_eq!(ids, [our_key]);
    assert_eq!(node.active(their_bucket).await.unwrap_err().code(), tonic::Code::NotFound);
    assert_eq!(node.get(their_bucket, &[0; 16]).await.unwrap_err().code(), tonic::Code::NotFound);
    node.active(our_bucket).await.unwrap();
    let reference = sealgate_proto::v1::BucketRef { bucket_id: their_bucket.as_bytes().to_vec() };
    let refused = node.buckets().begin_delete(reference).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::NotFound);
    world.handle.stop().await;
}

#[actix_rt::test]
async fn at_midnight_the_days_move_on() {
    let dir = tempfile::tempdir().unwrap();
    let world = start(dir.path()).await;
    let tenant = world.handle.ensure_tenant("t").await.unwrap();
    let new = world.handle.ensure_credential(tenant, "test").await.unwrap().unwrap();
    let mut stream = world.node("n1", Tenants::All).await.subscribe().await;
    let before = stream.snapshot().await;
    stream.ack(&before).await;
    world.clock.advance(86_400);
    let after = stream.snapshot().await;
    assert!(after.snapshot.version > before.snapshot.version);
    let keys = &after.snapshot.credentials[0].signing_keys;
    let tomorrow = now() / 86_400 + 1;
    assert_eq!(keys[0].date, signing::date(tomorrow - 7).unwrap());
    assert_eq!(keys[19].date, signing::date(tomorrow + 2).unwrap());
    let expected = signing::derive(new.secret.as_bytes(), &keys[19].date, &keys[19].region).unwrap();
    assert_eq!(keys[19].key, expected.as_ref());
    world.handle.stop().await;
}

#[actix_rt::test]
async fn a_restart_keeps_everything_and_raises_the_epoch() {
    let dir = tempfile::tempdir().unwrap();
    let world = start(dir.path()).await;
    let (tenant, access_key, bucket) = world.tenant_with_bucket("t", "bucket").await;
    let identity = world.handle.issue_node("n1", Tenants::All).await.unwrap();
    let key = world.node("n2", Tenants::All).await.placed_key(bucket).await;
    let before = world.handle.registry().state();
    let card = world.handle.recovery_card().unwrap();
    world.handle.stop().await;

    let world = start_at(dir.path(), now() + 60).await;
    let state = world.handle.registry().state();
    assert_eq!(state.gateway_id, before.gateway_id);
    assert!(state.epoch > before.epoch && state.version >= before.version);
    assert!(state.credentials.contains_key(&access_key) && state.buckets.contains_key("bucket"));
    assert_eq!(world.handle.ensure_tenant("t").await.unwrap(), tenant);
    assert!(world.handle.ensure_credential(tenant, "test").await.unwrap().is_none(), "shown once only");
    assert_eq!(world.handle.recovery_card().unwrap(), card);
    let node = world.connect(identity).await.unwrap();
    assert_eq!(node.get(bucket, &key.ik_id).await.unwrap().ik, key.ik, "the same key after a restart");
    world.handle.stop().await;
}

#[actix_rt::test]
async fn deleting_a_credential_returns_when_the_node_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let world = start(dir.path()).await;
    let (_, access_key, _) = world.tenant_with_bucket("t", "bucket").await;
    let mut stream = world.node("n1", Tenants::All).await.subscribe().await;
    let first = stream.snapshot().await;
    stream.ack(&first).await;
    let path = format!("/v1/credentials/{access_key}");
    let delete = admin(&world, "DELETE", &path, "");
    let node = async {
        let received = stream.snapshot().await;
        assert!(received.snapshot.credentials.is_empty());
        stream.ack(&received).await;
        received.snapshot.version
    };
    let ((status, answer), version) = futures_util::join!(delete, node);
    assert_eq!((status, &answer["pending"]), (200, &serde_json::json!([])));
    assert_eq!(answer["version"], version);

    // A node that does not answer is named.
    let (status, answer) = admin(
        &world,
        "POST",
        "/v1/credentials",
        r#"{"tenant":"t","label":"l","grants":[{"bucket":"*","read":true}]}"#,
    )
    .await;
    assert_eq!((status, &answer["pending"]), (201, &serde_json::json!(["n1"])));
    world.handle.stop().await;
}

#[actix_rt::test]
async fn every_ten_seconds_comes_a_digest_whether_or_not_anything_changed() {
    let dir = tempfile::tempdir().unwrap();
    let world = start(dir.path()).await;
    let (tenant, ..) = world.tenant_with_bucket("t", "bucket").await;
    let mut stream = world.node("n1", Tenants::All).await.subscribe().await;
    let mut running = stream.snapshot().await;
    for round in 0..3 {
        stream.ack(&running).await;
        let version = running.snapshot.version;
        // The actor has taken the ACK in, and waits for the next tick, when it answers this.
        until_status(&world, |status| status["nodes"]["n1"]["acked"][1] == version).await;
        world.clock.advance(10);
        let digest = stream.digest().await;
        assert_eq!((digest.epoch, digest.version), (running.snapshot.epoch, version));
        assert_eq!(digest.digest, running.digest);
        if round == 1 {
            until_status(&world, |_| true).await;
            // Not a second sooner: the next message is the push of a change, no digest before it.
            world.clock.advance(9);
            world.handle.registry().begin_create(tenant, "second", "").unwrap();
            running = stream.snapshot().await;
            world.clock.advance(1);
            // The node has not acknowledged the change yet: it is told what it runs once it has taken it in.
            let digest = stream.digest().await;
            assert_eq!((digest.version, digest.digest), (running.snapshot.version, running.digest.clone()));
        }
    }
    world.handle.stop().await;
}

#[actix_rt::test]
async fn a_large_snapshot_comes_in_pieces() {
    let dir = tempfile::tempdir().unwrap();
    let world = start(dir.path()).await;
    let tenant = world.handle.ensure_tenant("t").await.unwrap();
    let rules: Vec<RuleRecord> =
        (0..100).map(|number| RuleRecord { prefix: format!("{number:0>600}"), plain: true }).collect();
    for number in 0..40 {
        let name = format!("bucket-{number}");
        world.handle.registry().begin_create(tenant, &name, "").unwrap();
        world.handle.registry().set_rules(&name, rules.clone()).unwrap();
    }
    let mut stream = world.node("n1", Tenants::All).await.subscribe().await;
    // Its digest and length are those announced with each piece: `snapshot` compares them.
    let received = stream.snapshot().await;
    assert!(received.chunks >= 3, "{} pieces", received.chunks);
    assert_eq!(received.snapshot.buckets.len(), 40);
    assert!(received.snapshot.buckets.iter().all(|bucket| bucket.rules.len() == 100));
    stream.ack(&received).await;
    let version = received.snapshot.version;
    until_status(&world, |status| status["nodes"]["n1"]["acked"][1] == version).await;
    world.handle.stop().await;
}
