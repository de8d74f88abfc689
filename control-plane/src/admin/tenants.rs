//! `GET` and `POST /v1/tenants`.

use actix_web::{HttpResponse, web};
use sealgate_envelope::TenantId;
use serde::Deserialize;

use super::{Api, Problem};
use crate::{Error, registry::records::TenantRecord};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewTenant {
    name: String,
    unproved_life: Option<u64>,
}

pub(super) fn routes(config: &mut web::ServiceConfig) {
    config.service(web::resource("/tenants").get(list).post(create));
}

async fn list(api: web::Data<Api>) -> HttpResponse {
    let state = api.registry.state();
    HttpResponse::Ok()
        .json(state.tenants.values().map(|tenant| TenantRecord::clone(tenant)).collect::<Vec<_>>())
}

async fn create(api: web::Data<Api>, body: web::Json<NewTenant>) -> Result<HttpResponse, Problem> {
    let NewTenant { name, unproved_life } = body.into_inner();
    let tenant = make(&api, name, unproved_life).await?;
    Ok(HttpResponse::Created().json(TenantRecord::clone(&tenant)))
}

/// Makes a tenant with a KEK of its own.
pub(crate) async fn make(
    api: &Api,
    name: String,
    unproved_life: Option<u64>,
) -> Result<std::sync::Arc<TenantRecord>, Error> {
    // Before the KMS is asked: a KEK cannot be taken back.
    crate::registry::check_label("a tenant's name", &name)?;
    if api.registry.state().tenant_named(&name).is_some() {
        return Err(Error::AlreadyExists(format!("the tenant {name:?} exists")));
    }
    let id = TenantId::random()?;
    let kek = api.kms.create_kek(&format!("tenant-{id}")).await?;
    api.change(move |registry| registry.create_tenant(id, &name, &kek, unproved_life)).await
}
