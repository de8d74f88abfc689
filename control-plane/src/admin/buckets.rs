//! `GET`, `POST` and `DELETE /v1/buckets`, their encryption rules, and the way of a bucket in and out of the registry alone.

use actix_web::{HttpResponse, web};
use sealgate_envelope::{BucketId, TenantId};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{ACTIVE_WITHIN, Api, Problem};
use crate::{
    Error, recovery,
    registry::{
        Registry, State,
        adoption::{Adopt, Adopted},
        records::{BackendSse, BucketRecord, BucketState, RuleRecord},
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
    /// Takes over a backend bucket that is there, instead of making one.
    adopt: Option<NewAdoption>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewAdoption {
    /// Its name on the backend.
    backend_bucket: String,
    /// The backend; the default one when left out.
    #[serde(default)]
    backend: String,
    /// It never was a gateway's: no logical id lies in it.
    #[serde(default)]
    plain: bool,
    /// The logical id that it must carry, and the recovery card that allows it.
    id: Option<String>,
    recovery_card: Option<String>,
    /// The encryption rules that it had.
    #[serde(default)]
    rules: Vec<RuleRecord>,
    /// What its backend's policy demands.
    backend_sse: Option<BackendSse>,
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
        .service(web::resource("/buckets/{name}/recovery-card").get(card))
        .service(web::resource("/buckets/{name}/release").post(release))
        .service(web::resource("/buckets/{name}/rules").put(set_rules))
        .service(web::resource("/buckets/{name}/backend-sse").put(set_sse).delete(drop_sse));
}

async fn list(api: web::Data<Api>) -> HttpResponse {
    let state = api.registry.state();
    HttpResponse::Ok()
        .json(state.buckets.values().map(|bucket| BucketRecord::clone(bucket)).collect::<Vec<_>>())
}

/// What the recovery card says of one bucket.
async fn card(api: web::Data<Api>, name: web::Path<String>) -> Result<HttpResponse, Problem> {
    let (name, state) = (name.into_inner(), api.registry.state());
    let id = bucket_id(&api.registry, &name)?;
    let card = recovery::card_of(&state, id)?;
    Ok(HttpResponse::Ok().json(json!({ "name": name, "id": id.to_string(), "recovery_card": card })))
}

/// A bucket that was made, with its recovery card: now is when somebody looks, and a bucket whose card nobody kept is lost with the
/// control plane.
fn with_card(state: &State, bucket: &BucketRecord) -> Result<Value, Error> {
    let mut shown = serde_json::to_value(bucket).map_err(|error| Error::Internal(error.to_string()))?;
    shown["recovery_card"] = json!(recovery::card_of(state, bucket.id)?);
    Ok(shown)
}

/// 201 once a node has made it, 202 when that takes longer than 10 s.
async fn create(api: web::Data<Api>, body: web::Json<NewBucket>) -> Result<HttpResponse, Problem> {
    let NewBucket { name, tenant, region, adopt } = body.into_inner();
    let tenant = api.registry.state().tenant_named(&tenant).map(|tenant| tenant.id);
    let tenant = tenant.ok_or_else(|| Error::NotFound("no such tenant".to_owned()))?;
    let adopt = adopt.map(|adopt| adopt.checked(&name, tenant, &region)).transpose()?;
    let mut changes = api.registry.changes();
    let begin = move |registry: &Registry| match adopt {
        Some(adopt) => registry.begin_adopt(adopt),
        None => registry.begin_create(tenant, &name, &region),
    };
    let begun = api.change(begin).await?;
    let deadline = tokio::time::Instant::now() + ACTIVE_WITHIN;
    loop {
        changes.mark_unchanged();
        let state = api.registry.state();
        match state.bucket(begun.id) {
            Some(bucket) if bucket.state == BucketState::Creating => {
                // Refused: the operator hears why, and the name is free again.
                if let Some(refused) = bucket.adoption().filter(|adoption| !adoption.refusal.is_empty()) {
                    let (id, why) = (begun.id, refused.refusal.clone());
                    api.change(move |registry| registry.abort_create(id)).await?;
                    return Err(Error::Precondition(why).into());
                }
            }
            Some(bucket) => {
                // Whoever is told that it is there may use it at once.
                api.applied(api.registry.version()).await?;
                return Ok(HttpResponse::Created().json(with_card(&state, bucket)?));
            }
            None => return Err(Error::Precondition("the backend refused the bucket".to_owned()).into()),
        }
        if !matches!(tokio::time::timeout_at(deadline, changes.changed()).await, Ok(Ok(()))) {
            return Ok(HttpResponse::Accepted().json(with_card(&state, &begun)?));
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

/// From now on it is no bucket of this gateway, and nothing in it has changed. The answer has what adopts it again, since the
/// card does not name it any more.
async fn release(api: web::Data<Api>, name: web::Path<String>) -> Result<HttpResponse, Problem> {
    let name = name.into_inner();
    let (version, id, card) = api
        .change(move |registry| {
            let id = bucket_id(registry, &name)?;
            let card = recovery::card_of(&registry.state(), id)?;
            Ok((registry.release(id)?, id, card))
        })
        .await?;
    api.keys.forget(id);
    let pending = api.applied(version).await?;
    Ok(HttpResponse::Ok().json(
        json!({ "version": version.version, "pending": pending, "id": id.to_string(), "recovery_card": card }),
    ))
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

async fn set_sse(
    api: web::Data<Api>,
    name: web::Path<String>,
    body: web::Json<BackendSse>,
) -> Result<HttpResponse, Problem> {
    put_sse(&api, name.into_inner(), Some(body.into_inner())).await
}

async fn drop_sse(api: web::Data<Api>, name: web::Path<String>) -> Result<HttpResponse, Problem> {
    put_sse(&api, name.into_inner(), None).await
}

async fn put_sse(api: &Api, name: String, sse: Option<BackendSse>) -> Result<HttpResponse, Problem> {
    let version = api.change(move |registry| registry.set_backend_sse(&name, sse)).await?;
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

impl NewAdoption {
    fn checked(self, name: &str, tenant: TenantId, region: &str) -> Result<Adopt, Error> {
        let Self { backend_bucket, backend, plain, id, recovery_card, rules, backend_sse } = self;
        let what = match (plain, id, recovery_card) {
            (true, None, None) => Adopted::Plain,
            (false, Some(id), Some(card)) => {
                let id =
                    id.parse().map_err(|_| Error::Invalid("a logical id has 32 hex digits".to_owned()))?;
                let card = card.parse().map_err(|error| Error::Invalid(format!("recovery_card: {error}")))?;
                Adopted::Known(id, card)
            }
            _ => {
                return Err(Error::Invalid(
                    "adopt: either \"plain\": true, or \"id\" and \"recovery_card\"".to_owned(),
                ));
            }
        };
        let (name, region) = (name.to_owned(), region.to_owned());
        Ok(Adopt { name, tenant, region, backend, backend_bucket, rules, backend_sse, what })
    }
}
