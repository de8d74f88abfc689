//! A directory with everything in it, and the planes over it: in this process, or in processes of their own.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use sealgate_control_plane::registry::records::Tenants;
use sealgate_control_plane::{Config as ControlConfig, ControlPlane, Handle, NodeIdentity as Issued, Parts};
use sealgate_data_plane::clock::{Clock, SystemClock};
use sealgate_data_plane::config::{BackendConfig, Config as NodeConfig, ControlPlaneConfig};
use sealgate_data_plane::control::NodeIdentity;
use sealgate_data_plane::plane::DataPlane;
use sealgate_kms::Router;
use serde_json::Value;
use zeroize::Zeroizing;

use super::process::Plane;
use super::s3::{Answer, Client, REGION, exchange};

/// Nothing in these tests takes longer, unless it never comes.
const LIMIT: Duration = Duration::from_secs(60);

/// Waits for what must come.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future).await.unwrap_or_else(|_| panic!("waited in vain for {what}"))
}

/// Polls until something holds that nothing announces.
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    soon(what, async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

/// A directory for the planes' data.
pub struct World {
    dir: tempfile::TempDir,
}

impl World {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("backend")).unwrap();
        Self { dir }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Where the filesystem backend keeps its ciphertext.
    pub fn backend(&self) -> PathBuf {
        self.dir.path().join("backend")
    }

    /// A control plane in this process.
    pub async fn control(&self) -> Handle {
        ControlPlane::start(self.control_config()).await.unwrap()
    }

    /// A control plane in this process, for nodes that look for it at this port.
    pub async fn control_at(&self, port: u16) -> Handle {
        let mut config = self.control_config();
        config.grpc_listen.set_port(port);
        ControlPlane::start(config).await.unwrap()
    }

    /// A control plane in this process, by another clock.
    pub async fn control_by(&self, clock: Arc<dyn sealgate_control_plane::Clock>) -> Handle {
        let config = self.control_config();
        let parts = Parts { clock, ..Parts::open(&config).await.unwrap() };
        ControlPlane::start_with(config, parts).await.unwrap()
    }

    /// A control plane in this process, with something around its KMS.
    pub async fn control_over(&self, around: impl FnOnce(Arc<Router>) -> Router) -> Handle {
        let config = self.control_config();
        let parts = Parts::open(&config).await.unwrap();
        let kms = Arc::new(around(parts.kms));
        ControlPlane::start_with(config, Parts { kms, ..parts }).await.unwrap()
    }

    /// A control plane in this process, whose nodes keep the hidden objects of uploads apart.
    pub async fn control_with_work_bucket(&self, name: &str) -> Handle {
        self.try_control_with_work_bucket(name).await.unwrap()
    }

    /// The same, if it starts.
    pub async fn try_control_with_work_bucket(
        &self,
        name: &str,
    ) -> Result<Handle, sealgate_control_plane::Error> {
        let mut config = self.control_config();
        config.defaults.backends = vec![("default".to_owned(), name.to_owned())];
        ControlPlane::start(config).await
    }

    fn control_config(&self) -> ControlConfig {
        let regions = vec![REGION.to_owned()];
        let mut config = ControlConfig::dev(&self.dir.path().join("control"), regions).unwrap();
        config.admin_listen.set_port(0);
        config
    }

    /// A control plane in a process of its own, and its config file.
    pub async fn control_process(&self) -> ControlProcess {
        let dir = self.dir.path();
        let token = "0123456789abcdef0123456789abcdef";
        std::fs::write(dir.join("keyring.key"), [7; 32]).unwrap();
        std::fs::write(dir.join("admin-token"), token).unwrap();
        let path = dir.join("control-plane.toml");
        let text = format!(
            "data_dir = {:?}\n[grpc]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = \"127.0.0.1:0\"\ntoken_file = {:?}\n\
             [kms.local]\nkeyring = {:?}\nkey_file = {:?}\n[buckets]\nregions = [{REGION:?}]\n\
             default_backend = \"default\"\n[[backends]]\nname = \"default\"\n",
            dir.join("control"),
            dir.join("admin-token"),
            dir.join("keyring.json"),
            dir.join("keyring.key"),
        );
        std::fs::write(&path, text).unwrap();
        let plane = Plane::control(&path).await;
        ControlProcess { plane, path, token: token.to_owned() }
    }

    /// The config file of a node; each name has its own.
    pub fn node_file(&self, name: &str, endpoint: &str, identity: &NodeIdentity) -> PathBuf {
        let dir = self.dir.path();
        let file = |end: &str| dir.join(format!("{name}.{end}"));
        std::fs::write(file("ca.pem"), &identity.ca).unwrap();
        std::fs::write(file("crt.pem"), &identity.certificate).unwrap();
        std::fs::write(file("key.pem"), identity.key.as_bytes()).unwrap();
        let text = format!(
            "listen = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\nworkers = 1\ndrain_wait_seconds = 0\n\
             [control_plane]\n\
             endpoint = {endpoint:?}\nserver_name = \"localhost\"\nca = {:?}\ncertificate = {:?}\nkey = {:?}\n\
             [backends.default]\nkind = \"filesystem\"\nroot = {:?}\n",
            file("ca.pem"),
            file("crt.pem"),
            file("key.pem"),
            self.backend(),
        );
        let path = file("toml");
        std::fs::write(&path, text).unwrap();
        path
    }

    /// The config of a node in this process.
    pub fn node_config(&self, endpoint: String, identity: NodeIdentity) -> NodeConfig {
        let backend = BackendConfig::Filesystem { root: self.backend() };
        NodeConfig {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            admin_listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            workers: 1,
            domains: Vec::new(),
            tls: None,
            drain_wait: Duration::ZERO,
            drain_seconds: 20,
            control_plane: ControlPlaneConfig {
                endpoint,
                server_name: "localhost".to_owned(),
                identity,
                files: None,
            },
            backends: BTreeMap::from([("default".to_owned(), backend)]),
        }
    }

    /// A ready node in this process.
    pub async fn node(&self, endpoint: String, identity: NodeIdentity) -> DataPlane {
        self.node_by(endpoint, identity, SystemClock::shared()).await
    }

    /// The same, by another clock.
    pub async fn node_by(
        &self,
        endpoint: String,
        identity: NodeIdentity,
        clock: Arc<dyn Clock>,
    ) -> DataPlane {
        let node = DataPlane::start(self.node_config(endpoint, identity), clock).unwrap();
        soon("the first config", node.node().wait_applied(0, 1)).await;
        node
    }
}

/// A control plane in a process of its own.
pub struct ControlProcess {
    pub plane: Plane,
    pub path: PathBuf,
    token: String,
}

impl ControlProcess {
    /// Starts it again after a kill, with the same data, elsewhere.
    pub async fn restart(&mut self) {
        self.plane = Plane::control(&self.path).await;
    }

    /// A request to the admin API that must succeed.
    pub async fn admin(&self, method: &str, path: &str, body: Value) -> Value {
        admin(self.plane.admin, &self.token, method, path, body).await
    }

    /// A request to the admin API, whatever becomes of it.
    pub fn try_admin(
        &self,
        method: &'static str,
        path: &'static str,
        body: Value,
    ) -> impl Future<Output = Result<Answer, String>> + use<> {
        let (address, token) = (self.plane.admin, self.token.clone());
        async move { try_admin(address, &token, method, path, body).await }
    }

    /// A tenant with a credential.
    pub async fn tenant(&self, name: &str) -> Client {
        self.admin("POST", "/v1/tenants", serde_json::json!({ "name": name })).await;
        let grants = serde_json::json!([{ "bucket": "*", "read": true, "write": true, "admin": true, "configure": true }]);
        let wanted = serde_json::json!({ "tenant": name, "label": "test", "grants": grants });
        let made = self.admin("POST", "/v1/credentials", wanted).await;
        let text = |key: &str| made[key].as_str().unwrap().to_owned();
        Client {
            address: SocketAddr::from(([127, 0, 0, 1], 1)),
            access_key: text("access_key_id"),
            secret_key: text("secret_access_key"),
        }
    }

    /// A node's certificate.
    pub async fn issue(&self, name: &str) -> Issued {
        let made =
            self.admin("POST", "/v1/nodes", serde_json::json!({ "name": name, "tenants": ["*"] })).await;
        let text = |key: &str| made[key].as_str().unwrap().to_owned();
        Issued {
            cert_pem: text("certificate"),
            key_pem: Zeroizing::new(text("private_key")),
            ca_pem: text("ca"),
            serial: text("serial"),
            not_after: made["not_after"].as_u64().unwrap(),
        }
    }
}

/// One request to an admin API that must succeed.
pub async fn admin(address: SocketAddr, token: &str, method: &str, path: &str, body: Value) -> Value {
    let answer = try_admin(address, token, method, path, body).await.unwrap().ok();
    serde_json::from_slice(&answer.body).unwrap()
}

/// One request to an admin API. A transport failure is an error: it was killed, or is gone.
pub async fn try_admin(
    address: SocketAddr,
    token: &str,
    method: &str,
    path: &str,
    body: Value,
) -> Result<Answer, String> {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", address.to_string())
        .header("authorization", format!("Bearer {token}"))
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body.to_string())))
        .unwrap();
    exchange(address, request).await
}

/// What a node's health port says.
pub async fn health(address: SocketAddr, path: &str) -> Result<Answer, String> {
    let request = Request::get(path).header("host", "health").body(Full::new(Bytes::new())).unwrap();
    exchange(address, request).await
}

/// A node's certificate in the data plane's terms.
pub fn identity(issued: &Issued) -> NodeIdentity {
    NodeIdentity {
        ca: issued.ca_pem.clone(),
        certificate: issued.cert_pem.clone(),
        key: Zeroizing::new(issued.key_pem.as_str().to_owned()),
    }
}

/// A tenant's credential from a control plane in this process.
pub async fn tenant(control: &Handle) -> Client {
    let id = control.ensure_tenant("tests").await.unwrap();
    let made = control.ensure_credential(id, "test").await.unwrap().unwrap();
    Client {
        address: SocketAddr::from(([127, 0, 0, 1], 1)),
        access_key: made.record.access_key_id.clone(),
        secret_key: made.secret.as_str().to_owned(),
    }
}

/// A node's certificate from a control plane in this process.
pub async fn issue(control: &Handle, name: &str) -> Issued {
    control.issue_node(name, Tenants::All).await.unwrap()
}
