//! Status, health, metrics and the recovery card.

use std::collections::BTreeMap;

use actix_web::{HttpResponse, web};
use sealgate_kms::Kms as _;
use serde_json::json;

use super::{Api, Problem};
use crate::{Error, actors::Status, recovery, registry::records::BucketState};

pub(super) fn routes(config: &mut web::ServiceConfig) {
    config
        .service(web::resource("/status").get(status))
        .service(web::resource("/recovery-card").get(recovery_card));
}

/// Without a token: nothing here names a tenant.
pub(super) fn open_routes(config: &mut web::ServiceConfig) {
    config
        .service(web::resource("/healthz").get(healthz))
        .service(web::resource("/readyz").get(readyz))
        .service(web::resource("/metrics").get(metrics));
}

async fn status(api: web::Data<Api>) -> Result<HttpResponse, Problem> {
    let nodes: BTreeMap<_, _> = api.fanout.send(Status).await?.into_iter().collect();
    let state = api.registry.state();
    let left_over = state.buckets.values().filter(|bucket| bucket.state != BucketState::Active);
    let left_over: Vec<_> =
        left_over.map(|bucket| json!({ "name": bucket.name, "state": bucket.state })).collect();
    Ok(HttpResponse::Ok().json(json!({
        "gateway_id": state.gateway_id.to_string(),
        "epoch": state.epoch,
        "version": state.version,
        "kms": api.kms.provider(),
        "kms_providers": api.kms.names().collect::<Vec<_>>(),
        "keys_in_memory": api.keys.held(),
        "keks_unproved": api.keys.unproved(),
        "intents": left_over,
        "nodes": nodes,
    })))
}

async fn recovery_card(api: web::Data<Api>) -> Result<HttpResponse, Problem> {
    let card = recovery::card(&api.registry.state())?;
    Ok(HttpResponse::Ok().content_type("text/plain; charset=utf-8").body(card))
}

async fn healthz() -> HttpResponse {
    HttpResponse::Ok().content_type("text/plain").body("ok\n")
}

/// Ready: both actors answer, and the store takes changes. The KMS may be away: what nodes hold goes on being served.
async fn readyz(api: web::Data<Api>) -> Result<HttpResponse, Problem> {
    api.fanout.send(Status).await?;
    api.change(|_| Ok(())).await?;
    if !api.registry.writable() {
        let reason =
            "the store takes no changes since a write failed: make room, start the control plane again";
        return Err(Error::Unavailable(reason.to_owned()).into());
    }
    Ok(HttpResponse::Ok().content_type("text/plain").body("ready\n"))
}

async fn metrics(api: web::Data<Api>) -> Result<HttpResponse, Problem> {
    api.metrics.store_writable(api.registry.writable());
    let text = api.metrics.render()?;
    Ok(HttpResponse::Ok().content_type("text/plain; version=0.0.4; charset=utf-8").body(text))
}
