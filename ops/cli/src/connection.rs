//! Which S3 server a command talks to, and as whom.
//!
//! An option beats the environment, which beats the files that AWS tools share. With `--data` the files of `sealgate dev`
//! are meant, so the environment is not asked. There is no default server: a put that missed the gateway would store
//! plaintext.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use sealgate_data_plane::backend::s3::{S3Backend, S3Config, StaticCredentials};
use tokio::runtime::Runtime;
use tokio::task::LocalSet;
use zeroize::Zeroizing;

use crate::failure::{Exit, Failure, Outcome};
use crate::profile::{self, Sections};

/// Options for the server.
#[derive(Args, Clone, Debug, Default)]
pub struct ConnectionArguments {
    /// The server's URL [env: AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL; config: endpoint_url]
    #[arg(long, value_name = "URL")]
    pub endpoint_url: Option<String>,
    /// The region that requests are signed for [env: AWS_REGION, AWS_DEFAULT_REGION; config: region]
    #[arg(long, value_name = "REGION")]
    pub region: Option<String>,
    /// The profile in the credentials and config files [env: AWS_PROFILE; default: default]
    #[arg(long, value_name = "NAME")]
    pub profile: Option<String>,
    /// Certificates (PEM) to trust instead of the system's [env: AWS_CA_BUNDLE]
    #[arg(long, value_name = "FILE")]
    pub ca_bundle: Option<PathBuf>,
}

/// Server and identity, found. Not printable: it holds the secret key.
pub struct Settings {
    /// The server's URL.
    pub endpoint: String,
    /// The region that requests are signed for.
    pub region: String,
    /// The access key's id.
    pub access_key: String,
    /// Its secret.
    pub secret_key: Zeroizing<String>,
    /// What belongs to temporary credentials.
    pub session_token: Option<Zeroizing<String>>,
    ca_pem: Option<Vec<u8>>,
}

type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

impl Settings {
    /// From options, the environment and the files.
    ///
    /// # Errors
    /// When there is no endpoint or no credential: saying where they were looked for.
    pub fn find(arguments: &ConnectionArguments, data: Option<&Path>) -> Outcome<Self> {
        Self::resolve(arguments, data, &|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }

    /// Another server than the one that the usual variables name: credentials from `SEALGATE_TO_ACCESS_KEY_ID`,
    /// `SEALGATE_TO_SECRET_ACCESS_KEY` and `SEALGATE_TO_SESSION_TOKEN`, else from the files.
    ///
    /// # Errors
    /// As [`Settings::find`].
    pub fn find_target(arguments: &ConnectionArguments) -> Outcome<Self> {
        Self::resolve(arguments, None, &|name| {
            let name = match name {
                "AWS_ACCESS_KEY_ID" => "SEALGATE_TO_ACCESS_KEY_ID",
                "AWS_SECRET_ACCESS_KEY" => "SEALGATE_TO_SECRET_ACCESS_KEY",
                "AWS_SESSION_TOKEN" => "SEALGATE_TO_SESSION_TOKEN",
                "HOME" | "AWS_SHARED_CREDENTIALS_FILE" | "AWS_CONFIG_FILE" => name,
                _ => return None,
            };
            std::env::var(name).ok().filter(|value| !value.is_empty())
        })
    }

    fn resolve(arguments: &ConnectionArguments, data: Option<&Path>, env: Lookup<'_>) -> Outcome<Self> {
        let nothing = |_: &str| None;
        let env: Lookup<'_> = if data.is_some() { &nothing } else { env };
        let first = |names: &[&str]| names.iter().find_map(|name| env(name));
        let profile = arguments.profile.clone().or_else(|| env("AWS_PROFILE"));
        let profile = profile.unwrap_or_else(|| "default".to_owned());
        let (credentials, config) = files(data, env);
        let config = profile::read(&config, Sections::Config, &profile)?;
        let from_config = |name: &str| config.get(name).map(|value| value.to_string());
        let endpoint = arguments.endpoint_url.clone();
        let endpoint = endpoint.or_else(|| first(&["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"]));
        let endpoint = endpoint.or_else(|| from_config("endpoint_url")).ok_or_else(|| no_endpoint(data))?;
        let region = arguments.region.clone().or_else(|| first(&["AWS_REGION", "AWS_DEFAULT_REGION"]));
        let region = region.or_else(|| from_config("region")).unwrap_or_else(|| "us-east-1".to_owned());
        let ca_file = arguments.ca_bundle.clone().or_else(|| env("AWS_CA_BUNDLE").map(PathBuf::from));
        let ca_pem = match ca_file {
            Some(path) => Some(std::fs::read(&path).map_err(|error| Failure::file(&path, &error))?),
            None => None,
        };
        let keys = environment_keys(env).map_or_else(|| file_keys(&credentials, &config, &profile), Ok)?;
        let (access_key, secret_key, session_token) = keys;
        Ok(Self { endpoint, region, access_key, secret_key, session_token, ca_pem })
    }
}

type Keys = (String, Zeroizing<String>, Option<Zeroizing<String>>);

fn environment_keys(env: Lookup<'_>) -> Option<Keys> {
    let (access, secret) = (env("AWS_ACCESS_KEY_ID")?, env("AWS_SECRET_ACCESS_KEY")?);
    Some((access, Zeroizing::new(secret), env("AWS_SESSION_TOKEN").map(Zeroizing::new)))
}

fn file_keys(path: &Path, config: &BTreeMap<String, Zeroizing<String>>, profile: &str) -> Outcome<Keys> {
    let found = profile::read(path, Sections::Credentials, profile)?;
    let get = |name: &str| found.get(name).or_else(|| config.get(name)).cloned();
    match (get("aws_access_key_id"), get("aws_secret_access_key")) {
        (Some(access), Some(secret)) => Ok((access.to_string(), secret, get("aws_session_token"))),
        _ => Err(Failure::new(
            Exit::Denied,
            format!("no credentials: profile {profile:?} in {} has no key", path.display()),
        )
        .hint("set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_SHARED_CREDENTIALS_FILE, or give --data DIR")),
    }
}

fn files(data: Option<&Path>, env: Lookup<'_>) -> (PathBuf, PathBuf) {
    if let Some(data) = data {
        return (data.join("credentials"), data.join("config"));
    }
    let home = PathBuf::from(env("HOME").unwrap_or_default());
    let file = |variable: &str, name: &str| {
        env(variable).map_or_else(|| home.join(".aws").join(name), PathBuf::from)
    };
    (file("AWS_SHARED_CREDENTIALS_FILE", "credentials"), file("AWS_CONFIG_FILE", "config"))
}

fn no_endpoint(data: Option<&Path>) -> Failure {
    match data {
        Some(data) => Failure::usage(format!("{}: no endpoint_url there", data.join("config").display()))
            .hint("is this the --data directory of a `sealgate dev` that has started?"),
        None => Failure::usage("no server to talk to")
            .hint("give --endpoint-url URL, set AWS_ENDPOINT_URL or AWS_CONFIG_FILE, or give --data DIR"),
    }
}

/// A way to an S3 server, with the runtime that drives it.
pub struct Client {
    runtime: Runtime,
    local: LocalSet,
    /// The server.
    pub backend: S3Backend,
    /// Its URL, for messages.
    pub endpoint: String,
}

impl Client {
    /// Prepares the client; connects to nothing yet.
    ///
    /// # Errors
    /// For an endpoint that is no URL, and when there is no certificate to trust.
    pub fn new(settings: &Settings) -> Outcome<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::io(&"runtime", &error))?;
        let backend = Self::beside(settings)?;
        Ok(Self { runtime, local: LocalSet::new(), backend, endpoint: settings.endpoint.clone() })
    }

    fn config(settings: &Settings) -> Outcome<S3Config> {
        let credentials = StaticCredentials::new(
            settings.access_key.clone(),
            settings.secret_key.to_string(),
            settings.session_token.as_ref().map(|token| token.to_string()),
        );
        let invalid = |error| Failure::usage(format!("{error}"));
        let mut config =
            S3Config::new(&settings.endpoint, &settings.region, Arc::new(credentials)).map_err(invalid)?;
        config.ca_pem = settings.ca_pem.clone();
        Ok(config)
    }

    /// A client of another server on the same runtime.
    ///
    /// # Errors
    /// As [`Client::new`].
    pub fn beside(settings: &Settings) -> Outcome<S3Backend> {
        S3Backend::new(Self::config(settings)?).map_err(|error| Failure::usage(format!("{error}")))
    }

    /// The same by connections that are used for one request each: none is sent a second time.
    ///
    /// # Errors
    /// As [`Client::new`].
    pub fn once(settings: &Settings) -> Outcome<S3Backend> {
        let mut config = Self::config(settings)?;
        config.keep_alive = Duration::ZERO;
        S3Backend::new(config).map_err(|error| Failure::usage(format!("{error}")))
    }

    /// Runs a request to its end.
    pub fn run<T>(&self, work: impl Future<Output = T>) -> T {
        self.local.block_on(&self.runtime, work)
    }

    /// The same, ended by SIGINT or SIGTERM.
    ///
    /// # Errors
    /// The work's, or that it was interrupted.
    pub fn run_until_signal<T>(&self, work: impl Future<Output = Outcome<T>>) -> Outcome<T> {
        self.run(async {
            let stop = sealgate_data_plane::process::stop_signal()
                .map_err(|error| Failure::io(&"signals", &error))?;
            tokio::select! {
                done = work => done,
                () = stop => Err(Failure::new(Exit::Failure, "interrupted")),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::*;

    fn environment(name: &str) -> Option<String> {
        Some(match name {
            "AWS_ACCESS_KEY_ID" => "env-id".to_owned(),
            "AWS_SECRET_ACCESS_KEY" => "env-secret".to_owned(),
            "AWS_ENDPOINT_URL" => "http://env".to_owned(),
            _ => return None,
        })
    }

    #[test]
    fn options_beat_the_environment_and_data_silences_it() {
        let plain = ConnectionArguments::default();
        let found = Settings::resolve(&plain, None, &environment).unwrap();
        assert_eq!((found.endpoint.as_str(), found.access_key.as_str()), ("http://env", "env-id"));
        let given = ConnectionArguments { endpoint_url: Some("http://given".to_owned()), ..plain.clone() };
        assert_eq!(Settings::resolve(&given, None, &environment).unwrap().endpoint, "http://given");

        let data = tempfile::tempdir().unwrap();
        std::fs::write(data.path().join("config"), "[default]\nregion = r\nendpoint_url = http://data\n")
            .unwrap();
        let keys = "[default]\naws_access_key_id = id\naws_secret_access_key = secret\n";
        std::fs::write(data.path().join("credentials"), keys).unwrap();
        let found = Settings::resolve(&plain, Some(data.path()), &environment).unwrap();
        assert_eq!((found.endpoint.as_str(), found.region.as_str()), ("http://data", "r"));
        assert_eq!((found.access_key.as_str(), found.secret_key.as_str()), ("id", "secret"));
    }

    #[test]
    fn nothing_is_assumed() {
        let nowhere = |name: &str| (name == "HOME").then(|| "/nonexistent".to_owned());
        let missing = Settings::resolve(&ConnectionArguments::default(), None, &nowhere);
        assert_eq!(missing.err().unwrap().exit(), Exit::Usage);
        let given = ConnectionArguments { endpoint_url: Some("http://x".to_owned()), ..Default::default() };
        assert_eq!(Settings::resolve(&given, None, &nowhere).err().unwrap().exit(), Exit::Denied);
    }
}
