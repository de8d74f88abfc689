//! Objects whole and in ranges, their names and lists, copies and deletions.

use std::collections::BTreeMap;
use std::ops::Range;

use anyhow::{Context, Result, ensure};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{Delete, ObjectIdentifier};

use crate::Driver;
use crate::calls::{LARGE, read, same, same_body};

const SIZES: [usize; 8] = [0, 1, 65_535, 65_536, 65_537, 5_242_879, 5_242_880, 5_242_881];
const NAMES: [&str; 16] = [
    "plain",
    "with space",
    "plus+sign",
    "percent%20kept",
    "percent%2Fslash",
    "ünïcödé",
    "日本語",
    "emoji-😀",
    "a//b",
    "trailing.",
    "semi;colon",
    "at@amp&eq=q?hash#",
    "quote'\"",
    "<xml>&amp;",
    "tilde~(paren)!*",
    "back\\slash",
];

impl Driver {
    /// The SDK frames a file otherwise than bytes: its checksum comes in a trailer. The first put is of the file, the second of bytes.
    pub async fn sizes(&self) -> Result<()> {
        for size in SIZES {
            let (key, body) = (self.key(&format!("sizes/{size}")), self.body(size)?);
            let file = ByteStream::from_path(self.path(size))
                .await
                .with_context(|| format!("the file of {size} bytes"))?;
            let put = self.s3.put_object().bucket(&self.bucket).key(&key).body(file).send().await;
            let put = put.with_context(|| format!("put of a file of {size} bytes"))?;
            self.holds(&key, &body).await?;
            let head = self.head(&key).await?;
            same("the size that HEAD tells", head.content_length(), Some(size as i64))?;
            ensure!(put.e_tag().is_some(), "the put of {size} bytes was answered without an ETag");
            same("the ETag that HEAD tells", head.e_tag(), put.e_tag())?;
            self.delete(&key).await?;
            self.gone(&self.bucket, &key).await?;
            self.put(&self.key(&format!("sizes/kept-{size}")), &body).await?;
        }
        Ok(())
    }

    pub async fn ranges(&self) -> Result<()> {
        let (key, body) = (self.key("multipart/file"), self.body(LARGE)?);
        let asked: [(String, Range<usize>); 5] = [
            ("bytes=0-0".to_owned(), 0..1),
            ("bytes=65530-65545".to_owned(), 65_530..65_546),
            (format!("bytes={0}-{0}", LARGE - 1), LARGE - 1..LARGE),
            ("bytes=-70000".to_owned(), LARGE - 70_000..LARGE),
            (format!("bytes={}-", LARGE - 100_000), LARGE - 100_000..LARGE),
        ];
        for (text, range) in asked {
            let got = self.s3.get_object().bucket(&self.bucket).key(&key).range(&text).send().await;
            let got = got.with_context(|| format!("get of {text}"))?;
            let wanted = format!("bytes {}-{}/{LARGE}", range.start, range.end - 1);
            same(&format!("the Content-Range of {text}"), got.content_range(), Some(wanted.as_str()))?;
            same_body(&text, &read(got.body).await?, &body[range])?;
        }
        Ok(())
    }

    pub async fn names(&self) -> Result<()> {
        let mut wanted = BTreeMap::new();
        for name in NAMES.iter().filter(|name| !self.cannot_name.iter().any(|each| each == *name)) {
            let (key, body) = (self.key(&format!("names/{name}")), format!("the body of {name}"));
            self.put(&key, body.as_bytes()).await?;
            self.holds(&key, body.as_bytes()).await?;
            wanted.insert(key, body.len() as i64);
        }
        let listing = self.list(&self.key("names/"), None).await?;
        same("keys listed", listing.keys.len(), wanted.len())?;
        let found: BTreeMap<_, _> = listing.keys.into_iter().collect();
        let missing: Vec<_> = wanted.iter().filter(|(key, size)| found.get(*key) != Some(*size)).collect();
        let beside: Vec<_> = found.iter().filter(|(key, size)| wanted.get(*key) != Some(*size)).collect();
        ensure!(missing.is_empty() && beside.is_empty(), "the list misses {missing:?} and has {beside:?}");
        Ok(())
    }

    pub async fn delimiter(&self) -> Result<()> {
        for name in ["d/a/1", "d/a/2", "d/b/1", "d/top"] {
            self.put(&self.key(name), name.as_bytes()).await?;
        }
        let listing = self.list(&self.key("d/"), Some("/")).await?;
        same("the prefixes", &listing.prefixes, &vec![self.key("d/a/"), self.key("d/b/")])?;
        same("the keys", listing.names(), vec![self.key("d/top").as_str()])
    }

    pub async fn many(&self) -> Result<()> {
        let listing = self.list("many/", None).await?;
        let (found, wanted) =
            (listing.names(), (0..1100).map(|number| format!("many/{number:04}")).collect::<Vec<_>>());
        let differs = found.iter().zip(&wanted).find(|(found, wanted)| **found != wanted.as_str());
        ensure!(found == wanted, "{} keys listed, the first that is another: {differs:?}", found.len());
        Ok(())
    }

    pub async fn copy(&self) -> Result<()> {
        let (source, target, body) = (self.key("copy/source"), self.key("copy/target"), self.body(65_536)?);
        let put = self.s3.put_object().bucket(&self.bucket).key(&source).body(body.clone().into());
        let put = put.content_type("text/x-copied").metadata("origin", "source").send().await;
        put.context("put of the source")?;
        self.copied(&source, &target).await?;
        self.holds(&target, &body).await?;
        let head = self.head(&target).await?;
        same("the copy's content type", head.content_type(), Some("text/x-copied"))?;
        let metadata = head.metadata().context("the copy has no metadata")?;
        same("the copy's metadata", metadata, &[("origin".to_owned(), "source".to_owned())].into())
    }

    /// The SDK's own way is CopyObject, whose limit is 5 GiB.
    pub async fn copy_large(&self) -> Result<()> {
        let target = self.key("copy/large");
        self.copied(&self.key("multipart/file"), &target).await?;
        self.holds(&target, &self.body(LARGE)?).await
    }

    /// The source is a header, which the SDK does not encode: these keys need none.
    async fn copied(&self, source: &str, target: &str) -> Result<()> {
        let source = format!("{}/{source}", self.bucket);
        let copied = self.s3.copy_object().bucket(&self.bucket).key(target).copy_source(&source).send().await;
        copied.map(drop).with_context(|| format!("copy of {source}"))
    }

    pub async fn delete_many(&self) -> Result<()> {
        let (kept, mut doomed) = (self.key("keep/one"), Vec::new());
        self.put(&kept, b"kept").await?;
        for number in 0..25 {
            let key = self.key(&format!("keep/doomed-{number:02}"));
            self.put(&key, b"doomed").await?;
            doomed.push(ObjectIdentifier::builder().key(key).build().context("a key to delete")?);
        }
        let doomed = Delete::builder().set_objects(Some(doomed)).build().context("the keys to delete")?;
        let deleted = self.s3.delete_objects().bucket(&self.bucket).delete(doomed).send().await;
        let deleted = deleted.context("delete of 25 keys")?;
        ensure!(deleted.errors().is_empty(), "the deletion of 25 keys tells {:?}", deleted.errors());
        same("keys told as deleted", deleted.deleted().len(), 25)?;
        same("the keys left", self.list(&self.key("keep/"), None).await?.names(), vec![kept.as_str()])
    }
}
