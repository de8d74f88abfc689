//! What a read costs: requests to the storage.

use std::cell::Cell;
use std::rc::Rc;

use super::s3::bytes;
use super::steered::{Call, Moment};
use super::steering::Steering;

/// The largest object whose trailer is waited for with its body.
const SMALL: usize = 256 << 10;
/// More reads than any of an object are.
const MOST: usize = 4;

#[actix_rt::test]
async fn checksum_mode_reads_a_small_object_once() {
    for (size, reads) in [(1, 1), (SMALL, 1), (SMALL + 1, 2)] {
        let steering = Steering::start().await;
        // Without a checksum in its metadata: whether there is one is in the trailer alone.
        let body = bytes(size, 1);
        steering.plain.put("/bucket/object", body.clone()).await.ok();
        let counted = Rc::new(Cell::new(0));
        for _ in 0..MOST {
            let counted = Rc::clone(&counted);
            steering.backend.once(Moment::Before, Call::Get, "object", move || async move {
                counted.set(counted.get() + 1);
                Ok(())
            });
        }
        let asked = [("x-amz-checksum-mode", "ENABLED".to_owned())];
        let answer = steering.steered.send_with("GET", "/bucket/object", &asked, "").await.ok();
        assert!(answer.body == body);
        assert_eq!(counted.get(), reads, "reads of an object of {size} bytes");
        for _ in reads..MOST {
            steering.steered.get("/bucket/object").await.ok();
        }
        steering.stop().await;
    }
}
