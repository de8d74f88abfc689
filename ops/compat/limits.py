"""What a storage cannot do, so that the gateway before it cannot either.

A case that fails through the gateway is excused only if it stands here AND fails, at that moment, against the storage
alone. So the list hides nothing: a limit that a new version lifts, or a failure that is the gateway's own, is a failure.
Everything that the gateway decides itself (sizes, ranges, checksums, signatures, names, XML) has no place here.
"""

import secrets

import cases
import servers
import target

LIMITS = {
    "seaweedfs": {
        "s3_listing.the_order_is_that_of_the_bytes_not_of_directories": "it lists directory by directory",
        "s3_listing.a_wrong_token_is_refused": "any token is taken",
        "s3_objects.a_backslash_is_an_ordinary_character": "it turns a backslash into a slash",
        "roundtrip.awscli_copies_and_syncs": "awscli's sync merges two listings in S3's order, and it lists directory by directory",
        "s3_multipart.list_parts_shows_the_last_attempt_only": "it lists every attempt, those of one second in any order",
        "s3_versions.a_deletion_covers_and_a_deleted_marker_uncovers": "a delete marker's id is NoSuchKey, not MethodNotAllowed",
        "s3_versions.a_get_of_a_deleted_key_says_that_a_marker_covers_it": "its 404 does not speak of delete markers",
    },
    "versitygw": {
        "s3_objects.a_key_may_be_a_prefix_of_another": "a key is a path: a file cannot be a directory too",
        "s3_objects.not_modified_carries_the_etag_and_no_body": "its 304 names no ETag",
        "s3_listing.a_wrong_token_is_refused": "any token is taken",
        "s3_listing.max_keys_zero_and_one": "IsTruncated is true after the last key",
        "s3_forward.a_default_retention_locks_new_objects": "a default retention locks nothing",
        "s3_versions.a_get_of_a_deleted_key_says_that_a_marker_covers_it": "its 404 does not name the delete marker",
        "s3_versions.pages_of_versions_join": "a page begins with the version that the marker names",
        "refusals_keys.traversal": "it refuses what looks like a path with a code of its own",
        "s3_multipart.more_than_a_thousand_parts": "it keeps what it knows of the parts in one extended attribute, of which ext4 takes 4 KiB",
    },
    "minio": {
        "s3_objects.conditions_take_precedence": "If-Modified-Since counts beside If-None-Match",
        "s3_objects.a_key_may_be_a_prefix_of_another": "a key is a path: a file cannot be a directory too",
        "s3_multipart.uploads_are_listed_and_nothing_else_is": "it lists the uploads of whole keys only, not of prefixes",
        "s3_versions.several_versions_are_deleted_at_once": "it does not say that what was deleted was a delete marker",
        "refusals_keys.traversal": "it refuses what looks like a path with a code of its own",
    },
}


def explains(backend: str | None, case: cases.Case, through) -> str | None:
    """The limit behind a failure, proved against the storage alone; None when the failure is the gateway's."""
    reason = LIMITS.get(backend, {}).get(f"{case.module}.{case.name}")
    if not reason or through.backend is None:
        return None
    # One of its own: what is stored there is plaintext, and deleting leaves that on disks that are scanned for it.
    server = servers.S3_SERVERS[backend]()
    alone = target.Direct(server.endpoint, server.access_key, server.secret_key, server.region)
    try:
        context = cases.Context(alone, f"alone-{secrets.token_hex(6)}", "ci")
        context.create_bucket(context.bucket)
        failure, _ = cases.run_case(case, context)
        return reason if failure else None
    finally:
        alone.stop()
        server.stop()
