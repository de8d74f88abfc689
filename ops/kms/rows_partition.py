"""Three OpenBaos with raft, one of them cut off from the others and not from the control plane: two sides that both answer."""

import base64
import collections
import threading
import time

import faultproxy as fault
import openbao
from rows import row, served
from world import wait

# A new leader within 3 s, and then a breaker that was opened meanwhile lets a probe through.
SERVED_SECONDS = 20
# As long as what is denied is asked for on either side of a moment.
DENIED_SECONDS = 6
# Between keys that are read for the first time: more than one must come after the second at most in which an old leader still gives them.
PAUSE_SECONDS = 0.15
# In which a node that stays silent is given up, being asked itself.
SILENT_SECONDS = 1
# What gives or uses a key.
GIVING = ("transit/decrypt", "transit/encrypt")


class Itself:
    """Asks one node, past the control plane but with its rights, to decrypt under the tenant's KEK, all the time."""

    def __init__(self, scene, number: int):
        bao = scene.bao
        role, secret = bao.approle()
        self.token = bao.api("POST", "auth/approle/login", {"role_id": role, "secret_id": secret})["auth"]["client_token"]
        kek = scene.world.tenant["kek"].partition("/")[2]
        made = bao.api("POST", f"transit/encrypt/{kek}", {"plaintext": base64.b64encode(b"anything").decode()})
        self.port, self.path, self.document = bao.ports[number], f"transit/decrypt/{kek}", {"ciphertext": made["data"]["ciphertext"]}
        self.over, self.answers = threading.Event(), []
        self.thread = threading.Thread(target=self._work, daemon=True)
        self.thread.start()
        scene.stack.callback(self.over.set)

    def _work(self):
        while not self.over.wait(0.02):
            began = time.monotonic()
            try:
                openbao.call(self.port, self.token, "POST", self.path, self.document, timeout=SILENT_SECONDS)
                status = 200
            except openbao.BaoError as error:
                status = error.status
            except OSError:
                status = 0
            self.answers.append((began, status))

    def since(self, moment: float) -> dict[int, int]:
        """Answers to what was asked since then, by status; 0: none."""
        return collections.Counter(status for began, status in self.answers if began >= moment)

    def gave_until(self) -> float:
        """When the last that it granted was asked."""
        return max((began for began, status in self.answers if status == 200), default=0.0)


def until_served(scene, pool, since: float):
    """Reads and writes under cold keys, a key after another, each until it is served; 503 meanwhile, never another error."""
    counts, elected = collections.Counter(), False
    for book in pool:
        def ask(book=book):
            answers = book.get("object-0"), book.put("meanwhile")
            counts.update(answer.status for answer in answers)
            nonlocal elected
            if not elected and scene.bao.leader() is not None:
                elected = True
                scene.figure("the others have a leader, s after the cut", time.monotonic() - since)
            assert all(answer.status in (200, 503) for answer in answers), f"{[(answer.status, answer.code) for answer in answers]}"
            return all(answer.status == 200 for answer in answers)
        wait(since + SERVED_SECONDS - time.monotonic(), ask, f"{book.bucket} is served by the others")
        scene.figure(f"{book.bucket} served, s after the cut", time.monotonic() - since)
        time.sleep(PAUSE_SECONDS)
    scene.figure("answers until all were served", dict(counts))


def denied_by_the_others(scene):
    """The policy takes the use of keys away, on the majority's side: told again where a leader that is new loses its office over it."""

    def tell():
        try:
            scene.bao.deny()
        except (openbao.BaoError, OSError):
            return False
        return True
    wait(SERVED_SECONDS, tell, "the others take the denial")


def none_given(scene, pool, what: str) -> tuple[list[list[int]], collections.Counter]:
    """For a while reads and writes under cold keys are 403, or 503 where nobody is certain; and no node has used the key for them.

    What each node answered to what would use it, and how often each answer came to the clients.
    """
    mark, counts, end = scene.mark(), collections.Counter(), time.monotonic() + DENIED_SECONDS
    while time.monotonic() < end:
        for book in pool:
            for answer in (book.get("object-0"), book.put("new")):
                assert answer.status in (403, 503), f"{what}, it was answered {answer.status} {answer.code or ''}"
                counts[answer.status] += 1
    kek = scene.world.tenant["kek"].partition("/")[2]
    asked = [[one.status for one in proxy.since(mark[number]) if one.operation in GIVING and one.key == kek]
             for number, proxy in enumerate(scene.proxies)]
    scene.figure(f"{what}: answers", dict(counts))
    scene.figure(f"{what}: of nodes to the control plane", [dict(collections.Counter(each)) for each in asked])
    assert not any(200 in each for each in asked), f"{what}, a node used the key"
    return asked, counts


def none_given_by(scene, number: int, pool) -> list[int]:
    """Nor when this is the only node in reach; its answers."""
    others = [proxy for each, proxy in enumerate(scene.proxies) if each != number]
    for proxy in others:
        proxy.set(fault.REFUSE)
    asked, _ = none_given(scene, pool, "only the node that is cut off in reach")
    for proxy in others:
        proxy.set(fault.PASS)
    return asked[number]


def healed(scene, alone: Itself, pool):
    """The partition ends, and the denial after it: until then nothing is given, then everything is."""
    scene.bao.heal()
    began = time.monotonic()
    none_given(scene, pool, "healed, still denied")
    assert not alone.since(began)[200], "the node that came back used the key"
    wait(SERVED_SECONDS, scene.bao.has_three_voters, "all three nodes vote")
    scene.bao.allow()
    began = time.monotonic()
    wait(SERVED_SECONDS, lambda: alone.since(began)[200], "the node that came back gives keys, or has them given")
    for book in pool:
        scene.recovers(book, seconds=SERVED_SECONDS)
    scene.figure("given back: all served after, s", time.monotonic() - began)


@row(seconds=240)
def a_partition_that_leaves_a_standby_alone(scene):
    """A standby is cut off: the others' keys are served; what they deny it never gives, not even when it is the only one in reach."""
    scene.cluster(lines=True)
    pool = scene.pool(8)
    scene.cold()
    leader = scene.bao.leader()
    standby = next(number for number in range(3) if number != leader)
    alone = Itself(scene, standby)
    wait(SERVED_SECONDS, lambda: alone.since(0)[200], "the standby passes on what it is asked")
    scene.bao.cut(standby)
    cut = time.monotonic()
    until_served(scene, pool[:3], cut)
    denied_by_the_others(scene)
    _, counts = none_given(scene, pool[3:], "denied")
    assert counts[403], "nobody was told that it is denied"
    # That it is no leader opens no breaker, so that it is asked.
    assert none_given_by(scene, standby, pool[3:]), "nobody asked the standby"
    scene.figure("the standby itself, since the cut", dict(alone.since(cut)))
    assert not alone.since(cut)[200], "the standby was not cut off: it gave a key, or had one given"
    for book in pool[:3]:
        served(book.get("object-0"), what="GET with a key in the cache")
    healed(scene, alone, pool[3:])


@row(seconds=240, served=False, denied_at_once=True)
def a_partition_that_leaves_the_leader_alone(scene, at_once):
    """The leader is cut off: the next one serves within seconds; what that one denies is given by nobody, the old one neither."""
    scene.cluster(lines=True)
    early, pool = scene.pool(0 if at_once else 12, "early"), scene.pool(5)
    scene.cold()
    old = scene.bao.leader()
    alone = Itself(scene, old)
    wait(SERVED_SECONDS, lambda: alone.since(0)[200], "the leader gives keys")
    mark = scene.mark()
    scene.bao.cut(old)
    cut = time.monotonic()
    until_served(scene, early, cut)
    denied_by_the_others(scene)
    since, new = time.monotonic(), scene.bao.wait_for_leader()
    scene.figure("denied, s after the cut", since - cut)
    assert new != old, "no other leader"
    if early:
        by_others = [one.at - cut for number, proxy in enumerate(scene.proxies) if number != old
                     for one in proxy.since(mark[number], "transit/decrypt") if one.status == 200]
        assert by_others, "all was served by the old leader: no test of the new one"
        scene.figure("first key of the new leader, s after the cut", min(by_others))
    _, counts = none_given(scene, pool, "denied")
    assert counts[403], "nobody was told that it is denied"
    none_given_by(scene, old, pool)
    scene.figure("the old leader itself gave keys until, s after the cut", max(0.0, alone.gave_until() - cut))
    scene.figure("the old leader itself, since the denial", dict(alone.since(since)))
    assert not alone.since(since)[200], "the old leader gave a key that was denied"
    healed(scene, alone, pool)
