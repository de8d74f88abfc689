"""The KMS answers, and says no: throttled, sealed, denied, key gone, token over."""

import time

import faultproxy as fault
import openbao
from rows import Load, at_once, denied, milliseconds, row, served, together, unavailable, until_open
from world import wait

THROTTLED = (429, b'{"errors":["request path \\"transit/decrypt\\": rate limit quota exceeded"]}')


@row(ci=True)
def throttled_waits_then_503(scene):
    """Throttled, the IK in no cache: queued to its deadline, then 503; when the KMS has room again, served."""
    scene.dev()
    warm, pool = scene.book("warm"), scene.pool(10)
    scene.cold()
    asked = scene.asked()
    scene.warm(warm)
    scene.proxy.set(fault.ANSWER, answer=THROTTLED)
    answers = [unavailable(book.get("object-0"), "GET while throttled") for book in pool for _ in range(2)]
    scene.figure("503s while throttled, ms", milliseconds(answers))
    served(warm.get("object-0"), what="GET with a key in the cache")
    served(warm.put("more"), what="PUT with a key in the cache")
    scene.proxy.set(fault.PASS)
    scene.figure("served again after, s", scene.recovers(pool[0]))
    for answer in together(len(pool), lambda each: pool[each].get("object-0")):
        assert answer.status in (200, 503), f"{answer}"
    for book in pool:
        scene.recovers(book)
    scene.not_amplified(asked)


@row
def throttled_half_of_the_time_is_queued(scene):
    """Half of all requests throttled: what is asked again is served, and the KMS gets hardly more than was wanted of it."""
    scene.dev()
    pool = scene.pool(24)
    scene.cold()
    asked = scene.asked()
    scene.proxy.set(fault.HALF, answer=THROTTLED, only=["transit/decrypt"])
    for book in pool:
        wait(60, lambda book=book: book.get("object-0").status == 200, f"{book.bucket} is served in the end")
    # A second try of what was throttled comes out of the same tenth as any other; who gets none comes again after Retry-After.
    scene.figure("amplification", scene.not_amplified(asked))


@row(ci=True)
def sealed_is_down(scene):
    """Sealed: as down; unsealed, it is used again within 10 s."""
    scene.dev()
    warm, cold = scene.book("warm"), scene.book("cold")
    scene.cold()
    asked = scene.asked()
    scene.warm(warm)
    scene.bao.seal()
    until_open(scene, cold)
    answers = [unavailable(cold.get("object-0"), "GET") for _ in range(20)]
    at_once(scene, answers)
    served(warm.get("object-0"), what="GET with a key in the cache")
    served(cold.listing()[0], what="LIST")
    served(cold.delete("object-1"), 204, "DELETE")
    scene.bao.unseal()
    scene.figure("served again after, s", scene.recovers(cold))
    scene.not_amplified(asked)


@row(ci=True)
def denied_is_403(scene):
    """The policy takes decrypt away: what is in no cache is 403, not 503, and never opens a breaker; given back, served."""
    scene.dev()
    warm, pool = scene.book("warm"), scene.pool(24)
    scene.cold()
    scene.warm(warm)
    scene.bao.deny()
    for book in pool:
        denied(book.get("object-0"), "GET")
        denied(book.put("new"), "PUT")
    scene.bao.allow()
    began = time.monotonic()
    wait(10, lambda: pool[0].get("object-0").status == 200, "served again")
    scene.figure("served again after, s", time.monotonic() - began)
    for book in pool[1:]:
        wait(10, lambda book=book: book.get("object-0").status == 200, "served again")


@row(ci=True)
def a_key_that_is_gone_is_403(scene):
    """The KEK is deleted in the KMS: 403, no breaker opens, no key is made in its place; put back, served."""
    scene.dev()
    pool = scene.pool(24)
    scene.cold()
    kek = scene.world.tenant["kek"].partition("/")[2]
    backup = backup_of(scene.bao, kek)
    scene.bao.api("DELETE", f"transit/keys/{kek}")
    before = set(scene.bao.api("LIST", "transit/keys")["data"]["keys"])
    for book in pool:
        denied(book.get("object-0"), "GET")
        denied(book.put("new"), "PUT")
    made = set(scene.bao.api("LIST", "transit/keys")["data"]["keys"]) - before
    assert not made, f"{made} were made by accident"
    scene.bao.api("POST", f"transit/restore/{kek}", {"backup": backup})
    for book in pool:
        wait(10, lambda book=book: book.get("object-0").status == 200, "served again")


@row(seconds=180)
def token_expiry_is_not_seen(scene):
    """Tokens of 4 s that end for good after 10 s: renewed, logged in again, and no request fails."""
    scene.dev(token_ttl="4s", token_max_ttl="10s")
    warm, pool = scene.book("warm"), scene.pool(30)
    scene.cold()
    load, turn, mark = Load([warm], 2), 0, scene.mark()
    end = time.monotonic() + 25
    while time.monotonic() < end and turn < len(pool):
        served(pool[turn].get("object-0"), what=f"GET number {turn}")
        turn += 1
        time.sleep(0.8)
    broken = [answer for _, answer in load.stop() if answer.status != 200]
    assert not broken, f"{len(broken)} failed: {broken[0]}"
    operations = scene.proxy.counts(mark[0])
    logins = sum(count for what, count in operations.items() if "approle/login" in what)
    renewals = sum(count for what, count in operations.items() if "renew" in what)
    scene.figure("logins / renewals in 25 s", f"{logins} / {renewals}")
    assert 2 <= logins <= 6 and renewals >= 2, f"{operations}"


@row(ci=True)
def a_revoked_token_is_replaced(scene):
    """The token is revoked under the control plane's feet: one login, and the request that met it is served."""
    scene.dev()
    pool = scene.pool(20)
    scene.cold()
    for book in pool[:10]:
        served(book.get("object-0"))
    scene.bao.revoke_tokens()
    mark = scene.mark()
    for answer in together(10, lambda each: pool[10 + each].get("object-0")):
        served(answer, what="GET after the revocation")
    logins = sum(count for what, count in scene.proxy.counts(mark[0]).items() if "login" in what)
    scene.figure("logins", logins)
    assert logins == 1, f"{logins} logins for one revoked token"


def backup_of(bao: openbao.Bao, key: str) -> str:
    """A key's backup, so that a case can put it back."""
    bao.api("POST", f"transit/keys/{key}/config", {"exportable": True, "allow_plaintext_backup": True, "deletion_allowed": True})
    return bao.api("GET", f"transit/backup/{key}")["data"]["backup"]
