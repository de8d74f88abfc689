//! Each way to log in, over TLS where that is the login, against a real server.

use std::{
    fs,
    time::{Duration, Instant},
};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use sealgate_kms::{Cause, Kms, KmsError, vault};
use serde_json::{Value, json};

use super::{
    fake::{Fake, reply},
    server::{Bao, config, open, port, trip},
};

/// An issuer of JSON Web Tokens.
struct Signer {
    key: KeyPair,
}

impl Signer {
    fn new() -> Self {
        Self { key: KeyPair::generate().unwrap() }
    }

    /// A token with these claims, for an hour, ES256 (RFC 7519, RFC 7518).
    fn sign(&self, claims: Value) -> String {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        let mut all = json!({ "iat": now, "nbf": now, "exp": now + 3600 });
        all.as_object_mut().unwrap().extend(claims.as_object().unwrap().clone());
        let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let text = format!("{}.{}", part(json!({ "alg": "ES256", "typ": "JWT" })), part(all));
        let pair =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &self.key.serialize_der()).unwrap();
        let signature = pair.sign(&SystemRandom::new(), text.as_bytes()).unwrap();
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

#[tokio::test]
async fn a_jwt_logs_in_and_its_file_is_read_at_each_login() {
    let bao = Bao::start().await;
    let signer = Signer::new();
    bao.api.post("sys/auth/jwt", json!({ "type": "jwt" })).await;
    let key = json!({ "jwt_validation_pubkeys": [signer.key.public_key_pem()], "default_role": "gateway" });
    bao.api.post("auth/jwt/config", key).await;
    let role = json!({
        "role_type": "jwt",
        "bound_audiences": ["bao"],
        "user_claim": "sub",
        "token_policies": "gateway",
    });
    bao.api.post("auth/jwt/role/gateway", role).await;
    let file = bao.file("jwt", &signer.sign(json!({ "sub": "first", "aud": "bao" })));
    let kms = bao.open(json!({ "method": "jwt", "role": "gateway", "jwt_file": file }));
    let kek = kms.create_kek("k").await.unwrap();
    trip(&*kms, &kek).await.unwrap();
    let subject = async || {
        let accessor = bao.api.tokens().await.remove(0);
        let looked = bao.api.post("auth/token/lookup-accessor", json!({ "accessor": accessor })).await;
        looked["data"]["display_name"].as_str().unwrap().to_owned()
    };
    assert_eq!(subject().await, "jwt-first");

    fs::write(&file, signer.sign(json!({ "sub": "second", "aud": "bao" }))).unwrap();
    bao.api.revoke(&bao.api.tokens().await[0]).await;
    trip(&*kms, &kek).await.unwrap();
    assert_eq!(subject().await, "jwt-second");

    // The default role, and one that is signed by somebody else.
    let kms = bao.open(json!({ "method": "jwt", "jwt_file": file }));
    trip(&*kms, &kek).await.unwrap();
    let foreign = Signer::new().sign(json!({ "sub": "third", "aud": "bao" }));
    fs::write(&file, &foreign).unwrap();
    let kms = bao.open(json!({ "method": "jwt", "jwt_file": file }));
    let error = trip(&*kms, &kek).await.unwrap_err();
    assert!(matches!(error, KmsError::Denied(_)), "{error:?}");
    assert!(!format!("{error:?}").contains(&foreign), "{error:?}");
}

/// The cluster's part, TokenReview, is played by a server of the test's.
#[tokio::test]
async fn a_service_account_logs_in_and_its_token_is_read_at_each_login() {
    let bao = Bao::start().await;
    let signer = Signer::new();
    let cluster = Fake::start(|seen| {
        if !seen.head.starts_with("post /apis/authentication.k8s.io/v1/tokenreviews ") {
            return reply(404, "", "{}");
        }
        let asked: Value = serde_json::from_str(&seen.body).unwrap();
        let claims = asked["spec"]["token"].as_str().unwrap().split('.').nth(1).unwrap();
        let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap();
        let review = json!({
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "status": {
                "authenticated": true,
                "user": { "username": claims["sub"], "uid": claims["kubernetes.io"]["serviceaccount"]["uid"] },
            },
        });
        reply(201, "content-type: application/json\r\n", &review.to_string())
    })
    .await;
    bao.api.post("sys/auth/kubernetes", json!({ "type": "kubernetes" })).await;
    let settings = json!({
        "kubernetes_host": cluster.address,
        "token_reviewer_jwt": signer.sign(json!({ "sub": "reviewer" })),
        "disable_local_ca_jwt": true,
        // Asked for, and not used over plain HTTP.
        "kubernetes_ca_cert": Ca::new("cluster").pem,
    });
    bao.api.post("auth/kubernetes/config", settings).await;
    let role = json!({
        "bound_service_account_names": ["gateway"],
        "bound_service_account_namespaces": ["storage"],
        "token_policies": "gateway",
    });
    bao.api.post("auth/kubernetes/role/gateway", role).await;
    let account = |namespace: &str, id: &str| {
        signer.sign(json!({
            "sub": format!("system:serviceaccount:{namespace}:gateway"),
            "jti": id,
            "kubernetes.io": {
                "namespace": namespace,
                "serviceaccount": { "name": "gateway", "uid": "0b1e1d5a" },
            },
        }))
    };
    let first = account("storage", "first");
    let file = bao.file("account", &first);
    let auth = json!({ "method": "kubernetes", "role": "gateway", "jwt_file": file });
    let kms = bao.open(auth.clone());
    let kek = kms.create_kek("k").await.unwrap();
    trip(&*kms, &kek).await.unwrap();
    let reviewed = |token: &str| cluster.seen().iter().filter(|seen| seen.body.contains(token)).count();
    assert_eq!(reviewed(&first), 1);

    let second = account("storage", "second");
    fs::write(&file, &second).unwrap();
    bao.api.revoke(&bao.api.tokens().await[0]).await;
    trip(&*kms, &kek).await.unwrap();
    assert_eq!((reviewed(&first), reviewed(&second)), (1, 1));

    let foreign = account("elsewhere", "third");
    fs::write(&file, &foreign).unwrap();
    let error = trip(&*bao.open(auth.clone()), &kek).await.unwrap_err();
    assert!(matches!(error, KmsError::Denied(_)), "{error:?}");
    assert!(!format!("{error:?}").contains(&foreign), "{error:?}");

    // The account is gone and the cluster cannot be asked: OpenBao says the same of both.
    fs::write(&file, &second).unwrap();
    drop(cluster);
    let error = trip(&*bao.open(auth), &kek).await.unwrap_err();
    assert!(matches!(error, KmsError::Denied(_)), "{error:?}");
}

/// A CA with what it has signed.
struct Ca {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Ca {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// Certificate and key, PEM.
    fn sign(&self, name: &str, usage: ExtendedKeyUsagePurpose) -> (String, String) {
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![usage];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }
}

/// A server with a second listener, over TLS. Gives its address.
async fn with_tls(ca: &Ca) -> (Bao, String) {
    let (certificate, key) = ca.sign("server", ExtendedKeyUsagePurpose::ServerAuth);
    let port = port();
    let bao = Bao::start_with(|dir| {
        let write = |name: &str, text: &str| {
            let path = dir.join(name);
            fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let (certificate, key) = (write("tls.pem", &certificate), write("tls.key", &key));
        format!(
            "listener \"tcp\" {{\n address = \"127.0.0.1:{port}\"\n tls_cert_file = \"{certificate}\"\n tls_key_file = \"{key}\"\n}}\n"
        )
    })
    .await;
    (bao, format!("https://127.0.0.1:{port}"))
}

#[tokio::test]
async fn tls_trusts_the_given_ca_only() {
    let (ca, other) = (Ca::new("ours"), Ca::new("somebody's"));
    let (bao, address) = with_tls(&ca).await;
    let good = json!({ "ca_file": bao.file("ca.pem", &ca.pem) });
    let auth = bao.approle(json!({})).await;
    let kms = open(&config(&[&address], auth.clone(), good)).remove(0);
    let kek = kms.create_kek("k").await.unwrap();
    trip(&*kms, &kek).await.unwrap();
    kms.ready().await.unwrap();

    let tokens = bao.api.tokens().await.len();
    for bad in [json!({ "ca_file": bao.file("other.pem", &other.pem) }), json!({})] {
        let kms = open(&config(&[&address], auth.clone(), bad)).remove(0);
        let error = trip(&*kms, &kek).await.unwrap_err();
        let KmsError::Unavailable(Cause::Connect, text) = &error else { panic!("{error:?}") };
        assert!(text.contains("certificate"), "{text}");
    }
    assert_eq!(bao.api.tokens().await.len(), tokens, "nothing was sent to a server that nobody vouches for");
    // Another name than the certificate's.
    let named = address.replace("127.0.0.1", "localhost");
    let good = json!({ "ca_file": bao.file("ca.pem", &ca.pem) });
    let error = trip(&*open(&config(&[&named], auth.clone(), good)).remove(0), &kek).await.unwrap_err();
    assert!(matches!(error, KmsError::Unavailable(Cause::Connect, _)), "{error:?}");

    for (file, says) in [("none.pem", "none.pem"), ("secret-id", "no certificate")] {
        let bad = json!({ "ca_file": bao.dir.path().join(file) });
        let error = vault::open("vault-eu", &config(&[&address], auth.clone(), bad)).map(drop).unwrap_err();
        assert!(
            error.to_string().contains(says) && error.to_string().contains("kms.vault.vault-eu"),
            "{error}"
        );
    }
}

/// For two lives of a token.
async fn used(kms: &dyn Kms, kek: &str) {
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(4) {
        trip(kms, kek).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_client_certificate_logs_in_and_its_files_are_read_at_each_login() {
    let ca = Ca::new("ours");
    let clients = Ca::new("clients");
    let (bao, address) = with_tls(&ca).await;
    bao.api.post("sys/auth/cert", json!({ "type": "cert" })).await;
    let role = json!({ "certificate": clients.pem, "token_policies": "gateway", "token_ttl": "2s", "token_max_ttl": "1h" });
    bao.api.post("auth/cert/certs/gateway", role).await;
    let write = |(certificate, key): (String, String)| {
        (bao.file("client.pem", &certificate), bao.file("client.key", &key))
    };
    let (certificate, key) = write(clients.sign("first", ExtendedKeyUsagePurpose::ClientAuth));
    let more = json!({
        "ca_file": bao.file("ca.pem", &ca.pem),
        "client_certificate_file": certificate,
        "client_key_file": key,
    });
    let auth = json!({ "method": "certificate", "role": "gateway" });
    let kms = open(&config(&[&address], auth.clone(), more.clone())).remove(0);
    let kek = kms.create_kek("k").await.unwrap();
    let name = async || {
        let accessor = bao.api.tokens().await.pop().unwrap();
        let looked = bao.api.post("auth/token/lookup-accessor", json!({ "accessor": accessor })).await;
        looked["data"]["meta"]["common_name"].as_str().unwrap().to_owned()
    };
    assert_eq!(name().await, "first");
    // Renewed over a connection that shows the same certificate.
    let first = bao.api.tokens().await;
    used(&*kms, &kek).await;
    assert_eq!(bao.api.tokens().await, first);

    write(clients.sign("second", ExtendedKeyUsagePurpose::ClientAuth));
    bao.api.revoke(&first[0]).await;
    trip(&*kms, &kek).await.unwrap();
    assert_eq!(name().await, "second", "the new certificate is shown");
    used(&*kms, &kek).await;
    assert_eq!(name().await, "second");
    assert_eq!(bao.api.tokens().await.len(), 1, "renewed over connections that show the new one");

    write(Ca::new("others").sign("third", ExtendedKeyUsagePurpose::ClientAuth));
    let error =
        trip(&*open(&config(&[&address], auth.clone(), more.clone())).remove(0), &kek).await.unwrap_err();
    assert!(matches!(error, KmsError::Denied(_)), "{error:?}");

    // Certificate and key of different pairs.
    let (certificate, _) = clients.sign("fourth", ExtendedKeyUsagePurpose::ClientAuth);
    bao.file("client.pem", &certificate);
    let error = vault::open("vault-eu", &config(&[&address], auth, more)).map(drop).unwrap_err();
    assert!(error.to_string().contains("client.key"), "{error}");
}
