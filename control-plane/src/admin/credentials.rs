//! `GET`, `POST` and `DELETE /v1/credentials`. Answers come when the connected nodes have the change.

use actix_web::{HttpResponse, web};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Api, Problem, secret};
use crate::{
    Error,
    registry::records::{CredentialRecord, GrantRecord},
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewCredential {
    /// The tenant's name.
    tenant: String,
    label: String,
    grants: Vec<GrantRecord>,
    /// Unix seconds; 0 or missing: no end.
    #[serde(default)]
    not_after: u64,
    /// It may sign with Signature Version 2 too.
    #[serde(default)]
    sigv2: bool,
}

/// A credential at the only moment when its secret is shown. It borrows: what is sent is the only copy.
#[derive(Serialize)]
struct Made<'a> {
    #[serde(flatten)]
    shown: Value,
    pending: &'a [String],
    secret_access_key: &'a str,
}

pub(super) fn routes(config: &mut web::ServiceConfig) {
    config
        .service(web::resource("/credentials").get(list).post(create))
        .service(web::resource("/credentials/{id}").delete(remove));
}

/// Without the secret, sealed or not.
fn shown(record: &CredentialRecord) -> Value {
    json!({
        "access_key_id": record.access_key_id,
        "tenant_id": record.tenant.to_string(),
        "label": record.label,
        "grants": record.grants,
        "created": record.created,
        "not_after": record.not_after,
        "sigv2": record.sigv2,
    })
}

async fn list(api: web::Data<Api>) -> HttpResponse {
    let state = api.registry.state();
    HttpResponse::Ok().json(state.credentials.values().map(|record| shown(record)).collect::<Vec<_>>())
}

async fn create(api: web::Data<Api>, body: web::Json<NewCredential>) -> Result<HttpResponse, Problem> {
    let NewCredential { tenant, label, grants, not_after, sigv2 } = body.into_inner();
    let tenant = api.registry.state().tenant_named(&tenant).map(|tenant| tenant.id);
    let tenant = tenant.ok_or_else(|| Error::NotFound("no such tenant".to_owned()))?;
    let made = api
        .change(move |registry| registry.create_credential(tenant, &label, grants, not_after, sigv2))
        .await?;
    let pending = api.applied(made.version).await?;
    let answer = Made { shown: shown(&made.record), pending: &pending, secret_access_key: &made.secret };
    Ok(secret::created(&answer)?)
}

async fn remove(api: web::Data<Api>, id: web::Path<String>) -> Result<HttpResponse, Problem> {
    let id = id.into_inner();
    let version = api.change(move |registry| registry.delete_credential(&id)).await?;
    let pending = api.applied(version).await?;
    Ok(HttpResponse::Ok().json(json!({ "version": version.version, "pending": pending })))
}
