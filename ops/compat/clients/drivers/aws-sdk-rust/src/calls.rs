//! What the scenarios share: calls that many of them make, and comparisons that say what differs.

use std::fmt::Debug;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use aws_sdk_s3::error::SdkError;
use aws_sdk_s3::operation::head_object::{HeadObjectError, HeadObjectOutput};
use aws_sdk_s3::operation::put_object::PutObjectOutput;
use aws_sdk_s3::primitives::ByteStream;

use crate::Driver;

pub const LARGE: usize = 68_157_440;

/// All pages of a list, in the order of the answers.
#[derive(Default)]
pub struct Listing {
    pub keys: Vec<(String, i64)>,
    pub prefixes: Vec<String>,
}

impl Listing {
    pub fn names(&self) -> Vec<&str> {
        self.keys.iter().map(|(key, _)| key.as_str()).collect()
    }
}

impl Driver {
    pub fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Where the runner's body of a size lies.
    pub fn path(&self, size: usize) -> PathBuf {
        self.files.join(size.to_string())
    }

    pub fn body(&self, size: usize) -> Result<Vec<u8>> {
        fs::read(self.path(size)).with_context(|| format!("reading the body of {size} bytes"))
    }

    pub async fn put(&self, key: &str, body: &[u8]) -> Result<PutObjectOutput> {
        let put = self.s3.put_object().bucket(&self.bucket).key(key).body(body.to_vec().into());
        put.send().await.with_context(|| format!("put of {key:?}"))
    }

    pub async fn get(&self, key: &str) -> Result<Vec<u8>> {
        let got = self.s3.get_object().bucket(&self.bucket).key(key).send().await;
        read(got.with_context(|| format!("get of {key:?}"))?.body).await
    }

    /// Compares an object with what was put.
    pub async fn holds(&self, key: &str, body: &[u8]) -> Result<()> {
        same_body(key, &self.get(key).await?, body)
    }

    pub async fn delete(&self, key: &str) -> Result<()> {
        let deleted = self.s3.delete_object().bucket(&self.bucket).key(key).send().await;
        deleted.map(drop).with_context(|| format!("delete of {key:?}"))
    }

    pub async fn head(&self, key: &str) -> Result<HeadObjectOutput> {
        let head = self.s3.head_object().bucket(&self.bucket).key(key).send().await;
        head.map_err(|error| refused_head(key, error))
    }

    /// Demands that HEAD answers with 404.
    pub async fn gone(&self, bucket: &str, key: &str) -> Result<()> {
        match self.s3.head_object().bucket(bucket).key(key).send().await {
            Err(error) if error.as_service_error().is_some_and(HeadObjectError::is_not_found) => Ok(()),
            Err(error) => Err(refused_head(key, error).context("it is to be gone")),
            Ok(head) => bail!("{key:?} is there, with {:?} bytes, and is to be gone", head.content_length),
        }
    }

    pub async fn list(&self, prefix: &str, delimiter: Option<&str>) -> Result<Listing> {
        let list = self.s3.list_objects_v2().bucket(&self.bucket).prefix(prefix);
        let mut pages = list.set_delimiter(delimiter.map(str::to_owned)).into_paginator().send();
        let mut listing = Listing::default();
        while let Some(page) = pages.try_next().await.with_context(|| format!("list of {prefix:?}"))? {
            for object in page.contents() {
                let key = object.key().context("a listed object has no key")?;
                listing.keys.push((key.to_owned(), object.size().context("a listed object has no size")?));
            }
            for common in page.common_prefixes() {
                listing.prefixes.push(common.prefix().context("a common prefix is empty")?.to_owned());
            }
        }
        Ok(listing)
    }
}

/// The answer to a HEAD has no body to say what is wrong: its status does.
fn refused_head(key: &str, error: SdkError<HeadObjectError>) -> anyhow::Error {
    let status = error.raw_response().map(|answer| answer.status().as_u16());
    anyhow::Error::new(error).context(format!("head of {key:?}, status {status:?}"))
}

/// Reads a body to its end, where the SDK checks it.
pub async fn read(body: ByteStream) -> Result<Vec<u8>> {
    Ok(body.collect().await.context("reading a body")?.to_vec())
}

pub fn same<T: PartialEq + Debug>(what: &str, found: T, wanted: T) -> Result<()> {
    ensure!(found == wanted, "{what}: {found:?} instead of {wanted:?}");
    Ok(())
}

/// Compares bodies without writing them down.
pub fn same_body(what: &str, found: &[u8], wanted: &[u8]) -> Result<()> {
    let differs = found.iter().zip(wanted).position(|(found, wanted)| found != wanted);
    ensure!(
        found == wanted,
        "{what}: {} bytes that are not the {} put, the first other one at {differs:?}",
        found.len(),
        wanted.len()
    );
    Ok(())
}
