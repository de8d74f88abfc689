//! One suite of cases, run on every backend.
//!
//! The servers' tests need servers: `ops/with-servers all -- cargo nextest run -p sealgate-data-plane` starts them. A
//! missing server fails its tests; to leave them out while editing:
//! `cargo nextest run -p sealgate-data-plane -E 'not test(/^conformance_(seaweedfs|versitygw|minio)/)'`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod conformance {
    pub mod conditions;
    pub mod copies;
    pub mod failures;
    pub mod integrity;
    pub mod listing;
    pub mod multipart;
    pub mod objects;
    pub mod support;
    pub mod tls;
    pub mod versions;
}

macro_rules! suite {
    ($name:ident, $open:expr, [$($module:ident :: $case:ident),* $(,)?]) => {
        mod $name {
            $(
                #[test]
                fn $case() {
                    crate::conformance::support::run($open, |setup| async move {
                        crate::conformance::$module::$case(&setup).await;
                    });
                }
            )*
        }
    };
}

macro_rules! suites {
    ($($name:ident = $open:expr;)*) => { $(
        suite!($name, $open, [
            objects::buckets_come_and_go,
            objects::put_get_head_overwrite_delete,
            objects::sizes_around_every_boundary_come_back,
            objects::ranges,
            objects::metadata_round_trip,
            objects::markers_keep_their_metadata,
            objects::odd_keys,
            objects::names_that_cannot_be_are_refused,
            objects::delete_many_answers_in_order,
            conditions::conditional_get_and_head,
            conditions::conditional_put,
            conditions::conditional_delete,
            conditions::one_of_many_creators_wins,
            listing::every_page_size_gives_the_sorted_whole,
            listing::delimiters_and_prefixes,
            listing::start_after,
            multipart::parts_out_of_order_with_gaps_make_an_object,
            multipart::a_part_uploaded_again_replaces_the_first,
            multipart::wrong_etags_and_missing_parts_are_refused,
            multipart::an_upload_ends_once,
            multipart::pages_of_parts,
            multipart::pages_of_uploads,
            multipart::conditional_complete,
            copies::copies_are_objects_of_their_own,
            copies::copies_of_what_is_not_there,
            copies::copies_between_buckets,
            copies::copies_of_an_upload,
            copies::copies_keep_to_the_sources_etag,
            copies::copies_keep_to_the_targets_conditions,
            copies::parts_that_are_copies,
            failures::a_body_cut_short_stores_nothing,
            failures::a_body_of_the_wrong_length_stores_nothing,
            failures::a_part_cut_short_stores_nothing,
            versions::versions_stay_until_they_are_deleted,
            versions::tags_are_the_objects_and_end_with_them,
        ]);
    )* };
}

suites! {
    conformance_fs = super::conformance::support::open_fs();
    conformance_seaweedfs = super::conformance::support::open_s3("SEAWEEDFS");
    conformance_versitygw = super::conformance::support::open_s3("VERSITYGW");
    conformance_minio = super::conformance::support::open_s3("MINIO");
}

suite!(
    conformance_seaweedfs_wire,
    super::conformance::support::open_s3("SEAWEEDFS"),
    [integrity::a_byte_flipped_on_the_way_is_refused]
);
suite!(
    conformance_versitygw_wire,
    super::conformance::support::open_s3("VERSITYGW"),
    [integrity::a_byte_flipped_on_the_way_is_refused]
);
suite!(
    conformance_minio_wire,
    super::conformance::support::open_s3("MINIO"),
    [integrity::a_byte_flipped_on_the_way_is_refused]
);
suite!(
    conformance_seaweedfs_tls,
    super::conformance::support::open_s3_over_tls("SEAWEEDFS"),
    [
        objects::put_get_head_overwrite_delete,
        objects::ranges,
        multipart::parts_out_of_order_with_gaps_make_an_object,
        failures::a_body_cut_short_stores_nothing,
    ]
);
suite!(
    conformance_versitygw_tls,
    super::conformance::support::open_s3_over_tls("VERSITYGW"),
    [
        objects::put_get_head_overwrite_delete,
        objects::ranges,
        multipart::parts_out_of_order_with_gaps_make_an_object,
        failures::a_body_cut_short_stores_nothing,
    ]
);
suite!(
    conformance_minio_tls,
    super::conformance::support::open_s3_over_tls("MINIO"),
    [
        objects::put_get_head_overwrite_delete,
        objects::ranges,
        multipart::parts_out_of_order_with_gaps_make_an_object,
        failures::a_body_cut_short_stores_nothing,
    ]
);
