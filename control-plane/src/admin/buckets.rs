//! `GET`, `POST` and `DELETE /v1/buckets`, and their encryption rules.

use actix_web::{HttpResponse, web};
use sealgate_envelope::BucketId;
use serde::Deserialize;
use serde_json::json;

use super::{ACTIVE_WITHIN, Api, Problem};
use crate::{
    Error,
    registry::{
        Registry,
        records::{BucketRecord, BucketState, RuleRecord},
    },
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewBucket {
    name: String,
    /// The tenant's name.
    tenant: String,
    #[serde(default)]
    region: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rules {
    rules: Vec<RuleRecord>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DeleteQuery {
    /// Takes back an intent instead: one to delete, or one to make that no node carried out.
    #[serde(default)]
    abort: bool,
}

pub(super) fn routes(config: &mut web::ServiceConfig) {
    config
        .service(web::resource("/buckets").get(list).post(create))
        .service(web::resource("/buckets/{name}").delete(remove))
        .service(web::resource("/buckets/{name}/rules").put(set_rules));
}

async fn list(api: web::Data<Api>) -> HttpResponse {
    let state = api.registry.state();
    HttpResponse::Ok()
        .json(state.buckets.values().map(|bucket| BucketRecord::clone(bucket)).collect::<Vec<_>>())
}

/// 201 once a node has made it, 202 when that takes longer than 10 s.
async fn create(api: web::Data<Api>, body: web::Json<NewBucket>) -> Result<HttpResponse, Problem> {
    let NewBucket { name, tenant, region } = body.into_inner();
    let tenant = api.registry.state().tenant_named(&tenant).map(|tenant| tenant.id);
    let tenant = tenant.ok_or_else(|| Error::NotFound("no such tenant".to_owned()))?;
    let mut changes = api.registry.changes();
    let begun = api.change(move |registry| registry.begin_create(tenant, &name, &region)).await?;
    let deadline = tokio::time::Instant::now() + ACTIVE_WITHIN;
    loop {
        changes.mark_unchanged();
        match api.registry.state().bucket(begun.id) {
            Some(bucket) if bucket.state == BucketState::Creating => {}
            Some(bucket) => return Ok(HttpResponse::Created().json(BucketRecord::clone(bucket))),
            None => return Err(Error::Precondition("the backend refused the bucket".to_owned()).into()),
        }
        if !matches!(tokio::time::timeout_at(deadline, changes.changed()).await, Ok(Ok(()))) {
            return Ok(HttpResponse::Accepted().json(BucketRecord::clone(&begun)));
        }
    }
}

/// 202: from now on nodes refuse writes; a node deletes the backend's bucket and commits, or takes the deletion back.
async fn remove(
    api: web::Data<Api>,
    name: web::Path<String>,
    query: web::Query<DeleteQuery>,
) -> Result<HttpResponse, Problem> {
    let (name, abort) = (name.into_inner(), query.abort);
    let version = api
        .change(move |registry| {
            let id = bucket_id(registry, &name)?;
            match (abort, registry.state().bucket(id).map(|bucket| bucket.state)) {
                (false, _) => registry.begin_delete(id),
                (true, Some(BucketState::Creating)) => registry.abort_create(id),
                (true, _) => registry.begin_restore(id),
            }
        })
        .await?;
    let pending = api.applied(version).await?;
    Ok(HttpResponse::Accepted().json(json!({ "version": version.version, "pending": pending })))
}

async fn set_rules(
    api: web::Data<Api>,
    name: web::Path<String>,
    body: web::Json<Rules>,
) -> Result<HttpResponse, Problem> {
    let (name, rules) = (name.into_inner(), body.into_inner().rules);
    let version = api.change(move |registry| registry.set_rules(&name, rules)).await?;
    let pending = api.applied(version).await?;
    Ok(HttpResponse::Ok().json(json!({ "version": version.version, "pending": pending })))
}

pub(super) fn bucket_id(registry: &Registry, name: &str) -> Result<BucketId, Error> {
    let state = registry.state();
    state
        .buckets
        .get(name)
        .map(|bucket| bucket.id)
        .ok_or_else(|| Error::NotFound("no such bucket".to_owned()))
}
