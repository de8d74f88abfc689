//! Three nodes with raft: standbys, a leader that dies, a node that is cut off.

use std::{fs, sync::Arc, time::Duration};

use rustix::process::Signal;
use sealgate_kms::{Cause, Kms, KmsError};
use serde_json::{Value, json};

use super::documents;
use super::server::{Api, Bao, Running, config, open, port, trip, until};
use crate::suite::{self, ik};

const LONG: Duration = Duration::from_secs(60);

struct Cluster {
    nodes: Vec<(Running, Api)>,
    dir: tempfile::TempDir,
}

impl Cluster {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().display().to_string();
        fs::write(dir.path().join("unseal.key"), [7_u8; 32]).unwrap();
        // Each needs a port for clients and one for the others.
        let ports: Vec<(u16, u16)> = (0..3).map(|_| (port(), port())).collect();
        let join: String = ports
            .iter()
            .map(|(api, _)| {
                format!("  retry_join {{\n    leader_api_addr = \"http://127.0.0.1:{api}\"\n  }}\n")
            })
            .collect();
        let mut nodes = Vec::new();
        for (number, (api, cluster)) in ports.iter().enumerate() {
            let data = dir.path().join(format!("data-{number}"));
            fs::create_dir(&data).unwrap();
            let text = format!(
                "storage \"raft\" {{\n  path = \"{}\"\n  node_id = \"n{number}\"\n  performance_multiplier = 1\n{join}}}\n\
                 listener \"tcp\" {{\n  address = \"127.0.0.1:{api}\"\n  cluster_address = \"127.0.0.1:{cluster}\"\n  tls_disable = true\n}}\n\
                 seal \"static\" {{\n  current_key_id = \"k1\"\n  current_key = \"file://{home}/unseal.key\"\n}}\n\
                 api_addr = \"http://127.0.0.1:{api}\"\ncluster_addr = \"https://127.0.0.1:{cluster}\"\n\
                 disable_standby_reads = true\n",
                data.display(),
            );
            let file = dir.path().join(format!("n{number}.hcl"));
            fs::write(&file, text).unwrap();
            let running =
                Running::start(&["server".to_owned(), format!("-config={}", file.display())], dir.path());
            nodes.push((running, Api::new(format!("http://127.0.0.1:{api}"), "", None)));
        }
        let mut this = Self { nodes, dir };
        this.form().await;
        this
    }

    async fn form(&mut self) {
        let first = self.nodes[0].1.clone();
        let root = until("the first node is initialized", LONG, || async {
            let body = json!({ "recovery_shares": 1, "recovery_threshold": 1 });
            let (status, value) = first.try_ask("PUT", "sys/init", Some(body)).await?;
            (status == 200).then(|| value["root_token"].as_str().unwrap().to_owned())
        })
        .await;
        for (_, api) in &mut self.nodes {
            api.token.clone_from(&root);
        }
        let api = self.nodes[0].1.clone();
        let settings = json!({ "server_stabilization_time": "1s", "min_quorum": 3 });
        until("autopilot is told", LONG, || async {
            let asked =
                api.try_ask("POST", "sys/storage/raft/autopilot/configuration", Some(settings.clone())).await;
            asked.filter(|(status, _)| *status < 300)
        })
        .await;
        until("three vote", LONG, || async {
            let (_, state) = api.try_ask("GET", "sys/storage/raft/autopilot/state", None).await?;
            state["data"]["voters"].as_array().filter(|voters| voters.len() == 3).map(drop)
        })
        .await;
        api.post("sys/mounts/transit", json!({ "type": "transit" })).await;
        api.post("sys/auth/approle", json!({ "type": "approle" })).await;
        api.ask("PUT", "sys/policies/acl/gateway", json!({ "policy": documents::policy() })).await;
    }

    fn addresses(&self) -> Vec<&str> {
        self.nodes.iter().map(|(_, api)| api.address.as_str()).collect()
    }

    /// One [`Kms`] a node, in their order, sharing a login.
    async fn open(&self) -> Vec<Arc<dyn Kms>> {
        let api = &self.nodes[self.leader().await].1;
        api.post("auth/approle/role/gateway", json!({ "token_policies": "gateway" })).await;
        let role = api.ask("GET", "auth/approle/role/gateway/role-id", Value::Null).await;
        let secret = api.post("auth/approle/role/gateway/secret-id", json!({})).await;
        let file = self.dir.path().join("secret-id");
        fs::write(&file, secret["data"]["secret_id"].as_str().unwrap()).unwrap();
        let auth = json!({ "method": "approle", "role_id": role["data"]["role_id"], "secret_id_file": file });
        open(&config(&self.addresses(), auth, json!({})))
    }

    async fn leader(&self) -> usize {
        until("there is a leader", LONG, || async {
            for (number, (_, api)) in self.nodes.iter().enumerate() {
                if api.try_ask("GET", "sys/health", None).await.is_some_and(|(status, _)| status == 200) {
                    return Some(number);
                }
            }
            None
        })
        .await
    }
}

fn stands_by(error: &KmsError) -> bool {
    matches!(error, KmsError::Unavailable(Cause::Standby, _))
}

#[tokio::test]
async fn standbys_say_so_and_another_address_serves_when_the_leader_dies() {
    let mut cluster = Cluster::start().await;
    let kms = cluster.open().await;
    let leader = cluster.leader().await;
    let kek = kms[leader].create_kek("k").await.unwrap();
    let wrapped = kms[leader].wrap(&kek, "", b"c", &ik(1)).await.unwrap();
    for (number, node) in kms.iter().enumerate() {
        let results = [
            node.ready().await,
            node.unwrap(&kek, "", b"c", &wrapped).await.map(drop),
            trip(&**node, &kek).await,
            node.rotate(&kek).await,
        ];
        for result in results {
            match result {
                Ok(()) => assert_eq!(number, leader),
                Err(error) => assert!(number != leader && stands_by(&error), "node {number}: {error:?}"),
            }
        }
    }

    // Alone, a standby is not told to keep calls to itself: it stands for the cluster.
    let standby = (leader + 1) % 3;
    let auth = json!({ "method": "token", "file": cluster.dir.path().join("root") });
    fs::write(cluster.dir.path().join("root"), &cluster.nodes[0].1.token).unwrap();
    let alone = open(&config(&[cluster.addresses()[standby]], auth, json!({}))).remove(0);
    alone.ready().await.unwrap();
    suite::wrap(&*alone, &kek, b"c", &ik(1)).await;

    cluster.nodes[leader].0.kill();
    let survivors: Vec<usize> = (0..3).filter(|number| *number != leader).collect();
    let killed = std::time::Instant::now();
    let next = until("another node serves", LONG, || async {
        for &number in &survivors {
            match kms[number].unwrap(&kek, "", b"c", &wrapped).await {
                Ok(opened) => {
                    assert_eq!(opened.expose(), &[1; 32]);
                    return Some(number);
                }
                // Nothing that would take the key away.
                Err(error) => assert!(error.is_transient(), "{error:?}"),
            }
        }
        None
    })
    .await;
    println!("served again {:?} after the leader was killed", killed.elapsed());
    assert!(matches!(kms[leader].ready().await, Err(KmsError::Unavailable(Cause::Connect, _))));
    trip(&*kms[next], &kek).await.unwrap();

    // The login was of the dead leader; a new one is had from who is there.
    let api = &cluster.nodes[next].1;
    for accessor in api.tokens().await {
        api.revoke(&accessor).await;
    }
    trip(&*kms[next], &kek).await.unwrap();
}

#[tokio::test]
async fn a_standby_that_is_cut_off_opens_nothing() {
    let cluster = Cluster::start().await;
    let kms = cluster.open().await;
    let leader = cluster.leader().await;
    let kek = kms[leader].create_kek("k").await.unwrap();
    let wrapped = kms[leader].wrap(&kek, "", b"c", &ik(1)).await.unwrap();
    let cut_off = (leader + 1) % 3;
    for number in (0..3).filter(|number| *number != cut_off) {
        cluster.nodes[number].0.signal(Signal::STOP);
    }
    // Before and after it has noticed.
    let mut said = Vec::new();
    let started = std::time::Instant::now();
    while started.elapsed() < Duration::from_secs(8) {
        let error =
            kms[cut_off].unwrap(&kek, "", b"c", &wrapped).await.map(drop).expect_err("a cut-off standby");
        assert!(error.is_transient(), "{error:?}");
        said.push(error);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(said.iter().any(stands_by), "{said:?}");
    assert!(matches!(kms[leader].ready().await, Err(KmsError::Unavailable(Cause::Timeout, _))));
    for number in (0..3).filter(|number| *number != cut_off) {
        cluster.nodes[number].0.signal(Signal::CONT);
    }
    until("somebody serves again", LONG, || async {
        for node in &kms {
            if node.unwrap(&kek, "", b"c", &wrapped).await.is_ok() {
                return Some(());
            }
        }
        None
    })
    .await;
}

/// What the nodes of a cluster share, one of them cannot spoil: it is refused, or it hangs.
#[tokio::test]
async fn a_login_goes_to_the_next_address_when_one_is_not_there() {
    let bao = Bao::start().await;
    let auth = bao.approle(json!({})).await;
    let gone = format!("http://127.0.0.1:{}", port());
    let kms = open(&config(&[&gone, &bao.api.address], auth, json!({})));
    let error = kms[0].create_kek("k").await.unwrap_err();
    assert!(matches!(error, KmsError::Unavailable(Cause::Connect, _)), "{error:?}");
    assert_eq!(bao.api.tokens().await.len(), 1, "the login was made at the other address");
    let kek = kms[1].create_kek("k").await.unwrap();
    trip(&*kms[1], &kek).await.unwrap();
    assert_eq!(bao.api.tokens().await.len(), 1, "both share it");
}
