//! Requests for keys that end badly: what a node still holds then, and that the next request is not held up.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join;
use sealgate_control_plane::Handle;
use sealgate_data_plane::backend::Backend;
use sealgate_data_plane::backend::fs::FsBackend;
use sealgate_data_plane::clock::{ManualClock, SystemClock};
use sealgate_data_plane::control::ControlPlane;
use sealgate_data_plane::keys::{KeyError, Keys, fetch};
use sealgate_data_plane::metrics::Metrics;
use sealgate_data_plane::plane::DataPlane;
use sealgate_data_plane::worker::Backends;
use sealgate_envelope::hidden;
use tonic::Code;

use super::relay::{Moment, Relay};
use super::s3::Client;
use super::steered::{self, Call, Steered};
use super::world::{World, identity, issue, soon, tenant, until};

const MINUTE: Duration = Duration::from_secs(60);

/// A node that holds the key of one object, with a relay between it and its control plane.
pub struct Holding {
    pub world: World,
    pub control: Handle,
    pub relay: Relay,
    pub clock: Arc<ManualClock>,
    pub node: DataPlane,
    pub client: Client,
    pub keys: Arc<Keys>,
}

impl Holding {
    pub async fn start() -> Self {
        let world = World::new();
        let control = world.control().await;
        let client = tenant(&control).await;
        let relay = Relay::start(control.grpc_addr(), issue(&control, "one").await).await;
        let clock = ManualClock::at(SystemClock::shared().unix());
        let node = world.node_by(relay.endpoint(), relay.identity(), Arc::clone(&clock) as _).await;
        let client = client.at(node.address());
        client.put("/bucket", "").await.ok();
        client.put("/bucket/object", "text").await.ok();
        let keys = Arc::clone(&node.node().keys);
        Self { world, control, relay, clock, node, client, keys }
    }

    async fn stop(self) {
        self.node.stop().await;
        self.control.stop().await;
    }
}

#[actix_rt::test]
async fn a_node_that_is_denied_the_key_for_writing_gives_up_the_one_that_it_has() {
    let holding = Holding::start().await;
    let Holding { relay, clock, client, keys, .. } = &holding;
    let asked = || relay.count(Moment::ActiveAsked);
    // Past its soft life, and never unused for five minutes.
    clock.advance(4 * MINUTE);
    client.put("/bucket/object", "text").await.ok();
    clock.advance(2 * MINUTE);
    assert_eq!((keys.len(), asked()), (1, 1));

    relay.refuse_at(Moment::ActiveAsked, Some(Code::Unavailable));
    // The second request shows that the first was answered: one runs at a time.
    until("two refreshes", async || {
        // What could not be had is not asked for again for five seconds.
        clock.advance(Duration::from_secs(6));
        client.put("/bucket/object", "text").await.ok();
        asked() >= 3
    })
    .await;
    assert_eq!(keys.len(), 1, "a control plane that is away took a key");

    relay.refuse_at(Moment::ActiveAsked, Some(Code::PermissionDenied));
    until("the end of the key", async || {
        clock.advance(Duration::from_secs(6));
        let status = client.put("/bucket/object", "text").await.status;
        assert!(status == 200 || status == 403, "{status}");
        keys.is_empty()
    })
    .await;
    assert_eq!(client.put("/bucket/object", "text").await.tag("Code"), "AccessDenied");
    relay.refuse_at(Moment::ActiveAsked, None);
    client.put("/bucket/object", "text").await.ok();
    holding.stop().await;
}

#[actix_rt::test]
async fn a_restored_control_plane_that_knows_neither_key_nor_node_takes_no_key() {
    let holding = Holding::start().await;
    let Holding { relay, clock, client, keys, .. } = &holding;
    // Its soft life is soon over, and it is never unused for five minutes.
    clock.advance(4 * MINUTE);
    for (moment, code) in [
        (Moment::GetAsked, Code::NotFound),
        (Moment::GetAsked, Code::Unauthenticated),
        (Moment::ActiveAsked, Code::Unauthenticated),
    ] {
        relay.refuse_at(moment, Some(code));
        let before = relay.count(moment);
        until("two refreshes", async || {
            clock.advance(Duration::from_secs(6));
            let answer = match moment {
                Moment::GetAsked => client.get("/bucket/object").await,
                _ => client.put("/bucket/object", "text").await,
            };
            assert_eq!(answer.status, 200, "{code} at {moment:?}");
            relay.count(moment) >= before + 3
        })
        .await;
        assert_eq!(keys.len(), 1, "{code} at {moment:?} took a key");
        relay.refuse_at(moment, None);
    }
    holding.stop().await;
}

#[actix_rt::test]
async fn a_fetch_that_panics_fails_those_who_wait_and_nobody_after_them() {
    let world = World::new();
    let control = world.control().await;
    let client = tenant(&control).await;
    let endpoint = format!("https://{}", control.grpc_addr());
    let issued = issue(&control, "one").await;
    let node = world.node(endpoint.clone(), identity(&issued)).await;
    client.at(node.address()).put("/bucket", "").await.ok();
    let bucket = Arc::clone(node.node().snapshot().unwrap().bucket("bucket").unwrap());

    let backend = Steered::new(Rc::new(FsBackend::open(world.backend()).unwrap()));
    backend.once(steered::Moment::Before, Call::Put, hidden::IK_PREFIX, async || {
        panic!("the test says so");
    });
    let backends = Backends::from_iter([("default".to_owned(), Rc::clone(&backend) as Rc<dyn Backend>)]);
    let (keys, requests) = Keys::new(SystemClock::shared(), Arc::new(Metrics::new().unwrap()));
    let to_control = ControlPlane::new(&endpoint, "localhost", &identity(&issued)).unwrap();
    let fetching = actix_rt::spawn(fetch::run(Arc::clone(&keys), to_control, Rc::new(backends), requests));

    let (one, other) = soon("the end of both", join(keys.active(&bucket), keys.active(&bucket))).await;
    backend.assert_done();
    let dropped = KeyError::Unavailable("the request for it was dropped".to_owned());
    assert_eq!((one.err(), other.err()), (Some(dropped.clone()), Some(dropped)));
    soon("a key", keys.active(&bucket)).await.unwrap();
    fetching.abort();
    node.stop().await;
    control.stop().await;
}

#[actix_rt::test]
async fn a_fetch_goes_on_when_everybody_who_waited_has_gone() {
    let world = World::new();
    let control = world.control().await;
    let client = tenant(&control).await;
    let relay = Relay::start(control.grpc_addr(), issue(&control, "one").await).await;
    let node = world.node(relay.endpoint(), relay.identity()).await;
    client.at(node.address()).put("/bucket", "").await.ok();
    let bucket = Arc::clone(node.node().snapshot().unwrap().bucket("bucket").unwrap());
    let keys = Arc::clone(&node.node().keys);
    relay.halt_at(Moment::ActiveAsked);
    let waiting = {
        let (keys, bucket) = (Arc::clone(&keys), Arc::clone(&bucket));
        actix_rt::spawn(async move { keys.active(&bucket).await.map(|key| key.id) })
    };
    relay.reached().await;
    waiting.abort();
    assert!(waiting.await.unwrap_err().is_cancelled());
    relay.release();
    soon("a key", keys.active(&bucket)).await.unwrap();
    assert_eq!((relay.count(Moment::ActiveAsked), relay.count(Moment::ConfirmAsked)), (1, 1));
    node.stop().await;
    control.stop().await;
}
