//! `GET` and `PUT /v1/buckets/{name}/freeze`, and `POST /v1/buckets/{name}/switch`: what a migration asks for.

use actix_web::{HttpResponse, web};
use sealgate_envelope::BucketId;
use serde::Deserialize;
use serde_json::json;

use super::{Api, Problem, buckets::bucket_id};
use crate::{Error, actors::Unsettling, registry::Version};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Freeze {
    frozen: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Switch {
    /// The bucket to exchange names with.
    with: String,
    /// The id of the bucket that has the name in the path.
    expect: String,
}

pub(super) fn routes(config: &mut web::ServiceConfig) {
    config
        .service(web::resource("/buckets/{name}/freeze").get(look).put(freeze))
        .service(web::resource("/buckets/{name}/switch").post(switch));
}

/// Nothing is pending for a bucket that is not frozen.
async fn look(api: web::Data<Api>, name: web::Path<String>) -> Result<HttpResponse, Problem> {
    let bucket = bucket_id(&api.registry, &name)?;
    let frozen = api.registry.state().bucket(bucket).is_some_and(|bucket| bucket.frozen);
    let found = match frozen {
        true => api.acks.unsettled(bucket, api.registry.version()).await?,
        false => Unsettling::default(),
    };
    Ok(answer(api.registry.version(), frozen, &found))
}

async fn freeze(
    api: web::Data<Api>,
    name: web::Path<String>,
    body: web::Json<Freeze>,
) -> Result<HttpResponse, Problem> {
    let (name, frozen) = (name.into_inner(), body.frozen);
    let changed = name.clone();
    let version = api.change(move |registry| registry.set_frozen(&changed, frozen)).await?;
    tracing::info!(target: "audit", bucket = name, frozen, "write freeze");
    let found = match frozen {
        true => api.acks.unsettled(bucket_id(&api.registry, &name)?, version).await?,
        false => Unsettling { pending: api.applied(version).await?, writes_in_flight: 0 },
    };
    Ok(answer(version, frozen, &found))
}

/// Refused while anyone may still write under the name: that would be lost.
async fn switch(
    api: web::Data<Api>,
    name: web::Path<String>,
    body: web::Json<Switch>,
) -> Result<HttpResponse, Problem> {
    let (name, Switch { with, expect }) = (name.into_inner(), body.into_inner());
    let expected: BucketId =
        expect.parse().map_err(|_| Error::Invalid("expect: is 32 hex digits, the bucket's id".to_owned()))?;
    // Since now: what a node said of an earlier freeze does not count.
    let writing = api.acks.unsettled(expected, api.registry.version()).await?;
    if writing != Unsettling::default() {
        return Err(Error::Precondition(format!(
            "{name:?} may still be written to: {} writes in flight, and nodes that did not say that they refuse writes: [{}]",
            writing.writes_in_flight,
            writing.pending.join(", ")
        ))
        .into());
    }
    let (one, other) = (name.clone(), with.clone());
    let version = api.change(move |registry| registry.switch(&one, &other, expected)).await?;
    tracing::info!(target: "audit", bucket = name, with, "two buckets exchanged their names");
    let found = api.acks.unsettled(bucket_id(&api.registry, &name)?, version).await?;
    Ok(answer(version, true, &found))
}

fn answer(version: Version, frozen: bool, found: &Unsettling) -> HttpResponse {
    HttpResponse::Ok().json(json!({
        "version": version.version,
        "frozen": frozen,
        "pending": found.pending,
        "writes_in_flight": found.writes_in_flight,
    }))
}
