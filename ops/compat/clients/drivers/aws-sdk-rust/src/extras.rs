//! What goes with objects: metadata, tags, URLs, conditions, versions, checksums.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use aws_sdk_s3::presigning::{PresignedRequest, PresigningConfig};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumAlgorithm, Tag, Tagging};

use crate::Driver;
use crate::calls::{read, same, same_body};

/// A listed version or marker.
#[derive(Debug, PartialEq)]
struct Listed {
    id: String,
    latest: bool,
}

impl Driver {
    /// Of a file: that it is framed is told in a second Content-Encoding.
    pub async fn metadata(&self) -> Result<()> {
        let key = self.key("metadata/one");
        let headers = ["text/x-contract", "max-age=60, private", "attachment; filename=\"a b.txt\"", "gzip"];
        let user: HashMap<_, _> = [
            ("short", "a value".to_owned()),
            ("with-dash", "a b; c=d".to_owned()),
            ("long", "v".repeat(200)),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        let file = ByteStream::from_path(self.path(65_536)).await.context("the file of 65536 bytes")?;
        let put = self.s3.put_object().bucket(&self.bucket).key(&key).body(file);
        let put = put.content_type(headers[0]).cache_control(headers[1]).content_disposition(headers[2]);
        put.content_encoding(headers[3])
            .set_metadata(Some(user.clone()))
            .send()
            .await
            .context("put with metadata")?;
        let head = self.head(&key).await?;
        let found =
            [head.content_type(), head.cache_control(), head.content_disposition(), head.content_encoding()];
        same("the headers", found, headers.map(Some))?;
        same("the metadata", head.metadata().context("there is no metadata")?, &user)
    }

    pub async fn tags(&self) -> Result<()> {
        let key = self.key("tags/one");
        let put = self.s3.put_object().bucket(&self.bucket).key(&key).body(b"tagged".to_vec().into());
        put.tagging("team=a%2Bb&note=with%20space").send().await.context("put with tags")?;
        same(
            "tags of the put",
            self.tags_of(&key).await?,
            pairs(&[("team", "a+b"), ("note", "with space")]),
        )?;
        let tag = Tag::builder().key("other").value("x=y").build().context("the tag")?;
        let tagging = Tagging::builder().tag_set(tag).build().context("the set of tags")?;
        let tagged =
            self.s3.put_object_tagging().bucket(&self.bucket).key(&key).tagging(tagging).send().await;
        tagged.context("tags by themselves")?;
        same("tags by themselves", self.tags_of(&key).await?, pairs(&[("other", "x=y")]))?;
        let removed = self.s3.delete_object_tagging().bucket(&self.bucket).key(&key).send().await;
        removed.context("removal of tags")?;
        same("tags after their removal", self.tags_of(&key).await?, pairs(&[]))
    }

    async fn tags_of(&self, key: &str) -> Result<BTreeMap<String, String>> {
        let tags = self
            .s3
            .get_object_tagging()
            .bucket(&self.bucket)
            .key(key)
            .send()
            .await
            .context("reading tags")?;
        Ok(tags.tag_set().iter().map(|tag| (tag.key().to_owned(), tag.value().to_owned())).collect())
    }

    pub async fn presigned_get(&self) -> Result<()> {
        let (key, body) = (self.key("presigned/get one"), self.body(65_536)?);
        self.put(&key, &body).await?;
        let get = self.s3.get_object().bucket(&self.bucket).key(&key);
        let presigned = get.presigned(an_hour()?).await.context("presigning a GET")?;
        let answer = self.plain.get(url(&presigned)?).send().await.context("GET of the URL")?;
        let status = answer.status();
        let found = answer.bytes().await.context("reading what the URL gives")?;
        ensure!(status.is_success(), "GET of the URL: {status} {}", String::from_utf8_lossy(&found));
        same_body("what the URL gives", &found, &body)
    }

    pub async fn presigned_put(&self) -> Result<()> {
        let (key, body) = (self.key("presigned/put"), self.body(65_536)?);
        let put = self.s3.put_object().bucket(&self.bucket).key(&key);
        let presigned = put.presigned(an_hour()?).await.context("presigning a PUT")?;
        let answer =
            self.plain.put(url(&presigned)?).body(body.clone()).send().await.context("PUT to the URL")?;
        let status = answer.status();
        ensure!(status.is_success(), "PUT to the URL: {status} {}", answer.text().await.unwrap_or_default());
        self.holds(&key, &body).await
    }

    pub async fn conditional_put(&self) -> Result<()> {
        let key = self.key("conditional/one");
        // What an earlier run left must not be what is refused first.
        self.delete(&key).await?;
        let new = |body: &'static [u8]| {
            let put = self.s3.put_object().bucket(&self.bucket).key(&key).if_none_match("*");
            put.body(body.to_vec().into()).send()
        };
        new(b"first").await.context("the first put")?;
        match new(b"second").await {
            Ok(_) => bail!("the second put was taken"),
            Err(error) if error.raw_response().is_some_and(|answer| answer.status().as_u16() == 412) => {}
            Err(error) => return Err(error).context("the second put, which is to be refused with 412"),
        }
        self.holds(&key, b"first").await
    }

    pub async fn versions(&self) -> Result<()> {
        let (bucket, key) = (&self.versioned, self.key("versions/one"));
        let mut ids = Vec::new();
        for body in ["first", "second"] {
            let put = self.s3.put_object().bucket(bucket).key(&key).body(body.as_bytes().to_vec().into());
            let put = put.send().await.with_context(|| format!("put of the {body} version"))?;
            ids.push(put.version_id.with_context(|| format!("the {body} put told no version"))?);
        }
        for (id, body) in ids.iter().zip(["first", "second"]) {
            let got = self.s3.get_object().bucket(bucket).key(&key).version_id(id).send().await;
            let got = got.with_context(|| format!("get of the {body} version"))?;
            same_body(&format!("the {body} version"), &read(got.body).await?, body.as_bytes())?;
        }
        let newest_first = |latest| vec![listed(&ids[1], latest), listed(&ids[0], false)];
        same("versions and markers", self.versions_of(&key).await?, (newest_first(true), vec![]))?;

        let deleted = self.s3.delete_object().bucket(bucket).key(&key).send().await.context("delete")?;
        ensure!(deleted.delete_marker() == Some(true), "the deletion told of no marker");
        let marker = deleted.version_id.context("the marker has no version")?;
        self.gone(bucket, &key).await?;
        let wanted = (newest_first(false), vec![listed(&marker, true)]);
        same("versions and markers after the deletion", self.versions_of(&key).await?, wanted)?;

        for id in [&marker, &ids[1]] {
            let deleted = self.s3.delete_object().bucket(bucket).key(&key).version_id(id).send().await;
            deleted.with_context(|| format!("delete of the version {id}"))?;
        }
        let got = self.s3.get_object().bucket(bucket).key(&key).send().await;
        let got = got.context("get after marker and newest version are gone")?;
        same_body("the version left", &read(got.body).await?, b"first")?;
        let wanted = (vec![listed(&ids[0], true)], vec![]);
        same("versions and markers at the end", self.versions_of(&key).await?, wanted)
    }

    /// Versions and delete markers of a key, as they are listed.
    async fn versions_of(&self, key: &str) -> Result<(Vec<Listed>, Vec<Listed>)> {
        let found = self.s3.list_object_versions().bucket(&self.versioned).prefix(key).send().await;
        let found = found.context("list of versions")?;
        let versions = found.versions().iter().map(|each| (each.version_id(), each.is_latest()));
        let markers = found.delete_markers().iter().map(|each| (each.version_id(), each.is_latest()));
        let told =
            |(id, latest): (Option<&str>, Option<bool>)| listed(id.unwrap_or_default(), latest == Some(true));
        Ok((versions.map(told).collect(), markers.map(told).collect()))
    }

    /// The SDK checks a body that it reads against the checksum that comes with it.
    pub async fn checksums(&self) -> Result<()> {
        use ChecksumAlgorithm::{Crc32, Crc32C, Crc64Nvme, Sha1, Sha256};
        let body = self.body(65_537)?;
        for algorithm in [None, Some(Crc32), Some(Crc32C), Some(Crc64Nvme), Some(Sha1), Some(Sha256)] {
            let name = algorithm.as_ref().map_or("default", ChecksumAlgorithm::as_str).to_owned();
            let key = self.key(&format!("checksums/{name}"));
            let put = self.s3.put_object().bucket(&self.bucket).key(&key).body(body.clone().into());
            let put = put.set_checksum_algorithm(algorithm).send().await;
            let put = put.with_context(|| format!("put with the checksum {name}"))?;
            let got = self.s3.get_object().bucket(&self.bucket).key(&key).send().await;
            let got = got.with_context(|| format!("get with the checksum {name}"))?;
            let sums = [
                &got.checksum_crc32,
                &got.checksum_crc32_c,
                &got.checksum_crc64_nvme,
                &got.checksum_sha1,
                &got.checksum_sha256,
            ];
            let told = [
                &put.checksum_crc32,
                &put.checksum_crc32_c,
                &put.checksum_crc64_nvme,
                &put.checksum_sha1,
                &put.checksum_sha256,
            ];
            same(&format!("the checksum {name} that comes back"), sums, told)?;
            ensure!(sums.iter().any(|sum| sum.is_some()), "no checksum {name} comes back");
            same_body(&format!("the body with the checksum {name}"), &read(got.body).await?, &body)?;
        }
        Ok(())
    }
}

fn an_hour() -> Result<PresigningConfig> {
    PresigningConfig::expires_in(Duration::from_secs(3600)).context("an hour for a URL")
}

/// The URL alone; a request that needs headers beside it could not be made by somebody who has only that.
fn url(presigned: &PresignedRequest) -> Result<&str> {
    let headers: Vec<_> = presigned.headers().collect();
    ensure!(headers.is_empty(), "the URL wants headers: {headers:?}");
    Ok(presigned.uri())
}

fn listed(id: &str, latest: bool) -> Listed {
    Listed { id: id.to_owned(), latest }
}

fn pairs(tags: &[(&str, &str)]) -> BTreeMap<String, String> {
    tags.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}
