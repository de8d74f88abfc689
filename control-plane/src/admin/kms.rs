//! `GET /v1/kms`: the providers, how they are, and what hangs on them.

use std::collections::BTreeMap;

use actix_web::{HttpResponse, web};
use sealgate_kms::ProviderView;
use serde::Serialize;

use super::{Api, Problem};
use crate::actors::{Examined, Health, Status};

#[derive(Serialize)]
struct Provider {
    #[serde(flatten)]
    view: ProviderView,
    /// How the last examination, from end to end, ended.
    examined: Examined,
    /// IKs in this control plane's memory that hang on the provider.
    keys_in_memory: usize,
    /// KEK versions that it did not prove when it should have.
    keks_unproved: Vec<String>,
}

pub(super) fn routes(config: &mut web::ServiceConfig) {
    config.service(web::resource("/kms").get(list));
}

async fn list(api: web::Data<Api>) -> Result<HttpResponse, Problem> {
    let mut providers = Vec::new();
    for watched in &api.health {
        let examined = watched.slot.send(Health).await?;
        let mut view = watched.resilient.view();
        view.healthy &= examined.error.is_none();
        let (keys_in_memory, keks_unproved) = api.keys.of_provider(&view.provider);
        providers.push(Provider { view, examined, keys_in_memory, keks_unproved });
    }
    let nodes = api.fanout.send(Status).await?;
    let nodes: BTreeMap<_, _> =
        nodes.into_iter().filter_map(|(node, report)| Some((node, report.keys?))).collect();
    Ok(HttpResponse::Ok().json(serde_json::json!({ "providers": providers, "nodes": nodes })))
}
