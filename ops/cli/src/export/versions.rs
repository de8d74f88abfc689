//! All versions, to an S3 server whose bucket has versions too: of each key the oldest first, and where a delete marker lies, a deletion.
//! The server gives them ids and times of its own.

use std::collections::HashSet;

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use http::{HeaderMap, Method};
use sealgate_data_plane::backend::{
    Backend as _, BackendError, Conditions, Forward, VersionEntry, VersionListOptions,
};

use super::manifest::{Known, Line, Of};
use super::server::{ATTEMPTS, Server, WAIT};
use super::{Export, IN_FLIGHT, Target};
use crate::failure::{Exit, Failure, Outcome};
use crate::location::Location;

impl Export<'_> {
    /// Brings every version of every key there.
    pub(super) async fn all_versions(&self, from: &Location) -> Outcome<()> {
        let Target::Server(server) = &self.target else {
            return Err(Failure::usage("a directory has no versions: --all-versions is for an S3 server"));
        };
        server.must_have_versions().await?;
        let mut next = Some((String::new(), String::new()));
        let mut open: Vec<VersionEntry> = Vec::new();
        let mut before: HashSet<String> = HashSet::new();
        while let Some((key_marker, version_id_marker)) = next {
            let options = VersionListOptions {
                prefix: from.key.clone(),
                delimiter: None,
                key_marker,
                version_id_marker,
                max_keys: 1000,
            };
            let page = self.client.backend.list_versions(&from.bucket, options).await;
            let page = page.map_err(|error| Failure::s3(from, &error))?;
            let (mut keys, mut closed) = (Vec::new(), HashSet::new());
            for entry in page.entries {
                if let Some(last) = open.last().filter(|last| last.object.key != entry.object.key) {
                    closed.insert(last.object.key.clone());
                    keys.push(std::mem::take(&mut open));
                }
                let key = &entry.object.key;
                if closed.contains(key) || before.contains(key) {
                    return Err(apart(key));
                }
                open.push(entry);
            }
            before = closed;
            next = page.next;
            if next.is_none() {
                // The last key of the last page: no other page goes on with it.
                keys.push(std::mem::take(&mut open));
            }
            let keys = stream::iter(keys).map(|versions| self.key(server, versions));
            keys.buffer_unordered(IN_FLIGHT).try_for_each(|()| std::future::ready(Ok(()))).await?;
            self.tell();
        }
        Ok(())
    }

    /// All versions of a key, which come with the newest first. After one that fails the key's newer ones wait for another run:
    /// their order is what makes the newest the current one.
    async fn key(&self, server: &Server, versions: Vec<VersionEntry>) -> Outcome<()> {
        let mut after_marker = false;
        for version in versions.into_iter().rev() {
            let key = version.object.key.clone();
            let is_marker = version.delete_marker;
            let exported = self.version(server, version, after_marker).await;
            after_marker = is_marker;
            let failed = exported.is_err();
            self.count(&key, exported)?;
            if failed {
                break;
            }
        }
        Ok(())
    }

    async fn version(
        &self,
        server: &Server,
        version: VersionEntry,
        after_marker: bool,
    ) -> Outcome<Option<Line>> {
        let key = version.object.key.clone();
        let from = Location { bucket: self.bucket.to_owned(), key: key.clone() };
        let of = match version.delete_marker {
            true => Of::DeleteMarker(version.version_id.clone()),
            false => Of::Version(version.version_id.clone()),
        };
        let object = &version.object;
        let known = |known: &Known| match of.version_id() {
            // Where versions are suspended, or never were enabled, each write and deletion takes the place of the `null` version before.
            Some("null") => {
                known.is(if version.delete_marker { "" } else { &object.etag }, object.last_modified)
            }
            _ => true,
        };
        if self.manifest.borrow().known(&key, &of).is_some_and(known) {
            return Ok(None);
        }
        let line = match &of {
            Of::DeleteMarker(_) => {
                server.delete(&from, after_marker).await?;
                Line::of_marker(&key, of, version.object.last_modified)
            }
            _ => server.export(self.client, &from, of).await?,
        };
        self.manifest.borrow_mut().add(&line)?;
        Ok(Some(line))
    }
}

/// Some servers (versitygw) list a page's versions first and its delete markers behind them: times are too coarse to tell what came
/// after what, and in a wrong order another object would be the current one.
fn apart(key: &str) -> Failure {
    let what = format!(
        "{key:?}: the storage lists versions and delete markers apart, so that their order is not known"
    );
    Failure::new(Exit::Failure, what).hint("leave --all-versions out: the current versions can be exported")
}

impl Server {
    async fn must_have_versions(&self) -> Outcome<()> {
        let asked = Forward {
            method: Method::GET,
            bucket: self.to.bucket.clone(),
            key: None,
            query: vec![("versioning".to_owned(), String::new())],
            headers: HeaderMap::new(),
            body: Bytes::new(),
        };
        let answer = self.backend.forward(asked).await.map_err(|error| Failure::s3(&self.to, &error))?;
        match String::from_utf8_lossy(&answer.body).contains("<Status>Enabled</Status>") {
            true => Ok(()),
            false => Err(Failure::usage(format!("{}: the bucket has no versions", self.to))
                .hint("enable them there before the first export, or leave --all-versions out")),
        }
    }

    /// Deletes what is current there, as was done here. `after_marker`: what was exported before it is a delete marker, too. Else one that
    /// is current there is this one, of an attempt whose answer was lost.
    async fn delete(&self, from: &Location, after_marker: bool) -> Outcome<()> {
        let to = self.place(from);
        let failed = |error| Failure::s3(&to, &error);
        let before = self.marker(&to).await.map_err(failed)?;
        if before.is_some() && !after_marker {
            return Ok(());
        }
        let mut wait = WAIT;
        for left in (0..ATTEMPTS).rev() {
            let failure = match self.once.delete(&to.bucket, &to.key, None, Conditions::default()).await {
                Ok(_) => return Ok(()),
                Err(error) => failed(error),
            };
            if failure.exit() != Exit::Unavailable {
                return Err(failure);
            }
            tokio::time::sleep(wait).await;
            wait *= 4;
            match self.marker(&to).await {
                Ok(Some(now)) if before.as_ref() != Some(&now) => return Ok(()),
                Ok(_) if left > 0 => {}
                _ => return Err(failure),
            }
        }
        Err(Failure::new(Exit::Unavailable, format!("{to}: not deleted")))
    }

    /// The id of the delete marker that is current there, if one is. None also where nobody may look.
    async fn marker(&self, to: &Location) -> Result<Option<String>, BackendError> {
        let options = VersionListOptions {
            prefix: to.key.clone(),
            delimiter: None,
            key_marker: String::new(),
            version_id_marker: String::new(),
            max_keys: 1000,
        };
        let page = match self.backend.list_versions(&to.bucket, options).await {
            Err(BackendError::S3 { status: 403, .. }) => return Ok(None),
            page => page?,
        };
        let current = page.entries.into_iter().find(|entry| entry.object.key == to.key && entry.is_latest);
        Ok(current.filter(|entry| entry.delete_marker).map(|entry| entry.version_id))
    }
}
