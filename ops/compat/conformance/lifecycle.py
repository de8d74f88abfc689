"""Lifecycle configurations: kept as given, and refused where they say nothing that could be done."""

import checksums
from cases import case, equal, raises, refused, true, variants
from conformance.support import status

PREFIX = {"Filter": {"Prefix": "logs/"}, "Status": "Enabled"}


def kept(t, *rules):
    name = t.fresh_bucket()
    t.s3.put_bucket_lifecycle_configuration(Bucket=name, LifecycleConfiguration={"Rules": list(rules)})
    return name, t.s3.get_bucket_lifecycle_configuration(Bucket=name)["Rules"]


def send(t, rules: str):
    body = f"<LifecycleConfiguration>{rules}</LifecycleConfiguration>".encode()
    return t.raw.request("PUT", f"/{t.shared('bucket', t.fresh_bucket)}", [("lifecycle", "")], {"content-md5": checksums.content_md5(body)}, body)


@case
def none_by_itself(t):
    with raises("NoSuchLifecycleConfiguration", status=404):
        t.s3.get_bucket_lifecycle_configuration(Bucket=t.fresh_bucket())


@variants(
    days={"Expiration": {"Days": 3}}, noncurrent={"NoncurrentVersionExpiration": {"NoncurrentDays": 5}},
    incomplete_uploads={"AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 2}},
    expired_markers={"Expiration": {"ExpiredObjectDeleteMarker": True}},
)
def keeps_an_action(t, action):
    _, rules = kept(t, {"ID": "rule", **PREFIX, **action})
    equal(len(rules), 1, "rules")
    for name, value in action.items():
        equal(rules[0][name], value, name)


@case
def keeps_a_date(t):
    _, rules = kept(t, {"ID": "rule", **PREFIX, "Expiration": {"Date": "2099-01-01T00:00:00Z"}})
    equal(rules[0]["Expiration"]["Date"].isoformat(), "2099-01-01T00:00:00+00:00", "date")


@variants(
    prefix={"Prefix": "a/b"}, tag={"Tag": {"Key": "a", "Value": "1"}},
    both={"And": {"Prefix": "a/", "Tags": [{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}]}}, everything={"Prefix": ""},
)
def keeps_a_filter(t, chosen):
    _, rules = kept(t, {"ID": "rule", "Filter": chosen, "Status": "Enabled", "Expiration": {"Days": 1}})
    found = rules[0]["Filter"]
    equal(found if chosen != {"Prefix": ""} else found or {"Prefix": ""}, chosen, "filter")


@case
def keeps_several_rules_and_their_states(t):
    wanted = [{"ID": f"rule{number}", "Filter": {"Prefix": f"p{number}/"}, "Status": state, "Expiration": {"Days": number + 1}}
              for number, state in enumerate(("Enabled", "Disabled", "Enabled"))]
    _, rules = kept(t, *wanted)
    equal([(rule["ID"], rule["Status"], rule["Expiration"]["Days"]) for rule in rules],
          [(rule["ID"], rule["Status"], rule["Expiration"]["Days"]) for rule in wanted], "rules")


@case
def names_a_rule_that_has_no_name(t):
    _, rules = kept(t, {**PREFIX, "Expiration": {"Days": 1}})
    true(rules[0].get("ID"), "the rule has no ID")


@case
def keeps_a_prefix_in_the_old_place(t):
    name = t.fresh_bucket()
    body = b"<LifecycleConfiguration><Rule><ID>a</ID><Prefix>old/</Prefix><Status>Enabled</Status><Expiration><Days>1</Days></Expiration></Rule></LifecycleConfiguration>"
    answer = t.raw.request("PUT", f"/{name}", [("lifecycle", "")], {"content-md5": checksums.content_md5(body)}, body)
    equal(answer.status, 200, f"answer {answer}")
    rule = t.s3.get_bucket_lifecycle_configuration(Bucket=name)["Rules"][0]
    equal(rule.get("Prefix") or rule["Filter"]["Prefix"], "old/", "prefix")


@case
def is_replaced_whole(t):
    name, _ = kept(t, {"ID": "old", **PREFIX, "Expiration": {"Days": 1}})
    t.s3.put_bucket_lifecycle_configuration(Bucket=name, LifecycleConfiguration={"Rules": [{"ID": "new", **PREFIX, "Expiration": {"Days": 2}}]})
    equal([rule["ID"] for rule in t.s3.get_bucket_lifecycle_configuration(Bucket=name)["Rules"]], ["new"], "rules")


@case
def is_deleted(t):
    name, _ = kept(t, {"ID": "rule", **PREFIX, "Expiration": {"Days": 1}})
    equal(status(t.s3.delete_bucket_lifecycle(Bucket=name)), 204, "status")
    with raises("NoSuchLifecycleConfiguration", status=404):
        t.s3.get_bucket_lifecycle_configuration(Bucket=name)


@variants(
    days_zero=("<Rule><ID>a</ID><Filter><Prefix>x</Prefix></Filter><Status>Enabled</Status><Expiration><Days>0</Days></Expiration></Rule>", ("InvalidArgument",)),
    days_negative=("<Rule><ID>a</ID><Filter><Prefix>x</Prefix></Filter><Status>Enabled</Status><Expiration><Days>-1</Days></Expiration></Rule>", ("InvalidArgument", "MalformedXML")),
    a_state_that_is_none=("<Rule><ID>a</ID><Filter><Prefix>x</Prefix></Filter><Status>On</Status><Expiration><Days>1</Days></Expiration></Rule>", ("MalformedXML",)),
    a_state_in_lower_case=("<Rule><ID>a</ID><Filter><Prefix>x</Prefix></Filter><Status>enabled</Status><Expiration><Days>1</Days></Expiration></Rule>", ("MalformedXML",)),
    no_state=("<Rule><ID>a</ID><Filter><Prefix>x</Prefix></Filter><Expiration><Days>1</Days></Expiration></Rule>", ("MalformedXML",)),
    no_action=("<Rule><ID>a</ID><Filter><Prefix>x</Prefix></Filter><Status>Enabled</Status></Rule>", ("InvalidRequest", "MalformedXML")),
    a_long_name=(f"<Rule><ID>{'a' * 256}</ID><Filter><Prefix>x</Prefix></Filter><Status>Enabled</Status><Expiration><Days>1</Days></Expiration></Rule>", ("InvalidArgument",)),
    a_name_twice=("<Rule><ID>a</ID><Filter><Prefix>x</Prefix></Filter><Status>Enabled</Status><Expiration><Days>1</Days></Expiration></Rule>" * 2, ("InvalidArgument",)),
    a_date_not_at_midnight=("<Rule><ID>a</ID><Filter><Prefix>x</Prefix></Filter><Status>Enabled</Status><Expiration><Date>2099-01-01T12:30:00Z</Date></Expiration></Rule>", ("InvalidArgument",)),
    a_date_that_is_none=("<Rule><ID>a</ID><Filter><Prefix>x</Prefix></Filter><Status>Enabled</Status><Expiration><Date>tomorrow</Date></Expiration></Rule>", ("MalformedXML",)),
    no_rule=("", ("MalformedXML",)), no_xml=("</LifecycleConfiguration>rules", ("MalformedXML",)),
)
def refuses(t, rules, codes):
    refused(send(t, rules), 400, *codes)


@case
def needs_a_checksum(t):
    body = b"<LifecycleConfiguration><Rule><ID>a</ID><Filter><Prefix>x</Prefix></Filter><Status>Enabled</Status><Expiration><Days>1</Days></Expiration></Rule></LifecycleConfiguration>"
    refused(t.raw.request("PUT", f"/{t.shared('bucket', t.fresh_bucket)}", [("lifecycle", "")], body=body), 400, "InvalidRequest", "MissingContentMD5")


@case
def a_wrong_md5_keeps_nothing(t):
    body = b"<LifecycleConfiguration><Rule><ID>a</ID><Filter><Prefix>x</Prefix></Filter><Status>Enabled</Status><Expiration><Days>1</Days></Expiration></Rule></LifecycleConfiguration>"
    name = t.fresh_bucket()
    refused(t.raw.request("PUT", f"/{name}", [("lifecycle", "")], {"content-md5": checksums.content_md5(b"other")}, body), 400, "BadDigest")
    with raises("NoSuchLifecycleConfiguration", status=404):
        t.s3.get_bucket_lifecycle_configuration(Bucket=name)
