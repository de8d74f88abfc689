//! Signature Version 2 as a client computes it ("Signing and authenticating REST requests"), to sign a recorded request
//! again, and the states that a node checks it by. Apart from the front end's own: the two have to agree.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use percent_encoding::percent_decode_str;

use crate::head::Head;
use crate::rig::{DOMAIN, SECRET_KEY};

/// The parameters that are signed: of AWS's list those that an operation on objects can have.
const SIGNED: [&str; 12] = [
    "acl",
    "cors",
    "delete",
    "location",
    "partNumber",
    "policy",
    "tagging",
    "uploadId",
    "uploads",
    "versionId",
    "versioning",
    "versions",
];

/// SHA-1's words after the block `secret ^ pad`, as the control plane gives them to a node.
pub fn state(secret: &str, pad: u8) -> Vec<u8> {
    let mut block = [pad; 64];
    block.iter_mut().zip(secret.bytes()).for_each(|(there, byte)| *there ^= byte);
    let mut words = [0x6745_2301_u32, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];
    sha1::block_api::compress(&mut words, &[block]);
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

/// The signature in a header `AWS <id>:<signature>`.
pub fn signature(authorization: &str) -> Option<&str> {
    Some(authorization.strip_prefix("AWS ")?.split_once(':')?.1)
}

/// Signs a request again.
pub fn sign_again(head: &mut Head) {
    let authorization = head.header("authorization").unwrap().to_owned();
    let mut mac = Hmac::<sha1::Sha1>::new_from_slice(SECRET_KEY.as_bytes()).unwrap();
    mac.update(to_sign(head).as_bytes());
    let new = BASE64_STANDARD.encode(mac.finalize().into_bytes());
    head.set("authorization", &authorization.replace(signature(&authorization).unwrap(), &new));
}

fn to_sign(head: &Head) -> String {
    let line = |name: &str| head.header(name).unwrap_or_default().to_owned();
    let amz: BTreeSet<String> = head.names().filter(|name| name.starts_with("x-amz-")).collect();
    // The date is signed once.
    let date = if amz.contains("x-amz-date") { String::new() } else { line("date") };
    let amz: String = amz.iter().map(|name| format!("{name}:{}\n", head.joined(name))).collect();
    let (path, query) = head.target().split_once('?').unwrap_or((head.target(), ""));
    let host = line("host");
    let bucket = host.split(':').next().and_then(|host| host.strip_suffix(DOMAIN)?.strip_suffix('.'));
    let bucket = bucket.map(|bucket| format!("/{bucket}")).unwrap_or_default();
    let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let mut signed: Vec<(&str, &str)> = pairs.filter(|(name, _)| SIGNED.contains(name)).collect();
    signed.sort_unstable();
    let signed = signed.iter().enumerate().map(|(at, (name, value))| {
        let (before, value) =
            (if at == 0 { '?' } else { '&' }, percent_decode_str(value).decode_utf8_lossy());
        if value.is_empty() { format!("{before}{name}") } else { format!("{before}{name}={value}") }
    });
    let (md5, kind, signed) = (line("content-md5"), line("content-type"), signed.collect::<String>());
    format!("{}\n{md5}\n{kind}\n{date}\n{amz}{bucket}{path}{signed}", head.method())
}
