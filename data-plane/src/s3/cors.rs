//! CORS (AWS: "Using cross-origin resource sharing"; the Fetch standard): which rule of a bucket's configuration lets a
//! browser's page read an answer, and what the browser is told.

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::error::{Code, S3Error};

/// The most header names that a preflight may ask for.
const MAX_HEADERS: usize = 256;

/// A bucket's configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cors {
    /// In order: the first that fits counts.
    pub rules: Vec<Rule>,
}

/// One rule.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rule {
    /// With at most one `*` each.
    pub origins: Vec<String>,
    /// In upper case.
    pub methods: Vec<String>,
    /// In lower case, with at most one `*` each.
    pub headers: Vec<String>,
    /// Header names that a page may read.
    pub exposed: Vec<String>,
    /// How long a browser may keep a preflight's answer, in seconds.
    pub max_age: Option<u32>,
}

/// What a browser asks: with a preflight before its request, or along with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The page's origin, as sent.
    pub origin: String,
    /// The method of the actual request.
    pub method: String,
    /// The headers that the page wants to send, in lower case.
    pub headers: Vec<String>,
}

impl Asked {
    /// Reads a preflight.
    ///
    /// # Errors
    /// BadRequest when the origin or the method is missing, or a header's name is none.
    pub fn preflight(headers: &HeaderMap) -> Result<Asked, S3Error> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let insufficient = |what: &'static str| S3Error::with(Code::BadRequest, what);
        let origin = text("origin")
            .filter(|origin| !origin.is_empty())
            .ok_or_else(|| insufficient("Insufficient information. Origin request header needed."))?;
        let method = text("access-control-request-method").unwrap_or_default();
        if !matches!(method, "GET" | "PUT" | "HEAD" | "POST" | "DELETE") {
            let told: String = method.chars().take(64).collect();
            return Err(S3Error::with(
                Code::BadRequest,
                format!("Invalid Access-Control-Request-Method: {told}"),
            ));
        }
        let mut wanted = Vec::new();
        for value in headers.get_all("access-control-request-headers") {
            let value = String::from_utf8_lossy(value.as_bytes());
            for sent in value.split(',').filter(|name| !name.trim().is_empty()) {
                let name = HeaderName::from_bytes(sent.trim().as_bytes()).map_err(|_| {
                    let told: String = sent.chars().take(64).collect();
                    let text =
                        format!("Access-Control-Request-Headers \"{told}\" contains invalid character.");
                    S3Error::with(Code::BadRequest, text)
                })?;
                wanted.push(name.as_str().to_owned());
                if wanted.len() > MAX_HEADERS {
                    return Err(insufficient("Access-Control-Request-Headers names too many."));
                }
            }
        }
        Ok(Asked { origin: origin.to_owned(), method: method.to_owned(), headers: wanted })
    }

    /// Reads what an actual request says; none where it comes from no page.
    #[must_use]
    pub fn actual(method: &http::Method, headers: &HeaderMap) -> Option<Asked> {
        let origin = headers.get(header::ORIGIN)?.to_str().ok()?;
        let method = headers
            .get("access-control-request-method")
            .and_then(|method| method.to_str().ok())
            .unwrap_or(method.as_str());
        Some(Asked { origin: origin.to_owned(), method: method.to_owned(), headers: Vec::new() })
    }
}

impl Cors {
    /// The first rule that allows it.
    #[must_use]
    pub fn rule(&self, asked: &Asked) -> Option<&Rule> {
        self.rules.iter().find(|rule| {
            rule.origins.iter().any(|origin| fits(origin, &asked.origin))
                && rule.methods.contains(&asked.method)
                && asked.headers.iter().all(|name| rule.headers.iter().any(|allowed| fits(allowed, name)))
        })
    }
}

impl Rule {
    /// What the browser is told, as S3 says it.
    #[must_use]
    pub fn told(&self, asked: &Asked) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let mut set = |name: &'static str, value: &str| {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(name, value);
            }
        };
        let anyone = self
            .origins
            .iter()
            .find(|origin| fits(origin, &asked.origin))
            .is_some_and(|origin| origin == "*");
        if anyone {
            set("access-control-allow-origin", "*");
        } else {
            set("access-control-allow-origin", &asked.origin);
            set("access-control-allow-credentials", "true");
        }
        set("access-control-allow-methods", &self.methods.join(", "));
        if !asked.headers.is_empty() {
            set("access-control-allow-headers", &asked.headers.join(", "));
        }
        if !self.exposed.is_empty() {
            set("access-control-expose-headers", &self.exposed.join(", "));
        }
        if let Some(seconds) = self.max_age {
            set("access-control-max-age", &seconds.to_string());
        }
        // What is told depends on who asks: no cache may mix it up.
        set("vary", "Origin, Access-Control-Request-Headers, Access-Control-Request-Method");
        headers
    }
}

/// A pattern with at most one `*`, which stands for anything.
fn fits(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((before, after)) => {
            text.len() >= before.len() + after.len() && text.starts_with(before) && text.ends_with(after)
        }
    }
}

/// S3's refusal of a preflight.
#[must_use]
pub fn not_allowed() -> S3Error {
    S3Error::with(
        Code::AccessForbidden,
        "CORSResponse: This CORS request is not allowed. This is usually because the evalution of Origin, request method / \
         Access-Control-Request-Method or Access-Control-Request-Headers are not whitelisted by the resource's CORS spec.",
    )
}

/// S3's refusal of a preflight where the bucket has no configuration.
#[must_use]
pub fn not_enabled() -> S3Error {
    S3Error::with(Code::AccessForbidden, "CORSResponse: CORS is not enabled for this bucket.")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::{Asked, Cors, Rule};
    use crate::s3::error::Code;
    use http::{HeaderMap, HeaderValue, Method};

    fn rule(origin: &str, method: &str, headers: &[&str]) -> Rule {
        Rule {
            origins: vec![origin.to_owned()],
            methods: vec![method.to_owned()],
            headers: headers.iter().map(|name| (*name).to_owned()).collect(),
            ..Rule::default()
        }
    }

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value))).collect()
    }

    fn asked(origin: &str, method: &str, names: &[&str]) -> Asked {
        let headers = names.iter().map(|name| (*name).to_owned()).collect();
        Asked { origin: origin.to_owned(), method: method.to_owned(), headers }
    }

    #[test]
    fn origins_have_at_most_one_wildcard() {
        for (pattern, origin, allowed) in [
            ("*suffix", "foo.suffix", true),
            ("*suffix", "suffix", true),
            ("*suffix", "suffix.foo", false),
            ("start*end", "startend", true),
            ("start*end", "start1end", true),
            ("start*end", "staend", false),
            ("aba*ba", "aba", false),
            ("prefix*", "prefix.suffix", true),
            ("https://h", "https://H", false),
            ("*", "null", true),
        ] {
            let cors = Cors { rules: vec![rule(pattern, "GET", &[])] };
            assert_eq!(cors.rule(&asked(origin, "GET", &[])).is_some(), allowed, "{pattern} {origin}");
        }
    }

    #[test]
    fn method_and_every_header_must_be_allowed_by_one_rule() {
        let cors = Cors { rules: vec![rule("a", "GET", &["x-one"]), rule("a", "PUT", &["x-*", "date"])] };
        let allows = |method, names: &[&str]| cors.rule(&asked("a", method, names)).is_some();
        assert!(allows("GET", &[]) && allows("GET", &["x-one"]) && allows("PUT", &["x-two", "date"]));
        assert!(!allows("GET", &["x-two"]) && !allows("DELETE", &[]) && !allows("PUT", &["x-two", "other"]));
    }

    #[test]
    fn what_a_browser_is_told() {
        let mut wide = rule("*", "GET", &["x-*"]);
        wide.methods.push("PUT".to_owned());
        wide.exposed = vec!["ETag".to_owned(), "x-b".to_owned()];
        wide.max_age = Some(60);
        let told = wide.told(&asked("http://p", "GET", &["x-a", "x-c"]));
        let text = |name: &str| told.get(name).map(|value| value.to_str().unwrap());
        assert_eq!(text("access-control-allow-origin"), Some("*"));
        assert_eq!(text("access-control-allow-credentials"), None);
        assert_eq!(text("access-control-allow-methods"), Some("GET, PUT"));
        assert_eq!(text("access-control-allow-headers"), Some("x-a, x-c"));
        assert_eq!(text("access-control-expose-headers"), Some("ETag, x-b"));
        assert_eq!(text("access-control-max-age"), Some("60"));
        let told = rule("http://*", "GET", &[]).told(&asked("http://p", "GET", &[]));
        assert_eq!(told["access-control-allow-origin"], "http://p");
        assert_eq!(told["access-control-allow-credentials"], "true");
    }

    #[test]
    fn a_preflight_says_who_and_what() {
        let full = [
            ("origin", "http://p"),
            ("access-control-request-method", "PUT"),
            ("access-control-request-headers", "X-A, content-type,"),
        ];
        assert_eq!(
            Asked::preflight(&headers(&full)).unwrap(),
            asked("http://p", "PUT", &["x-a", "content-type"])
        );
        for wrong in [&full[1..], &full[..1], &[full[0], ("access-control-request-method", "PATCH")][..]] {
            assert_eq!(Asked::preflight(&headers(wrong)).unwrap_err().code(), Code::BadRequest);
        }
        assert_eq!(Asked::actual(&Method::GET, &headers(&full[1..])), None);
        assert_eq!(Asked::actual(&Method::GET, &headers(&full[..1])), Some(asked("http://p", "GET", &[])));
    }
}
