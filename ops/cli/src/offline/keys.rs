//! IKs for the offline tools: IK records from the bucket or from files, admitted by the operator's card, unwrapped by the
//! keyring or another KMS.
//!
//! Records in a bucket are whatever somebody put there. One that the card does not admit is refused before the keyring is
//! opened, or the KMS asked; one that it admits opens only with the context that it claims, so a pair of ids cannot be forged.

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use sealgate_data_plane::backend::fs::offline;
use sealgate_envelope::{BucketId, Ik, IkId, IkRecord, RecoveryCard, TenantId, hidden};
use sealgate_kms::{Cause, Keyring, Kms as _, KmsError, Router, Unlock};
use tokio::runtime::Runtime;

use super::source::{Directory, Source};
use crate::failure::{Exit, Failure, Outcome};

/// The largest IK record, in bytes: its fields are bounded.
pub const MAX_RECORD: u64 = 16 << 10;
/// Copies of one IK's record that are looked at: each re-wrap makes one and removes another.
const MAX_COPIES: usize = 64;

/// How long a KMS that does not answer is asked again, and the time between.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(500);

/// Reads what opens a keyring.
pub type ReadUnlock = fn(&Path) -> Result<Unlock, KmsError>;

/// The keyring's file, and how to read what opens it.
pub struct KeyringFiles {
    pub keyring: PathBuf,
    pub unlock: (PathBuf, ReadUnlock),
}

/// What holds the KEKs.
pub enum KekSource {
    /// A keyring, alone.
    Keyring(KeyringFiles),
    /// The providers of a control plane's configuration file.
    Kms(PathBuf),
}

enum Opener {
    Keyring(Keyring),
    // Dropped in this order: what the providers run on outlives them.
    Kms(Router, Runtime),
}

/// An IK and the pair of ids that its record proved.
pub struct OpenedIk {
    pub ik: Ik,
    pub tenant: TenantId,
    pub bucket: BucketId,
}

/// Finds and opens IKs; each once.
pub struct Keys<'a> {
    card: RecoveryCard,
    keks: KekSource,
    opener: OnceCell<Opener>,
    source: &'a dyn Source,
    logical_bucket: Option<BucketId>,
    given: Vec<(String, Vec<u8>)>,
    beside: Option<PathBuf>,
    opened: RefCell<HashMap<IkId, Rc<[OpenedIk]>>>,
}

impl<'a> Keys<'a> {
    /// Keys for what lies in `source`; `logical_bucket`: of this bucket only.
    pub fn new(
        card: RecoveryCard,
        keks: KekSource,
        source: &'a dyn Source,
        logical_bucket: Option<BucketId>,
    ) -> Self {
        let opened = RefCell::default();
        let (opener, given, beside) = (OnceCell::new(), Vec::new(), None);
        Self { card, keks, opener, source, logical_bucket, given, beside, opened }
    }

    /// Looks for records in all buckets of a filesystem backend too: for a body that lies outside its bucket.
    pub fn with_buckets(mut self, root: Option<PathBuf>) -> Self {
        self.beside = root;
        self
    }

    /// Adds a record from a file, or all files below a directory.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn with_records(mut self, path: &Path) -> Outcome<Self> {
        collect(path, &mut self.given)?;
        Ok(self)
    }

    /// The name that the card gives a bucket.
    pub fn bucket_name(&self, tenant: TenantId, bucket: BucketId) -> Option<&str> {
        let mut entries = self.card.buckets().iter();
        let entry = entries.find(|entry| (entry.tenant, entry.bucket) == (tenant, bucket));
        entry.map(|entry| entry.name.as_str()).filter(|name| !name.is_empty())
    }

    /// The IK, once for each pair of ids that an admitted record of it proves; at least one.
    ///
    /// # Errors
    /// That no record was found, or why none opened.
    pub fn find(&self, ik: IkId) -> Outcome<Rc<[OpenedIk]>> {
        if let Some(known) = self.opened.borrow().get(&ik) {
            return Ok(known.clone());
        }
        let mut opened: Vec<OpenedIk> = Vec::new();
        let mut refused = None;
        for (from, bytes) in self.candidates(ik)? {
            match self.open(ik, &from, &bytes, &opened) {
                Ok(found) => opened.extend(found),
                Err(failure) => refused = worse(refused, failure),
            }
        }
        if opened.is_empty() {
            return Err(refused.unwrap_or_else(|| self.missing(ik)));
        }
        let opened: Rc<[OpenedIk]> = opened.into();
        self.opened.borrow_mut().insert(ik, opened.clone());
        Ok(opened)
    }

    fn missing(&self, ik: IkId) -> Failure {
        let prefix = hidden::ik_records_prefix(ik);
        Failure::new(Exit::NotFound, format!("no record of the IK {ik} was found"))
            .hint(format!("it lies in the object's bucket under {prefix}; give a copy with --ik-record FILE"))
    }

    /// Records that may be this IK's: those that the operator gave, else those in the bucket.
    fn candidates(&self, ik: IkId) -> Outcome<Vec<(String, Vec<u8>)>> {
        let is_wanted = |bytes: &[u8]| IkRecord::parse(bytes).is_ok_and(|record| record.context.ik == ik);
        let given: Vec<_> = self.given.iter().filter(|(_, bytes)| is_wanted(bytes)).cloned().collect();
        if !given.is_empty() {
            return Ok(given);
        }
        let mut found = records(self.source, ik)?;
        if let Some(root) = &self.beside {
            for bucket in offline::buckets(root).map_err(|error| Failure::file(root, &error))? {
                found.extend(records(&Directory::new(root.clone(), bucket), ik)?);
            }
        }
        Ok(found)
    }

    /// Nothing when the pair is known already.
    fn open(&self, ik: IkId, from: &str, bytes: &[u8], known: &[OpenedIk]) -> Outcome<Option<OpenedIk>> {
        let record = IkRecord::parse(bytes).map_err(|error| Failure::integrity(&from, &error))?;
        let context = &record.context;
        if context.ik != ik {
            return Err(Failure::integrity(&from, &"is the record of another IK"));
        }
        if known.iter().any(|other| (other.tenant, other.bucket) == (context.tenant, context.bucket)) {
            return Ok(None);
        }
        self.card.admit(context).map_err(|error| {
            Failure::new(
                Exit::Denied,
                format!(
                    "{from}: refused, the {} was not asked: {error} (tenant {}, logical bucket {}, KEK {})",
                    self.keks.word(), context.tenant, context.bucket, context.kek
                ),
            )
            .hint("if this bucket is yours, give the card that was printed when it was made; else the record is planted")
        })?;
        if self.logical_bucket.is_some_and(|wanted| wanted != context.bucket) {
            return Err(Failure::new(
                Exit::Denied,
                format!("{from}: belongs to logical bucket {}, not to --logical-bucket", context.bucket),
            ));
        }
        let bytes = record.context().map_err(|error| Failure::integrity(&from, &error))?;
        let (kek, version) = (&context.kek, &context.kek_version);
        let opened = match self.opener()? {
            Opener::Keyring(keyring) => keyring.unwrap(kek, version, &bytes, &record.wrapped),
            Opener::Kms(router, runtime) => {
                runtime.block_on(patiently(|| router.unwrap(kek, version, &bytes, &record.wrapped)))
            }
        };
        let ik = opened.map_err(|error| Failure::kms(&from, self.keks.word(), &error))?;
        Ok(Some(OpenedIk { ik, tenant: context.tenant, bucket: context.bucket }))
    }

    fn opener(&self) -> Outcome<&Opener> {
        if let Some(opener) = self.opener.get() {
            return Ok(opener);
        }
        let opened = self.keks.open()?;
        Ok(self.opener.get_or_init(|| opened))
    }
}

/// Asks again what fails for a moment: there is nobody else who would.
async fn patiently<T, F: Future<Output = Result<T, KmsError>>>(call: impl Fn() -> F) -> Result<T, KmsError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match call().await {
            Err(error)
                if error.is_transient()
                    && !matches!(error, KmsError::Unavailable(Cause::Local, _))
                    && Instant::now() < deadline =>
            {
                tokio::time::sleep(PAUSE).await;
            }
            result => return result,
        }
    }
}

impl KekSource {
    fn word(&self) -> &'static str {
        match self {
            Self::Keyring(_) => "keyring",
            Self::Kms(_) => "KMS",
        }
    }

    fn open(&self) -> Outcome<Opener> {
        match self {
            Self::Keyring(KeyringFiles { keyring, unlock: (path, read) }) => {
                let opened = read(path).and_then(|unlock| Keyring::open(keyring, &unlock));
                Ok(Opener::Keyring(opened.map_err(|error| Failure::kms(&"keyring", "keyring", &error))?))
            }
            Self::Kms(path) => {
                let config = sealgate_control_plane::config::kms(path)
                    .map_err(|error| Failure::usage(error.to_string()))?;
                // A recovery that is told the wrong file must not make a keyring there.
                if let Some(local) = config.local.as_ref().filter(|local| !local.keyring.exists()) {
                    return Err(Failure::new(
                        Exit::NotFound,
                        format!(
                            "{}: kms.local.keyring: {} is not there",
                            path.display(),
                            local.keyring.display()
                        ),
                    ));
                }
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .map_err(|error| Failure::new(Exit::Unavailable, format!("no thread: {error}")))?;
                let router = runtime.block_on(config.open());
                let router = router.map_err(|error| Failure::kms(&path.display(), "KMS", &error))?;
                // Connections and logins, which a call alone has no time for, and which address serves.
                runtime.block_on(async {
                    for provider in router.resilient() {
                        provider.warm().await;
                    }
                });
                Ok(Opener::Kms(router, runtime))
            }
        }
    }
}

/// Names and bytes of the records in a bucket that carry the IK's id.
fn records(source: &dyn Source, ik: IkId) -> Outcome<Vec<(String, Vec<u8>)>> {
    let mut keys = Vec::new();
    source.list(&hidden::ik_records_prefix(ik), &mut |key| {
        let key = key?;
        if keys.len() < MAX_COPIES {
            keys.push(key);
        }
        Ok(())
    })?;
    keys.into_iter().map(|key| Ok((source.name(&key), source.small(&key, MAX_RECORD)?))).collect()
}

/// What to report of several: that the keys are missing or wrong says more than that something planted was refused.
fn worse(before: Option<Failure>, now: Failure) -> Option<Failure> {
    match before {
        Some(before) if now.exit() == Exit::Denied || before.exit() == Exit::Unavailable => Some(before),
        _ => Some(now),
    }
}

fn collect(path: &Path, into: &mut Vec<(String, Vec<u8>)>) -> Outcome<()> {
    use std::io::Read as _;
    let failed = |error: std::io::Error| Failure::file(path, &error);
    if path.is_dir() {
        for entry in std::fs::read_dir(path).map_err(failed)? {
            collect(&entry.map_err(failed)?.path(), into)?;
        }
        return Ok(());
    }
    let mut bytes = Vec::new();
    std::fs::File::open(path).map_err(failed)?.take(MAX_RECORD).read_to_end(&mut bytes).map_err(failed)?;
    into.push((path.display().to_string(), bytes));
    Ok(())
}
