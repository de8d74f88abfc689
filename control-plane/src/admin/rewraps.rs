//! `/v1/buckets/{name}/rewrap…`: the work on the envelopes of a bucket's objects, begun, shown, steered.

use actix_web::{HttpRequest, HttpResponse, web};
use sealgate_envelope::IkId;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Api, Problem, buckets::bucket_id};
use crate::{
    Error,
    registry::{
        records::{MAX_IKS, RewrapRecord},
        rewraps::{CONCURRENT, CONCURRENT_MAX, RATE, RATE_MAX, Steer, Wanted},
    },
};

/// The longest name of whoever asks, in bytes.
const MAX_BY: usize = 200;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Begin {
    /// The keys; none: all that are retired or compromised.
    #[serde(default)]
    keys: Vec<String>,
    /// Objects looked at a second.
    rate: Option<u32>,
    /// Objects at once.
    concurrent: Option<u32>,
    /// Who asks, for the audit log.
    #[serde(default)]
    by: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    rate: Option<u32>,
    concurrent: Option<u32>,
    #[serde(default)]
    by: String,
}

pub(super) fn routes(config: &mut web::ServiceConfig) {
    config
        .service(web::resource("/buckets/{name}/rewrap").get(show).post(begin))
        .service(web::resource("/buckets/{name}/rewrap/pause").post(pause))
        .service(web::resource("/buckets/{name}/rewrap/resume").post(resume))
        .service(web::resource("/buckets/{name}/rewrap/cancel").post(cancel));
}

async fn show(api: web::Data<Api>, name: web::Path<String>) -> Result<HttpResponse, Problem> {
    let bucket = bucket_id(&api.registry, &name)?;
    let record = api.keys.envelopes_of(bucket).await?;
    let record = record.ok_or_else(|| {
        Error::NotFound(format!("the envelopes in {:?} were never worked on", name.as_str()))
    })?;
    Ok(HttpResponse::Ok().json(shown(&name, &record)))
}

async fn begin(
    api: web::Data<Api>,
    name: web::Path<String>,
    body: web::Json<Begin>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let (name, Begin { keys, rate, concurrent, by }) = (name.into_inner(), body.into_inner());
    if keys.len() > MAX_IKS {
        return Err(Error::Invalid(format!("keys: at most {MAX_IKS}")).into());
    }
    let id = |ik: &String| {
        ik.parse::<IkId>().map_err(|_| Error::Invalid("a key's id has 32 hex digits".to_owned()))
    };
    let mut iks = keys.iter().map(id).collect::<Result<Vec<_>, _>>()?;
    iks.sort_unstable();
    iks.dedup();
    check(rate, concurrent, &by)?;
    let wanted = Wanted { iks, by, rate: rate.unwrap_or(RATE), concurrent: concurrent.unwrap_or(CONCURRENT) };
    let of = name.clone();
    let record = api.change(move |registry| registry.begin_envelopes(&of, &wanted)).await?;
    audit(&request, &name, &record.by, &record, "begun");
    Ok(HttpResponse::Accepted().json(shown(&name, &record)))
}

async fn pause(
    api: web::Data<Api>,
    name: web::Path<String>,
    body: web::Json<Change>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    steer(&api, &name, Steer::Pause, body.into_inner(), &request).await
}

async fn resume(
    api: web::Data<Api>,
    name: web::Path<String>,
    body: web::Json<Change>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    steer(&api, &name, Steer::Resume, body.into_inner(), &request).await
}

async fn cancel(
    api: web::Data<Api>,
    name: web::Path<String>,
    body: web::Json<Change>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    steer(&api, &name, Steer::Cancel, body.into_inner(), &request).await
}

async fn steer(
    api: &Api,
    name: &str,
    steer: Steer,
    change: Change,
    request: &HttpRequest,
) -> Result<HttpResponse, Problem> {
    let Change { rate, concurrent, by } = change;
    check(rate, concurrent, &by)?;
    let of = name.to_owned();
    let record = api.change(move |registry| registry.steer_rewrap(&of, steer, rate, concurrent)).await?;
    let what = match steer {
        Steer::Pause => "paused",
        Steer::Resume => "resumed",
        Steer::Cancel => "cancelled",
    };
    audit(request, name, &by, &record, what);
    Ok(HttpResponse::Ok().json(shown(name, &record)))
}

fn check(rate: Option<u32>, concurrent: Option<u32>, by: &str) -> Result<(), Error> {
    if rate.is_some_and(|rate| !(1..=RATE_MAX).contains(&rate)) {
        return Err(Error::Invalid(format!("rate: is 1 to {RATE_MAX} objects a second")));
    }
    if concurrent.is_some_and(|concurrent| !(1..=CONCURRENT_MAX).contains(&concurrent)) {
        return Err(Error::Invalid(format!("concurrent: is 1 to {CONCURRENT_MAX} objects at once")));
    }
    if by.len() > MAX_BY {
        return Err(Error::Invalid(format!("by: at most {MAX_BY} bytes")));
    }
    Ok(())
}

/// All who have the token are one to the control plane: who it was says the caller, from where the connection.
fn audit(request: &HttpRequest, bucket: &str, by: &str, record: &RewrapRecord, what: &'static str) {
    let from = request.peer_addr().map(|address| address.to_string()).unwrap_or_default();
    let keys = record.iks.join(" ");
    let (rate, concurrent) = (record.rate, record.concurrent);
    tracing::warn!(target: "audit", bucket, by, from, keys, rate, concurrent, what, "the work on a bucket's envelopes");
}

fn shown(name: &str, record: &RewrapRecord) -> Value {
    let state = match record {
        record if record.cancelled => "cancelled",
        record if record.ended > 0 => "done",
        record if record.paused => "paused",
        record if !record.trouble.is_empty() => "trouble",
        _ => "working",
    };
    let mut all = record.before.clone();
    all.add(&record.tally);
    let left: u64 = record.tally.left.iter().map(|left| left.count).sum();
    // Per key, the present pass, which knows it at its end.
    let of_key = |ik: &String| {
        let under = ik.parse().ok().and_then(|ik| record.tally.under(ik));
        (ik.clone(), json!(under))
    };
    let under: Map<String, Value> = record.iks.iter().map(of_key).collect();
    let why: Vec<_> = record
        .tally
        .left
        .iter()
        .map(|left| {
            json!({ "ik": left.ik.to_string(), "why": left.reason, "count": left.count, "examples": left.examples })
        })
        .collect();
    json!({
        "bucket": name,
        "state": state,
        "keys": record.iks,
        "by": record.by,
        "node": record.node,
        "started": record.started,
        "ended": if record.ended > 0 { json!(record.ended) } else { Value::Null },
        "rate": record.rate,
        "concurrent": record.concurrent,
        "pass": record.pass,
        "last_key": record.cursor,
        "looked_at": all.looked_at,
        "rewrapped": all.rewrapped,
        "reencrypted": all.reencrypted,
        "moved_bytes": all.moved_bytes,
        "changed_meanwhile": all.changed,
        "etags_changed": all.etags,
        "left": left,
        "left_is_more": record.tally.cut,
        "left_under": under,
        "left_why": why,
        "trouble": if record.trouble.is_empty() { Value::Null } else { json!(record.trouble) },
    })
}
