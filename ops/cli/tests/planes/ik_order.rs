//! The order in which a new intermediate key comes to a node: record committed → wrapped copy in the bucket → key. Node
//! and control plane are killed between any two steps; never is there an object whose key has no record in its bucket, and
//! when the dead are back writing goes on.

use bytes::Bytes;

use super::process::Plane;
use super::relay::{Moment, Relay};
use super::s3::Client;
use super::storage::{check_key_records, key_records};
use super::world::{World, soon, until};

const MOMENTS: [Moment; 4] =
    [Moment::ActiveAsked, Moment::ActiveAnswered, Moment::ConfirmAsked, Moment::ConfirmAnswered];

/// The copies that lie in the bucket at a moment: placed only after the record was committed.
fn copies_at(moment: Moment) -> usize {
    match moment {
        Moment::ActiveAsked | Moment::ActiveAnswered | Moment::GetAsked | Moment::LendAsked => 0,
        Moment::ConfirmAsked | Moment::ConfirmAnswered => 1,
    }
}

async fn put(client: Client, bucket: &'static str) -> Result<http::StatusCode, String> {
    client.try_send("PUT", &format!("/{bucket}/object"), Bytes::from_static(b"text")).await.map(|a| a.status)
}

/// Waits until a node serves a bucket that exists.
async fn until_served(client: &Client, bucket: &str) {
    until("the bucket", async || {
        let head = client.try_send("HEAD", &format!("/{bucket}"), Bytes::new()).await;
        head.is_ok_and(|answer| answer.status == 200)
    })
    .await;
}

#[actix_rt::test]
async fn a_node_killed_between_any_two_steps_leaves_no_object_without_its_key_record() {
    let world = World::new();
    let control = world.control_process().await;
    let client = control.tenant("tests").await;
    let relay = Relay::start(control.plane.address, control.issue("one").await).await;
    let file = world.node_file("one", &relay.endpoint(), &relay.identity());
    for (moment, bucket) in MOMENTS.into_iter().zip(["node-a", "node-b", "node-c", "node-d"]) {
        let mut node = Plane::node(&file).await;
        let here = client.at(node.address);
        until("a config", async || here.send("GET", "/", "").await.status == 200).await;
        here.put(&format!("/{bucket}"), "").await.ok();
        relay.halt_at(moment);
        let writing = actix_rt::spawn(put(here, bucket));
        relay.reached().await;
        assert_eq!(key_records(&world.backend(), bucket).await, copies_at(moment), "at {moment:?}");
        assert_eq!(
            check_key_records(&world.backend(), bucket).await,
            0,
            "an object before its key, at {moment:?}"
        );
        // With its connection the halted call goes too.
        node.kill();
        soon("the write's end", writing).await.unwrap().unwrap_err();
        assert_eq!(check_key_records(&world.backend(), bucket).await, 0, "killed at {moment:?}");

        let node = Plane::node(&file).await;
        let here = client.at(node.address);
        until_served(&here, bucket).await;
        here.put(&format!("/{bucket}/object"), "text").await.ok();
        assert_eq!(here.get(&format!("/{bucket}/object")).await.ok().body, "text");
        assert_eq!(check_key_records(&world.backend(), bucket).await, 1, "after {moment:?}");
    }
}

#[actix_rt::test]
async fn a_control_plane_killed_between_any_two_steps_leaves_no_object_without_its_key_record() {
    let world = World::new();
    let mut control = world.control_process().await;
    let client = control.tenant("tests").await;
    let relay = Relay::start(control.plane.address, control.issue("one").await).await;
    let node = Plane::node(&world.node_file("one", &relay.endpoint(), &relay.identity())).await;
    let here = client.at(node.address);
    until("a config", async || here.send("GET", "/", "").await.status == 200).await;
    for (moment, bucket) in MOMENTS.into_iter().zip(["control-a", "control-b", "control-c", "control-d"]) {
        until("the bucket", async || {
            let made = here.put(&format!("/{bucket}"), "").await.status;
            made == 200 || made == 409
        })
        .await;
        relay.halt_at(moment);
        let writing = actix_rt::spawn(put(here.clone(), bucket));
        relay.reached().await;
        control.plane.kill();
        assert_eq!(key_records(&world.backend(), bucket).await, copies_at(moment), "at {moment:?}");
        assert_eq!(
            check_key_records(&world.backend(), bucket).await,
            0,
            "an object before its key, at {moment:?}"
        );
        relay.release();
        let status = soon("the write's answer", writing).await.unwrap().unwrap();
        // What the control plane had already said is as good as if it lived: its answer reaches the node after all.
        let answered = moment == Moment::ConfirmAnswered;
        assert_eq!(status, if answered { 200 } else { 503 }, "killed at {moment:?}");
        assert_eq!(check_key_records(&world.backend(), bucket).await, usize::from(answered));

        control.restart().await;
        relay.set_upstream(control.plane.address);
        until("the write", async || put(here.clone(), bucket).await == Ok(http::StatusCode::OK)).await;
        assert_eq!(here.get(&format!("/{bucket}/object")).await.ok().body, "text");
        assert_eq!(check_key_records(&world.backend(), bucket).await, 1, "after {moment:?}");
    }
}
