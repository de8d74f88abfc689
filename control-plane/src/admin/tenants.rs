//! `GET` and `POST /v1/tenants`.

use actix_web::{HttpResponse, web};
use sealgate_envelope::TenantId;
use sealgate_kms::KmsError;
use serde::Deserialize;

use super::{Api, Problem};
use crate::{Error, registry::records::TenantRecord};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewTenant {
    name: String,
    unproved_life: Option<u64>,
    /// Of a tenant that was there before the store was lost: its id, from the recovery card. Needs `kek`.
    id: Option<String>,
    /// Its KEK, which must be in the KMS.
    kek: Option<String>,
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
    let NewTenant { name, unproved_life, id, kek } = body.into_inner();
    let tenant = match (id, kek) {
        (None, None) => make(&api, name, unproved_life).await?,
        (Some(id), Some(kek)) => restore(&api, name, unproved_life, &id, kek).await?,
        _ => return Err(Error::Invalid("id and kek come together: a tenant of old".to_owned()).into()),
    };
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

/// Registers a tenant of old again, under the id and the KEK that its key records name. No KEK is made: one that is not
/// there means that this is not the KMS of its keys.
async fn restore(
    api: &Api,
    name: String,
    unproved_life: Option<u64>,
    id: &str,
    kek: String,
) -> Result<std::sync::Arc<TenantRecord>, Error> {
    let id: TenantId =
        id.parse().map_err(|_| Error::Invalid("a tenant's id has 32 hex digits".to_owned()))?;
    api.registry.kek_free(id, &kek)?;
    api.kms.current_version(&kek).await.map_err(|error| match error {
        KmsError::NotFound(_) => {
            Error::Precondition(format!("{error}; start the control plane with the keyring that has it"))
        }
        other => other.into(),
    })?;
    api.change(move |registry| registry.create_tenant(id, &name, &kek, unproved_life)).await
}
