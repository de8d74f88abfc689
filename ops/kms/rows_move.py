"""A tenant's KEK is replaced while it is in use: from one KMS to another, and by a new version in the KMS itself."""

import time

import faultproxy as fault
import openbao
from book import Book
from rows import Load, row, served, together, unavailable
from rows_recovery import sealgate
from scene import NEW, OLD
from world import wait

BEFORE = 24
# Records wrapped anew a second: slow enough to do something in the middle of it.
RATE = 4
# The work waits twice as long after each failure, up to a minute, and listings come after it.
WORK_SECONDS = 150
# What goes to a KMS that nothing needs: whether it is well, and that the login lasts.
UPKEEP = ("sys/health", "auth/")


def report(scene) -> dict:
    """What `sealgate admin kek show` says."""
    return scene.admin("kek", "show", "acme")


def version(told: dict, kek: str, number: str = "") -> dict:
    """One KEK version of a report."""
    return next(one for one in told["versions"] if one["kek"] == kek and number in ("", one["version"]))


def to_its_end(scene, old: str, number: str = "", seconds=WORK_SECONDS) -> dict:
    """The report when the work is done. Until nothing is left to be wrapped or seen it never says that the old one may go."""
    began = time.monotonic()

    def done():
        told = report(scene)
        ended = told["work"]["state"] == "done"
        if version(told, old, number)["destroyable"]:
            assert told["work"]["left"] == told["outdated"] == 0 and not told["buckets_unseen"], f"destroyable too early: {told}"
        return told if ended else None

    told = wait(seconds, done, "the work is done")
    gone = version(told, old, number)
    assert gone["destroyable"] and (gone["records"], gone["copies_unseen"]) == (0, 0), f"not destroyable in the end: {gone}"
    scene.figure("records wrapped anew; done after, s", f"{told['work']['rewrapped']}; {time.monotonic() - began:.1f}")
    return told


def under(scene, books: list[Book], kek: str) -> list[Book]:
    """Those of these buckets of which every key is under this KEK."""
    return [book for book in books if {key["kek"] for key in scene.world.api("GET", f"/v1/buckets/{book.bucket}/keys")} == {kek}]


def all_served(load: Load, scene, what: str):
    """Ends the load; fails unless every request of it was served."""
    answers = load.stop()
    broken = [answer for _, answer in answers if answer.status != 200]
    scene.figure(f"requests {what}, all served", len(answers))
    assert answers and not broken, f"{len(broken)} of {len(answers)} requests {what} failed: {broken[0]}"


def read_through_both(scene, books: list[Book], what: str):
    """Every object of every bucket, through each node."""
    for node in range(len(scene.world.nodes)):
        client = scene.world.client(node)
        reads = [(book, key) for book in books for key in book.known]
        answers = together(8, lambda each: [served(book.get(key, client=client), what=f"GET {book.bucket}/{key} {what}")
                                            for book, key in reads[each::8]])
        scene.report.figures[f"objects read {what}"] = scene.report.figures.get(f"objects read {what}", 0) + sum(map(len, answers))


def write(scene, books: list[Book], bucket: str, what: str) -> Book:
    """New objects in buckets that are there, and one in a bucket that was not."""
    for number, book in enumerate(books[::6]):
        served(book.put("later", client=scene.world.client(number % 2)), what=f"PUT {what}")
    return scene.book(bucket, 1, node=1)


def use_of(scene, number: int, mark) -> list[str]:
    """What came to one of the KMSs since then, besides upkeep."""
    return [f"{one.method} {one.path}" for one in scene.proxies[number].since(mark[number]) if not one.operation.startswith(UPKEEP)]


@row(seconds=600)
def move_to_another_kms(scene):
    """A tenant moves to another KMS in use, over faults and a crash; then the old KMS is gone for good: all is read, and written."""
    scene.pair(nodes=2)
    old, world = scene.world.tenant["kek"], scene.world
    books = [scene.book(f"before-{number:02d}", 1, node=number % 2) for number in range(BEFORE)]
    for book in books[:4]:
        # A second key, so that a bucket has one from before it.
        scene.admin("key", "rotate", book.bucket)
        served(book.put("object-1"))
    load = Load(books)
    begun = scene.admin("kek", "move", "acme", "--to-kms", NEW, "--rate", str(RATE))
    assert begun["kek"] != old and begun["kek"].startswith(f"{NEW}/"), f"{begun}"
    wait(30, lambda: report(scene)["work"]["rewrapped"] >= RATE, "the work has begun")
    for proxy in scene.proxies:
        proxy.set(fault.HALF)
    time.sleep(4)
    # The new one cannot wrap: the work stands still half-way. Each key is read from where it is.
    scene.proxies[0].set(fault.PASS)
    scene.proxies[1].set(fault.ANSWER, only=["transit/encrypt"])
    all_served(load, scene, "while it moved and both KMSs failed half of the time")
    half_way(scene, books, old, begun["kek"])
    scene.proxies[1].set(fault.PASS)
    served_soon(scene, books)
    load = Load(books)
    fresh = scene.book("while", 0, node=1)
    wait(10, lambda: fresh.put("object-0").status == 200, "PUT that needs a new key of the new KMS is served again")
    books.append(fresh)
    told = to_its_end(scene, old)
    all_served(load, scene, "to the end of the move")
    assert told["kek"] == begun["kek"] and not version(told, old)["on_recovery_card"], f"{told}"
    assert told["records"] >= BEFORE + 5, f"{told['records']} records: one a key was meant"
    mark = scene.mark()
    scene.cold()
    read_through_both(scene, books, "cold, the old KMS not needed")
    books.append(write(scene, books, "after", "after the move"))
    assert not use_of(scene, 0, mark), f"the old KMS was asked after the report: {use_of(scene, 0, mark)[:5]}"
    gone_for_good(scene, books, mark)
    with open(f"{world.data}/control-plane/recovery-card") as card:
        text = card.read()
    assert begun["kek"] in text and old not in text, "the card's KEKs"
    book = books[0]
    done = sealgate(scene, "decrypt", f"s3://{book.bucket}/object-0", "-o", f"{world.data}/out", card=f"{world.data}/control-plane/recovery-card")
    assert done.returncode == 0, f"offline: {done.stderr.decode()}"
    with open(f"{world.data}/out", "rb") as file:
        assert file.read() == book.known["object-0"], "offline: other bytes"


def half_way(scene, books: list[Book], old: str, new: str):
    """Both planes are killed in the middle of the work, and from cold caches every object is read: some keys by one KMS, some by the other."""
    scene.cold()
    moved, left = under(scene, books, new), under(scene, books, old)
    told = report(scene)
    assert moved and left and told["work"]["state"] != "done" and not version(told, old)["destroyable"], f"not half-way: {told}"
    mark = scene.mark()
    for book in books:
        scene.recovers(book)
    read_through_both(scene, books, "cold, half-way")
    decrypts = [scene.about(kek, mark).get("transit/decrypt", 0) for kek in (old, new)]
    scene.figure("half-way: buckets under the old and the new; decrypts there", f"{len(left)}, {len(moved)}; {decrypts[0]}, {decrypts[1]}")
    assert decrypts[0] >= len(left) and decrypts[1] >= len(moved), f"{decrypts} decrypts for {len(left)} and {len(moved)} buckets"


def served_soon(scene, books: list[Book]):
    """Until each bucket takes writes again."""
    for book in books:
        wait(10, lambda book=book: book.put("again").status == 200, f"PUT into {book.bucket} is served again")


def gone_for_good(scene, books: list[Book], mark):
    """The old KMS is ended, and everything is started anew: with it in the configuration, and without."""
    world = scene.world
    scene.bao.stop()
    scene.proxies[0].set(fault.REFUSE)
    scene.cold()
    read_through_both(scene, books, "cold, the old KMS gone")
    books.append(write(scene, books, "gone", "with the old KMS gone"))
    tried = {what: world.metric(f"sealgate_control_kms_{what}_total", provider=OLD) for what in ("requests", "attempts")}
    scene.figure("use of the old KMS's keys that the control plane tried", tried)
    assert not any(tried.values()), f"the old KMS was wanted: {tried}"
    assert world.metric("sealgate_control_kms_attempts_total", provider=NEW), "these metrics count nothing"
    with open(f"{world.data}/control-plane.toml") as file:
        text = file.read()
    first, second = text.index(f"[kms.vault.{OLD}]"), text.index(f"[kms.vault.{NEW}]")
    world.write("control-plane.toml", (text[:first] + text[second:]).replace(f'default = "{OLD}"', f'default = "{NEW}"'))
    scene.cold()
    read_through_both(scene, books, "cold, the old KMS not in the configuration")
    books.append(write(scene, books, "forgotten", "without the old KMS"))
    assert not use_of(scene, 0, mark), "the old KMS was asked after the report"


@row(seconds=400, old=(OLD, fault.REFUSE), old_hangs=(OLD, fault.HANG), new=(NEW, fault.REFUSE))
def move_with_one_kms_away(scene, away, way):
    """During a move one of the two KMSs is down: what is held goes on, the work waits and goes on when it is back, and the old KEK goes."""
    scene.pair(nodes=2)
    old, proxy = scene.world.tenant["kek"], scene.proxies[0 if away == OLD else 1]
    held = [scene.book(f"held-{number:02d}", 1, node=number % 2) for number in range(8)]
    rest = [scene.book(f"rest-{number:02d}", 1) for number in range(8)]
    scene.cold()
    for book in held:
        served(book.get("object-0"))
        served(book.put("held"))
    begun = scene.admin("kek", "move", "acme", "--to-kms", NEW, "--rate", "2")
    wait(30, lambda: report(scene)["work"]["rewrapped"] >= 2, "the work has begun")
    proxy.set(way)
    load = Load(held)
    told = wait(20, lambda: waits(report(scene)), "the work waits")
    assert told["work"]["left"] > 0 and told["work"]["trouble"], f"{told['work']}"
    scene.figure("trouble", told["work"]["trouble"].partition(" (")[0])
    left = under(scene, rest, old)
    assert left, "nothing is left under the old KEK"
    if away == OLD:
        unavailable(left[0].get("object-0"), "GET under the KMS that is away")
        rest.append(scene.book("while", 1))
    else:
        served(left[0].get("object-0"), what="GET under the KMS that is there")
        fresh = Book(scene.world.client(), "fresh", seed=99)
        served(fresh.make_bucket())
        unavailable(fresh.put("object-0"), "PUT that needs a new key of the KMS that is away")
    time.sleep(8)
    still = report(scene)
    for name in ("rewrapped", "left"):
        assert still["work"][name] == told["work"][name], f"{name} went on while it was away: {still['work']}"
    assert not version(still, old)["destroyable"], "destroyable with work left"
    all_served(load, scene, "with keys that are held, while it was away")
    load = Load(held)
    proxy.set(fault.PASS)
    to_its_end(scene, old)
    all_served(load, scene, "with keys that are held, to the end")
    scene.cold()
    gone = scene.admin("kek", "destroy", "acme", old)
    scene.figure("destroyed", gone)
    try:
        scene.bao.api("GET", f"transit/keys/{old.partition('/')[2]}")
    except openbao.BaoError as error:
        assert error.status == 404, f"{error}"
    else:
        raise AssertionError("the old KEK is still there")
    mark = scene.mark()
    read_through_both(scene, held + rest, "cold, the old KEK destroyed")
    assert not scene.about(old, mark), f"{scene.about(old, mark)}"
    assert scene.about(begun["kek"], mark), "nothing was asked of the new one: it was not cold"


def waits(told: dict) -> dict | None:
    """The report, if the work waits."""
    return told if told["work"]["state"] == "trouble" else None


@row(seconds=240)
def rotated_in_the_kms_itself(scene):
    """Somebody rotates the KEK in OpenBao: re-wrapped under load, the report says that version 1 may go, it is disabled, all is read."""
    scene.dev(nodes=2)
    kek = scene.world.tenant["kek"]
    key = kek.partition("/")[2]
    books = [scene.book(f"before-{number:02d}", 1, node=number % 2) for number in range(8)]
    canary = scene.bao.api("POST", f"transit/encrypt/{key}", {"plaintext": "Y2FuYXJ5"})["data"]["ciphertext"]
    load = Load(books)
    scene.bao.api("POST", f"transit/keys/{key}/rotate", {})
    books.append(scene.book("after", 1))
    told = report(scene)
    assert version(told, kek, "v1")["records"] == 8 and not version(told, kek, "v1")["destroyable"], f"{told}"
    scene.admin("kek", "rewrap", "acme", "--rate", "100", "--wait", seconds=WORK_SECONDS)
    told = to_its_end(scene, kek, "v1", seconds=5)
    assert version(told, kek, "v2")["records"] == told["records"] == 9, f"{told}"
    all_served(load, scene, "while it was wrapped anew")
    scene.bao.api("POST", f"transit/keys/{key}/config", {"min_decryption_version": 2})
    try:
        scene.bao.api("POST", f"transit/decrypt/{key}", {"ciphertext": canary})
    except openbao.BaoError as error:
        assert error.status in (400, 403), f"{error}"
    else:
        raise AssertionError("version 1 still decrypts: the case shows nothing")
    scene.cold()
    mark = scene.mark()
    read_through_both(scene, books, "cold, version 1 disabled")
    assert scene.decrypts(mark) >= len(books), f"{scene.decrypts(mark)} decrypts for {len(books)} cold buckets"
    write(scene, books, "later", "with version 1 disabled")
