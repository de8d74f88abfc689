//! Uploads of parts, which the SDK leaves to its users.

use std::fs::File;
use std::io::Read;

use anyhow::{Context, Result, ensure};
use aws_sdk_s3::primitives::{ByteStream, Length};
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};

use crate::Driver;
use crate::calls::{LARGE, same};

pub const BY_HAND: &str = "the SDK makes no parts of a body by itself: done by UploadPart, 8 MiB each";
const PART: usize = 8 << 20;

impl Driver {
    /// Parts of a file, as the SDK's documentation has it: each part is read from its place in the file while it is sent.
    pub async fn multipart(&self) -> Result<()> {
        let (key, path) = (self.key("multipart/file"), self.path(LARGE));
        let upload = self.start(&key).await?;
        let mut parts = Vec::new();
        for offset in (0..LARGE).step_by(PART) {
            let length = Length::Exact(PART.min(LARGE - offset) as u64);
            let body = ByteStream::read_from().path(&path).offset(offset as u64).length(length).build().await;
            let body = body.with_context(|| format!("the file from byte {offset}"))?;
            parts.push(self.part(&key, &upload, parts.len() as i32 + 1, body).await?);
        }
        self.complete(&key, &upload, parts).await?;
        let head = self.head(&key).await?;
        let etag = head.e_tag().context("the upload has no ETag")?;
        ensure!(etag.trim_matches('"').ends_with("-9"), "the ETag {etag} is not that of nine parts");
        self.holds(&key, &self.body(LARGE)?).await
    }

    /// Parts of a stream: a put of a body whose length nobody knows is refused by the SDK.
    pub async fn unknown_length(&self) -> Result<()> {
        let key = self.key("unknown/stream");
        let mut stream: Box<dyn Read> =
            Box::new(File::open(self.path(LARGE)).context("opening the large body")?);
        let upload = self.start(&key).await?;
        let mut parts = Vec::new();
        loop {
            let mut piece = Vec::with_capacity(PART);
            stream.by_ref().take(PART as u64).read_to_end(&mut piece).context("reading the stream")?;
            if piece.is_empty() {
                break;
            }
            parts.push(self.part(&key, &upload, parts.len() as i32 + 1, piece.into()).await?);
        }
        self.complete(&key, &upload, parts).await?;
        self.holds(&key, &self.body(LARGE)?).await
    }

    pub async fn abort(&self) -> Result<()> {
        let key = self.key("abort/one");
        let upload = self.start(&key).await?;
        self.part(&key, &upload, 1, self.body(5_242_880)?.into()).await?;
        same("the unfinished uploads", self.uploads(&key).await?, vec![upload.clone()])?;
        let abort = self.s3.abort_multipart_upload().bucket(&self.bucket).key(&key).upload_id(&upload);
        abort.send().await.context("abort of the upload")?;
        same("the uploads after the abort", self.uploads(&key).await?, vec![])?;
        self.gone(&self.bucket, &key).await
    }

    async fn start(&self, key: &str) -> Result<String> {
        let upload = self.s3.create_multipart_upload().bucket(&self.bucket).key(key).send().await;
        let upload = upload.with_context(|| format!("start of the upload of {key:?}"))?;
        upload.upload_id.with_context(|| format!("the upload of {key:?} has no id"))
    }

    async fn part(&self, key: &str, upload: &str, number: i32, body: ByteStream) -> Result<CompletedPart> {
        let part = self.s3.upload_part().bucket(&self.bucket).key(key).upload_id(upload);
        let part = part.part_number(number).body(body).send().await;
        let part = part.with_context(|| format!("part {number} of {key:?}"))?;
        Ok(CompletedPart::builder().part_number(number).set_e_tag(part.e_tag).build())
    }

    async fn complete(&self, key: &str, upload: &str, parts: Vec<CompletedPart>) -> Result<()> {
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
        let complete = self.s3.complete_multipart_upload().bucket(&self.bucket).key(key).upload_id(upload);
        let completed = complete.multipart_upload(parts).send().await;
        completed.map(drop).with_context(|| format!("end of the upload of {key:?}"))
    }

    /// The ids of the unfinished uploads below a prefix.
    async fn uploads(&self, prefix: &str) -> Result<Vec<String>> {
        let listed = self.s3.list_multipart_uploads().bucket(&self.bucket).prefix(prefix).send().await;
        let listed = listed.context("list of the unfinished uploads")?;
        Ok(listed.uploads().iter().filter_map(|upload| upload.upload_id().map(str::to_owned)).collect())
    }
}
