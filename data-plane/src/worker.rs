//! What one thread of a node owns: its backends, with their connections, beside what all threads share.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use crate::backend::{Asking, Backend};
use crate::config::BackendConfig;
use crate::node::Node;
use crate::snapshot::Bucket;

/// A thread's backends by name.
pub struct Backends {
    by_name: HashMap<String, Rc<dyn Backend>>,
}

impl Backends {
    /// Opens every configured backend.
    ///
    /// # Errors
    /// The first backend that cannot be opened, with its name.
    pub fn open(configs: &std::collections::BTreeMap<String, BackendConfig>) -> Result<Self, String> {
        let mut by_name = HashMap::new();
        for (name, config) in configs {
            let backend = config.open().map_err(|error| format!("backend {name:?}: {error}"))?;
            by_name.insert(name.clone(), backend);
        }
        Ok(Self { by_name })
    }

    /// A bucket's backend. Whatever is written through it asks for the encryption that the bucket's rule names.
    pub fn of(&self, bucket: &Bucket) -> Option<Rc<dyn Backend>> {
        let backend = Rc::clone(self.get(&bucket.backend)?);
        Some(match bucket.backend_sse.is_empty() {
            true => backend,
            false => Rc::new(Asking::new(backend, bucket.backend_sse.clone())),
        })
    }

    /// A backend by its name, for what writes no object of a bucket.
    pub fn get(&self, name: &str) -> Option<&Rc<dyn Backend>> {
        self.by_name.get(name)
    }
}

impl FromIterator<(String, Rc<dyn Backend>)> for Backends {
    /// Backends that are open already, by name.
    fn from_iter<I: IntoIterator<Item = (String, Rc<dyn Backend>)>>(backends: I) -> Self {
        Self { by_name: backends.into_iter().collect() }
    }
}

/// A thread that serves clients.
pub struct Worker {
    /// What all threads share.
    pub node: Arc<Node>,
    /// This thread's backends.
    pub backends: Rc<Backends>,
}
