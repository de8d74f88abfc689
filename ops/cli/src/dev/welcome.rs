//! What a `sealgate dev` says when it is ready: lines that can be typed as they are.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use serde_json::json;

use super::{Arguments, files};
use crate::failure::{Failure, Outcome};
use crate::offline::arguments::quoted;
use crate::output::Output;

/// Prints where everything is and what to type next; `admin` and `health` are where those listen.
pub fn print(
    arguments: &Arguments,
    endpoint: &str,
    (admin, health): (SocketAddr, SocketAddr),
    out: Output,
) -> Outcome<()> {
    let data = fs::canonicalize(&arguments.data).map_err(|error| Failure::file(&arguments.data, &error))?;
    let file = |name: &str| data.join(name).display().to_string();
    let (credentials, config, card) = (file(files::CREDENTIALS), file(files::CONFIG), file(files::CARD));
    let token = file("control-plane/admin-token");
    let ciphertext = arguments.s3_endpoint.clone().unwrap_or_else(|| file("backend"));
    let value = json!({
        "endpoint": endpoint,
        "data": data.display().to_string(),
        "credentials": credentials,
        "config": config,
        "ciphertext": ciphertext,
        "recovery_card": card,
        "admin": format!("http://{admin}"),
        "admin_token": token,
        "health": format!("http://{health}/healthz"),
        "ready": format!("http://{health}/readyz"),
        "metrics": format!("http://{health}/metrics"),
    });
    let on = if arguments.s3_endpoint.is_some() { "on" } else { "in" };
    let (own, quoted_data) = (quoted(&own_path()), quoted(&data.display().to_string()));
    let (quoted_credentials, quoted_config) = (quoted(&credentials), quoted(&config));
    let text = format!(
        "Sealgate is ready at {endpoint}

Next, in another terminal:
  export AWS_SHARED_CREDENTIALS_FILE={quoted_credentials} AWS_CONFIG_FILE={quoted_config}
  aws s3 mb s3://demo
  aws s3 cp /etc/hostname s3://demo/
  aws s3 ls s3://demo
  {own} put --data {quoted_data} /etc/hostname s3://demo/again
  python3 -c 'import boto3; print(boto3.client(\"s3\").list_objects_v2(Bucket=\"demo\")[\"Contents\"])'

Ciphertext lies {on} {ciphertext}
Recovery card   {card} (not secret; keep a copy elsewhere)
Admin API       http://{admin}  (token in {token})
Health, metrics http://{health}/healthz /readyz /metrics
Stop with Ctrl-C."
    );
    out.line(&text, &value)
}

/// The running program: it is rarely on anybody's PATH.
fn own_path() -> String {
    let own = std::env::current_exe();
    own.as_deref().unwrap_or(Path::new("sealgate")).display().to_string()
}
