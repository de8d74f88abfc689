//! How often a bucket's storage is asked for its CORS configuration: requests that anybody may send must not multiply there.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::future::{join, join_all};
use http::Request;
use http_body_util::Full;
use sealgate_data_plane::backend::BackendError;
use sha2::{Digest as _, Sha256};
use tokio::sync::oneshot;

use super::s3::{Answer, Client, exchange};
use super::steered::{Call, Moment};
use super::steering::{Steering, unavailable};

const MOST: usize = 20;

fn document(origin: &str) -> String {
    format!(
        "<CORSConfiguration><CORSRule><AllowedOrigin>{origin}</AllowedOrigin><AllowedMethod>GET</AllowedMethod></CORSRule>\
         </CORSConfiguration>"
    )
}

async fn configure(steering: &Steering, origin: &str) {
    put(&steering.steered, origin).await.ok();
}

/// Configures with the digest that S3 demands.
async fn put(client: &Client, origin: &str) -> Answer {
    let document = document(origin);
    let digest = STANDARD.encode(Sha256::digest(&document));
    client.send_with("PUT", "/bucket?cors=", &[("x-amz-checksum-sha256", digest)], document).await
}

/// A preflight, as a browser sends it: unsigned.
async fn preflight(steering: &Steering, origin: &str) -> Answer {
    let request = Request::options("/bucket/object")
        .header("host", "gateway")
        .header("origin", origin)
        .header("access-control-request-method", "GET")
        .body(Full::new(Bytes::new()))
        .unwrap();
    exchange(steering.steered.address, request).await.unwrap()
}

#[actix_rt::test]
async fn a_crowd_asks_once() {
    let steering = Steering::start().await;
    configure(&steering, "http://one").await;
    let (go_on, going_on) = oneshot::channel::<()>();
    steering.backend.once(Moment::Before, Call::Forward, "cors", move || async move {
        going_on.await.map_err(|_| unavailable())
    });
    let again = steering.backend.count(Call::Forward, "cors", MOST);
    let others = async {
        // Comes after most of the crowd. Who comes later finds the answer.
        for _ in 0..8 {
            steering.steered.get("/").await.ok();
        }
        go_on.send(()).unwrap();
    };
    let crowd = join_all((0..8).map(|_| preflight(&steering, "http://one")));
    for answer in join(crowd, others).await.0 {
        answer.ok();
    }
    preflight(&steering, "http://one").await.ok();
    assert_eq!(again.get(), 0);
    steering.backend.forget_rules();
    steering.stop().await;
}

#[actix_rt::test]
async fn a_storage_that_fails_is_not_asked_by_each_request() {
    let steering = Steering::start().await;
    configure(&steering, "http://one").await;
    // The second fault is for the second to ask, and there is none for a while.
    for _ in 0..2 {
        steering.backend.fail(Moment::Before, Call::Forward, "cors", unavailable);
    }
    for _ in 0..4 {
        assert_eq!(preflight(&steering, "http://one").await.status, 503);
    }
    let asked = steering.backend.count(Call::Forward, "cors", MOST);
    // A change counts at once, whatever was known before. It meets the second fault, the next one does not.
    assert_eq!(put(&steering.steered, "http://two").await.status, 503);
    preflight(&steering, "http://one").await.ok();
    assert_eq!(asked.get(), 1);
    steering.backend.forget_rules();
    steering.stop().await;
}

/// The storage's answer was on its way when the configuration was changed: it must not be believed for half a minute.
#[actix_rt::test]
async fn an_answer_that_a_change_overtakes_is_not_kept() {
    let steering = Steering::start().await;
    configure(&steering, "http://one").await;
    let client = steering.steered.clone();
    steering.backend.once(Moment::After, Call::Forward, "cors", move || async move {
        put(&client, "http://two").await.ok();
        Ok(())
    });
    preflight(&steering, "http://one").await.ok();
    steering.backend.assert_done();
    assert_eq!(preflight(&steering, "http://one").await.status, 403);
    preflight(&steering, "http://two").await.ok();
    steering.stop().await;
}

/// A storage that is asked too much, or too slowly, has not said that there is no configuration.
#[actix_rt::test]
async fn only_an_answer_that_there_is_none_means_none() {
    for (status, code, told) in [
        (404, "NoSuchCORSConfiguration", 403),
        (403, "AccessDenied", 403),
        (405, "MethodNotAllowed", 403),
        (501, "NotImplemented", 403),
        (400, "NotImplemented", 403),
        (429, "TooManyRequests", 429),
        (408, "Timeout", 408),
    ] {
        let steering = Steering::start().await;
        configure(&steering, "http://one").await;
        let answer = move || BackendError::s3(status, code, "the test says so");
        steering.backend.fail(Moment::Before, Call::Forward, "cors", answer);
        let refused = preflight(&steering, "http://one").await;
        let is_none = refused.text().contains("CORS is not enabled");
        assert_eq!(is_none, told == 403, "{status} {code}: {} {}", refused.status, refused.text());
        steering.stop().await;
    }
}
