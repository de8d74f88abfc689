//! Configuration: the example is right and whole, and mistakes are named.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::fs;
use std::path::Path;
use std::time::Duration;

use sealgate_data_plane::config::{BackendConfig, Config};

const EXAMPLE: &str = include_str!("../../docs/examples/data-plane.toml");

/// Loads a text whose files are all there, with its variables' names replaced by one that every process has.
fn load(text: &str) -> Result<Config, String> {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().display().to_string();
    for name in ["node-ca.crt", "node.crt", "node.key", "s3-ca.crt"] {
        fs::write(dir.path().join(name), "PEM").unwrap();
    }
    let text = text.replace("/etc/sealgate", &place).replace("BACKEND_ACCESS_KEY", "PATH");
    let path = dir.path().join("data-plane.toml");
    fs::write(&path, text.replace("BACKEND_SECRET_KEY", "PATH")).unwrap();
    Config::load(&path).map_err(|error| error.to_string())
}

/// The example with what is commented out in it taken in: lines `# key = …`, `# [section]` and their like.
fn with_everything() -> String {
    let (before, after) = EXAMPLE.split_once("# [backends.s3]").unwrap();
    let after: String =
        after.lines().map(|line| format!("{}\n", line.strip_prefix("# ").unwrap_or(line))).collect();
    format!("{before}[backends.s3]{after}")
}

#[test]
fn the_example_is_a_configuration() {
    let config = load(EXAMPLE).unwrap();
    assert_eq!(config.workers, 2);
    assert_eq!(config.domains, ["s3.example.com"]);
    assert_eq!((config.drain_wait, config.drain_seconds), (Duration::from_secs(5), 30));
    assert_eq!(config.control_plane.server_name, "control-plane.sealgate.internal");
    assert_eq!(config.backends.keys().collect::<Vec<_>>(), ["main"]);
    let BackendConfig::Filesystem { root } = &config.backends["main"] else { panic!("another backend") };
    assert_eq!(root, Path::new("/srv/sealgate"));
}

#[test]
fn what_the_example_shows_of_s3_is_a_configuration_too() {
    let config = load(&with_everything()).unwrap();
    let BackendConfig::S3(s3) = &config.backends["s3"] else { panic!("another backend") };
    assert_eq!(s3.bucket_owner.as_deref(), Some("111122223333"));
}

/// An unknown key's error lists the known ones: each must be in the example.
#[test]
fn the_example_shows_every_key() {
    for section in ["", "[tls]\n", "[control_plane]\n"] {
        let (before, after) =
            if section.is_empty() { ("", EXAMPLE) } else { EXAMPLE.split_once(section).unwrap() };
        let error = load(&format!("{before}{section}no_such_key = 1\n{after}")).err().unwrap();
        let (_, known) = error.split_once("expected `").unwrap_or_else(|| panic!("{error}"));
        let (known, _) = known.split_once(" for key ").unwrap();
        let known: Vec<&str> =
            known.split('`').filter(|word| !matches!(*word, "" | ", " | " or " | "one of ")).collect();
        assert!(known.len() >= 2, "{error}");
        for key in known {
            let shown = EXAMPLE.contains(&format!("\n{key} = ")) || EXAMPLE.contains(&format!("\n[{key}"));
            assert!(shown, "{key} of {section:?} is not in the example: {error}");
        }
    }
}

#[test]
fn mistakes_are_refused_and_named() {
    for (from, to, expected) in [
        ("drain_seconds = 30", "drain_second = 30", "drain_second"),
        ("workers = 2", "workers = 0", "workers"),
        ("[tls]", "[tsl]", "tsl"),
        ("https://control-plane", "http://control-plane", "must begin with https://"),
        ("node.key", "missing.key", "control_plane.key"),
        ("kind = \"filesystem\"", "kind = \"tape\"", "tape"),
        ("listen = \"0.0.0.0:9000\"", "listen = \"everywhere\"", "listen"),
    ] {
        assert!(EXAMPLE.contains(from), "{from}");
        let error = load(&EXAMPLE.replace(from, to)).err().unwrap();
        assert!(error.contains(expected) && error.contains("data-plane.toml"), "{expected}: {error}");
    }
    let plain: String = {
        let (before, after) = EXAMPLE.split_once("\n[tls]\n").unwrap();
        let (_, after) = after.split_once("\n[control_plane]\n").unwrap();
        format!("{before}\n[control_plane]\n{after}")
    };
    let error = load(&plain).err().unwrap();
    assert!(error.contains("plain_http"), "{error}");
    load(&plain.replace("plain_http = false", "plain_http = true")).unwrap();
    let error = load(&with_everything().replace("BACKEND_ACCESS_KEY", "NO_SUCH_VARIABLE")).err().unwrap();
    assert!(error.contains("backends.s3.access_key_env") && error.contains("NO_SUCH_VARIABLE"), "{error}");
    for owner in ["", "11112222333", "1111222233334", "1111-2222-3333", "١١١١٢٢٢٢٣٣٣٣"] {
        let error = load(&with_everything().replace("111122223333", owner)).err().unwrap();
        assert!(
            error.contains("backends.s3.bucket_owner") && error.contains("12 digits"),
            "{owner}: {error}"
        );
    }
}
