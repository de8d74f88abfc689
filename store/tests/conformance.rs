//! What every engine must do: one suite, run by each.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::{sync::Arc, thread};

use sealgate_store::{
    Compare, MAX_VALUE, MemoryStore, NoRecord, Op, Record, RecordError, SledStore, Store, StoreError,
    WatchError, decode, encode,
};

fn put(key: &str, value: &str) -> Op {
    Op::Put(key.to_owned(), value.as_bytes().to_vec())
}

fn delete(key: &str) -> Op {
    Op::Delete(key.to_owned())
}

fn value(store: &dyn Store, key: &str) -> Option<String> {
    store.get(key).unwrap().map(|entry| String::from_utf8(entry.value).unwrap())
}

fn transactions_are_numbered_and_atomic(store: &dyn Store) {
    assert_eq!(store.revision(), 0);
    assert_eq!(store.txn(&[], vec![put("a", "1"), put("b", "1")]).unwrap(), 1);
    assert_eq!(store.txn(&[], vec![put("a", "2"), delete("b"), delete("never")]).unwrap(), 2);
    assert_eq!((value(store, "a").as_deref(), value(store, "b")), (Some("2"), None));
    assert_eq!(store.get("a").unwrap().unwrap().revision, 2);
    let stale = [Compare::Revision("a".to_owned(), 1)];
    let refused = store.txn(&stale, vec![put("c", "1"), put("a", "3")]);
    assert!(matches!(refused, Err(StoreError::Conflict(key)) if key == "a"));
    assert_eq!((value(store, "a").as_deref(), value(store, "c")), (Some("2"), None), "nothing was written");
    assert_eq!(store.revision(), 2, "a refused transaction takes no number");
}

fn conditions_compare_revisions_and_absence(store: &dyn Store) {
    let absent = [Compare::Absent("k".to_owned())];
    let first = store.txn(&absent, vec![put("k", "1")]).unwrap();
    assert!(matches!(store.txn(&absent, vec![put("k", "2")]), Err(StoreError::Conflict(_))));
    let same = [Compare::Revision("k".to_owned(), first)];
    store.txn(&same, vec![put("k", "1")]).unwrap();
    assert!(
        matches!(store.txn(&same, vec![put("k", "3")]), Err(StoreError::Conflict(_))),
        "same value, newer revision"
    );
    let gone = [Compare::Revision("missing".to_owned(), 0)];
    assert!(matches!(store.txn(&gone, vec![put("x", "1")]), Err(StoreError::Conflict(_))));
}

fn scans_are_sorted_and_end_with_the_prefix(store: &dyn Store) {
    store
        .txn(&[], vec![put("p/b", "2"), put("p/a", "1"), put("p0", "x"), put("o", "x"), put("p/ä", "3")])
        .unwrap();
    let keys: Vec<_> = store.scan("p/").unwrap().into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, ["p/a", "p/b", "p/ä"]);
    let snapshot = store.snapshot().unwrap();
    assert_eq!(snapshot.revision, store.revision());
    let keys: Vec<_> = snapshot.entries.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(keys, ["o", "p/a", "p/b", "p/ä", "p0"]);
}

fn limits_are_kept(store: &dyn Store) {
    let invalid = [
        vec![],
        vec![put("", "x")],
        vec![put("a", "1"), delete("a")],
        vec![put(&"k".repeat(1025), "x")],
        vec![Op::Put("v".to_owned(), vec![0; MAX_VALUE + 1])],
        (0..1025).map(|i| put(&i.to_string(), "x")).collect(),
    ];
    for ops in invalid {
        assert!(matches!(store.txn(&[], ops), Err(StoreError::Invalid(_))));
    }
    store.txn(&[], vec![Op::Put("v".to_owned(), vec![7; MAX_VALUE])]).unwrap();
    assert_eq!(store.get("v").unwrap().unwrap().value.len(), MAX_VALUE);
    assert_eq!(store.revision(), 1);
}

fn only_one_of_many_racers_wins(store: Arc<dyn Store>) {
    let wins: usize = thread::scope(|scope| {
        let racers: Vec<_> = (0..8)
            .map(|racer| {
                let store = Arc::clone(&store);
                scope.spawn(move || {
                    let absent = [Compare::Absent("prize".to_owned())];
                    usize::from(store.txn(&absent, vec![put("prize", &racer.to_string())]).is_ok())
                })
            })
            .collect();
        racers.into_iter().map(|racer| racer.join().unwrap()).sum()
    });
    assert_eq!((wins, store.revision()), (1, 1));
}

async fn watches_see_each_transaction_once(store: &dyn Store) {
    let mut whole = store.watch(0).unwrap();
    store.txn(&[], vec![put("a", "1")]).unwrap();
    store.txn(&[], vec![put("b", "1")]).unwrap();
    let mut late = store.watch(1).unwrap();
    store.txn(&[], vec![delete("a")]).unwrap();
    for (watch, first) in [(&mut whole, 1), (&mut late, 2)] {
        for expected in first..=3 {
            assert_eq!(watch.next().await.unwrap().revision, expected);
        }
    }
    assert!(matches!(store.watch(4), Err(WatchError::Compacted)), "a revision that never was");
    for i in 0..1100 {
        store.txn(&[], vec![put("n", &i.to_string())]).unwrap();
    }
    assert!(matches!(store.watch(3), Err(WatchError::Compacted)));
    assert!(matches!(whole.next().await, Err(WatchError::Compacted)), "a slow watcher is told");
}

macro_rules! conformance {
    ($engine:ident, $open:expr) => {
        mod $engine {
            use super::*;

            #[test]
            fn transactions_are_numbered_and_atomic() {
                let (store, _dir) = $open;
                super::transactions_are_numbered_and_atomic(&store);
            }
            #[test]
            fn conditions_compare_revisions_and_absence() {
                let (store, _dir) = $open;
                super::conditions_compare_revisions_and_absence(&store);
            }
            #[test]
            fn scans_are_sorted_and_end_with_the_prefix() {
                let (store, _dir) = $open;
                super::scans_are_sorted_and_end_with_the_prefix(&store);
            }
            #[test]
            fn limits_are_kept() {
                let (store, _dir) = $open;
                super::limits_are_kept(&store);
            }
            #[test]
            fn only_one_of_many_racers_wins() {
                let (store, _dir) = $open;
                super::only_one_of_many_racers_wins(Arc::new(store));
            }
            #[tokio::test]
            async fn watches_see_each_transaction_once() {
                let (store, _dir) = $open;
                super::watches_see_each_transaction_once(&store).await;
            }
        }
    };
}

conformance!(memory, (MemoryStore::new(), ()));
conformance!(sled, {
    let dir = tempfile::tempdir().unwrap();
    (SledStore::open(dir.path()).unwrap(), dir)
});

#[test]
fn records_migrate_one_version_at_a_time() {
    #[derive(serde::Serialize, serde::Deserialize, Debug, PartialEq)]
    struct First {
        name: String,
    }
    impl Record for First {
        const VERSION: u8 = 1;
        type Previous = NoRecord;
        fn migrate(previous: NoRecord) -> Self {
            match previous {}
        }
    }
    #[derive(serde::Serialize, serde::Deserialize, Debug, PartialEq)]
    struct Second {
        names: Vec<String>,
    }
    impl Record for Second {
        const VERSION: u8 = 2;
        type Previous = First;
        fn migrate(previous: First) -> Self {
            Self { names: vec![previous.name] }
        }
    }
    let first = encode(&First { name: "a".to_owned() }).unwrap();
    assert_eq!(first[0], 1);
    assert_eq!(decode::<Second>(&first), Ok(Second { names: vec!["a".to_owned()] }));
    let second = encode(&Second { names: vec![] }).unwrap();
    assert_eq!(decode::<Second>(&second), Ok(Second { names: vec![] }));
    assert_eq!(
        decode::<First>(&second),
        Err(RecordError::Version(2)),
        "an older program refuses a newer record"
    );
    assert_eq!(decode::<First>(&[]), Err(RecordError::Empty));
    assert_eq!(decode::<First>(&[0, b'{', b'}']), Err(RecordError::Version(0)));
    assert_eq!(decode::<First>(&[1, b'{', b'}']), Err(RecordError::Damaged(1)));
}
