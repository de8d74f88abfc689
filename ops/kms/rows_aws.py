"""The same rows against what imitates AWS KMS, with faults in AWS's own words in front."""

import aws
import faultproxy as fault
from rows import at_once, denied, milliseconds, row, served, unavailable, until_open
from world import wait

# AWS's word, its status, and what a client of Sealgate must see.
WORDS = {
    "throttled": ("ThrottlingException", 400, 503),
    "limit_exceeded": ("LimitExceededException", 400, 503),
    "internal": ("KMSInternalException", 500, 503),
    "dependency_timeout": ("DependencyTimeoutException", 503, 503),
    "key_unavailable": ("KeyUnavailableException", 500, 503),
    "disabled": ("DisabledException", 400, 403),
    "pending_deletion": ("KMSInvalidStateException", 400, 403),
    # The same word; the key is enabled, and its custom key store does not work.
    "key_store_away": ("KMSInvalidStateException", 400, 503),
    "access_denied": ("AccessDeniedException", 400, 403),
    "not_found": ("NotFoundException", 400, 403),
}


@row(ci=True, seconds=300)
def aws_words(scene):
    """Each of AWS's errors becomes the 503 or the 403 that it should; held keys go on; healed, served."""
    scene.aws(aws.moto())
    warm, pool = scene.book("warm"), scene.pool(len(WORDS))
    scene.cold()
    scene.warm(warm)
    key = scene.world.tenant["kek"].partition("/")[2]
    for (name, (word, status, wanted)), book in zip(WORDS.items(), pool):
        scene.burst.fail("Decrypt", word, status)
        if name == "pending_deletion":
            scene.account.schedule_key_deletion(KeyId=key, PendingWindowInDays=7)
        answer = book.get("object-0")
        (unavailable if wanted == 503 else denied)(answer, f"GET while {word}")
        scene.figure(name, f"{answer.status} after {answer.seconds * 1000:.0f} ms")
        served(warm.get("object-0"), what=f"GET with a key in the cache while {word}")
        scene.burst.heal()
        if name == "pending_deletion":
            scene.account.cancel_key_deletion(KeyId=key)
            scene.account.enable_key(KeyId=key)
        scene.figure(f"{name}: served again after, s", scene.recovers(book))


@row(seconds=240, refuse=fault.REFUSE, hang=fault.HANG, reset=fault.RESET, cut=fault.CUT, errors=fault.ANSWER)
def aws_down(scene, way):
    """AWS cannot be reached: held keys go on, what needs one is 503 at once, and it is used again within 10 s."""
    scene.aws(aws.moto())
    warm, cold = scene.book("warm"), scene.book("cold")
    scene.cold()
    asked = scene.asked()
    scene.warm(warm)
    scene.proxy.set(way, answer=aws.FAILED)
    until_open(scene, cold)
    answers = [unavailable(cold.get("object-0"), "GET") for _ in range(20)]
    at_once(scene, answers)
    served(warm.get("object-0"), what="GET with a key in the cache")
    served(warm.put("more"), what="PUT with a key in the cache")
    served(cold.listing()[0], what="LIST")
    scene.proxy.set(fault.PASS)
    scene.figure("served again after, s", scene.recovers(cold))
    scene.not_amplified(asked)


@row(seconds=240)
def aws_credentials_expire(scene):
    """AWS says that the credentials have expired: 503, not 403, and held keys go on; renewed in their file, the next call has them."""
    scene.aws(aws.moto())
    warm, pool = scene.book("warm"), scene.pool(3)
    scene.cold()
    scene.warm(warm)
    scene.burst.fail("Decrypt", "ExpiredTokenException")
    answers = []
    for _ in range(10):
        for book in pool:
            answers.append(unavailable(book.get("object-0"), "GET while expired"))
        served(warm.get("object-0"), what="GET with a key in the cache")
    scene.figure("503s, ms", milliseconds(answers))
    served(warm.put("more"), what="PUT with a key in the cache")
    scene.burst.heal()
    for book in pool[:2]:
        scene.recovers(book)
    scene.cold()
    mark = scene.mark()
    scene.world.write("aws-credentials", aws.RENEWED)
    # The old ones still work, unless something says that they do not: once.
    scene.burst.fail("Decrypt", "ExpiredTokenException", times=1)
    for book in pool:
        served(book.get("object-0"), what="GET when they are renewed")
    logins = [one.login for one in scene.seen(mark) if one.operation == "Decrypt"]
    scene.figure("decrypts with the old and the new", f"{logins.count(aws.ACCESS_KEY)}, {logins.count(aws.NEW_ACCESS_KEY)}")
    assert logins[-1] == aws.NEW_ACCESS_KEY, "what was renewed was not taken"


@row(seconds=400)
def aws_key_states(scene):
    """The KEK is disabled, then pending deletion, in LocalStack, which knows: 403; enabled again, served."""
    scene.aws(aws.localstack())
    book, other = scene.book("states"), scene.book("other")
    key = scene.world.tenant["kek"].partition("/")[2]
    for act, undo in ((lambda: scene.account.disable_key(KeyId=key), lambda: scene.account.enable_key(KeyId=key)),
                      (lambda: scene.account.schedule_key_deletion(KeyId=key, PendingWindowInDays=7),
                       lambda: (scene.account.cancel_key_deletion(KeyId=key), scene.account.enable_key(KeyId=key)))):
        scene.cold()
        act()
        for each in (book, other):
            denied(each.get("object-0"), "GET")
            denied(each.put("new"), "PUT")
        undo()
        for each in (book, other):
            wait(30, lambda each=each: each.get("object-0").status == 200, "served again")
