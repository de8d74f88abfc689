//! What the sink remembers: buckets, and per key the headers, size and perhaps the bytes of an object.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;
use http::HeaderMap;

/// One stored object.
#[derive(Debug, Clone)]
pub struct Object {
    /// Quoted, as it goes into a header.
    pub etag: String,
    /// Bytes of the decoded body.
    pub size: u64,
    /// The body, unless it was dropped.
    pub body: Option<Bytes>,
    /// Content-Type and `x-amz-meta-*`, as they came.
    pub headers: HeaderMap,
}

/// All buckets.
#[derive(Debug, Default)]
pub struct Buckets {
    objects: BTreeMap<String, BTreeMap<String, Object>>,
    etags: u128,
}

impl Buckets {
    /// Makes a bucket; one that exists stays as it is.
    pub fn create(&mut self, bucket: &str) {
        self.objects.entry(bucket.to_owned()).or_default();
    }

    /// Whether the bucket was made.
    pub fn exists(&self, bucket: &str) -> bool {
        self.objects.contains_key(bucket)
    }

    /// Forgets a bucket and what is in it.
    pub fn remove_bucket(&mut self, bucket: &str) {
        self.objects.remove(bucket);
    }

    /// The object under a key.
    pub fn get(&self, bucket: &str, key: &str) -> Option<&Object> {
        self.objects.get(bucket)?.get(key)
    }

    /// Stores an object in a bucket that exists and returns its new ETag.
    pub fn put(
        &mut self,
        bucket: &str,
        key: &str,
        size: u64,
        body: Option<Bytes>,
        headers: HeaderMap,
    ) -> String {
        self.etags += 1;
        let etag = format!("\"{:032x}\"", self.etags);
        if let Some(objects) = self.objects.get_mut(bucket) {
            objects.insert(key.to_owned(), Object { etag: etag.clone(), size, body, headers });
        }
        etag
    }

    /// Removes a key; one that is absent is no error.
    pub fn delete(&mut self, bucket: &str, key: &str) {
        if let Some(objects) = self.objects.get_mut(bucket) {
            objects.remove(key);
        }
    }

    /// Keys with `prefix` and after `after`, in order.
    pub fn keys<'a>(
        &'a self,
        bucket: &str,
        prefix: &'a str,
        after: &'a str,
    ) -> impl Iterator<Item = (&'a String, &'a Object)> {
        let from = if after < prefix { Bound::Included(prefix) } else { Bound::Excluded(after) };
        self.objects
            .get(bucket)
            .into_iter()
            .flat_map(move |objects| objects.range::<str, _>((from, Bound::Unbounded)))
            .take_while(move |(key, _)| key.starts_with(prefix))
    }
}
