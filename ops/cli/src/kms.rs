//! `sealgate admin kms`: how the KMS providers are, as the control plane sees them.

use std::fmt::Write as _;

use clap::Args;
use serde_json::Value;

use crate::bucket::Place;
use crate::failure::{Exit, Failure, Outcome};
use crate::output::{Output, one_line};

/// Arguments of `sealgate admin kms`.
#[derive(Args, Debug)]
pub struct Kms {
    #[command(flatten)]
    place: Place,
}

/// Shows the providers; a failure when one does not work.
pub fn run(arguments: &Kms, out: Output) -> Outcome<()> {
    let (_, shown) = arguments.place.open()?.call("GET", "/v1/kms", None)?;
    out.line(text(&shown).trim_end(), &shown)?;
    let ill: Vec<_> = providers(&shown).filter(|it| !healthy(it)).map(|it| word(it, "provider")).collect();
    if ill.is_empty() {
        return Ok(());
    }
    let text =
        format!("{} not healthy: {}", if ill.len() == 1 { "a KMS is" } else { "KMSs are" }, ill.join(", "));
    Err(Failure::new(Exit::Unavailable, text)
        .hint("what is in use goes on within its life; ops/runbooks says what that means and what to do"))
}

fn providers(shown: &Value) -> impl Iterator<Item = &Value> {
    shown["providers"].as_array().into_iter().flatten()
}

fn healthy(provider: &Value) -> bool {
    provider["healthy"] == true
}

fn word(value: &Value, field: &str) -> String {
    value[field].as_str().map_or_else(|| "-".to_owned(), one_line)
}

fn text(shown: &Value) -> String {
    let mut rows =
        vec![["PROVIDER", "STATE", "ADDRESS", "ROLE", "BREAKERS", "LAST SUCCESS"].map(str::to_owned)];
    let mut more = String::new();
    for provider in providers(shown) {
        let name = word(provider, "provider");
        let state = if healthy(provider) { "healthy" } else { "degraded" };
        for address in provider["addresses"].as_array().into_iter().flatten() {
            let role = match (&address["preferred"], &address["standby"]) {
                (Value::Bool(true), _) => "preferred",
                (_, Value::Bool(true)) => "standby",
                _ => "-",
            };
            let ago = |field: &str| address[field].as_u64().map(|seconds| format!("{seconds} s ago"));
            let at = word(address, "address");
            let last = ago("last_success_seconds").unwrap_or_else(|| "never".to_owned());
            rows.push([name.clone(), state.to_owned(), at.clone(), role.to_owned(), breakers(address), last]);
            if let (Some(ago), Some(error)) = (ago("last_error_seconds"), address["last_error"].as_str()) {
                let _ = writeln!(more, "{name} {at}: failed {ago}: {}", one_line(error));
            }
        }
        let count = |field: &str| provider[field].as_u64().unwrap_or(0);
        let limit = provider["limit_per_second"].as_f64();
        let limit = limit.map(|rate| format!(", throttled to {rate:.1} a second")).unwrap_or_default();
        let _ = writeln!(
            more,
            "{name}: {} under way, {} waiting{limit}; {} keys in memory",
            count("in_flight"),
            count("waiting"),
            count("keys_in_memory")
        );
        if let Some(error) = provider["examined"]["error"].as_str() {
            let by = word(&provider["examined"], "by");
            let _ = writeln!(more, "{name}: examined by {by}: {}", one_line(error));
        }
        for kek in provider["keks_unproved"].as_array().into_iter().flatten() {
            let _ = writeln!(more, "{name}: unproved: {}", kek.as_str().map(one_line).unwrap_or_default());
        }
    }
    for (name, node) in shown["nodes"].as_object().into_iter().flatten() {
        let (held, failed) = (node["held"].as_u64().unwrap_or(0), node["failed"].as_u64().unwrap_or(0));
        let name = one_line(name);
        let _ =
            writeln!(more, "node {name}: {held} keys in memory, {failed} requests failed for want of one");
    }
    aligned(&rows) + &more
}

/// Those that are not closed; "closed" when all are.
fn breakers(address: &Value) -> String {
    let open = address["breakers"].as_array().into_iter().flatten().filter(|it| it["state"] != "closed");
    let told: Vec<_> = open
        .map(|breaker| {
            let again =
                breaker["retry_in_ms"].as_f64().map(|millis| format!(" for {:.1} s", millis / 1000.0));
            format!("{} {}{}", word(breaker, "operation"), word(breaker, "state"), again.unwrap_or_default())
        })
        .collect();
    if told.is_empty() { "closed".to_owned() } else { told.join(", ") }
}

fn aligned<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<_> = (0..N).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        text += cells.collect::<Vec<_>>().join("  ").trim_end();
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use serde_json::json;

    use super::text;

    #[test]
    fn each_address_has_a_line_and_what_is_wrong_is_said_below() {
        let shown = json!({"providers": [
            {"provider": "local", "healthy": true, "addresses": [
                {"address": "#1", "preferred": true, "standby": false, "breakers": [{"operation": "wrap", "state": "closed"}],
                 "last_success_seconds": 3}],
             "in_flight": 0, "waiting": 0, "keys_in_memory": 12, "keks_unproved": [], "examined": {"by": "ready"}},
            {"provider": "vault-eu", "healthy": false, "addresses": [
                {"address": "https://a:8200", "preferred": false, "standby": true, "breakers": [
                    {"operation": "wrap", "state": "open", "retry_in_ms": 3_210},
                    {"operation": "unwrap", "state": "half-open", "retry_in_ms": null}],
                 "last_success_seconds": null, "last_error_seconds": 1, "last_error": "sealed\u{1b}[2J"}],
             "in_flight": 2, "waiting": 5, "limit_per_second": 12.5, "keys_in_memory": 1,
             "keks_unproved": ["vault-eu/tenant-a v3"], "examined": {"by": "ready", "error": "sealed"}},
        ], "nodes": {"n1": {"held": 12, "failed": 3}}});
        assert_eq!(
            text(&shown),
            "PROVIDER  STATE     ADDRESS         ROLE       BREAKERS                               LAST SUCCESS\n\
             local     healthy   #1              preferred  closed                                 3 s ago\n\
             vault-eu  degraded  https://a:8200  standby    wrap open for 3.2 s, unwrap half-open  never\n\
             local: 0 under way, 0 waiting; 12 keys in memory\n\
             vault-eu https://a:8200: failed 1 s ago: sealed\\u{1b}[2J\n\
             vault-eu: 2 under way, 5 waiting, throttled to 12.5 a second; 1 keys in memory\n\
             vault-eu: examined by ready: sealed\n\
             vault-eu: unproved: vault-eu/tenant-a v3\n\
             node n1: 12 keys in memory, 3 requests failed for want of one\n"
        );
    }
}
