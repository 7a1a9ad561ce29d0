"""What the upstreams do wrong by themselves, seen with `CLIENTS_DIRECT=1`.

A row is (upstream, pattern of test names without their target, where the fault shows, reason):
  DIRECT   the gateway in front makes it right, or never asks; the test must pass there
  BOTH     the fault is in the upstream's answer or memory, and shows through the gateway
  EITHER   shows through the gateway unless that makes up for it, which it may
  THROUGH  shows through the gateway alone, which asks in the one form that the upstream gets wrong
A listed test must fail where it is listed: one that passes breaks the run, and its row goes (but for EITHER in front of
which a gateway stands). There are no rows for `dev`, and there never will be.
"""

import re

import pytest

from corpus import ODD_KEYS

DIRECT, BOTH, EITHER, THROUGH = "direct", "both", "either", "through"

# Keys of the corpus that an upstream cannot tell from another, or cannot hold at all.
UNHOLDABLE = {
    "weed": {
        "double-slash": "// is /: keys are paths of its file system",
        "triple-slash": "/// is /",
        "leading-slash": "// is /",
        "directory": "an object whose key ends in / is a folder without content",
        "brackets": "a backslash is a slash",
        "long": "a path segment over 255 bytes is refused",
        "long-unicode": "a path segment over 255 bytes is refused",
    },
}

ROWS = [
    *(("weed", rf"test_odd_key_in_\w+\[{name}\]", BOTH, why) for name, why in UNHOLDABLE["weed"].items()),
    # SeaweedFS: listings
    ("weed", r"test_listing\[encoded-(/-)?-?[12]-v1\]", EITHER, "marker is not decoded when encoding-type=url asks back"),
    ("weed", r"test_listing\[\w+-(a|datasets/alice/)-[12]-", EITHER, "pages with a delimiter other than / repeat"),
    ("weed", r"test_listing_starts_after_a_key\[leading-slash\]", EITHER, "start-after with // starts elsewhere"),
    (
        "weed",
        r"test_listing_starts_after_a_key\[(plus|percent|escaped-percent|looks-escaped)\]",
        EITHER,
        "StartAfter comes back unencoded under encoding-type=url",
    ),
    ("weed", r"test_list_uploads_in_pages", BOTH, "a truncated page names no NextKeyMarker"),
    # SeaweedFS: folders stay behind when their last object is deleted, and are listed
    ("weed", r"test_(minio_py|s3fs|put_get_info_del)\[", EITHER, "an emptied folder is listed as an object for a while"),
    # SeaweedFS: objects
    ("weed", r"test_an_upload_id_nobody_gave\[\.\./\.\./x\]", EITHER, "400 for an upload id with dots"),
    ("weed", r"test_no_content_type_is_binary", EITHER, "guesses a Content-Type from the content"),
    ("weed", r"test_range_of_head", EITHER, "HEAD ignores Range"),
    ("weed", r"test_copy_keeps_content_and_metadata", EITHER, "the ETag of a copy's answer has no quotes"),
    # moto: verifies nothing that was sent
    ("moto", r"test_a_wrong_checksum_leaves_no_(object|part)", DIRECT, "compares no checksum"),
    ("moto", r"test_content_md5", DIRECT, "compares no Content-MD5"),
    ("moto", r"test_a_key_too_long", DIRECT, "takes keys of any length"),
    # moto: listings
    ("moto", r"test_listing\[\w+-.+-[12]-v1\]", BOTH, "pages of version 1 lose common prefixes"),
    ("moto", r"test_listing\[encoded-a-1000-v1\]", BOTH, "version 1 does not encode common prefixes"),
    ("moto", r"test_listing\[plain-a-1000-v1\]", THROUGH, "version 1 does not encode common prefixes"),
    ("moto", r"test_listing_starts_after_a_key", EITHER, "Marker is not told, StartAfter comes back unencoded"),
    # moto: multipart uploads
    ("moto", r"test_list_parts_in_pages", EITHER, "the last part is missing from the last page"),
    ("moto", r"test_list_uploads_in_pages", BOTH, "knows no max-uploads and no delimiter"),
    ("moto", r"test_(abort|an_upload_id_nobody_gave)\[", EITHER, "500 where the upload does not exist"),
    ("moto", r"test_completing_in_the_wrong_order", EITHER, "takes parts in any order"),
    ("moto", r"test_parts_of_the_finished_object_can_be_read", BOTH, "tells no x-amz-mp-parts-count"),
    # moto: objects
    ("moto", r"test_copy_under_a_condition", DIRECT, "ignores x-amz-copy-source-if-match"),
    ("moto", r"test_a_quiet_multi_delete_says_nothing", EITHER, "a quiet DeleteObjects names what it deleted"),
    ("moto", r"test_a_tree_is_copied_checked_synced", DIRECT, "cuts a copy's source at a semicolon"),
    # SeaweedFS through the gateway: it stores what came before a connection closed, whatever Content-Length said,
    # and encodes some names of a listing without saying so.
    ("weed", r"test_a_wrong_checksum_leaves_no_(object|part)\[", EITHER, "a body cut short becomes an object"),
    ("weed", r"test_a_client_that_leaves_in_the_middle_of_an_overwrite", EITHER, "a body cut short becomes an object"),
    ("weed", r"test_odd_key_in_a_multipart_upload\[", EITHER, "names of uploads are encoded without saying so"),
    ("weed", r"test_listing\[", EITHER, "names are encoded without saying so"),
]  # fmt: skip


def holdable(upstream):
    """The names of the keys that this upstream can hold."""
    return [name for name in ODD_KEYS if name not in UNHOLDABLE.get(upstream, ())]


def mark(target, test):
    """The xfail mark of a test that is known to fail at this target, or None."""
    kind, _, variant = target.partition("-")
    direct = variant == "direct"
    name = re.sub(rf"(?<=[\[-]){target}-?", "", test).replace("-]", "]")
    for upstream, pattern, where, why in ROWS:
        shows = where != (THROUGH if direct else DIRECT)
        if upstream == kind and shows and re.search(pattern, name):
            return pytest.mark.xfail(strict=direct or where in (BOTH, THROUGH), reason=f"{kind} itself: {why}")
    return None
