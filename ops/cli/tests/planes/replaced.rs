//! Reads of an object that is replaced under them: the old one's bytes or the new one's, with that one's sizes and ETag, and
//! never a mixture.

use bytes::Bytes;
use sealgate_control_plane::registry::records::RuleRecord;
use sealgate_data_plane::backend::BackendError;

use super::s3::{Answer, Client, bytes};
use super::steered::{Call, Moment};
use super::steering::{MIN_PART, Steering};
use super::world::soon;

const OBJECT: &str = "/bucket/object";

/// A first part that ends within a chunk, so that what follows lies elsewhere than in an object of one part.
const FIRST: usize = MIN_PART + 1_000;

/// Ten bytes of the second part, which in an object of one part would be at the end of a chunk.
const RANGE: (usize, usize) = (82 * 65_536 - 20, 82 * 65_536 - 11);

fn range() -> (&'static str, String) {
    ("range", format!("bytes={}-{}", RANGE.0, RANGE.1))
}

fn body(seed: u64) -> Bytes {
    [bytes(FIRST, seed), bytes(200_000, seed + 1)].concat().into()
}

async fn upload(steering: &Steering, target: &str, seed: u64) {
    let body = body(seed);
    let parts = [body.slice(..FIRST), body.slice(FIRST..)];
    let (id, etags) = steering.upload(target, &parts).await;
    steering.plain.complete(target, &id, &etags).await.ok();
}

/// What takes the object's place.
#[derive(Clone, Copy, Debug)]
enum New {
    /// It ends before the range begins.
    Small,
    /// Not uploaded in parts, so that the range lies elsewhere in what is stored.
    Single,
}

impl New {
    fn body(self) -> Bytes {
        match self {
            Self::Small => bytes(1_000, 9),
            Self::Single => bytes(MIN_PART + 300_000, 9),
        }
    }

    async fn put(self, client: Client, target: String) -> Result<(), BackendError> {
        client.put(&target, self.body()).await.ok();
        Ok(())
    }

    /// Demands the range of the new object, or its refusal with the new object's size.
    fn check_range(self, answer: &Answer, told: &str) {
        let body = self.body();
        let shown = answer.headers["content-range"].to_str().unwrap();
        match self {
            Self::Small => {
                assert_eq!((answer.status.as_u16(), shown), (416, "bytes */1000"), "{told}");
            }
            Self::Single => {
                assert_eq!(answer.status, 206, "{told}: {}", answer.text());
                assert_eq!(shown, format!("bytes {}-{}/{}", RANGE.0, RANGE.1, body.len()), "{told}");
                assert_eq!(answer.body, body[RANGE.0..=RANGE.1], "{told}");
            }
        }
    }
}

const BOTH: [New; 2] = [New::Small, New::Single];

#[actix_rt::test]
async fn a_table_that_is_another_objects_never_decides_about_a_range() {
    let steering = Steering::start().await;
    for new in BOTH {
        for if_range in ["none", "old", "new"] {
            let told = format!("{new:?}, If-Range {if_range}");
            upload(&steering, OBJECT, 1).await;
            let old = steering.steered.send_with("GET", OBJECT, &[range()], "").await.ok();
            assert_eq!(old.body, body(1)[RANGE.0..=RANGE.1]);
            // From now on the steered node has a table for the key; the other node replaces the object.
            let current = steering.plain.put(OBJECT, new.body()).await.ok().etag();
            let mut headers = vec![range()];
            match if_range {
                "old" => headers.push(("if-range", old.etag())),
                "new" => headers.push(("if-range", current)),
                _ => {}
            }
            let answer = steering.steered.send_with("GET", OBJECT, &headers, "").await;
            if if_range == "old" {
                assert_eq!(answer.status, 200, "{told}: {}", answer.text());
                assert!(answer.body == new.body(), "{told}");
            } else {
                new.check_range(&answer, &told);
            }
        }
    }
    steering.stop().await;
}

/// Lets `before` reads of the object pass, and replaces it before the next.
fn replace_at(steering: &Steering, before: usize, new: New, target: String) {
    let backend = &steering.backend;
    for _ in 0..before {
        backend.once(Moment::Before, Call::Get, "object", async || Ok(()));
    }
    let client = steering.plain.clone();
    backend.once(Moment::Before, Call::Get, "object", move || new.put(client, target));
}

/// A cold range of a multipart object is three reads: a guess, the table, the bytes.
const READS: usize = 3;

#[actix_rt::test]
async fn an_object_replaced_between_any_two_reads_of_a_range_is_read_anew() {
    let steering = Steering::start().await;
    for new in BOTH {
        for before in 0..READS {
            for if_range in [false, true] {
                let told = format!("{new:?} before read {before}, If-Range {if_range}");
                // A key that the node knows nothing of.
                let target = format!("{OBJECT}-{new:?}-{before}-{if_range}");
                upload(&steering, &target, 1).await;
                let mut headers = vec![range()];
                if if_range {
                    headers.push(("if-range", steering.plain.send("HEAD", &target, "").await.ok().etag()));
                }
                replace_at(&steering, before, new, target.clone());
                let answer = steering.steered.send_with("GET", &target, &headers, "").await;
                steering.backend.assert_done();
                if if_range {
                    assert_eq!(answer.status, 200, "{told}: {}", answer.text());
                    assert!(answer.body == new.body(), "{told}");
                } else {
                    new.check_range(&answer, &told);
                }
            }
        }
    }
    steering.stop().await;
}

#[actix_rt::test]
async fn an_object_replaced_between_its_body_and_its_table_is_read_anew() {
    let steering = Steering::start().await;
    upload(&steering, OBJECT, 1).await;
    replace_at(&steering, 1, New::Single, OBJECT.to_owned());
    let answer = steering.steered.get(OBJECT).await.ok();
    assert!(answer.body == New::Single.body());
    steering.stop().await;
}

#[actix_rt::test]
async fn an_object_that_grows_before_its_size_is_asked_for_is_read_anew() {
    let steering = Steering::start().await;
    steering.plain.put(OBJECT, New::Small.body()).await.ok();
    let client = steering.plain.clone();
    steering
        .backend
        .once(Moment::Before, Call::Head, "object", move || New::Single.put(client, OBJECT.to_owned()));
    let answer = steering.steered.send_with("GET", OBJECT, &[range()], "").await;
    New::Single.check_range(&answer, "grown");
    steering.stop().await;
}

#[actix_rt::test]
async fn a_range_beyond_the_end_is_refused_whatever_the_node_knows_of_the_object() {
    let steering = Steering::start().await;
    upload(&steering, OBJECT, 1).await;
    let size = body(1).len();
    for _ in 0..3 {
        // Cold, and with the object's own table, which stays what it is.
        let answer =
            steering.steered.send_with("GET", OBJECT, &[("range", format!("bytes={size}-"))], "").await;
        assert_eq!((answer.status.as_u16(), answer.tag("Code").as_str()), (416, "InvalidRange"));
        assert_eq!(answer.headers["content-range"], format!("bytes */{size}"));
        steering.steered.send_with("GET", OBJECT, &[range()], "").await.ok();
    }
    steering.stop().await;
}

#[actix_rt::test]
async fn an_object_that_keeps_being_replaced_is_a_503() {
    let steering = Steering::start().await;
    upload(&steering, OBJECT, 1).await;
    let again = |seed| {
        let client = steering.plain.clone();
        move || async move {
            let body = body(seed);
            let id = client.create_upload(OBJECT).await;
            let mut etags = Vec::new();
            for (number, part) in [(1, body.slice(..FIRST)), (2, body.slice(FIRST..))] {
                etags.push(super::steering::upload_part(&client, OBJECT, &id, number, &part).await);
            }
            client.complete(OBJECT, &id, &etags).await.ok();
            Ok(())
        }
    };
    // Each attempt has just read the object, and finds another one when it asks for the table.
    for seed in [3, 5] {
        steering.backend.once(Moment::Before, Call::Get, "object", async || Ok(()));
        steering.backend.once(Moment::Before, Call::Get, "object", again(seed));
    }
    let answer = steering.steered.send_with("GET", OBJECT, &[range()], "").await;
    assert_eq!((answer.status.as_u16(), answer.tag("Code").as_str()), (503, "SlowDown"));
    assert!(answer.headers.contains_key("retry-after"));
    let quiet = steering.steered.send_with("GET", OBJECT, &[range()], "").await.ok();
    assert_eq!(quiet.body, body(5)[RANGE.0..=RANGE.1]);
    steering.stop().await;
}

/// In a plain prefix If-Range is held against the answer to the range; what is read then is the object that it was held against.
#[actix_rt::test]
async fn a_plain_object_replaced_before_all_of_it_is_read_is_read_anew() {
    let steering = Steering::start().await;
    let rules = vec![RuleRecord { prefix: "open/".to_owned(), plain: true }];
    let version = steering.control.registry().set_rules("bucket", rules).unwrap();
    for node in [steering.node.node(), steering.other.node()] {
        soon("the rule", node.wait_applied(version.epoch, version.version)).await;
    }
    let target = "/bucket/open/object";
    let old = steering.plain.put(target, bytes(2_000, 1)).await.ok().etag();
    // Of the object that is there, and beyond the one that takes its place.
    for range in ["bytes=10-19", "bytes=1500-"] {
        steering.plain.put(target, bytes(2_000, 2)).await.ok();
        replace_at(&steering, 1, New::Small, target.to_owned());
        let headers = [("range", range.to_owned()), ("if-range", old.clone())];
        let answer = steering.steered.send_with("GET", target, &headers, "").await;
        steering.backend.assert_done();
        assert_eq!(answer.status, 200, "{range}: {}", answer.text());
        assert!(answer.body == New::Small.body(), "{range}");
        assert_eq!(answer.etag(), steering.plain.send("HEAD", target, "").await.ok().etag(), "{range}");
    }
    steering.stop().await;
}
