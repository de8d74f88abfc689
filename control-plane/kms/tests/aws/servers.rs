#![allow(dead_code, reason = "each test binary uses some of these")]
//! The servers that stand in for AWS: started on free ports, waited for, and ended with the test, whether it passes or not.

use std::{
    env,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use sealgate_kms::aws::{Config, Replica};
use serde_json::Value;
use tempfile::TempDir;

pub const HOME: &str = "eu-central-1";
pub const OTHER: &str = "eu-west-1";

/// What the credentials file holds: in no error and no trace.
pub const SECRET: &str = "sEcReTaCcEsSkEy0123456789abcdefghijklmno";

/// A process that is killed when this is dropped.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
    _dir: TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn start(
        mut command: Command,
        address: SocketAddr,
        dir: TempDir,
        health: &str,
        within: Duration,
    ) -> Self {
        let program = command.get_program().to_owned();
        let log = dir.path().join("log");
        let file = std::fs::File::create(&log).unwrap();
        command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file).current_dir(dir.path());
        let child = command.spawn().unwrap_or_else(|error| panic!("{}: {error}", program.display()));
        let mut server = Self { child, address, _dir: dir };
        let started = Instant::now();
        while ask(address, "GET", health, &[], "").is_none_or(|(status, _)| status != 200) {
            if started.elapsed() > within || server.child.try_wait().unwrap().is_some() {
                panic!("{} did not start: {}", program.display(), std::fs::read_to_string(&log).unwrap());
            }
            // Between two looks at the condition, not instead of it.
            std::thread::sleep(Duration::from_millis(50));
        }
        server
    }
}

fn tool(variable: &str, name: &str) -> PathBuf {
    env::var_os(variable).map(PathBuf::from).unwrap_or_else(|| {
        panic!("{variable} is not set: run `ops/install-tools {name}`, then `. ~/.cache/sealgate-tools/env`")
    })
}

/// A port of the kernel's choice that nothing listens on.
pub fn free_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

pub fn moto() -> Server {
    let address = free_port();
    let mut command = Command::new(tool("SEALGATE_MOTO", "moto"));
    command.args(["-H", "127.0.0.1", "-p", &address.port().to_string()]);
    let server =
        Server::start(command, address, TempDir::new().unwrap(), "/moto-api/", Duration::from_secs(60));
    // It loads a service with the first call, on a busy machine for longer than the provider waits.
    key_ids(&server, HOME);
    server
}

pub fn localstack() -> Server {
    let address = free_port();
    let dir = TempDir::new().unwrap();
    let mut command = Command::new(tool("SEALGATE_LOCALSTACK_PYTHON", "localstack"));
    command.args(["-m", "localstack.runtime.main"]);
    for (name, value) in [
        ("GATEWAY_SERVER", "hypercorn"),
        ("SERVICES", "kms,sts"),
        ("EAGER_SERVICE_LOADING", "0"),
        ("SKIP_SSL_CERT_DOWNLOAD", "1"),
        ("DISABLE_EVENTS", "1"),
        ("DNS_ADDRESS", "0"),
        ("ACTIVATE_PRO", "0"),
    ] {
        command.env(name, value);
    }
    command.env("GATEWAY_LISTEN", address.to_string());
    command.env("FILESYSTEM_ROOT", dir.path());
    command.env("LOCALSTACK_VOLUME_DIR", dir.path().join("var"));
    command.env("HOME", dir.path());
    let server = Server::start(command, address, dir, "/_localstack/health", Duration::from_secs(180));
    // As moto.
    key_ids(&server, HOME);
    server
}

/// Forgets every key: what comes next begins with a KMS that is empty.
pub fn reset(moto: &Server) {
    let (status, _) = ask(moto.address, "POST", "/moto-api/reset", &[], "").unwrap();
    assert_eq!(status, 200);
}

/// Faults in front of another server.
pub fn microburst(upstream: &Server) -> Server {
    let address = free_port();
    let mut command = Command::new(tool("SEALGATE_MICROBURST", "microburst"));
    command.args(["-u", &upstream.url(), "--host", "127.0.0.1", "--port", &address.port().to_string()]);
    let server = Server::start(
        command,
        address,
        TempDir::new().unwrap(),
        "/_microburst/health",
        Duration::from_secs(60),
    );
    // As moto.
    key_ids(&server, HOME);
    server
}

/// One HTTP request; `None` when there is no whole answer.
pub fn ask(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(120))).ok()?;
    let mut head = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    stream.write_all(format!("{head}\r\n{body}").as_bytes()).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, body.to_owned()))
}

/// A KMS operation behind the provider's back, unsigned as moto and LocalStack take it.
pub fn kms(server: &Server, region: &str, operation: &str, body: Value) -> Value {
    let scope = format!(
        "AWS4-HMAC-SHA256 Credential=test/20260101/{region}/kms/aws4_request, SignedHeaders=host, Signature=0"
    );
    let headers = [
        ("content-type", "application/x-amz-json-1.1"),
        ("x-amz-target", &format!("TrentService.{operation}")),
        ("authorization", &scope),
    ];
    let (status, text) = ask(server.address, "POST", "/", &headers, &body.to_string()).expect("an answer");
    assert_eq!(status, 200, "{operation}: {text}");
    // LocalStack sends some answers in chunks: the JSON is what stands between the first and the last brace.
    let json = text.find('{').zip(text.rfind('}')).map(|(from, to)| &text[from..=to]);
    json.map_or(Value::Null, |json| serde_json::from_str(json).unwrap())
}

/// The ids of all keys of a region.
pub fn key_ids(server: &Server, region: &str) -> Vec<String> {
    let keys = kms(server, region, "ListKeys", serde_json::json!({"Limit": 1000}));
    let keys = keys["Keys"].as_array().unwrap().iter();
    keys.map(|key| key["KeyId"].as_str().unwrap().to_owned()).collect()
}

/// A provider's section, with credentials that stand in a file.
pub struct Section {
    pub config: Config,
    pub dir: TempDir,
}

impl Section {
    pub fn new(endpoint: &str) -> Self {
        let dir = TempDir::new().unwrap();
        let credentials = dir.path().join("credentials");
        let text = format!("[default]\naws_access_key_id = AKIATEST\naws_secret_access_key = {SECRET}\n");
        std::fs::write(&credentials, text).unwrap();
        let config = Config {
            region: HOME.to_owned(),
            endpoint: Some(endpoint.to_owned()),
            replicas: Vec::new(),
            ca_file: None,
            credentials_file: Some(credentials),
            profile: None,
            grant_tokens_file: None,
            deletion_window_days: 30,
            allow_http: false,
        };
        Self { config, dir }
    }

    /// With a second region at this endpoint.
    pub fn with_replica(mut self, endpoint: &str) -> Self {
        self.config.replicas.push(Replica { region: OTHER.to_owned(), endpoint: Some(endpoint.to_owned()) });
        self
    }
}
