//! Listings, always with `encoding-type=url`: keys may hold what XML cannot.

use std::time::SystemTime;

use http::Method;
use sealgate_envelope::hidden;

use super::answer;
use super::client::Client;
use super::request::Call;
use super::xml::{self, Node};
use crate::backend::{
    BackendError, ListEntry, ListFrom, ListOptions, ListPage, UploadEntry, UploadListOptions, UploadPage,
};

pub(super) async fn list(
    client: &Client,
    bucket: &str,
    options: ListOptions,
    v2: bool,
) -> Result<ListPage, BackendError> {
    let (prefix, from) = (options.prefix.clone(), options.from.clone());
    let mut call = Call::new(Method::GET, bucket, "");
    if v2 {
        call = call.query("list-type", "2");
    }
    call = call.query("encoding-type", "url").query("max-keys", options.max_keys.to_string());
    if !options.prefix.is_empty() {
        call = call.query("prefix", options.prefix);
    }
    if let Some(delimiter) = options.delimiter {
        call = call.query("delimiter", delimiter);
    }
    call = match options.from {
        ListFrom::Start => call,
        ListFrom::Marker(key) => call.query("marker", key),
        ListFrom::StartAfter(key) => call.query("start-after", key),
        ListFrom::Token(token) => call.query("continuation-token", token),
    };
    let (_, document) = client.call(&call).await?;
    let page = parse_page(&document, v2, client.config.server.leaves_markers_plain())?;
    must_be_below(&prefix, page.entries.iter().map(|entry| &entry.key).chain(&page.common_prefixes))?;
    match (from, &page.next) {
        (ListFrom::Token(from), Some(next)) if from == *next => {
            Err(BackendError::Protocol("a listing does not advance".to_owned()))
        }
        _ => Ok(page),
    }
}

/// Demands that a listing of the gateway's own objects is of them: what it lists it may delete, and a server, or a cache before it, that
/// heeds no prefix gives clients' objects.
pub(super) fn must_be_below<'a>(
    prefix: &str,
    mut keys: impl Iterator<Item = &'a String>,
) -> Result<(), BackendError> {
    match hidden::is_hidden(prefix.as_bytes()) && keys.any(|key| !key.starts_with(prefix)) {
        true => Err(BackendError::Protocol("a listing is of another prefix".to_owned())),
        false => Ok(()),
    }
}

pub(super) async fn list_buckets(client: &Client) -> Result<Vec<(String, SystemTime)>, BackendError> {
    let (_, document) = client.call(&Call::new(Method::GET, "", "")).await?;
    let mut buckets = Vec::new();
    let (mut name, mut created) = (String::new(), String::new());
    xml::read_listing(&document, |node| {
        match node {
            Node::Close("Name", "Bucket", text) => name = text,
            Node::Close("CreationDate", "Bucket", text) => created = text,
            Node::Close("Bucket", ..) => {
                buckets.push((std::mem::take(&mut name), answer::timestamp(&created)?));
            }
            _ => {}
        }
        Ok(())
    })?;
    Ok(buckets)
}

pub(super) fn parse_page(document: &[u8], v2: bool, plain_markers: bool) -> Result<ListPage, BackendError> {
    let mut page = ListPage::default();
    let (mut encoded, mut truncated) = (false, false);
    let (mut marker, mut token) = (None, None);
    let mut entry = Raw::default();
    let mut keys = Vec::new();
    xml::read_listing(document, |node| {
        match node {
            Node::Open("Contents") => entry = Raw::default(),
            Node::Close("Contents", ..) => {
                let done = std::mem::take(&mut entry);
                page.entries.push(done.finish()?);
            }
            Node::Close("Key", "Contents", text) => entry.key = text,
            Node::Close("Size", "Contents", text) => entry.size = text,
            Node::Close("ETag", "Contents", text) => entry.etag = text,
            Node::Close("LastModified", "Contents", text) => entry.modified = text,
            Node::Close("StorageClass", "Contents", text) => entry.class = text,
            Node::Close("Prefix", "CommonPrefixes", text) => keys.push(text),
            Node::Close("EncodingType", _, text) => encoded = text == "url",
            Node::Close("IsTruncated", _, text) => truncated = text == "true",
            Node::Close("NextMarker", _, text) => marker = Some(text),
            Node::Close("NextContinuationToken", _, text) => token = Some(text),
            _ => {}
        }
        Ok(())
    })?;
    page.common_prefixes = keys;
    if encoded {
        for key in page.entries.iter_mut().map(|entry| &mut entry.key).chain(&mut page.common_prefixes) {
            *key = xml::url_decode(key)?;
        }
    }
    if truncated {
        let last_key = page.entries.last().map(|entry| entry.key.as_str());
        let last_prefix = page.common_prefixes.last().map(String::as_str);
        // NextMarker comes with a delimiter only, and not encoded everywhere: the last item says the same, in order.
        let last = last_key.max(last_prefix).map(str::to_owned);
        let marker = if plain_markers { marker.filter(|marker| !marker.is_empty()).or(last) } else { last };
        page.next = if v2 { token } else { marker };
        if page.next.is_none() {
            return Err(BackendError::Protocol("a listing breaks off without saying where".to_owned()));
        }
    }
    Ok(page)
}

/// An entry as it stands in the document.
#[derive(Default)]
pub(super) struct Raw {
    pub(super) key: String,
    pub(super) size: String,
    pub(super) etag: String,
    pub(super) modified: String,
    pub(super) class: String,
}

impl Raw {
    pub(super) fn finish(self) -> Result<ListEntry, BackendError> {
        Ok(ListEntry {
            key: self.key,
            size: self
                .size
                .trim()
                .parse()
                .map_err(|_| BackendError::Protocol("a size in a listing".to_owned()))?,
            etag: answer::bare_etag(&self.etag),
            last_modified: answer::timestamp(&self.modified)?,
            storage_class: if self.class.is_empty() { "STANDARD".to_owned() } else { self.class },
        })
    }
}

pub(super) async fn list_uploads(
    client: &Client,
    bucket: &str,
    options: UploadListOptions,
) -> Result<UploadPage, BackendError> {
    let mut call = Call::new(Method::GET, bucket, "")
        .query("uploads", "")
        .query("encoding-type", "url")
        .query("max-uploads", options.max_uploads.to_string());
    if let Some(delimiter) = options.delimiter {
        call = call.query("delimiter", delimiter);
    }
    for (name, value) in [
        ("prefix", options.prefix),
        ("key-marker", options.key_marker),
        ("upload-id-marker", options.upload_id_marker),
    ] {
        if !value.is_empty() {
            call = call.query(name, value);
        }
    }
    let (_, document) = client.call(&call).await?;
    parse_uploads(&document, client.config.server.leaves_markers_plain())
}

pub(super) fn parse_uploads(document: &[u8], plain: bool) -> Result<UploadPage, BackendError> {
    let mut page = UploadPage::default();
    let (mut encoded, mut truncated) = (false, false);
    let mut next = (String::new(), String::new());
    let (mut key, mut id, mut initiated, mut class) =
        (String::new(), String::new(), String::new(), String::new());
    let mut prefixes = Vec::new();
    xml::read_listing(document, |node| {
        match node {
            Node::Close("Key", "Upload", text) => key = text,
            Node::Close("UploadId", "Upload", text) => id = text,
            Node::Close("Initiated", "Upload", text) => initiated = text,
            Node::Close("StorageClass", "Upload", text) => class = text,
            Node::Close("Upload", ..) => page.uploads.push(UploadEntry {
                key: std::mem::take(&mut key),
                upload_id: std::mem::take(&mut id),
                initiated: answer::timestamp(&initiated)?,
                storage_class: Some(std::mem::take(&mut class))
                    .filter(|class| !class.is_empty())
                    .unwrap_or_else(|| "STANDARD".to_owned()),
            }),
            Node::Close("Prefix", "CommonPrefixes", text) => prefixes.push(text),
            Node::Close("EncodingType", _, text) => encoded = text == "url",
            Node::Close("IsTruncated", _, text) => truncated = text == "true",
            Node::Close("NextKeyMarker", _, text) => next.0 = text,
            Node::Close("NextUploadIdMarker", _, text) => next.1 = text,
            _ => {}
        }
        Ok(())
    })?;
    page.common_prefixes = prefixes;
    if encoded && !plain {
        let keys = page.uploads.iter_mut().map(|upload| &mut upload.key);
        for key in keys.chain(&mut page.common_prefixes).chain([&mut next.0]) {
            *key = xml::url_decode(key)?;
        }
    }
    if truncated && next.0.is_empty() {
        next.0 = page.uploads.last().map(|upload| upload.key.clone()).unwrap_or_default();
    }
    page.next = truncated.then_some(next);
    Ok(page)
}
