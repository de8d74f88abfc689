//! Plays a recording to the front end and holds what became of each request against what became of it then.
//!
//! A request goes as it was recorded, to the byte. Where it names something that the gateway had made up (an upload, a
//! version, an ETag), that is another one today: the request as it was must be known and authenticated and then not find it,
//! and goes a second time with today's name, signed again with the same headers, payload mode and framing.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use md5::Md5;
use sealgate_data_plane::clock::{Clock, ManualClock};
use sha2::Digest as _;

use crate::head::Head;
use crate::http::{Answer, exchange};
use crate::log;
use crate::owner::{day, get, turn_on_versions};
use crate::recording::{Body, Request, Session};
use crate::rig::{ACCESS_KEY, Rig};
use crate::sigv4::{hash, sign_again, spoil};

/// A front end that a session is played to.
pub struct Replay {
    rig: Rig,
    clock: Arc<ManualClock>,
    /// What the recorded gateway had made up, and what stands for it today.
    today: HashMap<String, String>,
    /// The parts of uploads, by upload and number; none for a copied one.
    parts: HashMap<String, BTreeMap<u32, Option<Body>>>,
    /// What was sent with a wrong byte: operations in their payload modes.
    spoiled: HashSet<(String, String)>,
}

/// Plays a session from its beginning to its end.
pub fn play(session: &Session) {
    log::gather(false);
    let Some(first) = session.requests.first() else { panic!("a session without a request") };
    let times = session.requests.iter().map(|request| request.at);
    let days: Vec<String> = times.flat_map(|at| [day(at - 86_400), day(at)]).collect();
    let clock = ManualClock::at(first.at);
    let rig = Rig::start(Arc::clone(&clock) as Arc<dyn Clock>, &days);
    turn_on_versions(&rig, first.at);
    let mut replay =
        Replay { rig, clock, today: HashMap::new(), parts: HashMap::new(), spoiled: HashSet::new() };
    for request in &session.requests {
        replay.play(request);
    }
}

impl Replay {
    fn play(&mut self, request: &Request) {
        self.clock.advance(Duration::from_secs(request.at.saturating_sub(self.clock.unix())));
        self.with_a_wrong_signature(request);
        let (mut head, mut body) = (request.head(), request.body.clone());
        if self.renamed(&mut head, &mut body) {
            self.as_it_was(request);
        } else if let Some(body) = &body {
            let wire = body.wire(&head, false);
            assert!(body.is_as_recorded(&wire), "{}: its body is not what was recorded", request.title());
        }
        self.with_a_wrong_byte(request, &head, body.as_ref());
        let wire = body.as_ref().map_or_else(Vec::new, |body| body.wire(&head, false));
        let answer = exchange(self.rig.address, &head, &wire);
        assert_eq!(answer.status, request.status, "{}: {}", request.title(), answer.shown());
        known(request, &head, &answer);
        let waits = head.header("expect").is_some() && !wire.is_empty();
        assert_eq!(answer.continued, waits, "{}: 100 Continue", request.title());
        if let Some(expected) = &request.answer {
            assert_eq!(answer.body.len(), expected.length, "{}: length of the answer", request.title());
            assert_eq!(hash(&answer.body), expected.sha256, "{}: digest of the answer", request.title());
        }
        self.learn(request, &answer);
        if answer.status == 200 {
            self.read_back(request, &head, body);
        }
    }

    /// With a signature that is not its own it must be refused.
    fn with_a_wrong_signature(&self, request: &Request) {
        let mut head = request.head();
        if spoil(&mut head) {
            let answer = exchange(self.rig.address, &head, b"");
            assert_eq!(answer.status, 403, "{}, wrongly signed: {}", request.title(), answer.shown());
        }
    }

    /// With a byte of its content changed it must be refused, where there is anything that the content is held against.
    fn with_a_wrong_byte(&mut self, request: &Request, head: &Head, body: Option<&Body>) {
        let Some(body) = body.filter(|_| matches!(&*request.operation, "PutObject" | "UploadPart")) else {
            return;
        };
        if request.status != 200 || body.content().is_empty() || !body.is_proved() && proofs(head).is_empty()
        {
            return;
        }
        // Once a way: the parts of an upload all go the same.
        let mode = Some(proofs(head)).filter(|_| !body.is_proved()).unwrap_or_else(|| "trailer".to_owned());
        if !self.spoiled.insert((request.operation.clone(), mode)) {
            return;
        }
        let answer = exchange(self.rig.address, head, &body.wire(head, true));
        let refused = matches!(answer.status, 400 | 403);
        assert!(refused, "{}, a byte of it changed: {}", request.title(), answer.shown());
    }

    /// As recorded, though it names what is not there today.
    fn as_it_was(&self, request: &Request) {
        let head = request.head();
        let wire = request.body.as_ref().map_or_else(Vec::new, |body| body.wire(&head, false));
        if let Some(body) = &request.body {
            assert!(body.is_as_recorded(&wire), "{}: its body is not what was recorded", request.title());
        }
        let answer = exchange(self.rig.address, &head, &wire);
        known(request, &head, &answer);
        let expected: &[u16] = match &head {
            head if head.parameter("uploadId").is_some() => &[404],
            head if head.target().contains("versionId=") => &[404, 204],
            head if head.header("x-amz-copy-source").is_some_and(|source| source.contains("versionId=")) => {
                &[404]
            }
            head if head.header("if-none-match").is_some() => &[200],
            head if head.header("if-match").is_some() => &[412],
            head if head.header("x-amz-copy-source-if-match").is_some() => &[412],
            _ => &[request.status],
        };
        let right = expected.contains(&answer.status);
        assert!(right, "{}, as it was: {}, not {expected:?}", request.title(), answer.shown());
        if let Some(code) = answer.element("Code").filter(|_| head.parameter("uploadId").is_some()) {
            assert_eq!(code, "NoSuchUpload", "{}, as it was", request.title());
        }
    }

    /// Puts today's names in, and signs again; false when there was nothing to put in.
    fn renamed(&self, head: &mut Head, body: &mut Option<Body>) -> bool {
        let mut text = body.as_ref().and_then(|body| body.text.clone());
        let (mut in_head, mut in_body) = (false, false);
        for (then, now) in &self.today {
            if head.mentions(then) {
                in_head = true;
                head.replace(then, now);
            }
            if let Some(text) = text.as_mut().filter(|text| text.contains(then)) {
                in_body = true;
                *text = text.replace(then, now);
            }
        }
        if let (true, Some(text), Some(body)) = (in_body, text, body) {
            head.set("content-length", &text.len().to_string());
            head.set("content-md5", &BASE64_STANDARD.encode(Md5::digest(&text)));
            if head.header("x-amz-content-sha256").is_some_and(|mode| mode.len() == 64) {
                head.set("x-amz-content-sha256", &hash(text.as_bytes()));
            }
            body.text = Some(text);
        }
        let renamed = in_head || in_body;
        if renamed && head.header("authorization").is_some() {
            sign_again(head);
        }
        renamed
    }

    fn learn(&mut self, request: &Request, answer: &Answer) {
        let gave = request.gave.clone();
        let etag = answer.header("etag").map(str::to_owned).or_else(|| answer.element("ETag"));
        let etag = etag.map(|etag| etag.replace("&quot;", "").replace("&#34;", "").replace('"', ""));
        let version = answer.header("x-amz-version-id").map(str::to_owned);
        let version = version.or_else(|| answer.element("DeleteMarkerVersionId"));
        let pairs =
            [(gave.etag, etag), (gave.upload_id, answer.element("UploadId")), (gave.version_id, version)];
        for (then, now) in pairs {
            if let Some(then) = then {
                let now = now
                    .unwrap_or_else(|| panic!("{}: the answer does not give it any more", request.title()));
                self.today.insert(then, now);
            }
        }
    }

    /// What was stored is what the client meant.
    fn read_back(&mut self, request: &Request, head: &Head, body: Option<Body>) {
        let upload = head.parameter("uploadId").map(str::to_owned).unwrap_or_default();
        let number = head.parameter("partNumber").and_then(|number| number.parse().ok());
        let expected = match (&*request.operation, body, number) {
            ("PutObject", body, _) => body.map_or_else(Vec::new, |body| body.content()),
            ("UploadPart" | "UploadPartCopy", body, Some(number)) => {
                self.parts.entry(upload).or_default().insert(number, body);
                return;
            }
            ("CompleteMultipartUpload", Some(document), _) => {
                let parts = self.parts.remove(&upload).unwrap_or_default();
                let text = document.text.unwrap_or_default();
                let listed =
                    parts.iter().filter(|(number, _)| text.contains(&format!("PartNumber>{number}<")));
                let bodies: Option<Vec<&Body>> = listed.map(|(_, body)| body.as_ref()).collect();
                let Some(bodies) = bodies else { return };
                bodies.into_iter().flat_map(Body::content).collect()
            }
            _ => return,
        };
        let answer = get(&self.rig, head, request.at);
        assert_eq!(answer.status, 200, "{}, read back: {}", request.title(), answer.shown());
        assert_eq!(answer.body.len(), expected.len(), "{}: length of what was stored", request.title());
        assert_eq!(hash(&answer.body), hash(&expected), "{}: digest of what was stored", request.title());
    }
}

/// What in the head would be wrong for another content.
fn proofs(head: &Head) -> String {
    const CHECKSUMS: [&str; 5] = ["crc32", "crc32c", "crc64nvme", "sha1", "sha256"];
    let mode = head.header("x-amz-content-sha256").unwrap_or_default();
    let digest = (mode.len() == 64).then(|| "digest".to_owned());
    let signed = mode.starts_with("STREAMING-AWS4-HMAC-SHA256").then(|| mode.to_owned());
    let md5 = head.header("content-md5").map(|_| "md5".to_owned());
    let sums = CHECKSUMS.iter().filter(|name| head.header(&format!("x-amz-checksum-{name}")).is_some());
    digest.into_iter().chain(signed).chain(md5).chain(sums.map(|name| (*name).to_owned())).collect()
}

/// The front end knew who sent it, and what for.
fn known(request: &Request, head: &Head, answer: &Answer) {
    let line = log::of(answer.header("x-amz-request-id").unwrap());
    let signed = head.header("authorization").is_some() || head.target().contains("Signature=");
    let requester = if signed { ACCESS_KEY } else { "-" };
    assert_eq!(line.requester, requester, "{}: who sent it: {}", request.title(), answer.shown());
    assert_eq!(line.operation, request.operation, "{}: what it is", request.title());
}
