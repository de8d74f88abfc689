//! `/v1/buckets/{name}/key…`: IKs of a bucket, and what operators do to them.

use actix_web::{HttpResponse, web};
use sealgate_envelope::{IkId, IkRecord};
use serde::Deserialize;
use serde_json::json;

use super::{Api, Problem, buckets::bucket_id};
use crate::{Error, registry::states::Verdict};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Judge {
    #[serde(default)]
    force: bool,
}

pub(super) fn routes(config: &mut web::ServiceConfig) {
    config
        .service(web::resource("/buckets/{name}/keys").get(list))
        .service(web::resource("/buckets/{name}/key/rotate").post(rotate))
        .service(web::resource("/buckets/{name}/keys/{ik}/retire").post(retire))
        .service(web::resource("/buckets/{name}/keys/{ik}/compromised").post(compromised))
        .service(web::resource("/buckets/{name}/keys/{ik}/reinstate").post(reinstate));
}

async fn list(api: web::Data<Api>, name: web::Path<String>) -> Result<HttpResponse, Problem> {
    let name = name.into_inner();
    let bucket = bucket_id(&api.registry, &name)?;
    let work = api.keys.envelopes_of(bucket).await?;
    let mut keys = api.keys.keys_of(name).await?;
    keys.sort_by_key(|(_, created, _)| *created);
    let shown = keys.into_iter().map(|(ik, created, entry)| {
        let kek = IkRecord::parse(&entry.record).map(|record| record.context.kek)?;
        Ok(json!({
            "ik": ik.to_string(),
            "created": created,
            "state": entry.state,
            "placed": entry.confirmed,
            "kek": kek,
            "kek_version": entry.version,
            // By the last work on it that came to its end.
            "left": work.as_ref().and_then(|work| work.left_under(ik)),
        }))
    });
    let shown = shown.collect::<Result<Vec<_>, Error>>()?;
    Ok(HttpResponse::Ok().json(shown))
}

/// The next write makes another.
async fn rotate(
    api: web::Data<Api>,
    name: web::Path<String>,
    _: web::Json<Judge>,
) -> Result<HttpResponse, Problem> {
    let name = name.into_inner();
    let of = name.clone();
    let version = api.change(move |registry| registry.end_active_ik(&of)).await?;
    tracing::info!(target: "audit", bucket = name, "the next write makes another key");
    let pending = api.applied(version).await?;
    Ok(HttpResponse::Ok().json(json!({ "bucket": name, "version": version.version, "pending": pending })))
}

async fn retire(
    api: web::Data<Api>,
    path: web::Path<(String, String)>,
    body: web::Json<Judge>,
) -> Result<HttpResponse, Problem> {
    judge(&api, path.into_inner(), Verdict::Retired, body.force).await
}

async fn compromised(
    api: web::Data<Api>,
    path: web::Path<(String, String)>,
    body: web::Json<Judge>,
) -> Result<HttpResponse, Problem> {
    judge(&api, path.into_inner(), Verdict::Compromised, body.force).await
}

async fn reinstate(
    api: web::Data<Api>,
    path: web::Path<(String, String)>,
    body: web::Json<Judge>,
) -> Result<HttpResponse, Problem> {
    judge(&api, path.into_inner(), Verdict::Reinstated, body.force).await
}

async fn judge(
    api: &Api,
    (name, ik): (String, String),
    verdict: Verdict,
    force: bool,
) -> Result<HttpResponse, Problem> {
    let id: IkId = ik.parse().map_err(|_| Error::Invalid("a key's id has 32 hex digits".to_owned()))?;
    let tenant = {
        let bucket = bucket_id(&api.registry, &name)?;
        api.registry.state().bucket(bucket).map(|bucket| bucket.tenant)
    };
    let tenant = tenant.ok_or_else(|| Error::NotFound(format!("no such bucket: {name:?}")))?;
    let of = name.clone();
    let (bucket, version) = api.change(move |registry| registry.judge_ik(&of, id, verdict, force)).await?;
    api.keys.bar(bucket, id, verdict != Verdict::Reinstated);
    tracing::warn!(target: "audit", bucket = name, ik, ?verdict, force, "an operator's word on a key");
    let mut answer = api.confirmed(tenant, version).await?;
    answer["bucket"] = json!(name);
    answer["ik"] = json!(ik);
    if verdict == Verdict::Reinstated {
        answer.as_object_mut().map(|answer| answer.remove("certain_at"));
    }
    Ok(HttpResponse::Ok().json(answer))
}
