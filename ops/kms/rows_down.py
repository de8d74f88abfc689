"""The KMS is down, in every way: what needs no key or has one is served, what needs one is refused at once."""

import time

import faultproxy as fault
from rows import CALL_SECONDS, OPEN_SECONDS, Load, at_once, row, served, unavailable, until_open
from scene import OLD
from world import wait

# Ways to be down; slow is so too, since it takes longer than an attempt may. With `half` it is down half of the time.
WAYS = {"refuse": fault.REFUSE, "hang": fault.HANG, "slow": fault.SLOW, "reset": fault.RESET, "cut": fault.CUT, "errors": fault.ANSWER}


@row(ci=("hang",), **WAYS, half=fault.HALF)
def cached_is_served(scene, way):
    """Down, the IK in the cache: GET, PUT and multipart are served."""
    warm = scene.dev().book("warm")
    scene.cold()
    scene.warm(warm)
    served(warm.put("object-0"), what="the first PUT, which finds the active key")
    upload = served(warm.create_upload("upload")[0])
    scene.proxy.set(way)
    mark = scene.mark()
    for number in range(20):
        served(warm.get("object-0"), what="GET")
        served(warm.put(f"more-{number}"), what="PUT")
    upload = warm.create_upload("upload")
    served(upload[0], what="CreateMultipartUpload")
    part = warm.body(5 << 20)
    stored = served(warm.upload_part("upload", upload[1], 1, part), what="UploadPart")
    served(warm.complete("upload", upload[1], [(stored, part)]), what="Complete")
    served(warm.get("upload"), what="GET of the upload")
    scene.figure("decrypts while down", scene.decrypts(mark))
    assert scene.decrypts(mark) == 0, "the KMS was asked for a key that was held"


@row(ci=("refuse", "hang"), seconds=180, **WAYS)
def missing_is_503(scene, way):
    """Down, the IK in no cache: 503 with Retry-After within a call's time, at once while open; LIST and DELETE served; no amplification."""
    scene.dev()
    warm, cold = scene.book("warm"), scene.book("cold", 4)
    upload = cold.create_upload("upload")[1]
    part = cold.body(50_000)
    scene.cold()
    asked = scene.asked()
    scene.warm(warm)
    scene.proxy.set(way)
    first = until_open(scene, cold)
    scene.figure("503s before the breaker opened", len(first) - 1)
    slowest = max(answer.seconds for answer in first)
    scene.figure("slowest of them, ms", slowest * 1000)
    assert slowest <= CALL_SECONDS + OPEN_SECONDS, f"{slowest:.1f} s for a 503"
    answers = []
    for number in range(20):
        answers.append(unavailable(cold.get("object-1"), "GET"))
        answers.append(unavailable(cold.put("object-1"), "PUT over an object"))
        answers.append(unavailable(cold.put(f"new-{number}"), "PUT"))
    answers.append(unavailable(cold.upload_part("upload", upload, 1, part), "UploadPart"))
    at_once(scene, answers)
    listed, found = cold.listing()
    served(listed, what="LIST")
    assert found == {key: len(body) for key, body in cold.known.items()}, f"LIST shows {found}"
    served(cold.delete("object-3"), 204, "DELETE")
    served(warm.get("object-0"), what="GET with a key in the cache")
    scene.proxy.set(fault.PASS)
    scene.figure("served again after, s", scene.recovers(cold))
    served(cold.put("new-0"), what="PUT afterwards")
    scene.not_amplified(asked)


@row(ci=True)
def head_by_rule(scene):
    """Down, the IK in no cache: HEAD of an object with sealed metadata is 503, of one without is served."""
    cold = scene.dev().book("cold")
    body = cold.body(1000)
    named = cold.ask("PUT", "PUT", cold.path("with"), body=body, headers={"x-amz-meta-color": "blue"})
    served(named)
    cold.known["with"] = body
    before = {key: cold.head(key).answer.headers for key in ("object-0", "with")}
    scene.cold()
    scene.proxy.set(fault.REFUSE)
    unavailable(cold.head("with"), "HEAD with sealed metadata")
    # What it says is in the envelope, in clear.
    answer = served(cold.head("object-0"), what="HEAD without sealed metadata")
    for name in ("Content-Length", "ETag", "Content-Type"):
        assert answer.answer.headers[name] == before["object-0"][name], f"{name} is another while down"
    scene.proxy.set(fault.PASS)
    scene.recovers(cold)
    assert cold.head("with").answer.headers["x-amz-meta-color"] == "blue"


@row(ci=True, seconds=240)
def held_upload_goes_on(scene):
    """Down: UploadPart and Complete with the upload's key held are served, also on a node that just started."""
    book = scene.dev(nodes=2).book("uploads")
    upload = book.create_upload("big")[1]
    parts = [book.body(5 << 20), book.body(1 << 20)]
    stored = [served(book.upload_part("big", upload, 1, parts[0]))]
    scene.proxy.set(fault.HANG)
    scene.world.restart_nodes()
    stored.append(served(book.upload_part("big", upload, 2, parts[1]), what="UploadPart on a restarted node"))
    served(book.complete("big", upload, list(zip(stored, parts))), what="Complete")
    served(book.get("big"), what="GET of the whole", )


@row(ci=True)
def node_restart_is_served_from_the_control_plane(scene):
    """Down, a node restarts: the control plane still holds the key, and gives it."""
    book = scene.dev(nodes=2).book("warm")
    scene.proxy.set(fault.REFUSE)
    mark = scene.mark()
    scene.world.restart_nodes()
    for number in range(2):
        served(book.get("object-0", client=scene.world.client(number)), what=f"GET through restarted node {number}")
        served(book.put(f"after-{number}", client=scene.world.client(number)), what="PUT")
    assert scene.decrypts(mark) == 0


@row(seconds=180)
def flapping_every_seven_seconds(scene):
    """The KMS comes and goes every 7 s: what has a key never notices, what needs one gets it when the KMS is there."""
    scene.dev()
    warm, pool = scene.book("warm"), scene.pool(40)
    scene.cold()
    scene.warm(warm)
    load, asked = Load([warm]), scene.unwraps_asked()
    mark, turn, got = scene.mark(), 0, 0
    for flip in range(6):
        scene.proxy.set(fault.REFUSE if flip % 2 == 0 else fault.PASS)
        end = time.monotonic() + 7
        while time.monotonic() < end:
            answer = pool[turn % len(pool)].get("object-0")
            assert answer.status in (200, 503), f"while flapping: {answer}"
            got += answer.status == 200
            turn += 1
            time.sleep(0.1)
    answers = load.stop()
    broken = [answer for _, answer in answers if answer.status != 200]
    assert not broken, f"{len(broken)} of {len(answers)} requests with a key in the cache failed: {broken[0]}"
    scene.figure("requests with a key in the cache, all served", len(answers))
    scene.figure("cold reads served / tried", f"{got} / {turn}")
    wanted, sent = scene.unwraps_asked() - asked, scene.decrypts(mark)
    scene.figure("decrypts that reached the KMS / unwraps wanted", f"{sent} / {wanted:.0f}")
    assert got, "nothing was served while the KMS was there"
    assert sent <= 1.1 * wanted + 1, "amplification"


@row(ci=("restarted",), seconds=180, held=False, restarted=True)
def a_provider_without_the_systems_key_recovers(scene, restarted):
    """Down, a provider that does not hold the system's KEK (`restarted`: and nothing of it is in the control plane's memory): back within 10 s."""
    held, cold = scene.pair(nodes=2).book("held"), scene.book("cold")
    new = [scene.book(f"new-{number}", 0) for number in range(2)]
    scene.cold()
    for node in range(2):
        served(held.get("object-0", client=scene.world.client(node)), what="GET, which warms the node")
    served(held.put("object-0"), what="PUT, which finds the active key")
    scene.proxies[0].set(fault.REFUSE)
    if restarted:
        scene.world.control.restart()
    until_open(scene, cold)
    # A bucket's first key is made of two calls, of which the first fails.
    wait(20, lambda: new[0].put("first").status == 503 and OLD in out(scene, "current_version"), "its other breaker opens")
    for node in range(2):
        served(held.get("object-0", client=scene.world.client(node)), what="GET with the key on the node")
    served(held.put("more"), what="PUT with the key on the node")
    scene.proxies[0].set(fault.PASS)
    scene.figure("served again after, s", scene.recovers(cold))
    began = time.monotonic()
    for book in new:
        wait(10, lambda book=book: book.put("first").status == 200, f"the first key of {book.bucket} is made")
    scene.figure("new keys made after, s more", time.monotonic() - began)
    wait(15, lambda: scene.control_metric("kms_healthy", provider=OLD) == 1, "it is healthy")


def out(scene, operation: str) -> set[str]:
    """The providers with a breaker of this operation that is not closed."""
    return {one["provider"] for one in scene.world.api("GET", "/v1/kms")["providers"] for address in one["addresses"]
            for breaker in address["breakers"] if breaker["operation"] == operation and breaker["state"] != "closed"}
