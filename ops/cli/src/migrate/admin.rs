//! The admin API, as far as a migration needs it.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::admin::Admin;
use crate::failure::{Exit, Failure, Outcome};

/// A bucket as the registry has it.
#[derive(Clone, Debug, Deserialize)]
pub struct Bucket {
    pub name: String,
    pub id: String,
    pub tenant: String,
    pub region: String,
    pub state: String,
    #[serde(default)]
    pub frozen: bool,
}

/// Who may still write into a frozen bucket, or has not heard of a change.
#[derive(Clone, Debug, Deserialize)]
pub struct Settled {
    pub pending: Vec<String>,
    pub writes_in_flight: u64,
}

impl Settled {
    /// Nobody.
    pub fn is_all(&self) -> bool {
        self.pending.is_empty() && self.writes_in_flight == 0
    }

    /// Who, for people.
    pub fn text(&self) -> String {
        match self.pending.as_slice() {
            [] => format!("{} writes in flight", self.writes_in_flight),
            nodes => {
                format!("{} writes in flight; not heard from: {}", self.writes_in_flight, nodes.join(", "))
            }
        }
    }
}

/// A registered bucket.
pub async fn bucket(admin: &Admin, name: &str) -> Outcome<Bucket> {
    let all: Vec<Bucket> = read(admin.ask("GET", "/v1/buckets", None).await?.1)?;
    all.into_iter().find(|bucket| bucket.name == name).ok_or_else(|| {
        Failure::new(Exit::NotFound, format!("{name}: no such bucket"))
            .hint("`sealgate ls` shows the buckets, `sealgate mb` makes one")
    })
}

/// Freezes a bucket, or ends its freeze.
pub async fn freeze(admin: &Admin, name: &str, frozen: bool) -> Outcome<Settled> {
    let body = json!({ "frozen": frozen });
    read(admin.ask("PUT", &format!("/v1/buckets/{name}/freeze"), Some(&body)).await?.1)
}

/// Who may still write into it.
pub async fn settled(admin: &Admin, name: &str) -> Outcome<Settled> {
    read(admin.ask("GET", &format!("/v1/buckets/{name}/freeze"), None).await?.1)
}

/// Exchanges two buckets' names, if the first is still this bucket's.
pub async fn switch(admin: &Admin, name: &str, with: &str, expect: &str) -> Outcome<Settled> {
    let body = json!({ "with": with, "expect": expect });
    read(admin.ask("POST", &format!("/v1/buckets/{name}/switch"), Some(&body)).await?.1)
}

fn read<T: for<'de> Deserialize<'de>>(document: Value) -> Outcome<T> {
    serde_json::from_value(document).map_err(|error| {
        Failure::new(Exit::Unavailable, format!("the control plane's answer cannot be read: {error}"))
            .hint("is it of the same version as this program?")
    })
}
