//! The AWS SDK for Rust with its defaults: the runner's JSON in, a line a scenario out. ../../../README.md says what each scenario is.

mod calls;
mod data;
mod extras;
mod parts;

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Config, Credentials, Region};
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use serde::Deserialize;
use serde_json::json;

/// What the runner tells; the rest of it is for other drivers.
#[derive(Deserialize)]
struct Told {
    endpoint: String,
    region: String,
    addressing: String,
    access_key: String,
    secret_key: String,
    ca: Option<PathBuf>,
    bucket: String,
    versioned_bucket: String,
    prefix: String,
    files: PathBuf,
    scenarios: Vec<String>,
    #[serde(default)]
    cannot_name: Vec<String>,
}

struct Driver {
    s3: Client,
    /// Plain HTTP, for presigned URLs.
    plain: reqwest::Client,
    bucket: String,
    versioned: String,
    prefix: String,
    files: PathBuf,
    cannot_name: Vec<String>,
}

#[tokio::main]
async fn main() -> Result<()> {
    let told: Told = serde_json::from_reader(std::io::stdin()).context("the runner's JSON")?;
    let scenarios = told.scenarios.clone();
    let driver = Driver::connect(told)?;
    for name in scenarios {
        let began = Instant::now();
        let (result, detail) = match driver.run(&name).await {
            Ok(outcome) => outcome,
            Err(error) => ("fail", format!("{error:#}")),
        };
        let seconds = began.elapsed().as_secs_f64();
        println!("{}", json!({"scenario": name, "result": result, "detail": detail, "seconds": seconds}));
    }
    Ok(())
}

impl Driver {
    fn connect(told: Told) -> Result<Self> {
        let mut config = Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(told.region))
            .endpoint_url(told.endpoint)
            .force_path_style(told.addressing == "path")
            .credentials_provider(Credentials::new(
                told.access_key,
                told.secret_key,
                None,
                None,
                "the runner",
            ));
        let mut plain = reqwest::Client::builder();
        if let Some(ca) = told.ca {
            let pem = fs::read(&ca).with_context(|| format!("reading the CA {}", ca.display()))?;
            let trust = TrustStore::empty().with_pem_certificate(pem.as_slice());
            let tls = TlsContext::builder().with_trust_store(trust).build().context("the TLS context")?;
            let http =
                aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::AwsLc));
            config = config.http_client(http.tls_context(tls).build_https());
            plain = plain
                .tls_certs_only([reqwest::Certificate::from_pem(&pem).context("the CA for plain HTTP")?]);
        }
        Ok(Self {
            s3: Client::from_conf(config.build()),
            plain: plain.build().context("the plain HTTP client")?,
            bucket: told.bucket,
            versioned: told.versioned_bucket,
            prefix: told.prefix,
            files: told.files,
            cannot_name: told.cannot_name,
        })
    }

    /// One scenario: its result, and what the page says of it.
    async fn run(&self, name: &str) -> Result<(&'static str, String)> {
        match name {
            "sizes" => self.sizes().await?,
            "multipart" => self.multipart().await?,
            "unknown_length" => self.unknown_length().await?,
            "ranges" => self.ranges().await?,
            "names" => self.names().await?,
            "delimiter" => self.delimiter().await?,
            "many" => self.many().await?,
            "copy" => self.copy().await?,
            "copy_large" => self.copy_large().await?,
            "delete_many" => self.delete_many().await?,
            "metadata" => self.metadata().await?,
            "tags" => self.tags().await?,
            "presigned_get" => self.presigned_get().await?,
            "presigned_put" => self.presigned_put().await?,
            "conditional_put" => self.conditional_put().await?,
            "versions" => self.versions().await?,
            "checksums" => self.checksums().await?,
            "abort" => self.abort().await?,
            "sync" => return Ok(("absent", "the SDK has no sync of a tree".to_owned())),
            _ => bail!("this driver knows no scenario {name}"),
        }
        let by_hand = matches!(name, "multipart" | "unknown_length").then_some(parts::BY_HAND);
        Ok(("pass", by_hand.unwrap_or_default().to_owned()))
    }
}
