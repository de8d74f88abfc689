//! What goes on to the storage, and what does not: seen by a storage that writes down every request that reaches it.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use sealgate_data_plane::backend::s3::{S3Backend, S3Config, ServerKind, StaticCredentials};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::s3::Client;
use super::steered::serve;
use super::steering::Steering;
use super::world::{admin, soon};

/// A gateway whose storage answers everything alike, and what reached the storage: request line and body.
struct Forwarding {
    steering: Steering,
    client: Client,
    seen: Rc<RefCell<Vec<String>>>,
}

impl Forwarding {
    async fn start(answer: &'static str) -> Self {
        let steering = Steering::start().await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let seen = Rc::new(RefCell::new(Vec::new()));
        let kept = Rc::clone(&seen);
        actix_rt::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    match stream.read_u8().await {
                        Ok(byte) => head.push(byte),
                        Err(_) => break,
                    }
                }
                let head = String::from_utf8(head).unwrap();
                let length = head
                    .lines()
                    .find_map(|line| {
                        line.to_ascii_lowercase().strip_prefix("content-length: ").map(str::to_owned)
                    })
                    .map_or(0, |text| text.parse().unwrap());
                let mut body = vec![0; length];
                stream.read_exact(&mut body).await.unwrap();
                let line = head.lines().next().unwrap_or_default().trim_end_matches(" HTTP/1.1");
                let condition = head.lines().find(|line| line.starts_with("if-match: ")).unwrap_or_default();
                kept.borrow_mut().push(format!("{line} {}{condition}", String::from_utf8(body).unwrap()));
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        let credentials = StaticCredentials::new("STORAGEKEY".into(), "storage-secret".into(), None);
        let mut config = S3Config::new(&endpoint, "us-east-1", Arc::new(credentials)).unwrap();
        config.server = ServerKind::Aws;
        let backend = S3Backend::new(config).unwrap();
        let client = steering.plain.at(serve(steering.node.node(), Rc::new(backend)).await);
        Self { steering, client, seen }
    }

    /// A client with these grants only.
    async fn granted(&self, grants: serde_json::Value) -> Client {
        let token = std::fs::read_to_string(self.steering.world.path().join("control/admin-token")).unwrap();
        let wanted = json!({ "tenant": "tests", "label": "less", "grants": [grants] });
        let address = self.steering.control.admin_addr();
        let made = admin(address, token.trim(), "POST", "/v1/credentials", wanted).await;
        let (epoch, version) = self.steering.other.node().applied();
        soon("the credential", self.steering.node.node().wait_applied(epoch, version)).await;
        let text = |key: &str| made[key].as_str().unwrap().to_owned();
        Client {
            access_key: text("access_key_id"),
            secret_key: text("secret_access_key"),
            ..self.client.clone()
        }
    }

    fn seen(&self) -> Vec<String> {
        self.seen.borrow_mut().drain(..).collect()
    }
}

const EMPTY: &str = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";

#[actix_rt::test]
async fn nothing_reaches_the_storage_that_is_not_on_the_list() {
    let forwarding = Forwarding::start(EMPTY).await;
    let client = &forwarding.client;
    for (method, target, header) in [
        ("PUT", "/bucket/k?append=", None),
        ("PUT", "/bucket/k?encryption=", None),
        ("POST", "/bucket/k?tagging=", None),
        ("PUT", "/bucket/k?tagging=&position=3", None),
        ("PUT", "/bucket?brand-new=", None),
        ("DELETE", "/bucket?versioning=", None),
        ("PUT", "/bucket/k?tagging=", Some("x-amz-brand-new")),
        ("PUT", "/bucket/k?tagging=", Some("x-amz-copy-source")),
        ("PUT", "/bucket/k?tagging=", Some("if-match")),
    ] {
        let headers: Vec<_> = header.into_iter().map(|name| (name, "value".to_owned())).collect();
        let answer = client.send_with(method, target, &headers, "<x/>").await;
        assert_eq!(answer.status, 501, "{method} {target} {header:?}: {}", answer.text());
        assert_eq!(answer.tag("Code"), "NotImplemented");
    }
    for target in ["/bucket/.sealgate/v1/bucket?tagging=", "/bucket/.sealgate/v1/x?acl="] {
        assert_eq!(client.get(target).await.tag("Code"), "AccessDenied", "{target}");
    }
    let wrong = [("content-md5", "rL0Y20zC+Fzt72VPzMSk2A==".to_owned())];
    let answer = client.send_with("PUT", "/bucket/k?tagging=", &wrong, "<Tagging/>").await;
    assert_eq!(answer.tag("Code"), "BadDigest");
    let select = "<RestoreRequest><Type>SELECT</Type></RestoreRequest>";
    assert_eq!(client.send("POST", "/bucket/k?restore=", select).await.status, 501);
    let long = "x".repeat((1 << 20) + 1);
    assert_eq!(client.send("PUT", "/bucket?policy=", long).await.status, 400);
    let owner = [("x-amz-expected-bucket-owner", "111122223333".to_owned())];
    assert_eq!(client.send_with("GET", "/bucket?versioning=", &owner, "").await.tag("Code"), "AccessDenied");
    assert_eq!(forwarding.seen(), Vec::<String>::new());

    client.send("PUT", "/bucket/k?tagging=&versionId=v", "<Tagging/>").await.ok();
    assert_eq!(forwarding.seen(), ["PUT /bucket/k?tagging=&versionId=v <Tagging/>"]);
    forwarding.steering.stop().await;
}

/// A storage without versions shows what is current, whatever version is asked for, and that may be replaced by the time that
/// it is deleted.
#[actix_rt::test]
async fn a_deletion_is_bound_by_a_version_only_where_the_storage_shows_that_version() {
    for (told, bound) in [
        ("", "if-match: \"e\""),
        ("x-amz-version-id: w\r\n", "if-match: \"e\""),
        ("x-amz-version-id: v\r\n", ""),
    ] {
        let answer = format!(
            "HTTP/1.1 200 OK\r\nConnection: close\r\nETag: \"e\"\r\nLast-Modified: Fri, 24 May 2013 00:00:00 GMT\r\n\
             {told}Content-Length: 0\r\n\r\n"
        );
        let forwarding = Forwarding::start(answer.leak()).await;
        let size = [("x-amz-if-match-size", "0".to_owned())];
        forwarding.client.send_with("DELETE", "/bucket/k?versionId=v", &size, "").await.ok();
        assert_eq!(
            forwarding.seen(),
            ["HEAD /bucket/k?versionId=v ".to_owned(), format!("DELETE /bucket/k?versionId=v {bound}")],
            "{told}"
        );
        forwarding.steering.stop().await;
    }
}

#[actix_rt::test]
async fn what_is_done_in_the_gateways_name_needs_a_grant_of_its_own() {
    let forwarding = Forwarding::start(EMPTY).await;
    let without = json!({ "bucket": "*", "read": true, "write": true, "admin": true });
    let without = forwarding.granted(without).await;
    let only = forwarding.granted(json!({ "bucket": "*", "configure": true })).await;
    for (method, target, header) in [
        ("PUT", "/bucket?policy=", None),
        ("PUT", "/bucket?versioning=", None),
        ("DELETE", "/bucket?lifecycle=", None),
        ("PUT", "/bucket/k?acl=", Some(("x-amz-acl", "public-read"))),
        ("PUT", "/bucket/k", Some(("x-amz-acl", "public-read"))),
        ("PUT", "/bucket/k?retention=", Some(("x-amz-bypass-governance-retention", "true"))),
        ("DELETE", "/bucket/k?versionId=v", Some(("x-amz-bypass-governance-retention", "true"))),
    ] {
        let headers: Vec<_> = header.into_iter().map(|(name, value)| (name, value.to_owned())).collect();
        let answer = without.send_with(method, target, &headers, "").await;
        assert_eq!(
            (answer.status.as_u16(), answer.tag("Code")),
            (403, "AccessDenied".to_owned()),
            "{method} {target}"
        );
    }
    assert_eq!(only.get("/bucket?policy=").await.tag("Code"), "AccessDenied");
    assert_eq!(forwarding.seen(), Vec::<String>::new());

    only.send("PUT", "/bucket?policy=", "{}").await.ok();
    without.get("/bucket?policy=").await.ok();
    without.send("PUT", "/bucket/k?tagging=", "<Tagging/>").await.ok();
    assert_eq!(
        forwarding.seen(),
        ["PUT /bucket?policy= {}", "GET /bucket?policy= ", "PUT /bucket/k?tagging= <Tagging/>"]
    );
    forwarding.steering.stop().await;
}

#[actix_rt::test]
async fn an_answer_comes_back_without_what_is_the_gateways_own() {
    let forwarding = Forwarding::start(
        "HTTP/1.1 200 OK\r\nConnection: close\r\nServer: storage\r\nx-amz-request-id: theirs\r\nx-amz-version-id: v\r\n\
         Set-Cookie: a=b\r\nContent-Type: application/xml\r\nContent-Length: 198\r\n\r\n\
         <AccessControlPolicy><Owner><ID>STORAGEKEY</ID></Owner><AccessControlList><Grant><Grantee><ID>STORAGEKEY</ID>\
         </Grantee><Permission>READ</Permission></Grant></AccessControlList></AccessControlPolicy>",
    )
    .await;
    let answer = forwarding.client.get("/bucket/k?acl=").await.ok();
    assert_eq!(answer.headers["x-amz-version-id"], "v");
    assert_eq!(answer.headers["server"], "Sealgate");
    assert_ne!(answer.headers["x-amz-request-id"], "theirs");
    assert!(answer.headers.get("set-cookie").is_none());
    let tenant = forwarding.client.get("/").await.ok().tag("ID");
    assert_eq!(answer.text().matches(&format!("<ID>{tenant}</ID>")).count(), 2, "{}", answer.text());
    assert!(!answer.text().contains("STORAGEKEY"), "{}", answer.text());

    // Put back, it names the storage's owner again; who that is was asked first.
    forwarding.seen();
    forwarding.client.send("PUT", "/bucket/k?acl=", answer.body).await.ok();
    let seen = forwarding.seen();
    assert_eq!(seen.len(), 2);
    assert_eq!(seen[0], "GET /bucket/k?acl= ");
    assert!(
        seen[1].starts_with("PUT /bucket/k?acl= ") && seen[1].matches("<ID>STORAGEKEY</ID>").count() == 2
    );
    assert!(!seen[1].contains(&tenant));
    forwarding.steering.stop().await;
}

#[actix_rt::test]
async fn an_error_of_the_storage_keeps_its_words_and_gets_the_gateways_request_id() {
    let forwarding = Forwarding::start(
        "HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 122\r\n\r\n\
         <Error><Code>NoSuchTagSet</Code><Message>There is no tag set.</Message><RequestId>theirs</RequestId><a></a><b></b></Error>",
    )
    .await;
    let answer = forwarding.client.get("/bucket?tagging=").await;
    assert_eq!(answer.status, 404);
    assert_eq!(
        (answer.tag("Code"), answer.tag("Message")),
        ("NoSuchTagSet".to_owned(), "There is no tag set.".to_owned())
    );
    assert_eq!(answer.tag("RequestId").as_bytes(), answer.headers["x-amz-request-id"].as_bytes());
    assert_eq!(answer.tag("Resource"), "/bucket");
    forwarding.steering.stop().await;
}

#[actix_rt::test]
async fn the_storages_trouble_with_the_gateway_is_not_the_clients() {
    let forwarding = Forwarding::start(
        "HTTP/1.1 403 Forbidden\r\nConnection: close\r\nContent-Length: 97\r\n\r\n\
         <Error><Code>SignatureDoesNotMatch</Code><Message>STORAGEKEY is not who it says</Message></Error>",
    )
    .await;
    let answer = forwarding.client.get("/bucket?tagging=").await;
    assert_eq!((answer.status.as_u16(), answer.tag("Code")), (500, "InternalError".to_owned()));
    assert!(!answer.text().contains("STORAGEKEY"));
    forwarding.steering.stop().await;
}
