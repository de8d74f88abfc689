//! Credentials that may sign with Signature Version 2: what an operator must say, and what nodes get.

use sealgate_control_plane::{registry::records::Tenants, signing::v2::states};

use crate::support::{admin, now, start};

#[actix_rt::test]
async fn one_that_may_use_version_2_needs_an_end_and_nodes_get_its_states_until_then() {
    let dir = tempfile::tempdir().unwrap();
    let world = start(dir.path()).await;
    let (.., plain, _) = world.tenant_with_bucket("acme", "bucket").await;
    let end = now() + 86_400;
    let make = async |more: &str| {
        let body =
            format!(r#"{{"tenant":"acme","label":"old","grants":[{{"bucket":"*","read":true}}]{more}}}"#);
        admin(&world, "POST", "/v1/credentials", &body).await
    };
    for more in [String::new(), r#","not_after":0"#.to_owned(), format!(r#","not_after":{}"#, now() - 1)] {
        let (status, answer) = make(&format!(r#","sigv2":true{more}"#)).await;
        assert_eq!(status, 400, "{more}");
        assert!(answer["detail"].as_str().unwrap().contains("not_after"), "{answer}");
    }
    let (status, made) = make(&format!(r#","sigv2":true,"not_after":{end}"#)).await;
    assert_eq!((status, &made["sigv2"], &made["not_after"]), (201, &true.into(), &end.into()));
    let (id, secret) = (made["access_key_id"].as_str().unwrap(), made["secret_access_key"].as_str().unwrap());

    let mut stream = world.node("n1", Tenants::All).await.subscribe().await;
    let received = stream.snapshot().await;
    let found = |snapshot: &sealgate_proto::v1::Snapshot, id: &str| {
        snapshot.credentials.iter().find(|one| one.access_key_id == id).unwrap().clone()
    };
    assert!(found(&received.snapshot, &plain).sigv2.is_none(), "nobody allowed it");
    let given = found(&received.snapshot, id);
    let (sent, right) = (given.sigv2.unwrap(), states(secret.as_bytes()).unwrap());
    assert_eq!((&sent.inner[..], &sent.outer[..]), (&right.inner[..], &right.outer[..]));
    assert_eq!((given.not_after, given.signing_keys.len()), (end, 20), "it signs with version 4, too");
    stream.ack(&received).await;

    // The states never age, so they go with the day on which the credential ends.
    world.clock.advance(2 * 86_400);
    let later = stream.snapshot().await;
    assert!(found(&later.snapshot, id).sigv2.is_none());
    world.handle.stop().await;
}
