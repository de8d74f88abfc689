//! `GET` and `POST /v1/tenants`, `GET` and `PATCH /v1/tenants/{name}`.

use actix_web::{HttpResponse, web};
use sealgate_envelope::TenantId;
use sealgate_kms::{Kms as _, KmsError, SYSTEM_KEK};
use serde::Deserialize;

use super::{Api, Problem};
use crate::{
    Error,
    registry::{TenantChange, records::TenantRecord},
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewTenant {
    name: String,
    unproved_life: Option<u64>,
    /// The provider at which its KEK is made; the configured default otherwise.
    kms: Option<String>,
    /// A KEK that is there already, instead.
    kek: Option<String>,
    /// Of a tenant that was there before the store was lost: its id, from the recovery card. Needs `kek`.
    id: Option<String>,
}

pub(super) fn routes(config: &mut web::ServiceConfig) {
    config
        .service(web::resource("/tenants").get(list).post(create))
        .service(web::resource("/tenants/{name}").get(shown).patch(change));
}

async fn list(api: web::Data<Api>) -> HttpResponse {
    let state = api.registry.state();
    HttpResponse::Ok()
        .json(state.tenants.values().map(|tenant| TenantRecord::clone(tenant)).collect::<Vec<_>>())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    name: Option<String>,
    unproved_life: Option<u64>,
}

async fn shown(api: web::Data<Api>, name: web::Path<String>) -> Result<HttpResponse, Problem> {
    let tenant = api.registry.tenant_by_name(&name)?;
    Ok(HttpResponse::Ok().json(&*tenant))
}

/// What does not concern its KEK, which has resources of its own.
async fn change(
    api: web::Data<Api>,
    name: web::Path<String>,
    body: web::Json<Change>,
) -> Result<HttpResponse, Problem> {
    let (name, Change { name: new, unproved_life }) = (name.into_inner(), body.into_inner());
    if new.is_none() && unproved_life.is_none() {
        return Err(Error::Invalid("nothing to change: \"name\", \"unproved_life\"".to_owned()).into());
    }
    let change = TenantChange { name: new, unproved_life };
    let (before, version) = api.change(move |registry| registry.change_tenant(&name, &change)).await?;
    let tenant = api.registry.tenant(before.id)?;
    api.keys.live(tenant.id, tenant.unproved_life);
    tracing::info!(
        target: "audit",
        tenant = %tenant.id,
        name = tenant.name,
        name_before = before.name,
        unproved_life = tenant.unproved_life,
        unproved_life_before = before.unproved_life,
        "a tenant was changed"
    );
    let mut answer = serde_json::json!(*tenant);
    answer["version"] = serde_json::json!(version.version);
    answer["pending"] = serde_json::json!(api.acks.unconfirmed(tenant.id, version).await?.pending);
    Ok(HttpResponse::Ok().json(answer))
}

async fn create(api: web::Data<Api>, body: web::Json<NewTenant>) -> Result<HttpResponse, Problem> {
    let NewTenant { name, unproved_life, kms, kek, id } = body.into_inner();
    let invalid = |text: &str| Err(Error::Invalid(text.to_owned()).into());
    let id = match id.as_deref().map(str::parse::<TenantId>) {
        None => None,
        Some(Ok(id)) => Some(id),
        Some(Err(_)) => return invalid("a tenant's id has 32 hex digits"),
    };
    let tenant = match (id, kek, kms) {
        (None, None, kms) => make(&api, name, unproved_life, kms.as_deref()).await?,
        (id, Some(kek), None) => with_kek(&api, name, unproved_life, id, kek).await?,
        (_, Some(_), Some(_)) => return invalid("kms or kek: a KEK's reference names its provider already"),
        (Some(_), None, _) => return invalid("id needs kek: a tenant of old has its KEK"),
    };
    Ok(HttpResponse::Created().json(TenantRecord::clone(&tenant)))
}

/// Makes a tenant with a KEK of its own, at a provider or the default one.
pub(crate) async fn make(
    api: &Api,
    name: String,
    unproved_life: Option<u64>,
    kms: Option<&str>,
) -> Result<std::sync::Arc<TenantRecord>, Error> {
    // Before the KMS is asked: a KEK cannot be taken back.
    crate::registry::check_label("a tenant's name", &name)?;
    if api.registry.state().tenant_named(&name).is_some() {
        return Err(Error::AlreadyExists(format!("the tenant {name:?} exists")));
    }
    let id = TenantId::random()?;
    let provider = kms.unwrap_or(api.kms.provider());
    let kek =
        api.kms.create_kek_at(provider, &format!("tenant-{id}")).await.map_err(|error| match error {
            KmsError::NotFound(_) => Error::Invalid(format!("kms: {error}")),
            other => other.into(),
        })?;
    api.change(move |registry| registry.create_tenant(id, &name, &kek, unproved_life)).await
}

/// Makes a tenant whose KEK is there already. With an id: registers one of old again, under the id and the KEK that its key
/// records name. No KEK is made: one that is not there means that this is not the KMS of its keys.
async fn with_kek(
    api: &Api,
    name: String,
    unproved_life: Option<u64>,
    id: Option<TenantId>,
    kek: String,
) -> Result<std::sync::Arc<TenantRecord>, Error> {
    let id = match id {
        Some(id) => id,
        None => TenantId::random()?,
    };
    if kek.split_once('/').is_some_and(|(_, name)| name == SYSTEM_KEK) {
        return Err(Error::Invalid("the system KEK is no tenant's".to_owned()));
    }
    let kek = resolved(api, kek).await?;
    api.registry.kek_free(id, &kek)?;
    api.kms.current_version(&kek).await.map_err(|error| match error {
        KmsError::NotFound(_) => Error::Precondition(format!(
            "{error}; the control plane needs the keyring or the KMS that has it"
        )),
        other => other.into(),
    })?;
    api.change(move |registry| registry.create_tenant(id, &name, &kek, unproved_life)).await
}

/// The reference by which an existing KEK stays found: AWS's aliases and ARNs are looked up once, since an alias that is pointed
/// elsewhere would orphan what was wrapped. Makes none: no KMS takes such names for a new key.
pub(super) async fn resolved(api: &Api, kek: String) -> Result<String, Error> {
    match kek.split_once('/') {
        Some((provider, name)) if name.starts_with("alias/") || name.starts_with("arn:") => {
            Ok(api.kms.create_kek_at(provider, name).await?)
        }
        _ => Ok(kek),
    }
}
