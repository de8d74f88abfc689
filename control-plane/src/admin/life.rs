//! `/v1/tenants/{name}/kek…`, `disable`, `enable`, `shred`: KEKs of tenants, and their keys cut off.

use actix_web::{HttpResponse, web};
use sealgate_envelope::TenantId;
use sealgate_kms::Kms as _;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Api, Problem};
use crate::{
    Error,
    actors::Holding,
    keys::HARD,
    recovery,
    registry::{
        Version,
        life::{RATE, RATE_MAX},
        records::{JobRecord, TenantRecord},
    },
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Work {
    /// Records a second.
    rate: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Move {
    /// A KEK that is there, no other tenant's.
    kek: Option<String>,
    /// The KMS that makes one.
    kms: Option<String>,
    rate: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Destroy {
    kek: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Shred {
    /// The tenant's name once more.
    confirm: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

pub(super) fn routes(config: &mut web::ServiceConfig) {
    config
        .service(web::resource("/tenants/{name}/kek").get(report).put(replace))
        .service(web::resource("/tenants/{name}/kek/rotate").post(rotate))
        .service(web::resource("/tenants/{name}/kek/rewrap").post(rewrap))
        .service(web::resource("/tenants/{name}/kek/destroy").post(destroy))
        .service(web::resource("/tenants/{name}/disable").post(disable))
        .service(web::resource("/tenants/{name}/enable").post(enable))
        .service(web::resource("/tenants/{name}/shred").get(shredded).post(shred));
}

async fn report(api: web::Data<Api>, name: web::Path<String>) -> Result<HttpResponse, Problem> {
    Ok(HttpResponse::Ok().json(state_of(&api, &name).await?))
}

/// What is known of a tenant's KEKs. Reads all of its key records.
async fn state_of(api: &Api, name: &str) -> Result<Value, Error> {
    let tenant = api.registry.tenant_by_name(name)?;
    let (report, job) = api.keys.kek_report(tenant.id).await?;
    let mut answer = json!(*report);
    answer["tenant"] = json!(tenant.name);
    answer["kek"] = json!(tenant.kek);
    answer["generation"] = json!(tenant.generation);
    answer["work"] = job.map_or(Value::Null, |job| shown(&job, report.outdated));
    Ok(answer)
}

fn shown(job: &JobRecord, outdated: u64) -> Value {
    let state = match job {
        job if job.ended > 0 => "done",
        job if outdated > 0 && !job.trouble.is_empty() => "trouble",
        job if job.part < crate::registry::life::PARTS || outdated > 0 => "rewrapping",
        _ => "placing",
    };
    json!({
        "state": state,
        "generation": job.generation,
        "started": job.started,
        "ended": if job.ended > 0 { json!(job.ended) } else { Value::Null },
        "rewrapped": job.rewrapped,
        "left": outdated,
        "refused": job.refused,
        "rate": job.rate,
        "trouble": if job.trouble.is_empty() { Value::Null } else { json!(job.trouble) },
    })
}

fn rate(wanted: Option<u32>) -> Result<u32, Error> {
    match wanted.unwrap_or(RATE) {
        rate @ 1..=RATE_MAX => Ok(rate),
        _ => Err(Error::Invalid(format!("rate: is 1 to {RATE_MAX} records a second"))),
    }
}

/// Another version in the KMS, then everything under it.
async fn rotate(
    api: web::Data<Api>,
    name: web::Path<String>,
    body: web::Json<Work>,
) -> Result<HttpResponse, Problem> {
    let (tenant, rate) = (usable(&api, &name)?, rate(body.rate)?);
    api.kms.rotate(&tenant.kek).await.map_err(Error::from)?;
    tracing::info!(target: "audit", tenant = tenant.name, kek = tenant.kek, "a KEK was rotated");
    begin(&api, &tenant, tenant.kek.clone(), rate).await
}

/// Everything under the newest version that there is: the KMS rotates by itself.
async fn rewrap(
    api: web::Data<Api>,
    name: web::Path<String>,
    body: web::Json<Work>,
) -> Result<HttpResponse, Problem> {
    let (tenant, rate) = (usable(&api, &name)?, rate(body.rate)?);
    begin(&api, &tenant, tenant.kek.clone(), rate).await
}

/// Another KEK, here or in another KMS, then everything under it.
async fn replace(
    api: web::Data<Api>,
    name: web::Path<String>,
    body: web::Json<Move>,
) -> Result<HttpResponse, Problem> {
    let (tenant, Move { kek, kms, rate: wanted }) = (usable(&api, &name)?, body.into_inner());
    let rate = rate(wanted)?;
    let kek = match (kek, kms) {
        (Some(kek), None) => super::tenants::resolved(&api, kek).await?,
        (None, Some(kms)) => make(&api, &tenant, &kms).await?,
        _ => return Err(Error::Invalid("either \"kek\", a reference, or \"kms\", a name".to_owned()).into()),
    };
    api.registry.kek_free(tenant.id, &kek)?;
    tracing::info!(target: "audit", tenant = tenant.name, from = tenant.kek, to = kek, "a tenant moves to another KEK");
    begin(&api, &tenant, kek, rate).await
}

/// Makes a KEK for a tenant in a KMS of the configuration.
async fn make(api: &Api, tenant: &TenantRecord, kms: &str) -> Result<String, Error> {
    // Of this generation and no other: what has the name is the same attempt's, whose answer was lost.
    let name = format!("tenant-{}-{}", tenant.id, tenant.generation + 1);
    Ok(api.kms.create_kek_at(kms, &name).await?)
}

async fn begin(api: &Api, tenant: &TenantRecord, kek: String, rate: u32) -> Result<HttpResponse, Problem> {
    // One that does not open what it wraps would cost the next IKs.
    api.keys.try_kek(tenant.id, &kek).await?;
    let id = tenant.id;
    let allowed = kek.clone();
    api.change(move |registry| registry.allow_kek(id, &allowed)).await?;
    // A record must not name a KEK that the card in the file does not.
    let (registry, card) = (std::sync::Arc::clone(&api.registry), api.card.clone());
    let written = tokio::task::spawn_blocking(move || recovery::write_card(&registry, &card));
    written.await.map_err(|_| Error::Internal("writing the recovery card failed".to_owned()))??;
    api.change(move |registry| registry.begin_rewrap(id, &kek, rate)).await?;
    Ok(HttpResponse::Accepted().json(state_of(api, &tenant.name).await?))
}

fn usable(api: &Api, name: &str) -> Result<std::sync::Arc<TenantRecord>, Error> {
    let tenant = api.registry.tenant_by_name(name)?;
    tenant.usable().map_err(|error| Error::Precondition(error.to_string()))?;
    Ok(tenant)
}

/// A KEK of old that nothing needs any more.
async fn destroy(
    api: web::Data<Api>,
    name: web::Path<String>,
    body: web::Json<Destroy>,
) -> Result<HttpResponse, Problem> {
    let (tenant, kek) = (api.registry.tenant_by_name(&name)?, body.into_inner().kek);
    let gone = tenant.keks.iter().find(|used| used.kek == kek).and_then(|used| used.destroyed);
    let at = match gone {
        Some(at) => at,
        None => api.keys.destroy_old(&tenant, &kek, &*api.kms).await?,
    };
    tracing::warn!(target: "audit", tenant = tenant.name, kek, at, "a KEK is destroyed");
    Ok(HttpResponse::Ok().json(json!({ "kek": kek, "destroyed_at": at })))
}

async fn disable(
    api: web::Data<Api>,
    name: web::Path<String>,
    _: web::Json<Nothing>,
) -> Result<HttpResponse, Problem> {
    set_disabled(&api, name.into_inner(), true).await
}

async fn enable(
    api: web::Data<Api>,
    name: web::Path<String>,
    _: web::Json<Nothing>,
) -> Result<HttpResponse, Problem> {
    set_disabled(&api, name.into_inner(), false).await
}

async fn set_disabled(api: &Api, name: String, disabled: bool) -> Result<HttpResponse, Problem> {
    let id = api.registry.tenant_by_name(&name)?.id;
    let of = name.clone();
    let version = api.change(move |registry| registry.set_disabled(&of, disabled)).await?;
    api.keys.cut(id, disabled);
    tracing::warn!(target: "audit", tenant = name, disabled, "a tenant's keys");
    let mut answer = api.confirmed(id, version).await?;
    answer["tenant"] = json!(name);
    answer["disabled"] = json!(disabled);
    if !disabled {
        // Nobody waits for caches to be empty.
        answer.as_object_mut().map(|answer| answer.remove("certain_at"));
    }
    Ok(HttpResponse::Ok().json(answer))
}

async fn shred(
    api: web::Data<Api>,
    name: web::Path<String>,
    body: web::Json<Shred>,
) -> Result<HttpResponse, Problem> {
    let (name, confirm) = (name.into_inner(), body.into_inner().confirm);
    let tenant = api.registry.tenant_by_name(&name)?;
    if confirm != name {
        return Err(Error::Invalid(format!(
            "\"confirm\" is to be the tenant's name, {name:?}: all of its data becomes unreadable, for good"
        ))
        .into());
    }
    let of = name.clone();
    let version = api.change(move |registry| registry.begin_shred(&of)).await?;
    api.keys.cut(tenant.id, true);
    tracing::warn!(target: "audit", tenant = name, "a tenant is being shredded");
    let confirmed = api.confirmed(tenant.id, version).await?;
    let (of, at) = (name.clone(), confirmed["certain_at"].as_u64().unwrap_or_default());
    api.change(move |registry| registry.caches_empty(&of, at)).await?;
    Ok(HttpResponse::Accepted().json(shred_of(&api, &name).await?))
}

async fn shredded(api: web::Data<Api>, name: web::Path<String>) -> Result<HttpResponse, Problem> {
    Ok(HttpResponse::Ok().json(shred_of(&api, &name).await?))
}

/// The report of a shredding.
async fn shred_of(api: &Api, name: &str) -> Result<Value, Error> {
    let tenant = api.registry.tenant_by_name(name)?;
    let cut = tenant.cut.clone().filter(|cut| cut.shred);
    let cut = cut.ok_or_else(|| Error::NotFound(format!("the tenant {name:?} was not shredded")))?;
    let pending = api.acks.unconfirmed(tenant.id, api.registry.version()).await?.pending;
    let keks: Vec<_> = tenant
        .keks
        .iter()
        .map(|used| json!({ "kek": used.kek, "versions": used.versions, "destroyed_at": used.destroyed }))
        .collect();
    let destroyed = tenant.keks.iter().map(|used| used.destroyed).collect::<Option<Vec<_>>>();
    Ok(json!({
        "tenant": name,
        "access_cut_at": cut.at,
        "pending": pending,
        "caches_empty_at": if cut.caches_empty_at > 0 { json!(cut.caches_empty_at) } else { Value::Null },
        "keks": keks,
        "destroyed_at": destroyed.and_then(|all| all.into_iter().max()),
        "copies_in_other_tenants": 0,
        "why": "A key record is lent to buckets of its own tenant only, and a credential reaches one tenant's buckets only: a copy that another \
                tenant has was read by its own means, and is sealed under its own keys.",
    }))
}

impl Api {
    /// What the nodes of a tenant have confirmed, and when the last is certain to hold none of the keys that this version
    /// takes away.
    pub(super) async fn confirmed(&self, tenant: TenantId, version: Version) -> Result<Value, Error> {
        let Holding { pending, revoked } = self.acks.unconfirmed(tenant, version).await?;
        let now = self.registry.clock().now();
        let life = self.registry.tenant(tenant)?.longest_life(now);
        let outlived = |since: u64| since + HARD + life;
        // Who was revoked long ago holds nothing any more; who was revoked just now may have got a key just before.
        let revoked: Vec<_> = revoked.into_iter().filter(|(_, at)| outlived(*at) > now).collect();
        let of_pending = if pending.is_empty() { now } else { outlived(now) };
        let certain_at = revoked.iter().map(|(_, at)| outlived(*at)).fold(of_pending, u64::max);
        let revoked: Vec<_> = revoked.into_iter().map(|(node, _)| node).collect();
        let version = version.version;
        Ok(json!({ "version": version, "pending": pending, "revoked": revoked, "certain_at": certain_at }))
    }
}
