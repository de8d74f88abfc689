//! `[kms.vault.<name>]`: what an operator writes, and what of it is refused before anything is asked.

use std::{net::IpAddr, path::PathBuf};

use reqwest::Url;
use serde::Deserialize;

use crate::KmsError;

/// Addresses of one cluster; more are a mistake.
const MAX_ADDRESSES: usize = 16;
const MAX_NAME: usize = 32;

/// An OpenBao or HashiCorp Vault cluster with a transit engine. It holds no secret, only the paths of files.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The nodes of **one** cluster, `https://bao-1.example:8200`; 1 to 16. With several, a standby is told not to
    /// forward: it says that it is one, and the call goes to the next. With one (a load balancer, a single node) it forwards.
    pub addresses: Vec<String>,
    /// Where the transit engine is mounted.
    #[serde(default = "transit")]
    pub mount: String,
    /// The namespace of the engine and of the login.
    #[serde(default)]
    pub namespace: Option<String>,
    /// Certificates (PEM) that vouch for the servers, instead of the system's.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// A certificate (PEM) that is shown to the servers on every connection; read anew at each login.
    #[serde(default)]
    pub client_certificate_file: Option<PathBuf>,
    /// Its key (PEM).
    #[serde(default)]
    pub client_key_file: Option<PathBuf>,
    /// Plain HTTP to other machines too. Keys and tokens then cross the network readable: for a mesh that encrypts by itself.
    #[serde(default)]
    pub allow_http: bool,
    /// How it logs in.
    pub auth: Auth,
}

/// How to log in. Files with secrets are read anew at each login, so replacing them is enough to rotate one.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "method", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Auth {
    /// A token from a file, for example one that an agent keeps fresh.
    Token {
        /// The file with the token.
        file: PathBuf,
    },
    /// AppRole.
    Approle {
        /// Where the auth method is mounted.
        #[serde(default = "approle")]
        mount: String,
        /// The role's id, which is no secret.
        role_id: String,
        /// The file with the secret id.
        secret_id_file: PathBuf,
    },
    /// The token of a Kubernetes service account.
    Kubernetes {
        /// Where the auth method is mounted.
        #[serde(default = "kubernetes")]
        mount: String,
        /// The role in OpenBao.
        role: String,
        /// The file with the service account's token.
        #[serde(default = "service_account")]
        jwt_file: PathBuf,
    },
    /// A JSON Web Token of some other issuer.
    Jwt {
        /// Where the auth method is mounted.
        #[serde(default = "jwt")]
        mount: String,
        /// The role; the method's default role without.
        #[serde(default)]
        role: Option<String>,
        /// The file with the token.
        jwt_file: PathBuf,
    },
    /// The client certificate of the TLS connection.
    Certificate {
        /// Where the auth method is mounted.
        #[serde(default = "cert")]
        mount: String,
        /// The certificate role; any that matches without.
        #[serde(default)]
        role: Option<String>,
    },
}

fn transit() -> String {
    "transit".to_owned()
}

fn approle() -> String {
    "approle".to_owned()
}

fn kubernetes() -> String {
    "kubernetes".to_owned()
}

fn jwt() -> String {
    "jwt".to_owned()
}

fn cert() -> String {
    "cert".to_owned()
}

fn service_account() -> PathBuf {
    PathBuf::from("/var/run/secrets/kubernetes.io/serviceaccount/token")
}

impl Auth {
    /// Its name in the configuration.
    pub(super) fn method(&self) -> &'static str {
        match self {
            Self::Token { .. } => "token",
            Self::Approle { .. } => "approle",
            Self::Kubernetes { .. } => "kubernetes",
            Self::Jwt { .. } => "jwt",
            Self::Certificate { .. } => "certificate",
        }
    }

    fn role(&self) -> Option<&str> {
        match self {
            Self::Token { .. } => None,
            Self::Approle { role_id: role, .. } | Self::Kubernetes { role, .. } => Some(role),
            Self::Jwt { role, .. } | Self::Certificate { role, .. } => role.as_deref(),
        }
    }

    fn mount(&self) -> Option<&str> {
        match self {
            Self::Token { .. } => None,
            Self::Approle { mount, .. }
            | Self::Kubernetes { mount, .. }
            | Self::Jwt { mount, .. }
            | Self::Certificate { mount, .. } => Some(mount),
        }
    }
}

impl Config {
    /// Checks everything that can be without asking anybody; gives the addresses.
    pub(super) fn check(&self, name: &str) -> Result<Vec<Url>, KmsError> {
        let wrong = |what: &str| KmsError::local(format!("kms.vault.{name}: {what}"));
        let letters = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
        if name.is_empty() || name.len() > MAX_NAME || name == "local" || !name.bytes().all(letters) {
            return Err(wrong("a provider's name has 1 to 32 of a-z 0-9 -, and is not local"));
        }
        if self.addresses.is_empty() || self.addresses.len() > MAX_ADDRESSES {
            return Err(wrong("addresses: 1 to 16 of them"));
        }
        for mount in [Some(self.mount.as_str()), self.auth.mount()].into_iter().flatten() {
            if !is_path(mount) {
                return Err(wrong(&format!(
                    "mount {mount:?}: 1 to 128 of A-Z a-z 0-9 . _ - in parts between /"
                )));
            }
        }
        if self.namespace.as_deref().is_some_and(|namespace| !is_path(namespace.trim_end_matches('/'))) {
            return Err(wrong("namespace: 1 to 128 of A-Z a-z 0-9 . _ - in parts between /"));
        }
        let visible =
            |role: &str| (1..=256).contains(&role.len()) && role.bytes().all(|byte| byte.is_ascii_graphic());
        if self.auth.role().is_some_and(|role| !visible(role)) {
            return Err(wrong("auth: a role has 1 to 256 of visible ASCII"));
        }
        if self.client_certificate_file.is_some() != self.client_key_file.is_some() {
            return Err(wrong("client_certificate_file and client_key_file go together"));
        }
        if matches!(self.auth, Auth::Certificate { .. }) && self.client_certificate_file.is_none() {
            return Err(wrong(
                "auth.method = \"certificate\" needs client_certificate_file and client_key_file",
            ));
        }
        let mut addresses = Vec::new();
        for text in &self.addresses {
            let address =
                address(text, self.allow_http).map_err(|what| wrong(&format!("addresses: {what}")))?;
            if addresses.contains(&address) {
                return Err(wrong(&format!("addresses: {address} is there twice")));
            }
            addresses.push(address);
        }
        // The certificate is the login: there is none to show without TLS.
        if matches!(self.auth, Auth::Certificate { .. }) && addresses.iter().any(|url| url.scheme() == "http")
        {
            return Err(wrong("auth.method = \"certificate\" needs addresses with https"));
        }
        Ok(addresses)
    }
}

fn address(text: &str, allow_http: bool) -> Result<Url, String> {
    // The text is not repeated: somebody may have written a password into it.
    let shape = "an address is https://host:port, without user, path or query".to_owned();
    let url = Url::parse(text).map_err(|_| shape.clone())?;
    let bare = url.username().is_empty()
        && url.password().is_none()
        && matches!(url.path(), "" | "/")
        && url.query().is_none()
        && url.fragment().is_none();
    let Some(host) = url.host_str().filter(|_| bare) else { return Err(shape) };
    match url.scheme() {
        "https" => Ok(url),
        "http" if allow_http || is_loopback(host) => Ok(url),
        "http" => Err(format!(
            "http://{host}: keys would cross the network readable; use https, or set allow_http = true where something else encrypts"
        )),
        _ => Err(shape),
    }
}

/// Whether what goes to this address can be read on the way.
pub(super) fn is_readable(address: &Url) -> bool {
    address.scheme() == "http" && !address.host_str().is_some_and(is_loopback)
}

fn is_loopback(host: &str) -> bool {
    let host = host.trim_matches(['[', ']']);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Parts between slashes that need no escaping in a URL and cannot climb.
fn is_path(text: &str) -> bool {
    text.len() <= 128 && text.split('/').all(is_name)
}

/// A name as the server takes it in a path: it begins and ends with a letter, digit or `_`.
pub(super) fn is_name(text: &str) -> bool {
    let word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    let bytes = text.as_bytes();
    bytes.len() <= 128
        && bytes.first().is_some_and(word)
        && bytes.last().is_some_and(word)
        && bytes.iter().all(|byte| word(byte) || matches!(byte, b'.' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(more: &str) -> Result<Vec<Url>, String> {
        let text = format!(
            r#"{{"auth": {{"method": "token", "file": "/t"}}, "addresses": ["https://a:8200"] {more}}}"#
        );
        // A later field of the same name is refused by serde, so cases replace the text.
        parse(&text)
    }

    fn parse(text: &str) -> Result<Vec<Url>, String> {
        let config: Config = serde_json::from_str(text).map_err(|error| error.to_string())?;
        config.check("vault-eu").map_err(|error| error.to_string())
    }

    fn addresses(list: &str, more: &str) -> Result<Vec<Url>, String> {
        parse(&format!(r#"{{"auth": {{"method": "token", "file": "/t"}}, "addresses": {list} {more}}}"#))
    }

    #[test]
    fn plain_http_goes_to_this_machine_only_unless_asked_for() {
        for good in
            ["http://127.0.0.1:8200", "http://[::1]:8200", "http://localhost:8200", "https://bao:8200/"]
        {
            assert!(addresses(&format!("[{good:?}]"), "").is_ok(), "{good}");
        }
        for bad in ["http://bao:8200", "http://10.0.0.1:8200", "http://127.0.0.1.example:8200"] {
            assert!(addresses(&format!("[{bad:?}]"), "").unwrap_err().contains("allow_http"), "{bad}");
            assert!(addresses(&format!("[{bad:?}]"), r#", "allow_http": true"#).is_ok(), "{bad}");
        }
    }

    #[test]
    fn addresses_are_bare_and_their_text_is_not_repeated() {
        for bad in
            ["ftp://a", "a:8200", "https://u:geheim@a", "https://a/v1", "https://a?x=geheim", "https://", ""]
        {
            let error = addresses(&format!("[{bad:?}]"), "").unwrap_err();
            assert!(error.contains("kms.vault.vault-eu: addresses"), "{error}");
            assert!(!error.contains("geheim"), "{error}");
        }
        assert!(addresses("[]", "").is_err());
        assert!(addresses(r#"["https://a:1", "https://a:1/"]"#, "").unwrap_err().contains("twice"));
        let many: Vec<_> = (0..17).map(|port| format!("https://a:{}", port + 1)).collect();
        assert!(addresses(&serde_json::to_string(&many).unwrap(), "").is_err());
    }

    #[test]
    fn what_is_incomplete_or_unknown_is_refused() {
        assert!(config("").is_ok());
        for (more, says) in [
            (r#", "mount": "a//b""#, "mount"),
            (r#", "mount": "../sys""#, "mount"),
            (r#", "mount": "a?b""#, "mount"),
            (r#", "namespace": "a b""#, "namespace"),
            (r#", "client_key_file": "/k""#, "together"),
            (r#", "tokn": 1"#, "tokn"),
        ] {
            assert!(config(more).unwrap_err().contains(says), "{more}");
        }
        assert!(config(r#", "namespace": "a/b/", "mount": "eu/transit""#).is_ok());
        let certificate = r#"{"auth": {"method": "certificate"}, "addresses": ["https://a"]}"#;
        assert!(parse(certificate).unwrap_err().contains("client_certificate_file"));
        let plain = r#"{"auth": {"method": "certificate"}, "addresses": ["http://localhost"],
            "client_certificate_file": "c", "client_key_file": "k"}"#;
        assert!(parse(plain).unwrap_err().contains("https"));
        let unknown =
            r#"{"auth": {"method": "token", "file": "f", "token": "s"}, "addresses": ["https://a"]}"#;
        assert!(parse(unknown).unwrap_err().contains("token"));
    }

    #[test]
    fn providers_have_short_plain_names() {
        let config: Config =
            serde_json::from_str(r#"{"auth": {"method": "token", "file": "f"}, "addresses": ["https://a"]}"#)
                .unwrap();
        for bad in ["", "local", "A", "a/b", "a_b", &"a".repeat(33)] {
            assert!(config.check(bad).is_err(), "{bad}");
        }
        assert!(config.check("vault-eu2").is_ok());
    }
}
