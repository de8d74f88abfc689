//! `sealgate presign`: a URL that lets its bearer do one thing for a while (SigV4 in the query). No request is made.

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PercentEncodingMode, SignableBody, SignableRequest, SignatureLocation, SigningSettings,
    UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4;
use clap::{Args, ValueEnum};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use serde_json::json;

use super::ServerArguments;
use crate::connection::Settings;
use crate::failure::{Exit, Failure, Outcome};
use crate::location::Location;
use crate::output::Output;

/// Everything but S3's unreserved characters.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
/// The same, with the slashes of a path kept.
const PATH: &AsciiSet = &QUERY.remove(b'/');

/// What the URL allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Allowed {
    /// Reading the object
    #[value(name = "GET", alias = "get")]
    Get,
    /// Storing the object
    #[value(name = "PUT", alias = "put")]
    Put,
}

/// Arguments of `sealgate presign`.
#[derive(Args, Debug)]
pub struct Arguments {
    /// The object: s3://BUCKET/KEY
    of: Location,
    /// Seconds that the URL is valid, at most seven days
    #[arg(long, default_value_t = 3600, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=604_800))]
    expires: u64,
    /// What the URL is for
    #[arg(long, value_enum, default_value = "GET")]
    method: Allowed,
    #[command(flatten)]
    server: ServerArguments,
}

/// Prints the URL.
pub fn run(arguments: &Arguments, out: Output) -> Outcome<()> {
    let settings = arguments.server.settings()?;
    let method = match arguments.method {
        Allowed::Get => "GET",
        Allowed::Put => "PUT",
    };
    let valid = Duration::from_secs(arguments.expires);
    let url = url(&settings, arguments.of.object()?, method, valid, SystemTime::now())?;
    out.line(&url, &json!({"url": url, "method": method, "expires": arguments.expires}))
}

fn url(
    settings: &Settings,
    of: &Location,
    method: &str,
    valid: Duration,
    now: SystemTime,
) -> Outcome<String> {
    let endpoint = settings.endpoint.trim_end_matches('/');
    let path = format!(
        "{endpoint}/{}/{}",
        percent_encode(of.bucket.as_bytes(), PATH),
        percent_encode(of.key.as_bytes(), PATH)
    );
    let invalid = |error: &dyn std::fmt::Display| Failure::new(Exit::Usage, format!("{path}: {error}"));
    let identity = Credentials::new(
        settings.access_key.clone(),
        settings.secret_key.to_string(),
        settings.session_token.as_ref().map(|token| token.to_string()),
        None,
        "sealgate",
    )
    .into();
    let mut signing = SigningSettings::default();
    signing.signature_location = SignatureLocation::QueryParams;
    signing.expires_in = Some(valid);
    signing.percent_encoding_mode = PercentEncodingMode::Single;
    signing.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(&settings.region)
        .name("s3")
        .time(now)
        .settings(signing)
        .build()
        .map_err(|error| invalid(&error))?
        .into();
    let request =
        SignableRequest::new(method, path.as_str(), std::iter::empty(), SignableBody::UnsignedPayload)
            .map_err(|error| invalid(&error))?;
    let (instructions, _) = sign(request, &params).map_err(|error| invalid(&error))?.into_parts();
    let mut url = path.clone();
    for (position, (name, value)) in instructions.params().iter().enumerate() {
        url.push(if position == 0 { '?' } else { '&' });
        url.push_str(name);
        url.push('=');
        url.extend(percent_encode(value.as_bytes(), QUERY));
    }
    Ok(url)
}
