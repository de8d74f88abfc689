"""Three OpenBaos with raft: the leader goes, a standby is cut off."""

import time

from rows import Load, milliseconds, row, served, unavailable
from world import wait

# The cluster writes again 1.5 s after a SIGKILL, 2.9 s after a SIGSTOP; what is asked meanwhile waits or is 503.
FAILOVER_SECONDS = 10


def reads_across(scene, pool, happen) -> list:
    """Reads a cold key a time while something happens to the cluster; (when, answer) of each, until one is served afterwards."""
    answers = []
    for book in pool[:3]:
        served(book.get("object-0"), what="GET before")
    happen()
    began = time.monotonic()
    for book in pool[3:]:
        def ask(book=book):
            answer = book.get("object-0")
            assert answer.status in (200, 503), f"{answer}"
            answers.append((time.monotonic() - began, answer))
            return answer.status == 200
        wait(FAILOVER_SECONDS + 10, ask, f"{book.bucket} is served by another node")
    return answers


@row(ci=("killed",), seconds=180, killed="kill", stopped="pause")
def leader_goes(scene, act):
    """The leader is killed, or stands still: the next one serves within seconds; 503 meanwhile, never another error."""
    scene.cluster()
    warm, pool = scene.book("warm"), scene.pool(12)
    scene.cold()
    scene.warm(warm)
    leader = scene.bao.leader()
    load = Load([warm], 2)
    answers = reads_across(scene, pool, lambda: getattr(scene.bao, act)(leader))
    broken = [answer for _, answer in load.stop() if answer.status != 200]
    assert not broken, f"{len(broken)} with a key in the cache failed: {broken[0]}"
    first = next(at for at, answer in answers if answer.status == 200)
    scene.figure("first cold read served after, s", first)
    scene.figure("503s meanwhile", sum(answer.status == 503 for _, answer in answers))
    scene.figure("ms", milliseconds([answer for _, answer in answers]))
    if act == "pause":
        scene.bao.resume(leader)
    else:
        scene.bao.start(leader)
    assert first <= FAILOVER_SECONDS, f"served after {first:.1f} s"


@row(seconds=180)
def a_standby_that_is_cut_off_gives_no_key(scene):
    """Two of three nodes stand still: the one that is left gives no key, and what needs one is 503; when they are back, served."""
    scene.cluster()
    warm, pool = scene.book("warm"), scene.pool(4)
    scene.cold()
    scene.warm(warm)
    leader = scene.bao.leader()
    standby = next(number for number in range(3) if number != leader)
    others = [number for number in range(3) if number != standby]
    for number in others:
        scene.bao.pause(number)
    end = time.monotonic() + 8
    while time.monotonic() < end:
        for book in pool:
            unavailable(book.get("object-0"), "GET while cut off")
            unavailable(book.put("new"), "PUT while cut off")
        served(warm.get("object-0"), what="GET with a key in the cache")
        served(warm.put("more"), what="PUT with a key in the cache")
    for number in others:
        scene.bao.resume(number)
    scene.bao.wait_for_leader()
    for book in pool:
        scene.figure(f"{book.bucket} served again after, s", scene.recovers(book, seconds=20))


@row(seconds=180)
def one_address_away_is_not_seen(scene):
    """One of three addresses cannot be reached: another one serves, and no request fails."""
    scene.cluster()
    pool = scene.pool(12)
    scene.cold()
    standby = next(number for number in range(3) if number != scene.bao.leader())
    scene.proxies[standby].set("refuse")
    times = [served(book.get("object-0"), what="GET") for book in pool]
    scene.figure("ms", milliseconds(times))
