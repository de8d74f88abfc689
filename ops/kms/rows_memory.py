"""Keys leave the memory when their time is over: looked for in the processes themselves, by the bytes that the KMS unwraps."""

import base64
import os
import re

import faultproxy as fault
import memory
from rows import row, served
from rows_time import HOUR, moved
from sealgate_format import filesystem, keys, records
from world import wait

# After this a node lets go of a key that nobody used.
UNUSED_SECONDS = 5 * 60
# The timers look at their clock every 10 s.
LET_GO_SECONDS = 40


def record_of(scene) -> keys.IkRecord:
    """Of the one IK of the one bucket, as it lies in the storage."""
    root = os.path.join(scene.world.data, "backend")
    (bucket,) = os.listdir(os.path.join(root, "buckets"))
    stored = [each for each in filesystem.objects(root, bucket) if each.key.startswith(b".sealgate/")]
    (found,) = [each for each in stored if records.parse_name(each.key.decode())["kind"] == "ik"]
    return keys.parse_ik_record(found.read(0, found.size))


def ik_of(scene) -> bytes:
    """The same, opened by the KMS."""
    record = record_of(scene)
    asked = {"ciphertext": record.wrapped.decode(), "associated_data": base64.b64encode(record.context).decode()}
    answer = scene.bao.api("POST", f"transit/decrypt/{record.kek.rpartition('/')[2]}", asked)
    return base64.b64decode(answer["data"]["plaintext"])


@row(seconds=240)
def keys_leave_the_memory_by_their_timers(scene):
    """Nobody asks for anything any more: a key unused goes on the node, and with the KMS away a day beyond its hour it goes on the control plane."""
    book = scene.dev(faked_clock=True).book("memory")
    node, control = scene.world.nodes[0].process.pid, scene.world.control.process.pid
    ik = ik_of(scene)
    copies = lambda process: memory.count(process, {"IK": ik})["IK"]  # noqa: E731
    served(book.get("object-0"))
    scene.figure("copies in use: node, control plane", f"{copies(node)}, {copies(control)}")
    assert copies(node) and copies(control), "the search does not find a key that is in use"
    moved(scene, UNUSED_SECONDS + 5)
    wait(LET_GO_SECONDS, lambda: not copies(node), "the node lets go of a key that nobody used")
    assert copies(control), "the control plane's went as well, before its time"
    scene.proxy.set(fault.REFUSE)
    # Until a proof has failed it is not known that the KMS is away; from then on the unproved life, 24 h, counts.
    moved(scene, HOUR)
    wait(LET_GO_SECONDS, lambda: scene.world.api("GET", "/v1/status")["keys_in_memory"] == 1, "the key goes on unproved")
    assert copies(control), "the control plane's went with its hour, in spite of its unproved life"
    moved(scene, 25 * HOUR)
    wait(LET_GO_SECONDS, lambda: not copies(control), "the control plane lets go of it at the end of its unproved life")
    assert not copies(node)
    scene.proxy.set(fault.PASS)
    scene.recovers(book)


@row(ci=True)
def every_key_that_a_node_is_given_is_in_the_audit_log(scene):
    """What a stolen node is searched by: each answer with a key names node, bucket and key, also the one that a bucket writes with."""
    book = scene.dev().book("audited")
    ik = record_of(scene).ik.hex()
    scene.world.restart_nodes()
    served(book.put("written"), what="PUT with a cold cache")
    scene.world.restart_nodes()
    served(book.get("object-0"), what="GET with a cold cache")
    lines = [line for line in scene.world.control.printed().splitlines() if "key fetch: answered" in line]
    given = [(found[1], found[2]) for line in lines if (found := re.search(r"operation=(Active|Confirm|Get) .*\bik=\"(\w*)\"", line))]
    scene.figure("answered", given)
    assert {operation for operation, _ in given} == {"Active", "Confirm", "Get"}, f"{given}"
    assert all(named == ik for _, named in given), f"{given}, and the key is {ik}"
    assert all("node=\"node-0\"" in line for line in lines), f"{lines}"
