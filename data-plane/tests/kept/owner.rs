//! What the test itself asks of the front end, as the credential's owner.

use time::OffsetDateTime;

use crate::head::Head;
use crate::http::{Answer, exchange};
use crate::rig::{ACCESS_KEY, REGIONS, Rig, VERSIONED};
use crate::sigv4::sign_again;

const VERSIONING: &str = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";

/// The day of a time in Unix seconds, `yyyymmdd`.
pub fn day(at: u64) -> String {
    moment(at)[..8].to_owned()
}

/// Gives the bucket with versions its versions.
pub fn turn_on_versions(rig: &Rig, at: u64) {
    let target = format!("/{VERSIONED}?versioning=");
    let answer = ask(rig, ["PUT", &target, "localhost"], VERSIONING, at);
    assert_eq!(answer.status, 200, "{}", answer.shown());
}

/// Reads the object that a request names, by the same path and host.
pub fn get(rig: &Rig, like: &Head, at: u64) -> Answer {
    let path = like.target().split('?').next().unwrap();
    ask(rig, ["GET", path, like.header("host").unwrap()], "", at)
}

fn ask(rig: &Rig, [method, target, host]: [&str; 3], body: &str, at: u64) -> Answer {
    let date = moment(at);
    let scope = format!("{}/{}/s3/aws4_request", &date[..8], REGIONS[0]);
    let mut head = Head::new(vec![
        format!("{method} {target} HTTP/1.1"),
        format!("Host: {host}"),
        format!("Content-Length: {}", body.len()),
        format!("x-amz-date: {date}"),
        "x-amz-content-sha256: UNSIGNED-PAYLOAD".to_owned(),
        format!(
            "Authorization: AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/{scope}, \
             SignedHeaders=host;x-amz-content-sha256;x-amz-date, Signature=none"
        ),
    ]);
    sign_again(&mut head);
    exchange(rig.address, &head, body.as_bytes())
}

/// `yyyymmddThhmmssZ`
fn moment(at: u64) -> String {
    let at = OffsetDateTime::from_unix_timestamp(i64::try_from(at).unwrap()).unwrap();
    format!(
        "{:04}{:02}{:02}T{:02}{:02}{:02}Z",
        at.year(),
        u8::from(at.month()),
        at.day(),
        at.hour(),
        at.minute(),
        at.second()
    )
}
