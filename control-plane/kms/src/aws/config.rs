//! What an operator says about one AWS KMS: regions, credentials, trust. No secret stands in it, only paths to files.

use std::path::PathBuf;

use serde::Deserialize;

use crate::KmsError;

/// One provider `[kms.aws.<name>]`: an account's KMS in one region, and the regions that hold replicas of its
/// multi-region keys.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The home region, `eu-central-1`: here KEKs are made, rotated and destroyed. It is never taken from the
    /// environment: records must open in the same place after every restart.
    pub region: String,
    /// Instead of the region's public endpoint: a VPC endpoint, or the FIPS one.
    #[serde(default)]
    pub endpoint: Option<String>,
    /// Further addresses, asked when the home region does not answer.
    #[serde(default)]
    pub replicas: Vec<Replica>,
    /// CA certificates (PEM) that alone vouch for the KMS's endpoints; none: the system's.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// A credentials file in AWS's format, used alone; none: the default chain (environment, `~/.aws`, web identity, ECS or
    /// EKS container, EC2 instance metadata).
    #[serde(default)]
    pub credentials_file: Option<PathBuf>,
    /// The profile in `credentials_file`, or in `~/.aws`; none: `AWS_PROFILE`, else `default`.
    #[serde(default)]
    pub profile: Option<String>,
    /// Grant tokens, one a line, at most ten, read for every call.
    #[serde(default)]
    pub grant_tokens_file: Option<PathBuf>,
    /// Days between the destruction of a KEK and its end, 7 to 30: so long it can be taken back.
    #[serde(default = "longest")]
    pub deletion_window_days: u8,
    /// Allows `http://` endpoints beyond loopback. The keys then cross the network in the clear: for tests only.
    #[serde(default)]
    pub allow_http: bool,
}

/// A further address of the same keys.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Replica {
    /// Its region. Another than the home region serves multi-region keys (`mrk-…`) alone.
    pub region: String,
    /// Instead of the region's public endpoint.
    #[serde(default)]
    pub endpoint: Option<String>,
}

fn longest() -> u8 {
    30
}

/// The whole section of one provider, checked.
pub(super) fn check(name: &str, config: &Config) -> Result<(), KmsError> {
    let wrong = |what: String| Err(KmsError::local(format!("[kms.aws.{name}] {what}")));
    let valid = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
    if name.is_empty() || name.len() > 32 || !name.bytes().all(valid) {
        return wrong("the name of a provider has 1 to 32 of a-z 0-9 -".to_owned());
    }
    if !(7..=30).contains(&config.deletion_window_days) {
        return wrong(format!("deletion_window_days = {}: AWS takes 7 to 30", config.deletion_window_days));
    }
    for (region, endpoint) in addresses(config) {
        if region.is_empty() || region.len() > 64 || !region.bytes().all(valid) {
            return wrong(format!("region = {region:?}: not the name of a region, as in \"eu-central-1\""));
        }
        if let Some(endpoint) = endpoint {
            check_endpoint(endpoint, config.allow_http).or_else(wrong)?;
        }
    }
    Ok(())
}

/// Region and endpoint of every address, the home region first.
pub(super) fn addresses(config: &Config) -> impl Iterator<Item = (&str, Option<&str>)> {
    let replicas =
        config.replicas.iter().map(|replica| (replica.region.as_str(), replica.endpoint.as_deref()));
    std::iter::once((config.region.as_str(), config.endpoint.as_deref())).chain(replicas)
}

fn check_endpoint(endpoint: &str, allow_http: bool) -> Result<(), String> {
    let unusable = |why: &str| Err(format!("endpoint = {endpoint:?}: {why}"));
    let Ok(uri) = endpoint.parse::<http::Uri>() else { return unusable("not a URL") };
    let (Some(scheme), Some(host)) = (uri.scheme_str(), uri.host()) else {
        return unusable("needs https:// and a host");
    };
    if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
        return unusable("has a path; only scheme, host and port may stand here");
    }
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return unusable("names a user; credentials come from the credential chain");
    }
    let loopback = host == "localhost"
        || host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    match scheme {
        "https" => Ok(()),
        "http" if loopback || allow_http => Ok(()),
        "http" => unusable(
            "keys would cross the network in the clear; use https://, or allow_http = true in a test",
        ),
        _ => unusable("needs https://"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(endpoint: Option<&str>) -> Config {
        Config {
            region: "eu-central-1".to_owned(),
            endpoint: endpoint.map(str::to_owned),
            replicas: Vec::new(),
            ca_file: None,
            credentials_file: None,
            profile: None,
            grant_tokens_file: None,
            deletion_window_days: 30,
            allow_http: false,
        }
    }

    #[test]
    fn the_smallest_section_has_the_safe_defaults() {
        let parsed: Config = serde_json::from_str(r#"{"region":"eu-central-1"}"#).unwrap();
        assert_eq!((parsed.deletion_window_days, parsed.allow_http), (30, false));
        check("aws-eu", &parsed).unwrap();
        assert!(
            serde_json::from_str::<Config>(r#"{"region":"eu-central-1","secret_access_key":"x"}"#).is_err()
        );
        assert!(serde_json::from_str::<Config>(r#"{"endpoint":"https://kms"}"#).is_err(), "no region");
    }

    #[test]
    fn endpoints_are_https_or_on_loopback() {
        for good in
            ["https://vpce-1.kms.eu-central-1.vpce.amazonaws.com", "http://127.0.0.1:4566", "http://[::1]:1/"]
        {
            check("aws", &config(Some(good))).unwrap();
        }
        for bad in [
            "http://10.0.0.1",
            "kms.example",
            "ftp://127.0.0.1",
            "https://h/path",
            "https://a:b@h",
            "https://h/?q",
        ] {
            let text = check("aws", &config(Some(bad))).unwrap_err().to_string();
            assert!(text.contains("[kms.aws.aws] endpoint"), "{text}");
        }
        let mut allowed = config(Some("http://10.0.0.1"));
        allowed.allow_http = true;
        check("aws", &allowed).unwrap();
    }

    #[test]
    fn names_regions_and_windows_are_bounded() {
        for name in ["", "AWS", "a/b", &"a".repeat(33)] {
            assert!(check(name, &config(None)).is_err(), "{name}");
        }
        for region in ["", "EU", "eu central", "eu.central"] {
            let mut odd = config(None);
            odd.replicas.push(Replica { region: region.to_owned(), endpoint: None });
            assert!(check("aws", &odd).is_err(), "{region}");
        }
        for days in [0, 6, 31] {
            let mut odd = config(None);
            odd.deletion_window_days = days;
            assert!(check("aws", &odd).unwrap_err().to_string().contains("7 to 30"));
        }
    }
}
