//! A backend that does what a test says at the moment that it says, so that a race or a fault comes every time, in front of
//! a backend that is real; and a gateway over it.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::StreamExt as _;
use futures_util::future::{FutureExt as _, LocalBoxFuture};
use http::HeaderMap;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use sealgate_data_plane::backend::{
    Backend, BackendError, Capabilities, Conditions, CopyOutcome, CopySource, DeleteKey, DeleteOutcome,
    Forward, Forwarded, GetOptions, GetOutcome, ListOptions, ListPage, ObjectMeta, PartEntry, PartPage,
    PutOptions, PutOutcome, Upload, UploadListOptions, UploadPage,
};
use sealgate_data_plane::gate;
use sealgate_data_plane::node::Node;
use sealgate_data_plane::pipeline;
use sealgate_data_plane::worker::{Backends, Worker};
use tokio::net::TcpListener;

use super::many_parts::Invented;

/// What a gateway asks of its backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    Put,
    Get,
    Head,
    List,
    DeleteMany,
    CreateBucket,
    DeleteBucket,
    UploadPart,
    ListParts,
    ListUploads,
    CreateUpload,
    AbortUpload,
    Complete,
    Copy,
    Forward,
    CopyPart,
}

/// A moment in a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Nothing has happened.
    Before,
    /// Some of the body was read, and none of it stored.
    Within,
    /// It is done, and the gateway does not know.
    After,
}

/// What happens then; an error becomes the call's answer.
type Act = Box<dyn FnOnce() -> LocalBoxFuture<'static, Result<(), BackendError>>>;

struct Rule {
    moment: Moment,
    call: Call,
    name: &'static str,
    act: Act,
}

/// A real backend, and what is to happen at its calls.
pub struct Steered {
    real: Rc<dyn Backend>,
    capabilities: Capabilities,
    forgets_uploads: bool,
    forgets_parts: Cell<bool>,
    acknowledges_early: Cell<bool>,
    replaced_parts: RefCell<Vec<PartEntry>>,
    rules: RefCell<Vec<Rule>>,
    /// Parts of an upload that nobody sent.
    pub invented: RefCell<Option<Invented>>,
}

impl Steered {
    pub fn new(real: Rc<dyn Backend>) -> Rc<Self> {
        Self::changed(real, |_| ())
    }

    /// One that completes an upload with whatever parts it has, under whatever ETags it is told.
    pub fn lenient(real: Rc<dyn Backend>) -> Rc<Self> {
        Self::changed(real, |steered| steered.capabilities.part_etags_enforced = false)
    }

    /// One that copies whatever the source is by then, whatever ETag it is told.
    pub fn unpinned(real: Rc<dyn Backend>) -> Rc<Self> {
        Self::changed(real, |steered| steered.capabilities.pinned_copies = false)
    }

    /// One that takes no more than 10 MiB at once.
    pub fn of_small_puts(real: Rc<dyn Backend>) -> Rc<Self> {
        Self::changed(real, |steered| steered.capabilities.max_put = 10 << 20)
    }

    /// One that forgets uploads in listings, as MinIO does after a restart, and knows them when asked by id.
    pub fn forgetful(real: Rc<dyn Backend>) -> Rc<Self> {
        Self::changed(real, |steered| steered.forgets_uploads = true)
    }

    fn changed(real: Rc<dyn Backend>, change: impl FnOnce(&mut Self)) -> Rc<Self> {
        let mut steered = Self {
            capabilities: real.capabilities().clone(),
            real,
            forgets_uploads: false,
            forgets_parts: Cell::default(),
            acknowledges_early: Cell::default(),
            replaced_parts: RefCell::default(),
            rules: RefCell::default(),
            invented: RefCell::default(),
        };
        change(&mut steered);
        Rc::new(steered)
    }

    /// Acts once, at the next such call whose key (of a part: key, `#` and number) contains `name`.
    pub fn once<F: Future<Output = Result<(), BackendError>> + 'static>(
        &self,
        moment: Moment,
        call: Call,
        name: &'static str,
        act: impl FnOnce() -> F + 'static,
    ) {
        let act: Act = Box::new(move || act().boxed_local());
        self.rules.borrow_mut().push(Rule { moment, call, name, act });
    }

    /// Fails once, at such a call.
    pub fn fail(
        &self,
        moment: Moment,
        call: Call,
        name: &'static str,
        error: impl FnOnce() -> BackendError + 'static,
    ) {
        self.once(moment, call, name, move || std::future::ready(Err(error())));
    }

    /// Leaves the parts out of the listing that is made right now, as of one that is read while they are removed.
    pub fn forget_parts_once(&self) {
        self.forgets_parts.set(true);
    }

    /// Says from now on that objects are stored of which it has not read the end.
    pub fn acknowledge_early(&self) {
        self.acknowledges_early.set(true);
    }

    /// How many such calls there are from now on, `most` at most.
    pub fn count(&self, call: Call, name: &'static str, most: usize) -> Rc<Cell<usize>> {
        let counted = Rc::new(Cell::new(0));
        for _ in 0..most {
            let counted = Rc::clone(&counted);
            self.once(Moment::Before, call, name, move || async move {
                counted.set(counted.get() + 1);
                Ok(())
            });
        }
        counted
    }

    /// Forgets what was to happen.
    pub fn forget_rules(&self) {
        self.rules.borrow_mut().clear();
    }

    /// Goes on listing an attempt at a part that was replaced, before its successor, as SeaweedFS does.
    pub fn still_list(&self, replaced: PartEntry) {
        self.replaced_parts.borrow_mut().push(replaced);
    }

    /// Demands that everything that was to happen has happened.
    #[track_caller]
    pub fn assert_done(&self) {
        let left: Vec<_> =
            self.rules.borrow().iter().map(|rule| (rule.moment, rule.call, rule.name)).collect();
        assert!(left.is_empty(), "the gateway never came to {left:?}");
    }

    /// What was to happen and has not.
    pub fn waiting(&self) -> Vec<(Moment, Call)> {
        self.rules.borrow().iter().map(|rule| (rule.moment, rule.call)).collect()
    }

    async fn at(&self, moment: Moment, call: Call, name: &str) -> Result<(), BackendError> {
        let act = {
            let mut rules = self.rules.borrow_mut();
            let wanted = |rule: &Rule| rule.moment == moment && rule.call == call && name.contains(rule.name);
            rules.iter().position(wanted).map(|at| rules.remove(at).act)
        };
        match act {
            Some(act) => act().await,
            None => Ok(()),
        }
    }

    /// The moments of a call that takes a body.
    async fn at_body(&self, call: Call, name: &str, body: &mut Upload) -> Result<(), BackendError> {
        self.at(Moment::Before, call, name).await?;
        let within = self
            .rules
            .borrow()
            .iter()
            .any(|rule| rule.moment == Moment::Within && rule.call == call && name.contains(rule.name));
        if within {
            let piece = body.stream.next().await.expect("a body has bytes")?;
            assert!(
                (piece.len() as u64) < body.length,
                "the body came in one piece: nothing is left to fail"
            );
            self.at(Moment::Within, call, name).await?;
        }
        Ok(())
    }
}

#[async_trait(?Send)]
impl Backend for Steered {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }
    async fn create_bucket(&self, bucket: &str) -> Result<(), BackendError> {
        self.at(Moment::Before, Call::CreateBucket, bucket).await?;
        self.real.create_bucket(bucket).await
    }
    async fn head_bucket(&self, bucket: &str) -> Result<(), BackendError> {
        self.real.head_bucket(bucket).await
    }
    async fn delete_bucket(&self, bucket: &str) -> Result<(), BackendError> {
        self.at(Moment::Before, Call::DeleteBucket, "").await?;
        self.real.delete_bucket(bucket).await?;
        self.at(Moment::After, Call::DeleteBucket, "").await
    }
    async fn put(
        &self,
        bucket: &str,
        key: &str,
        options: PutOptions,
        mut body: Upload,
    ) -> Result<PutOutcome, BackendError> {
        assert!(body.length <= self.capabilities.max_put, "{key}: a PUT of {} bytes", body.length);
        self.at_body(Call::Put, key, &mut body).await?;
        if self.acknowledges_early.get() {
            let (etag, headers) = ("0".repeat(32), HeaderMap::new());
            return Ok(PutOutcome { etag, version_id: None, headers });
        }
        let outcome = self.real.put(bucket, key, options, body).await?;
        self.at(Moment::After, Call::Put, key).await?;
        Ok(outcome)
    }
    async fn get(&self, bucket: &str, key: &str, options: GetOptions) -> Result<GetOutcome, BackendError> {
        self.at(Moment::Before, Call::Get, key).await?;
        let outcome = self.real.get(bucket, key, options).await?;
        self.at(Moment::After, Call::Get, key).await?;
        Ok(outcome)
    }
    async fn head(&self, bucket: &str, key: &str, options: GetOptions) -> Result<ObjectMeta, BackendError> {
        self.at(Moment::Before, Call::Head, key).await?;
        self.real.head(bucket, key, options).await
    }
    async fn delete(
        &self,
        bucket: &str,
        key: &str,
        version_id: Option<&str>,
        conditions: Conditions,
    ) -> Result<DeleteOutcome, BackendError> {
        self.real.delete(bucket, key, version_id, conditions).await
    }
    async fn delete_many(
        &self,
        bucket: &str,
        keys: &[DeleteKey],
    ) -> Result<Vec<Result<DeleteOutcome, BackendError>>, BackendError> {
        self.at(Moment::Before, Call::DeleteMany, "").await?;
        let outcomes = self.real.delete_many(bucket, keys).await?;
        self.at(Moment::After, Call::DeleteMany, "").await?;
        Ok(outcomes)
    }
    async fn list_v1(&self, bucket: &str, options: ListOptions) -> Result<ListPage, BackendError> {
        self.real.list_v1(bucket, options).await
    }
    async fn list_v2(&self, bucket: &str, options: ListOptions) -> Result<ListPage, BackendError> {
        let prefix = options.prefix.clone();
        self.at(Moment::Before, Call::List, &prefix).await?;
        if let Some(page) = self.invented.borrow().as_ref().and_then(|invented| invented.notes(&options)) {
            return Ok(page);
        }
        let page = self.real.list_v2(bucket, options).await?;
        self.at(Moment::After, Call::List, &prefix).await?;
        Ok(page)
    }
    async fn create_upload(
        &self,
        bucket: &str,
        key: &str,
        options: PutOptions,
    ) -> Result<String, BackendError> {
        let upload_id = self.real.create_upload(bucket, key, options).await?;
        self.at(Moment::After, Call::CreateUpload, key).await?;
        Ok(upload_id)
    }
    async fn upload_part(
        &self,
        bucket: &str,
        key: &str,
        upload_id: &str,
        number: u16,
        mut body: Upload,
    ) -> Result<PutOutcome, BackendError> {
        let name = format!("{key}#{number}");
        self.at_body(Call::UploadPart, &name, &mut body).await?;
        if self.invented.borrow().is_some() {
            let bytes = pipeline::collect(body.stream, usize::try_from(body.length).unwrap()).await?;
            return Ok(self.invented.borrow_mut().as_mut().unwrap().keep(bytes));
        }
        let outcome = self.real.upload_part(bucket, key, upload_id, number, body).await?;
        self.at(Moment::After, Call::UploadPart, &name).await?;
        Ok(outcome)
    }
    async fn list_parts(
        &self,
        bucket: &str,
        key: &str,
        upload_id: &str,
        after: u16,
        max_parts: u32,
    ) -> Result<PartPage, BackendError> {
        self.at(Moment::Before, Call::ListParts, key).await?;
        if let Some(invented) = self.invented.borrow().as_ref() {
            return Ok(invented.parts(after, max_parts));
        }
        let mut page = self.real.list_parts(bucket, key, upload_id, after, max_parts).await?;
        self.at(Moment::After, Call::ListParts, key).await?;
        if self.forgets_parts.take() {
            page.parts.clear();
        }
        page.parts.splice(..0, self.replaced_parts.borrow().iter().cloned());
        Ok(page)
    }
    async fn complete_upload(
        &self,
        bucket: &str,
        key: &str,
        upload_id: &str,
        parts: &[(u16, String)],
        conditions: Conditions,
    ) -> Result<PutOutcome, BackendError> {
        self.at(Moment::Before, Call::Complete, key).await?;
        if let Some(invented) = self.invented.borrow_mut().as_mut() {
            return Ok(invented.commit(parts));
        }
        let mut parts = parts.to_vec();
        if !self.capabilities.part_etags_enforced {
            let there = self.real.list_parts(bucket, key, upload_id, 0, 1_000).await?.parts;
            for (number, etag) in &mut parts {
                etag.clone_from(&there.iter().find(|part| part.number == *number).unwrap().etag);
            }
        }
        let outcome = self.real.complete_upload(bucket, key, upload_id, &parts, conditions).await?;
        self.at(Moment::After, Call::Complete, key).await?;
        Ok(outcome)
    }
    async fn abort_upload(&self, bucket: &str, key: &str, upload_id: &str) -> Result<(), BackendError> {
        self.at(Moment::Before, Call::AbortUpload, key).await?;
        self.real.abort_upload(bucket, key, upload_id).await
    }
    async fn list_uploads(
        &self,
        bucket: &str,
        options: UploadListOptions,
    ) -> Result<UploadPage, BackendError> {
        if self.forgets_uploads {
            return Ok(UploadPage::default());
        }
        let page = self.real.list_uploads(bucket, options).await?;
        self.at(Moment::After, Call::ListUploads, "").await?;
        Ok(page)
    }
    async fn forward(&self, request: Forward) -> Result<Forwarded, BackendError> {
        let name = request.query.first().map_or_else(String::new, |(name, _)| name.clone());
        self.at(Moment::Before, Call::Forward, &name).await?;
        let answer = self.real.forward(request).await?;
        self.at(Moment::After, Call::Forward, &name).await?;
        Ok(answer)
    }
    async fn copy(
        &self,
        mut source: CopySource,
        bucket: &str,
        key: &str,
        options: PutOptions,
    ) -> Result<CopyOutcome, BackendError> {
        self.at(Moment::Before, Call::Copy, key).await?;
        let asked = GetOptions { version_id: source.version_id.clone(), ..GetOptions::default() };
        if self.real.head(&source.bucket, &source.key, asked).await?.size > self.capabilities.max_put {
            return Err(BackendError::s3(400, "InvalidRequest", "the source is larger than one copy"));
        }
        if !self.capabilities.pinned_copies {
            source.if_match = None;
        }
        let made = self.real.copy(source, bucket, key, options).await?;
        self.at(Moment::After, Call::Copy, key).await?;
        Ok(made)
    }
    async fn copy_part(
        &self,
        source: CopySource,
        range: Option<(u64, u64)>,
        bucket: &str,
        key: &str,
        upload_id: &str,
        number: u16,
    ) -> Result<CopyOutcome, BackendError> {
        let name = format!("{key}#{number}");
        self.at(Moment::Before, Call::CopyPart, &name).await?;
        let made = self.real.copy_part(source, range, bucket, key, upload_id, number).await?;
        self.at(Moment::After, Call::CopyPart, &name).await?;
        Ok(made)
    }
}

/// Serves S3 on this thread with a node's config and keys, over a backend of the test's own.
pub async fn serve(node: &Arc<Node>, backend: Rc<dyn Backend>) -> SocketAddr {
    let backends = Rc::new(Backends::from_iter([("default".to_owned(), backend)]));
    let worker = Rc::new(Worker { node: Arc::clone(node), backends });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    actix_rt::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let worker = Rc::clone(&worker);
            actix_rt::spawn(http1::Builder::new().serve_connection(
                TokioIo::new(stream),
                service_fn(move |request| {
                    let worker = Rc::clone(&worker);
                    async move { Ok::<_, Infallible>(gate::handle(worker, request).await) }
                }),
            ));
        }
    });
    address
}
