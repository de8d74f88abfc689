//! The control plane killed inside a commit: what a node was told of is never undone, and a node is told of nothing that a
//! kill could undo.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use sealgate_data_plane::plane::DataPlane;
use sealgate_store::{Compare, Op, Revision, Store, StoreError, StoreSnapshot, Versioned, Watch, WatchError};
use serde_json::json;

use super::relay::Relay;
use super::world::{World, soon, until};

/// Where in a commit the control plane stops, to be killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// It is decided, and not in the store.
    BeforeStore,
    /// It is durable; nobody knows.
    AfterStore,
    /// A node runs on it; who asked for it has no answer.
    Told,
}

const POINTS: [Point; 3] = [Point::BeforeStore, Point::AfterStore, Point::Told];

impl Point {
    /// Where the store stops; none: it does not.
    fn text(self) -> Option<&'static str> {
        match self {
            Self::BeforeStore => Some("before"),
            Self::AfterStore => Some("after"),
            Self::Told => None,
        }
    }
}

fn wanted(config: &Path) -> PathBuf {
    config.with_extension("halt")
}

fn reached(config: &Path) -> PathBuf {
    config.with_extension("halted")
}

/// A store that stops for ever at the point which a file beside the config names.
pub struct Halting {
    inner: Arc<dyn Store>,
    config: PathBuf,
}

impl Halting {
    pub fn new(inner: Arc<dyn Store>, config: &Path) -> Self {
        Self { inner, config: config.to_owned() }
    }

    fn at(&self, point: Point) {
        if std::fs::read_to_string(wanted(&self.config)).ok().as_deref() == point.text() {
            std::fs::write(reached(&self.config), "").unwrap();
            loop {
                std::thread::park();
            }
        }
    }
}

impl Store for Halting {
    fn epoch(&self) -> u64 {
        self.inner.epoch()
    }
    fn revision(&self) -> Revision {
        self.inner.revision()
    }
    fn txn(&self, compare: &[Compare], ops: Vec<Op>) -> Result<Revision, StoreError> {
        self.at(Point::BeforeStore);
        let done = self.inner.txn(compare, ops);
        self.at(Point::AfterStore);
        done
    }
    fn get(&self, key: &str) -> Result<Option<Versioned>, StoreError> {
        self.inner.get(key)
    }
    fn scan(&self, prefix: &str) -> Result<Vec<(String, Versioned)>, StoreError> {
        self.inner.scan(prefix)
    }
    fn snapshot(&self) -> Result<StoreSnapshot, StoreError> {
        self.inner.snapshot()
    }
    fn watch(&self, from: Revision) -> Result<Watch, WatchError> {
        self.inner.watch(from)
    }
}

/// The prefixes that a node takes for plain.
fn prefixes(node: &DataPlane) -> Vec<String> {
    let snapshot = node.node().snapshot().unwrap();
    snapshot.bucket("bucket").unwrap().rules.iter().map(|rule| rule.prefix.clone()).collect()
}

#[actix_rt::test]
async fn what_a_node_was_told_is_never_undone_wherever_the_control_plane_dies() {
    let world = World::new();
    let mut control = world.control_process().await;
    let client = control.tenant("tests").await;
    let relay = Relay::start(control.plane.address, control.issue("one").await).await;
    let node = world.node(relay.endpoint(), relay.identity()).await;
    client.at(node.address()).put("/bucket", "").await.ok();
    let config = control.path.clone();
    for (round, point) in POINTS.into_iter().cycle().take(6).enumerate() {
        let before = (node.node().applied(), prefixes(&node));
        let prefix = format!("round-{round}/");
        if let Some(text) = point.text() {
            std::fs::write(wanted(&config), text).unwrap();
        }
        let rules = json!({ "rules": [{ "prefix": prefix, "plain": true }] });
        let changing = actix_rt::spawn(control.try_admin("PUT", "/v1/buckets/bucket/rules", rules));
        if point == Point::Told {
            let mut applied = node.node().watch_applied();
            soon("the push", applied.wait_for(|applied| *applied > before.0)).await.unwrap();
        } else {
            until("the halt", async || reached(&config).exists()).await;
        }
        control.plane.kill();
        let answer = soon("the end of the request", changing).await.unwrap();
        let told = (node.node().applied(), prefixes(&node));
        if point == Point::Told {
            assert_eq!(told.1, [prefix.as_str()]);
        } else {
            assert!(
                answer.is_err(),
                "an answer to a change that was not committed, or not pushed: {answer:?}"
            );
            assert_eq!(told, before, "a node was told at {point:?}");
        }

        for file in [wanted(&config), reached(&config)] {
            let _ = std::fs::remove_file(file);
        }
        control.restart().await;
        relay.set_upstream(control.plane.address);
        let mut applied = node.node().watch_applied();
        // Each start has a higher epoch, so this is a config of the restarted one.
        let now = soon("the next epoch", applied.wait_for(|applied| applied.0 > told.0.0)).await;
        let now = *now.unwrap();
        assert!(now.1 >= told.0.1, "killed at {point:?}: version {} after {}", now.1, told.0.1);
        let expected = if point == Point::BeforeStore { before.1 } else { vec![prefix] };
        assert_eq!(prefixes(&node), expected, "killed at {point:?}");
    }
    node.stop().await;
}
