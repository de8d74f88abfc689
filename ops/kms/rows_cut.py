"""A node that is cut off from its control plane: what it was given it has to the end of its hour and its tenant's unproved life, and
what is told about it counts that."""

import time

from book import Book
from rows import row, served
from world import PROVIDER, wait

HOUR = 3600
# Longer than keys live unused, and than clocks may differ.
STEP = 900
WITHIN_SECONDS = 60


def comes_to(book, client, status, what):
    """The answer that it comes to: after a jump of the clock connections end, and what asks a control plane that is silent waits."""
    answers = []

    def ask():
        answers.append(book.get("object-0", client=client))
        return answers[-1].status == status
    wait(WITHIN_SECONDS, ask, f"{what} is {status}")
    return answers[-1]


@row(seconds=400, connected=False, revoked=True)
def a_node_that_is_cut_off_stops_with_the_unproved_life(scene, revoked):
    """A key is taken back while a node is cut off, and its certificate with it or not: it is counted, and ends there when told."""
    book = scene.dev(nodes=2, faked_clock=True, cabled=True).book("bucket")
    world, here, there = scene.world, scene.world.client(0), scene.world.client(1)
    world.api("POST", "/v1/tenants", {"name": "doomed", "kms": PROVIDER})
    doomed = Book(world.client(1, world.credential("doomed")), "doomed", seed=9, when=scene.when)
    assert doomed.make_bucket().status == 200
    served(doomed.put("object-0"))
    served(book.get("object-0", client=there), what="GET through the node that will be cut off")
    life = 2 * HOUR
    world.api("PATCH", "/v1/tenants/acme", {"unproved_life": life})
    world.api("PATCH", "/v1/tenants/doomed", {"unproved_life": 0})
    served(comes_to(book, there, 200, "GET under the other unproved life"))
    assert doomed.get("object-0").status == 200
    world.cables[1].pull()
    # Before the clock jumps over what a node that is not cut off drops for being unused.
    wait(WITHIN_SECONDS, lambda: world.metric("sealgate_node_control_plane_connected", world.health[1]) == 0, "the node notices")
    if revoked:
        world.api("DELETE", "/v1/nodes/node-1")
    began = now = int(time.time()) + world.offset
    ik = world.api("GET", "/v1/buckets/bucket/keys")[0]["ik"]
    told = world.api("POST", f"/v1/buckets/bucket/keys/{ik}/compromised", {})
    shredded = world.api("POST", "/v1/tenants/doomed/shred", {"confirm": "doomed"})
    scene.figure("pending / revoked", f"{told['pending']} / {told['revoked']}")
    assert (told["pending"], told["revoked"]) == (([], ["node-1"]) if revoked else (["node-1"], [])), told
    for what, at, after in (("compromised", told["certain_at"], HOUR + life), ("shredded", shredded["caches_empty_at"], HOUR)):
        scene.figure(f"{what}: certain, s from then", at - now)
        assert at >= now + after, f"{what}: {at - now} s is within what the node may hold"
    assert book.get("object-0", client=here).status == 403, "the node that is connected"
    gone = 0
    while gone + STEP < HOUR + life - STEP:
        served(comes_to(book, there, 200, "GET through the node that is cut off"))
        world.move_clock(STEP)
        gone += STEP
    scene.figure("served there to, s", gone)
    assert doomed.get("object-0").status == 503, "this tenant wants no unproved life"
    world.move_clock(2 * STEP + 60)
    comes_to(book, there, 503, "GET through the node that is cut off, after the unproved life")
    scene.figure("not any more from, s", int(time.time()) + world.offset - began)
    scene.figure("lookups beyond the hour", world.metric("sealgate_node_key_lookups_total", world.health[1], result="degraded"))
    assert int(time.time()) + world.offset < told["certain_at"] + STEP, "it was long over: no test of what was told"
    world.cables[1].plug()
    if not revoked:
        comes_to(book, there, 403, "GET through the node that is back")
    else:
        wait(WITHIN_SECONDS, lambda: "this node's certificate is revoked" in world.nodes[1].printed(), "the node hears that it is revoked")
    # So that everything can be read back.
    world.api("POST", f"/v1/buckets/bucket/keys/{ik}/reinstate", {"force": True})
    comes_to(book, here, 200, "GET of what is reinstated")
