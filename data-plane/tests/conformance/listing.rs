//! Listings: every page size must give the same whole.

use std::collections::BTreeSet;

use sealgate_data_plane::backend::{ListFrom, ListOptions, ListPage};

use super::support::Setup;

/// Prefix, delimiter.
type Question<'a> = (&'a str, Option<&'a str>);

/// Keys whose order a tree walk gets wrong easily. None is a path prefix of another: some servers can't hold both.
const KEYS: [&str; 16] = [
    "a-b", "a.b", "a/1", "a/2/x", "a/2/y", "a/3", "a0", "b/c d", "b/c+d", "b/é", "c/", "cc/x", "cd", "😀",
    "ö", "Z",
];

async fn page(setup: &Setup, v2: bool, question: Question<'_>, from: ListFrom, max_keys: u32) -> ListPage {
    let (prefix, delimiter) = question;
    let options =
        ListOptions { prefix: prefix.to_owned(), delimiter: delimiter.map(str::to_owned), from, max_keys };
    let answer = if v2 {
        setup.backend.list_v2(&setup.bucket, options).await
    } else {
        setup.backend.list_v1(&setup.bucket, options).await
    };
    answer.unwrap()
}

/// All pages: keys and common prefixes, in order of arrival where the backend has an order.
async fn all(setup: &Setup, v2: bool, question: Question<'_>, max_keys: u32) -> (Vec<String>, Vec<String>) {
    let (mut keys, mut prefixes) = (Vec::new(), Vec::new());
    let mut from = ListFrom::Start;
    for _ in 0..200 {
        let found = page(setup, v2, question, from, max_keys).await;
        let count = found.entries.len() + found.common_prefixes.len();
        assert!(count <= max_keys as usize, "{count} on a page of {max_keys}");
        keys.extend(found.entries.into_iter().map(|entry| entry.key));
        prefixes.extend(found.common_prefixes);
        match found.next {
            Some(next) => from = if v2 { ListFrom::Token(next) } else { ListFrom::Marker(next) },
            None => {
                if !setup.backend.capabilities().sorted_listings {
                    keys.sort();
                    prefixes.sort();
                }
                return (keys, prefixes);
            }
        }
    }
    panic!("the listing never ends");
}

fn expected((prefix, delimiter): Question<'_>) -> (Vec<String>, Vec<String>) {
    let (mut keys, mut prefixes) = (BTreeSet::new(), BTreeSet::new());
    for key in KEYS.iter().filter(|key| key.starts_with(prefix)) {
        let rest = &key[prefix.len()..];
        match delimiter.and_then(|delimiter| rest.find(delimiter).map(|at| at + delimiter.len())) {
            Some(end) => prefixes.insert(key[..prefix.len() + end].to_owned()),
            None => keys.insert((*key).to_owned()),
        };
    }
    (keys.into_iter().collect(), prefixes.into_iter().collect())
}

async fn fill(setup: &Setup) {
    for key in KEYS {
        setup.put(key, if key.ends_with('/') { "" } else { key }.as_bytes()).await;
    }
}

pub async fn every_page_size_gives_the_sorted_whole(setup: &Setup) {
    assert!(page(setup, true, ("", None), ListFrom::Start, 10).await.entries.is_empty());
    fill(setup).await;
    for v2 in [false, true] {
        let whole = page(setup, v2, ("", None), ListFrom::Start, 1000).await;
        assert!(whole.next.is_none());
        for entry in whole.entries {
            assert_eq!(entry.size, if entry.key.ends_with('/') { 0 } else { entry.key.len() as u64 });
            let found = setup.backend.head(&setup.bucket, &entry.key, Default::default()).await.unwrap();
            assert_eq!(found.etag, entry.etag, "{}", entry.key);
        }
        for max_keys in 1..=KEYS.len() as u32 + 1 {
            assert_eq!(
                all(setup, v2, ("", None), max_keys).await,
                expected(("", None)),
                "v2 {v2}, {max_keys} a page"
            );
        }
    }
}

pub async fn delimiters_and_prefixes(setup: &Setup) {
    fill(setup).await;
    for v2 in [false, true] {
        for question in [
            ("", Some("/")),
            ("a", None),
            ("a", Some("/")),
            ("a/", Some("/")),
            ("a/2", Some("/")),
            ("a/2/", None),
            ("b/c", None),
            ("b/c ", None),
            ("c", Some("/")),
            ("é", None),
            ("none", Some("/")),
        ] {
            for max_keys in [1, 2, 3, 1000] {
                let found = all(setup, v2, question, max_keys).await;
                assert_eq!(found, expected(question), "v2 {v2}, {question:?}, {max_keys} a page");
            }
        }
    }
}

pub async fn start_after(setup: &Setup) {
    fill(setup).await;
    let (whole, _) = expected(("", None));
    if !setup.backend.capabilities().sorted_listings {
        // Without an order there is no "after" to compare with: that pages join is shown above.
        return;
    }
    for after in ["", "a", "a/2/x", "a/2/xx", "c/", "cc/x", "zzz", "😀"] {
        let rest: Vec<_> = whole.iter().filter(|key| key.as_str() > after).cloned().collect();
        for (v2, from) in
            [(true, ListFrom::StartAfter(after.to_owned())), (false, ListFrom::Marker(after.to_owned()))]
        {
            let found = page(setup, v2, ("", None), from, 1000).await;
            let keys: Vec<_> = found.entries.into_iter().map(|entry| entry.key).collect();
            assert_eq!(keys, rest, "after {after:?}, v2 {v2}");
        }
    }
    // A marker that is a common prefix skips all below it.
    let found = page(setup, false, ("", Some("/")), ListFrom::Marker("a/".to_owned()), 1000).await;
    assert_eq!(found.common_prefixes, ["b/", "c/", "cc/"]);
}
