//! `GET`, `POST` and `DELETE /v1/nodes`.

use actix_web::{HttpResponse, web};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Api, Problem, secret};
use crate::{
    Error,
    registry::records::{NodeRecord, Tenants},
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewNode {
    name: String,
    /// Names of tenants, or `["*"]`.
    tenants: Vec<String>,
}

/// What a node connects with. It borrows: what is sent is the only copy of the private key.
#[derive(Serialize)]
struct Issued<'a> {
    ca: &'a str,
    certificate: &'a str,
    not_after: u64,
    private_key: &'a str,
    serial: &'a str,
}

pub(super) fn routes(config: &mut web::ServiceConfig) {
    config
        .service(web::resource("/nodes").get(list).post(create))
        .service(web::resource("/nodes/{name}").delete(revoke));
}

async fn list(api: web::Data<Api>) -> HttpResponse {
    let state = api.registry.state();
    HttpResponse::Ok().json(state.nodes.values().map(|node| NodeRecord::clone(node)).collect::<Vec<_>>())
}

/// The private key is shown here and kept nowhere.
async fn create(api: web::Data<Api>, body: web::Json<NewNode>) -> Result<HttpResponse, Problem> {
    let NewNode { name, tenants } = body.into_inner();
    let state = api.registry.state();
    let tenants = if tenants == ["*"] {
        Tenants::All
    } else {
        let ids = tenants.iter().map(|name| {
            let tenant = state.tenant_named(name).map(|tenant| tenant.id.to_string());
            tenant.ok_or_else(|| Error::NotFound(format!("no tenant {name:?}")))
        });
        let ids = ids.collect::<Result<Vec<_>, _>>()?;
        Tenants::from_texts(&ids).ok_or_else(|| Error::Invalid("tenants: names, or [\"*\"]".to_owned()))?
    };
    let identity = api.change(move |registry| registry.issue_node(&name, tenants)).await?;
    let answer = Issued {
        ca: &identity.ca_pem,
        certificate: &identity.cert_pem,
        not_after: identity.not_after,
        private_key: &identity.key_pem,
        serial: &identity.serial,
    };
    Ok(secret::created(&answer)?)
}

/// All certificates of the node: its stream ends, its calls and new connections are refused.
async fn revoke(api: web::Data<Api>, name: web::Path<String>) -> Result<HttpResponse, Problem> {
    let name = name.into_inner();
    let version = api.change(move |registry| registry.revoke_node(&name)).await?;
    Ok(HttpResponse::Ok().json(json!({ "version": version.version })))
}
