//! CORS rules (AWS: "Elements of a CORS configuration"): held to S3's rules and kept. The front end evaluates them.

use super::xml::{self, Document};
use crate::backend::BackendError;
use crate::s3::xml::reader::malformed;

/// The most rules.
const MOST: usize = 100;
/// Characters of a rule's ID.
const ID: usize = 255;
const METHODS: [&str; 5] = ["GET", "PUT", "HEAD", "POST", "DELETE"];

#[derive(Debug, Default)]
struct Rule {
    id: Option<String>,
    headers: Vec<String>,
    methods: Vec<String>,
    origins: Vec<String>,
    exposed: Vec<String>,
    max_age: Option<i64>,
}

/// Checks `CORSConfiguration` and writes it as it is kept.
pub(crate) fn checked(body: &[u8]) -> Result<String, BackendError> {
    let mut rules = Vec::new();
    let mut rule = Rule::default();
    xml::parse(body, "CORSConfiguration", |path, text| {
        let text = text.trim();
        match path {
            ["CORSRule", "ID"] => rule.id = Some(text.to_owned()),
            ["CORSRule", "AllowedHeader"] => rule.headers.push(text.to_owned()),
            ["CORSRule", "AllowedMethod"] => rule.methods.push(text.to_owned()),
            ["CORSRule", "AllowedOrigin"] => rule.origins.push(text.to_owned()),
            ["CORSRule", "ExposeHeader"] => rule.exposed.push(text.to_owned()),
            ["CORSRule", "MaxAgeSeconds"] => rule.max_age = Some(text.parse().map_err(|_| malformed())?),
            ["CORSRule"] => rules.push(std::mem::take(&mut rule)),
            _ => {}
        }
        Ok(())
    })?;
    if rules.is_empty() || rules.len() > MOST {
        return Err(xml::malformed());
    }
    rules.iter().try_for_each(check)?;
    Ok(written(&rules))
}

fn check(rule: &Rule) -> Result<(), BackendError> {
    let invalid = |text: String| Err(BackendError::s3(400, "InvalidRequest", text));
    if rule.methods.is_empty() || rule.origins.is_empty() {
        return Err(xml::malformed());
    }
    // XML 1.0 has no way to write most of these: what was kept could not be read again. Header names are checked below.
    if rule.id.iter().chain(&rule.origins).any(|text| text.contains(is_no_text)) {
        return Err(xml::malformed());
    }
    if rule.id.as_ref().is_some_and(|id| id.chars().count() > ID) {
        return invalid("The ID of a CORS rule has at most 255 characters.".to_owned());
    }
    if let Some(method) = rule.methods.iter().find(|method| !METHODS.contains(&method.as_str())) {
        return invalid(format!(
            "Found unsupported HTTP method in CORS config. Unsupported method is {method}"
        ));
    }
    for (what, patterns) in [("AllowedOrigin", &rule.origins), ("AllowedHeader", &rule.headers)] {
        if let Some(pattern) = patterns.iter().find(|pattern| pattern.matches('*').count() > 1) {
            return invalid(format!("{what} \"{pattern}\" can not have more than one wildcard."));
        }
    }
    for (what, names) in [("AllowedHeader", &rule.headers), ("ExposeHeader", &rule.exposed)] {
        if let Some(name) = names.iter().find(|name| !is_header(name)) {
            return invalid(format!("{what} \"{name}\" contains invalid character."));
        }
    }
    if let Some(exposed) = rule.exposed.iter().find(|exposed| exposed.contains('*')) {
        return invalid(format!(
            "ExposeHeader \"{exposed}\" contains wildcard. We currently do not support wildcard for ExposeHeader."
        ));
    }
    Ok(())
}

/// Whether no ID and no origin has this character: controls and what is no character.
fn is_no_text(c: char) -> bool {
    c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}')
}

/// Whether a header can have this name (RFC 9110, section 5.6.2), or names like it.
fn is_header(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

fn written(rules: &[Rule]) -> String {
    let mut document = Document::document("CORSConfiguration");
    for rule in rules {
        document.nest("CORSRule", |xml| {
            xml.option("ID", rule.id.as_deref());
            rule.methods.iter().for_each(|method| xml.text("AllowedMethod", method));
            rule.origins.iter().for_each(|origin| xml.text("AllowedOrigin", origin));
            rule.headers.iter().for_each(|header| xml.text("AllowedHeader", header));
            rule.exposed.iter().for_each(|header| xml.text("ExposeHeader", header));
            if let Some(seconds) = rule.max_age {
                xml.text("MaxAgeSeconds", &seconds.to_string());
            }
        });
    }
    document.finish()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::*;

    fn configuration(inner: &str) -> Result<String, BackendError> {
        checked(format!("<CORSConfiguration>{inner}</CORSConfiguration>").as_bytes())
    }

    #[test]
    fn what_is_kept_says_the_same() {
        let rule = "<CORSRule><ID>a&lt;</ID><AllowedMethod>GET</AllowedMethod><AllowedOrigin>http://*.x</AllowedOrigin>\
                    <AllowedHeader>*</AllowedHeader><ExposeHeader>ETag</ExposeHeader><MaxAgeSeconds>5</MaxAgeSeconds></CORSRule>";
        let kept = configuration(&rule.repeat(2)).unwrap();
        assert!(kept.contains(&rule.repeat(2)), "{kept}");
        assert_eq!(checked(kept.as_bytes()).unwrap(), kept);
    }

    #[test]
    fn what_s3_refuses() {
        let origin = "<AllowedOrigin>*</AllowedOrigin>";
        let get = "<AllowedMethod>GET</AllowedMethod>";
        for (inner, code) in [
            (String::new(), "MalformedXML"),
            (format!("<CORSRule>{origin}</CORSRule>"), "MalformedXML"),
            (format!("<CORSRule>{get}</CORSRule>"), "MalformedXML"),
            (format!("<CORSRule>{origin}{get}</CORSRule>").repeat(101), "MalformedXML"),
            (format!("<CORSRule>{origin}{get}<MaxAgeSeconds>x</MaxAgeSeconds></CORSRule>"), "MalformedXML"),
            (format!("<CORSRule>{origin}<AllowedMethod>PATCH</AllowedMethod></CORSRule>"), "InvalidRequest"),
            (format!("<CORSRule>{origin}{get}<ExposeHeader>a b</ExposeHeader></CORSRule>"), "InvalidRequest"),
            (
                format!("<CORSRule>{origin}{get}<AllowedHeader>X(a)</AllowedHeader></CORSRule>"),
                "InvalidRequest",
            ),
            (format!("<CORSRule>{get}<AllowedOrigin>*.*</AllowedOrigin></CORSRule>"), "InvalidRequest"),
            (
                format!("<CORSRule>{origin}{get}<AllowedHeader>**</AllowedHeader></CORSRule>"),
                "InvalidRequest",
            ),
            (format!("<CORSRule>{origin}{get}<ExposeHeader>x-*</ExposeHeader></CORSRule>"), "InvalidRequest"),
            (format!("<CORSRule>{origin}{get}<ID>{}</ID></CORSRule>", "i".repeat(256)), "InvalidRequest"),
            (format!("<CORSRule>{get}<AllowedOrigin>*\0M</AllowedOrigin></CORSRule>"), "MalformedXML"),
            (format!("<CORSRule>{get}<AllowedOrigin>a\u{ffff}</AllowedOrigin></CORSRule>"), "MalformedXML"),
            (format!("<CORSRule>{origin}{get}<ID>a&#x1;b</ID></CORSRule>"), "MalformedXML"),
        ] {
            let refused = configuration(&inner);
            assert!(refused.as_ref().is_err_and(|error| error.is(code)), "{inner}: {refused:?}");
        }
    }
}
