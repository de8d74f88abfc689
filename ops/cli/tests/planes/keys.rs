//! The lives of intermediate keys on a node.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::future::join_all;
use http::HeaderMap;
use sealgate_data_plane::clock::{Clock, ManualClock, SystemClock};
use sealgate_data_plane::control::ControlPlane;
use sealgate_data_plane::keys::{Active, KeyError, Keys, Lives, NodeKey, Request, fetch};
use sealgate_data_plane::metrics::Metrics;
use sealgate_data_plane::multipart::uploads::{OpenUpload, Place, Uploads};
use sealgate_data_plane::snapshot::{Bucket, BucketState};
use sealgate_data_plane::worker::Backends;
use sealgate_envelope::hidden::RecordName;
use sealgate_envelope::{BucketId, GatewayId, Ik, IkId, ObjectKeys, Suite, TenantId};
use tokio::sync::mpsc::Receiver;

use super::fetches::Holding;
use super::relay::{Moment, Relay};
use super::world::{World, identity, issue, soon, tenant, until};

const MINUTE: Duration = Duration::from_secs(60);
const LIVES: Lives = Lives {
    soft: Duration::from_secs(300),
    hard: Duration::from_secs(3_600),
    idle: Duration::from_secs(300),
    unproved: Duration::from_secs(86_400),
};

fn bucket() -> Arc<Bucket> {
    Arc::new(Bucket {
        name: "bucket".to_owned(),
        id: BucketId::random().unwrap(),
        tenant: TenantId::random().unwrap(),
        backend: "default".to_owned(),
        backend_bucket: "bucket".to_owned(),
        work_bucket: "bucket".to_owned(),
        region: "eu-central-1".to_owned(),
        state: BucketState::Active,
        suite: Suite::from_code(1).unwrap(),
        rules: Vec::new(),
        created: 0,
        label: "bucket".into(),
        frozen: false,
        keys: Some(0),
        records: 0,
        rewrap: 0,
        backend_sse: HeaderMap::new(),
    })
}

struct Cache {
    clock: Arc<ManualClock>,
    keys: Arc<Keys>,
    requests: Receiver<Request>,
    bucket: Arc<Bucket>,
    id: IkId,
    held: Weak<NodeKey>,
}

/// A cache with one key in it, and nobody who answers its requests.
fn cache() -> Cache {
    let clock = ManualClock::at(1_800_000_000);
    let (keys, requests) = Keys::new(Arc::clone(&clock) as Arc<dyn Clock>, Arc::new(Metrics::new().unwrap()));
    let (bucket, id) = (bucket(), IkId::random().unwrap());
    let day = clock.unix() + 86_400;
    let active = Active { until: day, last: day + 86_400 };
    let key = NodeKey { id, ik: Ik::generate().unwrap() };
    let key = keys.insert(bucket.id, key, LIVES, Some(active), keys.mark(bucket.id)).unwrap();
    let held = Arc::downgrade(&key);
    Cache { clock, keys, requests, bucket, id, held }
}

#[actix_rt::test]
async fn an_unused_key_goes_after_five_minutes() {
    let cache = cache();
    cache.clock.advance(5 * MINUTE - Duration::from_secs(1));
    assert_eq!(cache.keys.evict(), Some(Duration::from_secs(1)));
    assert_eq!(cache.keys.len(), 1);
    cache.clock.advance(Duration::from_secs(1));
    assert_eq!(cache.keys.evict(), None);
    assert!(cache.keys.is_empty());
    assert!(cache.held.upgrade().is_none(), "the key is still in memory");
}

#[actix_rt::test]
async fn a_used_key_is_asked_for_ahead_and_goes_after_an_hour() {
    let mut cache = cache();
    for minute in (0..60).step_by(4) {
        // Nobody answers: as with a control plane that is away.
        let id = cache.keys.get(&cache.bucket, cache.id).await.unwrap().id;
        assert_eq!(id, cache.id);
        let asked = cache.requests.try_recv().is_ok();
        assert_eq!(asked, minute >= 5, "a refresh at minute {minute}");
        cache.clock.advance(4 * MINUTE);
        cache.keys.evict();
    }
    assert!(cache.keys.is_empty());
    assert!(cache.held.upgrade().is_none(), "the key is still in memory");
    let (keys, bucket) = (Arc::clone(&cache.keys), Arc::clone(&cache.bucket));
    drop(cache.requests);
    assert!(matches!(keys.active(&bucket).await, Err(KeyError::Unavailable(_))));
}

#[actix_rt::test]
async fn a_key_goes_on_to_the_end_of_its_unproved_life_while_the_control_plane_is_away() {
    let cache = cache();
    cache.keys.cut_off(true);
    // Unused for long, and past midnight: a newer one cannot be asked for.
    cache.clock.advance(25 * 60 * MINUTE - Duration::from_secs(1));
    assert_eq!(cache.keys.evict(), Some(Duration::from_secs(1)));
    assert_eq!(cache.keys.get(&cache.bucket, cache.id).await.unwrap().id, cache.id);
    assert_eq!(cache.keys.active(&cache.bucket).await.unwrap().id, cache.id);
    cache.clock.advance(Duration::from_secs(1));
    assert_eq!(cache.keys.evict(), None);
    assert!(cache.held.upgrade().is_none(), "the key is still in memory");
}

#[actix_rt::test]
async fn a_key_beyond_its_hour_is_asked_for_when_the_control_plane_is_back_and_goes_unless_it_comes() {
    let mut cache = cache();
    cache.keys.cut_off(true);
    cache.clock.advance(2 * 60 * MINUTE);
    cache.keys.cut_off(false);
    assert_eq!(cache.keys.evict(), Some(5 * MINUTE));
    assert_eq!(cache.keys.get(&cache.bucket, cache.id).await.unwrap().id, cache.id, "it was thrown away");
    assert!(cache.requests.try_recv().is_ok(), "nobody was asked");
    // A reconnection meanwhile makes it no longer.
    cache.clock.advance(4 * MINUTE);
    cache.keys.cut_off(false);
    cache.clock.advance(MINUTE);
    cache.keys.evict();
    assert!(cache.held.upgrade().is_none(), "the key is still in memory");
}

#[actix_rt::test]
async fn the_key_for_new_objects_goes_on_after_its_day_to_the_time_that_was_given_and_no_longer() {
    let cache = cache();
    let lives = Lives { unproved: Duration::from_secs(7 * 86_400), ..LIVES };
    // The control plane has made it longer already.
    let (day, mark) = (cache.clock.unix() + 60, cache.keys.mark(cache.bucket.id));
    let active = Active { until: day, last: day + 3_600 };
    let key = NodeKey { id: cache.id, ik: Ik::generate().unwrap() };
    cache.keys.insert(cache.bucket.id, key, lives, Some(active), mark).unwrap();
    cache.keys.cut_off(true);
    cache.clock.advance(MINUTE + Duration::from_secs(3_599));
    assert_eq!(cache.keys.active(&cache.bucket).await.unwrap().id, cache.id);
    cache.clock.advance(Duration::from_secs(1));
    let waiting = cache.keys.active(&cache.bucket);
    assert!(futures_util::poll!(std::pin::pin!(waiting)).is_pending(), "it is used beyond that");
    assert_eq!(cache.keys.get(&cache.bucket, cache.id).await.unwrap().id, cache.id, "reading goes on");
}

/// Takes connections, counts them and ends them: a control plane that cannot be had.
async fn hangs_up() -> (String, Arc<AtomicUsize>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("https://{}", listener.local_addr().unwrap());
    let taken = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&taken);
    actix_rt::spawn(async move {
        while listener.accept().await.is_ok() {
            count.fetch_add(1, Ordering::SeqCst);
        }
    });
    (endpoint, taken)
}

#[actix_rt::test]
async fn a_key_that_could_not_be_had_goes_on_and_is_not_asked_for_at_each_use() {
    let (world, cache) = (World::new(), cache());
    let control = world.control().await;
    let identity = identity(&issue(&control, "one").await);
    control.stop().await;
    let (endpoint, asked) = hangs_up().await;
    let control = ControlPlane::new(&endpoint, "localhost", &identity).unwrap();
    let backends = Rc::new(Backends::open(&BTreeMap::new()).unwrap());
    let fetching = fetch::run(Arc::clone(&cache.keys), control, backends, cache.requests);
    let fetching = actix_rt::spawn(fetching);
    // Its hour is over, and the timer has not come yet.
    cache.clock.advance(60 * MINUTE);
    assert!(matches!(cache.keys.get(&cache.bucket, cache.id).await, Err(KeyError::Unavailable(_))));
    let before = asked.load(Ordering::SeqCst);
    assert!(before > 0);
    for _ in 0..100 {
        assert_eq!(cache.keys.get(&cache.bucket, cache.id).await.unwrap().id, cache.id);
    }
    // Somebody else's is answered after those.
    assert!(cache.keys.get(&cache.bucket, IkId::random().unwrap()).await.is_err());
    let others = asked.load(Ordering::SeqCst) - before;
    assert!(
        others <= before,
        "{others} connections for one key that was not asked for before, {before} for the first"
    );
    cache.clock.advance(5 * MINUTE - Duration::from_secs(1));
    assert_eq!(cache.keys.evict(), Some(Duration::from_secs(1)));
    let before = asked.load(Ordering::SeqCst);
    cache.keys.get(&cache.bucket, cache.id).await.unwrap();
    until("it is asked for again", async || asked.load(Ordering::SeqCst) > before).await;
    fetching.abort();
}

#[actix_rt::test]
async fn without_an_unproved_life_a_key_goes_with_its_hour_also_while_the_control_plane_is_away() {
    let cache = cache();
    let lives = Lives { unproved: Duration::ZERO, ..LIVES };
    let key = NodeKey { id: cache.id, ik: Ik::generate().unwrap() };
    cache.keys.insert(cache.bucket.id, key, lives, None, cache.keys.mark(cache.bucket.id)).unwrap();
    cache.keys.cut_off(true);
    cache.clock.advance(60 * MINUTE);
    cache.keys.evict();
    assert!(cache.keys.is_empty());
}

#[actix_rt::test]
async fn a_key_is_asked_for_again_after_a_million_uses() {
    let mut cache = cache();
    for _ in 0..1 << 20 {
        cache.keys.get(&cache.bucket, cache.id).await.unwrap();
    }
    assert!(cache.requests.try_recv().is_err());
    cache.keys.get(&cache.bucket, cache.id).await.unwrap();
    assert!(cache.requests.try_recv().is_ok(), "nobody was asked");
}

#[actix_rt::test]
async fn a_full_cache_drops_the_keys_that_were_used_longest_ago() {
    let cache = cache();
    let insert = || {
        let key = NodeKey { id: IkId::random().unwrap(), ik: Ik::generate().unwrap() };
        cache.keys.insert(cache.bucket.id, key, LIVES, None, cache.keys.mark(cache.bucket.id)).unwrap().id
    };
    let ids: Vec<_> = (0..65_535).map(|_| insert()).collect();
    cache.clock.advance(Duration::from_secs(1));
    // The first is used again, and a quarter of the others.
    for id in [cache.id].iter().chain(&ids[..16_384]) {
        cache.keys.get(&cache.bucket, *id).await.unwrap();
    }
    let last = insert();
    assert_eq!(cache.keys.len(), 65_536 - 4_097 + 1);
    for id in [cache.id, last].iter().chain(&ids[..16_384]) {
        assert!(cache.keys.ends(cache.bucket.id, *id).is_some(), "one that was used lately is gone");
    }
}

/// An upload that was opened with the cache's key, in a cache of uploads.
fn upload(cache: &Cache) -> (Uploads, impl Fn(&Uploads) + use<>, Place) {
    let clock = Arc::clone(&cache.clock) as Arc<dyn Clock>;
    let uploads = Uploads::new(clock, Arc::clone(&cache.keys));
    let keys = Arc::new(ObjectKeys::generate(Suite::Aes256Gcm).unwrap());
    let record = RecordName::new(GatewayId::random().unwrap(), cache.bucket.id, "id", b"key").unwrap();
    let upload = Arc::new(OpenUpload { keys, record, upload_id: "id".to_owned(), checksum: None });
    let (bucket, ik, mark) = (cache.bucket.id, cache.id, cache.keys.mark(cache.bucket.id));
    let keep = move |uploads: &Uploads| uploads.insert(bucket, "key", Arc::clone(&upload), ik, mark);
    (uploads, keep, (bucket, "key".to_owned(), "id".to_owned()))
}

#[actix_rt::test]
async fn an_uploads_key_goes_with_the_hour_of_the_key_that_opened_it() {
    let cache = cache();
    let (uploads, keep, place) = upload(&cache);
    keep(&uploads);
    for _ in 0..15 {
        // In use all the time; the intermediate key is not, and goes.
        cache.clock.advance(4 * MINUTE - Duration::from_secs(1));
        cache.keys.evict();
        uploads.evict();
        assert!(uploads.get(&place).is_some());
    }
    assert!(cache.keys.is_empty());
    cache.clock.advance(Duration::from_secs(15));
    uploads.evict();
    assert!(uploads.is_empty());
    assert!(uploads.get(&place).is_none());
}

#[actix_rt::test]
async fn an_uploads_key_goes_with_what_the_control_plane_refuses() {
    let cache = cache();
    let (uploads, keep, place) = upload(&cache);
    for refuse in [
        (|cache: &Cache| cache.keys.revoke(cache.bucket.id, cache.id)) as fn(&Cache),
        |cache| cache.keys.revoke_active(cache.bucket.id),
        |cache| cache.keys.refuse_all(),
        |cache| drop(cache.keys.set_rights([(cache.bucket.id, Some(1))].into())),
        |cache| drop(cache.keys.set_rights([(cache.bucket.id, None)].into())),
    ] {
        let cache = self::cache();
        let (uploads, keep, place) = upload(&cache);
        keep(&uploads);
        assert!(uploads.get(&place).is_some());
        refuse(&cache);
        assert!(uploads.get(&place).is_none());
        // Neither does it come back: the key was asked for before.
        keep(&uploads);
        assert!(uploads.is_empty());
    }
    keep(&uploads);
    cache.keys.revoke(cache.bucket.id, IkId::random().unwrap());
    assert!(uploads.get(&place).is_some(), "it goes with another key");
}

#[actix_rt::test]
async fn a_node_that_loses_its_control_plane_keeps_its_keys_and_one_that_is_refused_keeps_none() {
    let Holding { world, control, relay, clock, node, client, .. } = Holding::start().await;
    client.create_upload("/bucket/large").await;
    control.stop().await;
    until("the stream's end", async || node.node().keys.is_cut_off()).await;
    clock.advance(6 * MINUTE);
    node.node().keys.evict();
    assert_eq!(client.get("/bucket/object").await.ok().body, "text", "it was not used for six minutes");

    let control = world.control().await;
    relay.set_upstream(control.grpc_addr());
    until("the next stream", async || !node.node().keys.is_cut_off()).await;
    client.create_upload("/bucket/large").await;
    assert!(!node.node().keys.is_empty() && !node.node().uploads.is_empty());
    control.registry().revoke_node("one").unwrap();
    let keys = &node.node().keys;
    until("the refusal", async || keys.is_empty() && node.node().uploads.is_empty()).await;
    node.stop().await;
    control.stop().await;
}

#[actix_rt::test]
async fn a_node_that_was_revoked_while_it_was_cut_off_is_told_so_when_it_is_back() {
    let world = World::new();
    let control = world.control().await;
    let client = tenant(&control).await;
    let endpoint = format!("https://{}", control.grpc_addr());
    let node = world.node(endpoint.clone(), identity(&issue(&control, "one").await)).await;
    let client = client.at(node.address());
    client.put("/bucket", "").await.ok();
    client.create_upload("/bucket/large").await;
    let port = control.grpc_addr().port();
    control.stop().await;
    until("the stream's end", async || node.node().keys.is_cut_off()).await;
    assert!(!node.node().keys.is_empty());
    let elsewhere = world.control().await;
    elsewhere.registry().revoke_node("one").unwrap();
    elsewhere.stop().await;
    let control = world.control_at(port).await;
    let keys = &node.node().keys;
    until("the refusal", async || keys.is_empty() && node.node().uploads.is_empty()).await;
    node.stop().await;
    control.stop().await;
}

#[actix_rt::test]
async fn an_expired_key_is_not_given_out_before_the_timer_has_come() {
    let mut cache = cache();
    cache.clock.advance(60 * MINUTE);
    let waiting = cache.keys.get(&cache.bucket, cache.id);
    let mut waiting = std::pin::pin!(waiting);
    assert!(futures_util::poll!(waiting.as_mut()).is_pending());
    assert!(cache.requests.try_recv().is_ok(), "nobody was asked");
    assert_eq!(cache.keys.len(), 1, "the timer was not to run");
}

#[actix_rt::test]
async fn the_timer_zeroizes_a_key_that_nobody_touches() {
    let (keys, _requests) = Keys::new(SystemClock::shared(), Arc::new(Metrics::new().unwrap()));
    let short = Lives { hard: Duration::from_millis(50), idle: Duration::from_millis(50), ..LIVES };
    let timer = Arc::clone(&keys);
    let timer = actix_rt::spawn(async move { timer.keep_evicting().await });
    // The timer sleeps over an empty cache: taking a key in must wake it.
    tokio::task::yield_now().await;
    let key = NodeKey { id: IkId::random().unwrap(), ik: Ik::generate().unwrap() };
    let bucket = BucketId::random().unwrap();
    let held = Arc::downgrade(&keys.insert(bucket, key, short, None, keys.mark(bucket)).unwrap());
    until("the key's end", async || keys.is_empty()).await;
    assert!(held.upgrade().is_none());
    timer.abort();
}

#[actix_rt::test]
async fn a_thousand_lookups_of_a_cold_key_make_one_call_and_refresh_ahead_holds_nobody_up() {
    let world = World::new();
    let control = world.control().await;
    let client = tenant(&control).await;
    let relay = Relay::start(control.grpc_addr(), issue(&control, "one").await).await;
    let clock = ManualClock::at(SystemClock::shared().unix());
    let node = world.node_by(relay.endpoint(), relay.identity(), Arc::clone(&clock) as _).await;
    let client = client.at(node.address());
    client.put("/bucket", "").await.ok();
    let bucket = Arc::clone(node.node().snapshot().unwrap().bucket("bucket").unwrap());
    let keys = Arc::clone(&node.node().keys);

    relay.halt_at(Moment::ActiveAsked);
    let lookups = (0..1_000).map(|_| {
        let (keys, bucket) = (Arc::clone(&keys), Arc::clone(&bucket));
        actix_rt::spawn(async move { keys.active(&bucket).await.map(|key| key.id) })
    });
    let lookups: Vec<_> = lookups.collect();
    relay.reached().await;
    relay.release();
    let ids = soon("the lookups", join_all(lookups)).await;
    let first = ids[0].as_ref().unwrap().clone().unwrap();
    assert!(ids.into_iter().all(|id| id.unwrap().unwrap() == first));
    assert_eq!((relay.count(Moment::ActiveAsked), relay.count(Moment::ConfirmAsked)), (1, 1));

    clock.advance(4 * MINUTE);
    keys.active(&bucket).await.unwrap();
    assert_eq!(relay.count(Moment::ActiveAsked), 1, "asked before the soft life was over");
    clock.advance(2 * MINUTE);
    relay.halt_at(Moment::ActiveAsked);
    for _ in 0..100 {
        soon("a key at once", keys.active(&bucket)).await.unwrap();
    }
    relay.reached().await;
    // The answer is held back, and the key is still given out.
    soon("a key at once", keys.active(&bucket)).await.unwrap();
    assert_eq!(relay.count(Moment::ActiveAsked), 2);
    relay.release();
    // Refreshed: another hour from now on.
    until("the refresh", async || {
        let before = relay.count(Moment::ActiveAsked);
        keys.active(&bucket).await.unwrap();
        relay.count(Moment::ActiveAsked) == before
    })
    .await;
    node.stop().await;
    assert!(keys.is_empty(), "a node that stopped holds keys");
    control.stop().await;
}

#[actix_rt::test]
async fn a_deleted_bucket_takes_its_keys_out_of_every_node() {
    let world = World::new();
    let control = world.control().await;
    let client = tenant(&control).await;
    let endpoint = format!("https://{}", control.grpc_addr());
    let one = world.node(endpoint.clone(), identity(&issue(&control, "one").await)).await;
    let two = world.node(endpoint, identity(&issue(&control, "two").await)).await;
    let here = client.at(one.address());
    here.put("/bucket", "").await.ok();
    here.put("/bucket/object", "text").await.ok();
    let (epoch, version) = one.node().applied();
    soon("the bucket on the other node", two.node().wait_applied(epoch, version)).await;
    assert_eq!(client.at(two.address()).get("/bucket/object").await.ok().body, "text");
    assert_eq!((one.node().keys.len(), two.node().keys.len()), (1, 1));
    here.send("DELETE", "/bucket/object", "").await.ok();
    here.send("DELETE", "/bucket", "").await.ok();
    assert_eq!(one.node().keys.len(), 0, "the answer came before the key was gone");
    until("the push", async || two.node().keys.is_empty()).await;
    one.stop().await;
    two.stop().await;
    control.stop().await;
}
