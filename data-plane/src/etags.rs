//! ETags in conditions: what a client says of its ETags becomes what the backend knows, and back.

use sealgate_envelope::etag;

use crate::backend::Conditions;

/// A backend's ETag as an encrypted prefix shows it, in quotes.
pub fn to_client_quoted(backend: &str) -> String {
    format!("\"{}\"", etag::to_client(etag::without_quotes(backend)))
}

/// A backend's ETag as a client sees it, in quotes.
pub fn shown(backend: &str, encrypted: bool) -> String {
    if encrypted { to_client_quoted(backend) } else { format!("\"{}\"", etag::without_quotes(backend)) }
}

/// A client's conditions in the backend's ETags.
pub fn to_backend(conditions: Conditions, encrypted: bool) -> Conditions {
    if !encrypted {
        return conditions;
    }
    Conditions {
        if_match: conditions.if_match.map(|list| list_to_backend(&list)),
        if_none_match: conditions.if_none_match.map(|list| list_to_backend(&list)),
        ..conditions
    }
}

/// A list of ETags, or `*`, each translated. ETags have no commas in them.
fn list_to_backend(list: &str) -> String {
    let translated: Vec<String> = list
        .split(',')
        .map(str::trim)
        .map(|item| if item == "*" { item.to_owned() } else { quoted(&etag::to_backend(item)) })
        .collect();
    translated.join(", ")
}

/// Some clients send ETags without quotes; every server takes them with.
fn quoted(etag: &str) -> String {
    if etag.ends_with('"') { etag.to_owned() } else { format!("\"{etag}\"") }
}

#[cfg(test)]
mod tests {
    use super::{Conditions, shown, to_backend};

    const HEX: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn conditions_come_back_to_the_backends_etags() {
        let seen = shown(HEX, true);
        assert_eq!(seen, format!("\"{HEX}-1\""));
        let conditions = Conditions {
            if_match: Some(format!("{seen}, \"other\"")),
            if_none_match: Some("*".to_owned()),
            ..Conditions::default()
        };
        let translated = to_backend(conditions, true);
        assert_eq!(translated.if_match.as_deref(), Some(format!("\"{HEX}\", \"other\"").as_str()));
        assert_eq!(translated.if_none_match.as_deref(), Some("*"));
    }

    #[test]
    fn an_unquoted_etag_is_the_same_condition() {
        let conditions = Conditions { if_match: Some(format!("{HEX}-1")), ..Conditions::default() };
        assert_eq!(to_backend(conditions, true).if_match.as_deref(), Some(format!("\"{HEX}\"").as_str()));
    }

    #[test]
    fn a_bare_digest_is_nobodys_etag() {
        let conditions = Conditions { if_match: Some(format!("\"{HEX}\"")), ..Conditions::default() };
        assert_eq!(to_backend(conditions, true).if_match.as_deref(), Some(format!("\"{HEX}-0\"").as_str()));
    }

    #[test]
    fn plain_prefixes_translate_nothing() {
        let conditions = Conditions { if_match: Some(format!("\"{HEX}\"")), ..Conditions::default() };
        assert_eq!(to_backend(conditions.clone(), false), conditions);
        assert_eq!(shown(HEX, false), format!("\"{HEX}\""));
    }
}
