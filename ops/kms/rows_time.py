"""What takes hours: proofs, hard lives, the unproved life. Both programs get a clock that the suite moves ahead."""

import faultproxy as fault
from rows import denied, row, served, unavailable
from world import wait

HOUR = 3600
DAY = 24 * HOUR
MOVED_SECONDS = 30


def moved(scene, seconds):
    """The clocks go ahead; the nodes are back at the control plane afterwards (the jump ends their connections)."""
    scene.world.move_clock(seconds)
    for node, port in zip(scene.world.nodes, scene.world.health):
        wait(MOVED_SECONDS, lambda node=node: node.ready(), "a node is ready after the jump")


def eventually(book, status, what):
    """The answer that it comes to, after the jump has ended connections."""
    answers = []

    def ask():
        answers.append(book.get("object-0"))
        return answers[-1].status == status
    wait(MOVED_SECONDS, ask, f"{what} is {status}")
    return answers[-1]


@row(ci=True, seconds=240)
def beyond_the_hour_is_degraded(scene):
    """Down for two hours: served within the unproved life, counted as degraded; a day later, not any more; then well again."""
    book = scene.dev(faked_clock=True).book("warm")
    scene.proxy.set(fault.REFUSE)
    assert scene.control_metric("degraded_keys_total") == 0
    moved(scene, 2 * HOUR)
    eventually(book, 200, "GET two hours after the last proof")
    served(book.put("later"), what="PUT two hours after the last proof")
    scene.figure("degraded, counted", scene.control_metric("degraded_keys_total"))
    assert scene.control_metric("degraded_keys_total") >= 1, "served unproved, and not counted"
    audited = scene.world.control.printed().count("served unproved")
    assert audited, "served unproved, and not in the audit log"
    moved(scene, 25 * HOUR)
    eventually(book, 503, "GET a day after the hour")
    scene.proxy.set(fault.PASS)
    eventually(book, 200, "GET with the KMS back")


@row(ci=True, seconds=240)
def denied_within_the_hour(scene):
    """The KMS takes the right away: within the hour the proof fails, caches are emptied, and everything is 403; given back, served."""
    book = scene.dev(faked_clock=True).book("warm")
    served(book.get("object-0"))
    scene.bao.deny()
    served(book.get("object-0"), what="GET before the proof")
    moved(scene, 3_100)
    wait(MOVED_SECONDS, lambda: scene.world.api("GET", "/v1/status")["keys_in_memory"] == 0, "the control plane's cache is empty")
    eventually(book, 403, "GET after the proof failed")
    denied(book.put("new"), "PUT after the proof failed")
    scene.bao.allow()
    eventually(book, 200, "GET with the right given back")


@row(ci=("decrypts",), seconds=240, all=(fault.REFUSE, ()), decrypts=(fault.ANSWER, ("transit/decrypt",)))
def a_new_key_is_wanted_while_down(scene, way, only):
    """Down, or its decrypts alone, when the active IK's day is over: it goes on, counted as degraded; with the KMS back there is a new one."""
    book = scene.dev(faked_clock=True).book("warm")
    made = lambda: scene.world.control.printed().count("an intermediate key was made")  # noqa: E731
    assert made() == 1
    scene.proxy.set(way, answer=fault.MADE_UP, only=only)
    moved(scene, DAY + 60)
    wait(MOVED_SECONDS, lambda: book.put("next-day").status == 200, "PUT with the IK of yesterday")
    assert scene.control_metric("degraded_keys_total") >= 1
    assert made() == 1, "a key is the bucket's that nobody can be given"
    scene.proxy.set(fault.PASS)
    eventually(book, 200, "GET")
    # The old one was given for some minutes more.
    moved(scene, 15 * 60)
    wait(MOVED_SECONDS, lambda: book.put("with-the-kms-back").status == 200 and made() == 2, "a new key with the KMS back")


@row(ci=True, seconds=240)
def upload_key_held_without_the_buckets(scene):
    """Down, a node holds an upload's key and has let go of the bucket's: UploadPart is served, Complete is 503, and served with the KMS back."""
    # The control plane starts anew in it, which needs its own KEK: that is in the other KMS.
    book = scene.pair(faked_clock=True).book("uploads")
    created, upload = book.create_upload("big")
    served(created)
    parts = [book.body(5 << 20), book.body(5 << 20), book.body(70_000)]
    stored = [served(book.upload_part("big", upload, 1, parts[0]))]
    # What was not used for five minutes goes: the upload's key is used meanwhile, the bucket's is not.
    moved(scene, 200)
    wait(MOVED_SECONDS, lambda: book.listing()[0].status == 200, "LIST after the jump")
    stored.append(served(book.upload_part("big", upload, 2, parts[1]), what="UploadPart within the five minutes"))
    moved(scene, 200)
    # While a node is cut off no key goes for being unused: it must have let go of it before the control plane is ended.
    evicted = lambda: scene.world.metric("sealgate_node_key_evictions_total", scene.world.health[0], reason="idle")  # noqa: E731
    wait(MOVED_SECONDS, lambda: evicted() >= 1, "the node lets go of the bucket's key")
    scene.proxies[0].set(fault.REFUSE)
    scene.world.control.restart()
    moved(scene, 0)
    unavailable(book.get("object-0"), "GET, which needs the bucket's key")
    stored.append(served(book.upload_part("big", upload, 3, parts[2]), what="UploadPart with the upload's key held"))
    listed = list(zip(stored, parts))
    unavailable(book.complete("big", upload, listed), "Complete, which needs the bucket's key")
    unavailable(book.get("object-0"), "GET, which needs the bucket's key")
    scene.proxies[0].set(fault.PASS)
    scene.recovers(book)
    served(book.complete("big", upload, listed), what="Complete with the KMS back")
    served(book.get("big"), what="GET of the whole")
