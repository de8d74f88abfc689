//! A real OpenBao per test, on ports that the kernel gave. `SEALGATE_BAO` is the path of its program.

use std::{
    fs::{self, File},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use reqwest::{Certificate, Client, Method};
use sealgate_kms::{
    Kms, KmsError,
    vault::{self, Config},
};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::documents;

pub const ROOT: &str = "root-of-a-test";

pub fn program() -> PathBuf {
    let path = std::env::var_os("SEALGATE_BAO").map(PathBuf::from).filter(|path| path.is_file());
    path.expect("SEALGATE_BAO has to name OpenBao's program `bao`: run ops/install-tools, then source ~/.cache/sealgate-tools/env")
}

/// A port that nobody listens on.
pub fn port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Asks until it is so; panics with what was waited for.
pub async fn until<T, F: Future<Output = Option<T>>>(
    what: &str,
    within: Duration,
    mut ask: impl FnMut() -> F,
) -> T {
    let started = Instant::now();
    loop {
        if let Some(value) = ask().await {
            return value;
        }
        assert!(started.elapsed() < within, "waited {within:?} for: {what}");
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}

/// A program that ends with its test.
pub struct Running {
    pub child: Child,
    log: PathBuf,
}

impl Running {
    pub fn start(arguments: &[String], home: &Path) -> Self {
        let log = home.join(format!("log-{}", port()));
        let out = File::create(&log).unwrap();
        let child = Command::new(program())
            .args(arguments)
            .env_clear()
            .env("HOME", home)
            .stdin(Stdio::null())
            .stdout(out.try_clone().unwrap())
            .stderr(out)
            .spawn()
            .unwrap();
        Self { child, log }
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn assert_running(&mut self) {
        if let Some(status) = self.child.try_wait().unwrap() {
            panic!("bao ended with {status}: {}", fs::read_to_string(&self.log).unwrap());
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The API with a token of its own, behind the provider's back.
#[derive(Clone)]
pub struct Api {
    pub address: String,
    pub token: String,
    client: Client,
}

impl Api {
    pub fn new(address: String, token: &str, ca: Option<&str>) -> Self {
        let ca = ca.map(|pem| Certificate::from_pem(pem.as_bytes()).unwrap());
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        // The first one stays; the tests' own client alone asks for it.
        let _ = provider.install_default();
        let client =
            Client::builder().tls_certs_only(ca).no_proxy().timeout(Duration::from_secs(10)).build().unwrap();
        Self { address, token: token.to_owned(), client }
    }

    pub async fn try_ask(&self, method: &str, path: &str, body: Option<Value>) -> Option<(u16, Value)> {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let mut request = self
            .client
            .request(method, format!("{}/v1/{path}", self.address))
            .header("x-vault-token", &self.token);
        if let Some((namespace, _)) = path.split_once("//") {
            request = self.client.request(
                request.build().unwrap().method().clone(),
                format!("{}/v1/{}", self.address, &path[namespace.len() + 2..]),
            );
            request = request.header("x-vault-token", &self.token).header("x-vault-namespace", namespace);
        }
        if let Some(body) = body {
            request = request.body(body.to_string());
        }
        let answer = request.send().await.ok()?;
        let status = answer.status().as_u16();
        let text = answer.text().await.ok()?;
        Some((status, serde_json::from_str(&text).unwrap_or(Value::Null)))
    }

    /// A call that has to succeed; `namespace//path` for one in a namespace.
    pub async fn ask(&self, method: &str, path: &str, body: Value) -> Value {
        let body = (!body.is_null()).then_some(body);
        let (status, value) = self.try_ask(method, path, body).await.expect("an answer");
        assert!((200..300).contains(&status), "{method} {path}: {status} {value}");
        value
    }

    pub async fn post(&self, path: &str, body: Value) -> Value {
        self.ask("POST", path, body).await
    }

    pub async fn list(&self, path: &str) -> Vec<String> {
        let (status, value) = self.try_ask("LIST", path, None).await.expect("an answer");
        assert!(status == 200 || status == 404, "{path}: {status} {value}");
        let keys = value["data"]["keys"].as_array().cloned().unwrap_or_default();
        keys.iter().map(|key| key.as_str().unwrap().to_owned()).collect()
    }

    /// The tokens that live besides the root's.
    pub async fn tokens(&self) -> Vec<String> {
        let root = self.ask("GET", "auth/token/lookup-self", Value::Null).await;
        let root = root["data"]["accessor"].as_str().unwrap().to_owned();
        let mut tokens = self.list("auth/token/accessors").await;
        tokens.retain(|accessor| *accessor != root);
        tokens
    }

    pub async fn revoke(&self, accessor: &str) {
        self.post("auth/token/revoke-accessor", json!({ "accessor": accessor })).await;
    }
}

/// A server in dev mode with a transit engine and AppRole.
pub struct Bao {
    pub api: Api,
    pub dir: TempDir,
    pub running: Running,
}

impl Bao {
    pub async fn start() -> Self {
        Self::start_with(|_| String::new()).await
    }

    /// With more of a configuration, which may name files in its directory.
    pub async fn start_with(more: impl FnOnce(&Path) -> String) -> Self {
        let (dir, port) = (tempfile::tempdir().unwrap(), port());
        let file = dir.path().join("more.hcl");
        fs::write(&file, more(dir.path())).unwrap();
        let arguments = [
            "server",
            "-dev",
            "-dev-no-store-token",
            &format!("-config={}", file.display()),
            &format!("-dev-root-token-id={ROOT}"),
            &format!("-dev-listen-address=127.0.0.1:{port}"),
        ];
        let running = Running::start(&arguments.map(str::to_owned), dir.path());
        let api = Api::new(format!("http://127.0.0.1:{port}"), ROOT, None);
        let mut this = Self { api, dir, running };
        this.healthy().await;
        this.api.post("sys/mounts/transit", json!({ "type": "transit" })).await;
        this.api.post("sys/auth/approle", json!({ "type": "approle" })).await;
        this.policy("gateway", &documents::policy()).await;
        this
    }

    async fn healthy(&mut self) {
        let (api, running) = (self.api.clone(), &mut self.running);
        until("bao is healthy", Duration::from_secs(30), || {
            running.assert_running();
            let api = api.clone();
            async move { api.try_ask("GET", "sys/health", None).await.filter(|(status, _)| *status == 200) }
        })
        .await;
    }

    pub async fn policy(&self, name: &str, text: &str) {
        self.api.ask("PUT", &format!("sys/policies/acl/{name}"), json!({ "policy": text })).await;
    }

    pub fn file(&self, name: &str, content: &str) -> String {
        let path = self.dir.path().join(name);
        fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// AppRole's `auth` for the policy `gateway`, with tokens as `role` says.
    pub async fn approle(&self, role: Value) -> Value {
        let mut settings = json!({ "token_policies": "gateway" });
        settings.as_object_mut().unwrap().extend(role.as_object().unwrap().clone());
        self.api.post("auth/approle/role/gateway", settings).await;
        let answer = self.api.ask("GET", "auth/approle/role/gateway/role-id", Value::Null).await;
        let role_id = answer["data"]["role_id"].clone();
        let secret_id_file = self.file("secret-id", &self.secret_id().await);
        json!({ "method": "approle", "role_id": role_id, "secret_id_file": secret_id_file })
    }

    pub async fn secret_id(&self) -> String {
        let answer = self.api.post("auth/approle/role/gateway/secret-id", json!({})).await;
        answer["data"]["secret_id"].as_str().unwrap().to_owned()
    }

    /// `auth` with the root token: it may do everything.
    pub fn root(&self) -> Value {
        json!({ "method": "token", "file": self.file("root-token", &format!("{ROOT}\n")) })
    }

    pub fn config(&self, auth: Value) -> Config {
        config(&[&self.api.address], auth, json!({}))
    }

    pub fn open(&self, auth: Value) -> Arc<dyn Kms> {
        open(&self.config(auth)).remove(0)
    }
}

pub fn config(addresses: &[&str], auth: Value, more: Value) -> Config {
    let mut config = json!({ "addresses": addresses, "auth": auth });
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value(config).unwrap()
}

pub fn open(config: &Config) -> Vec<Arc<dyn Kms>> {
    vault::open("vault-eu", config).unwrap()
}

/// One key there and back.
pub async fn trip(kms: &dyn Kms, kek: &str) -> Result<(), KmsError> {
    let ik = crate::suite::ik(7);
    let wrapped = kms.wrap(kek, "", b"context", &ik).await?;
    let opened = kms.unwrap(kek, "", b"context", &wrapped).await?;
    assert_eq!(opened.expose(), ik.expose());
    Ok(())
}
