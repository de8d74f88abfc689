//! docs/kms.md: its policies are those that the tests run under, its examples are configurations.

use std::{collections::BTreeMap, path::Path};

use figment::{
    Figment,
    providers::{Format as _, Toml},
};
use sealgate_kms::vault::Config;
use serde::Deserialize;

/// The blocks of this language, in order.
fn blocks(language: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/kms.md");
    let text = std::fs::read_to_string(path).unwrap();
    let parts = text.split("\n```");
    parts.filter_map(|part| part.strip_prefix(&format!("{language}\n"))).map(str::to_owned).collect()
}

/// What reading and writing of objects needs.
pub fn least_policy() -> String {
    blocks("hcl").remove(0)
}

/// What all that the trait has needs.
pub fn policy() -> String {
    blocks("hcl").remove(1)
}

#[derive(Deserialize)]
struct File {
    kms: Kms,
}

#[derive(Deserialize)]
struct Kms {
    #[serde(default)]
    vault: BTreeMap<String, Config>,
}

#[test]
fn every_example_is_a_configuration_and_every_method_has_one() {
    let mut methods = Vec::new();
    for block in blocks("toml") {
        let file: File =
            Figment::from(Toml::string(&block)).extract().unwrap_or_else(|error| panic!("{error}: {block}"));
        for config in file.kms.vault.values() {
            methods.push(format!("{:?}", config.auth).split(' ').next().unwrap().to_owned());
        }
    }
    methods.sort_unstable();
    assert_eq!(methods, ["Approle", "Certificate", "Jwt", "Kubernetes", "Token"]);
}
