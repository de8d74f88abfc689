//! A node with few file descriptors, and more clients than it has room for.

use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::process::Plane;
use super::s3::{Client, bytes};
use super::world::{World, health, identity, soon, until};

/// A connection that is used again and again.
struct Kept {
    sender: hyper::client::conn::http1::SendRequest<http_body_util::Full<bytes::Bytes>>,
    client: Client,
}

impl Kept {
    async fn new(client: &Client) -> Self {
        let stream = TcpStream::connect(client.address).await.unwrap();
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Self { sender, client: client.clone() }
    }

    /// One request and its answer's status and body.
    async fn send(&mut self, method: &str, target: &str, body: bytes::Bytes) -> (u16, bytes::Bytes) {
        use http_body_util::BodyExt as _;

        let mut request = http::Request::builder().method(method).uri(target);
        for (name, value) in self.client.signed(method, target, std::time::SystemTime::now()) {
            request = request.header(name, value);
        }
        let request = request.body(http_body_util::Full::new(body)).unwrap();
        self.sender.ready().await.unwrap();
        let answer = self.sender.send_request(request).await.unwrap();
        let status = answer.status().as_u16();
        (status, answer.into_body().collect().await.unwrap().to_bytes())
    }
}

/// The limit in force of a process, by the kernel's word.
fn open_files(process: u32) -> String {
    let limits = std::fs::read_to_string(format!("/proc/{process}/limits")).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    line.split_whitespace().nth(3).unwrap().to_owned()
}

#[actix_rt::test]
async fn idle_connections_take_no_descriptor_from_clients_that_are_served_nor_from_health() {
    let world = World::new();
    let control = world.control_process().await;
    let client = control.tenant("tests").await;
    let endpoint = format!("https://{}", control.plane.address);
    let file = world.node_file("one", &endpoint, &identity(&control.issue("one").await));
    let node = Plane::node_under(&file, (128, 256)).await;
    assert_eq!(open_files(node.id()), "256", "what is allowed is used");
    let client = client.at(node.address);
    until("a config", async || client.send("GET", "/", "").await.status == 200).await;
    client.put("/bucket", "").await.ok();
    let body = bytes(300 << 10, 1);
    let mut kept = Vec::new();
    for number in 0..4 {
        let mut connection = Kept::new(&client).await;
        assert_eq!(connection.send("PUT", &format!("/bucket/{number}"), body.clone()).await.0, 200);
        kept.push(connection);
    }

    // The kernel takes all of them in; the node has room for some.
    let mut idle = Vec::new();
    for _ in 0..400 {
        idle.push(TcpStream::connect(client.address).await.unwrap());
    }
    let held = || std::fs::read_dir(format!("/proc/{}/fd", node.id())).unwrap().count();
    until("as many as it takes", async || held() > 64).await;
    for (number, connection) in kept.iter_mut().enumerate() {
        let target = format!("/bucket/{number}");
        let put = soon("a PUT", connection.send("PUT", &target, body.clone())).await;
        assert_eq!(put.0, 200, "{}", String::from_utf8_lossy(&put.1));
        assert_eq!(
            soon("a GET", connection.send("GET", &target, bytes::Bytes::new())).await,
            (200, body.clone())
        );
    }
    assert_eq!(soon("health", health(node.admin, "/healthz")).await.unwrap().status, 200);
    assert!(held() < 200, "{} of 256 are in use", held());

    // Those that wait are served when others have gone.
    drop(idle);
    assert_eq!(soon("a newcomer", client.get("/bucket/0")).await.ok().body, body);
}
