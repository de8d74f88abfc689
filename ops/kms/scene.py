"""One case's stage: a KMS, the faulty way to it, the planes, the books; and what is checked after every case, whatever it did."""

import collections
import contextlib
import dataclasses
import datetime
import json
import subprocess
import time

import aws
import faultproxy
import openbao
import sigv4
import world
from book import Book
from world import wait

# The design's: a KMS that works again is used again within this.
RECOVERY_SECONDS = 10
# The design's: a failing KMS gets no more than this times what was wanted of it.
AMPLIFICATION = 1.1
# What uses a KEK: of OpenBao (its current version is one of them), of AWS.
KEY_USE = ("transit/decrypt", "transit/encrypt", "transit/keys", "Decrypt", "Encrypt")
# The two providers of a `pair`.
OLD, NEW = "old", "new"


def vault_table(addresses: list[str], role: str, extra: str = "") -> str:
    """The configuration's tables for an OpenBao at these addresses, which the control plane logs in to by AppRole."""
    return f'[kms]\ndefault = "{world.PROVIDER}"\n' + vault_provider(world.PROVIDER, addresses, role, extra=extra)


def vault_provider(name: str, addresses: list[str], role: str, secret: str = "secret-id", extra: str = "") -> str:
    """One provider's tables."""
    listed = ", ".join(f'"{address}"' for address in addresses)
    return f"""
[kms.vault.{name}]
addresses = [{listed}]
mount = "transit"
{extra}
[kms.vault.{name}.auth]
method = "approle"
role_id = "{role}"
secret_id_file = "{{data}}/{secret}"
"""


@dataclasses.dataclass
class Asked:
    """A moment in what is asked of the KMS and in what came to it, to see what came of it since."""

    mark: list[int]
    wanted: float
    let_through: float


@dataclasses.dataclass
class Report:
    """What a case leaves behind for the results file."""

    counts: dict[str, int] = dataclasses.field(default_factory=dict)
    kms: dict[str, int] = dataclasses.field(default_factory=dict)
    slowest_ms: dict[str, int] = dataclasses.field(default_factory=dict)
    figures: dict[str, object] = dataclasses.field(default_factory=dict)
    verified: int = 0
    wrong: list[str] = dataclasses.field(default_factory=list)
    plaintext: list[str] = dataclasses.field(default_factory=list)


class Scene:
    """Everything that a case needs, made by one of the functions below and gone with it."""

    def __init__(self, size: str = "full"):
        self.size = size
        self.stack = contextlib.ExitStack()
        self.report = Report()
        self.bao: openbao.Bao | None = None
        # The second KMS, where there are two.
        self.other: openbao.Bao | None = None
        self.account = self.burst = None
        self.proxies: list[faultproxy.FaultProxy] = []
        self.world: world.World | None = None
        self.books: list[Book] = []

    # What stands on it.

    def dev(self, nodes=1, token_ttl="1h", token_max_ttl="24h", extra="", faked_clock=False, cabled=False):
        """One OpenBao in development mode."""
        self.bao = openbao.Dev()
        self.stack.callback(self.bao.stop)
        return self._planes([self.bao.port], nodes, token_ttl, token_max_ttl, extra, faked_clock, cabled)

    def pair(self, nodes=1, faked_clock=False):
        """Two OpenBaos, one proxy each: `old` has new tenants' KEKs, `new` the control plane's own, which does not move."""
        secrets, text = {}, f'[kms]\ndefault = "{OLD}"\nsystem = "{NEW}"\n'
        self.bao, self.other = openbao.Dev(), openbao.Dev()
        for name, bao in ((OLD, self.bao), (NEW, self.other)):
            self.stack.callback(bao.stop)
            bao.prepare()
            self.proxies.append(faultproxy.FaultProxy(bao.port))
            self.stack.callback(self.proxies[-1].close)
            role, secrets[f"secret-id-{name}"] = bao.approle()
            text += vault_provider(name, [self.proxies[-1].endpoint], role, f"secret-id-{name}")
        self.world = self.stack.enter_context(world.World(text, nodes, secrets, faked_clock=faked_clock))
        return self

    def cluster(self, nodes=1, lines=False):
        """Three OpenBaos with raft; with `lines`, of which any can be cut off from the others."""
        self.bao = openbao.Cluster(lines)
        self.stack.callback(self.bao.stop)
        return self._planes(self.bao.ports, nodes, "1h", "24h", "", False, False)

    def aws(self, imitation: aws.Imitation):
        """An imitation of AWS, microburst before it for faults in AWS's words, and the proxy before that."""
        self.stack.callback(imitation.stop)
        self.account = imitation.client()
        self.burst = aws.Microburst(imitation.port)
        self.stack.callback(self.burst.stop)
        self.proxies.append(faultproxy.FaultProxy(self.burst.port))
        self.stack.callback(self.proxy.close)
        table = aws.table(self.proxy.port)
        self.world = self.stack.enter_context(world.World(table, 1, {"aws-credentials": aws.CREDENTIALS}))
        return self

    def _planes(self, ports, nodes, token_ttl, token_max_ttl, extra, faked_clock, cabled):
        self.bao.prepare()
        self.bao.role(token_ttl, token_max_ttl)
        for port in ports:
            self.proxies.append(faultproxy.FaultProxy(port))
            self.stack.callback(self.proxies[-1].close)
        role, secret = self.bao.approle()
        table = vault_table([proxy.endpoint for proxy in self.proxies], role, extra)
        self.world = self.stack.enter_context(world.World(table, nodes, {"secret-id": secret}, faked_clock=faked_clock, cabled=cabled))
        return self

    @property
    def proxy(self) -> faultproxy.FaultProxy:
        return self.proxies[0]

    def when(self) -> str:
        """The planes' time, to sign with."""
        return sigv4.timestamp(datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=self.world.offset))

    def book(self, bucket: str, objects: int = 2, node: int = 0) -> Book:
        """A bucket with some objects in it, all acknowledged."""
        book = Book(self.world.client(node), bucket, seed=len(self.books), when=self.when)
        self.books.append(book)
        answer = book.make_bucket()
        assert answer.status == 200, f"CreateBucket {bucket}: {answer}"
        for number in range(objects):
            answer = book.put(f"object-{number}")
            assert answer.status == 200, f"PUT into {bucket}: {answer}"
        return book

    def pool(self, number: int, prefix="pool") -> list[Book]:
        """Buckets with an object each: after `cold`, reading one costs one call to the KMS."""
        return [self.book(f"{prefix}-{each:04d}", 1) for each in range(number)]

    def cold(self):
        """All caches of both planes empty."""
        self.world.restart_planes()

    def warm(self, *books: Book):
        for book in books:
            answer = book.get("object-0")
            assert answer.status == 200, f"warming {book.bucket}: {answer}"

    # What is looked at.

    def control_metric(self, name: str, **labels) -> float:
        return self.world.metric(f"sealgate_control_{name}", **labels)

    def admin(self, *arguments: str, seconds=60) -> dict:
        """`sealgate admin …` as an operator calls it, which must succeed; what it prints."""
        environment = {**world.clean_environment(), "SEALGATE_ADMIN_URL": f"http://127.0.0.1:{self.world.admin}",
                       "SEALGATE_ADMIN_TOKEN_FILE": f"{self.world.data}/admin-token"}
        done = subprocess.run([world.binary("sealgate"), "--json", "admin", *arguments], env=environment, cwd=self.world.data,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds)
        assert done.returncode == 0, f"sealgate admin {' '.join(arguments)}: {done.returncode} {done.stderr.strip()}"
        return json.loads(done.stdout)

    def unwraps_asked(self) -> float:
        """Unwraps that the key service wanted: what the KMS gets beyond them is amplification."""
        return self.control_metric("kms_calls_total", operation="unwrap")

    def not_asked(self) -> int:
        """How often the control plane has said that a breaker kept it from asking."""
        return self.world.control.printed().count("not asked, since it failed")

    def decrypts(self, mark=None) -> int:
        """Decrypts under the tenant's KEK that came to any of the addresses. Under the system's, health is examined all the time."""
        found = self.of_tenant(mark)
        return found.get("transit/decrypt", 0) + found.get("Decrypt", 0)

    def of_tenant(self, mark=None) -> dict[str, int]:
        """Requests about the tenant's KEK that came to any of the addresses, by operation."""
        return self.about(self.world.tenant["kek"], mark)

    def about(self, kek: str, mark=None) -> dict[str, int]:
        """Requests about a KEK, by its reference, that came to any of the addresses, by operation."""
        key = kek.partition("/")[2].rpartition("/")[2]
        return dict(collections.Counter(one.operation for one in self.seen(mark) if one.key == key))

    def seen(self, mark=None) -> list[faultproxy.Seen]:
        """What came to any of the addresses since then."""
        return [one for number, proxy in enumerate(self.proxies) for one in proxy.since(mark[number] if mark else 0)]

    def asked(self) -> Asked:
        """Now, for `not_amplified`: with cold caches, since the retry budget is empty then."""
        return Asked(self.mark(), self.unwraps_asked(), self._let_through())

    def _let_through(self) -> float:
        """Calls that the layer around the KMS did not refuse by itself, and its own probes: of all operations, which share a budget."""
        samples, sum_of = self.world.metrics(), 0.0
        for sample, value in samples.items():
            if sample.startswith("sealgate_control_kms_requests_total{") and 'outcome="refused"' not in sample:
                sum_of += value
            if sample.startswith("sealgate_control_kms_attempts_total{") and 'kind="probe"' in sample:
                sum_of += value
        return sum_of

    def not_amplified(self, before: Asked, what="") -> float:
        """Fails where the KMS got more than a tenth beyond what was wanted of it; one is allowed for, which small numbers need.

        Twice: decrypts under the tenant's KEK over those that the key service wanted, and, since a breaker that is open makes the
        first easy, all use of keys, examinations included, over the calls that no breaker held back.
        """
        wanted, sent = self.unwraps_asked() - before.wanted, self.decrypts(before.mark)
        used = sum(one.operation in KEY_USE for one in self.seen(before.mark))
        let_through = self._let_through() - before.let_through
        suffix = f", {what}" if what else ""
        self.figure(f"decrypts that reached the KMS / unwraps wanted{suffix}", f"{sent} / {wanted:.0f}")
        self.figure(f"all that reached the KMS / calls that no breaker held back{suffix}", f"{used} / {let_through:.0f}")
        assert sent <= AMPLIFICATION * wanted + 1, f"{sent} decrypts for {wanted:.0f}{suffix}"
        assert used <= AMPLIFICATION * let_through + 1, f"{used} requests for {let_through:.0f} calls{suffix}"
        return sent / max(1, wanted)

    def mark(self) -> list[int]:
        return [proxy.marked() for proxy in self.proxies]

    def recovers(self, book: Book, key="object-0", seconds=RECOVERY_SECONDS) -> float:
        """How long until an object whose key is in no cache is served, from now."""
        began = time.monotonic()
        wait(seconds, lambda: book.get(key).status == 200, f"{book.bucket} is served again")
        return time.monotonic() - began

    def figure(self, name: str, value):
        """Into the results, and onto the screen."""
        self.report.figures[name] = round(value, 4) if isinstance(value, float) else value

    # The end of every case.

    def close(self):
        """Heals everything, reads every acknowledged object back, and looks for plaintext in the storage."""
        try:
            if self.world and self.world.control:
                for proxy in self.proxies:
                    proxy.set(faultproxy.PASS)
                if self.burst:
                    self.burst.heal()
                self._sum_up()
        finally:
            self.stack.close()

    def until_readable(self, book: Book):
        """Until one of its objects is answered from a key (or is not there, where a deletion got no answer)."""
        answers = []

        def ask():
            answers.append(book.get(next(iter(book.known))))
            return answers[-1].status in (200, 404)
        end = time.monotonic() + 3 * RECOVERY_SECONDS
        while not ask():
            assert time.monotonic() < end, f"{book.bucket} is not readable at the end: {answers[-1]}"

    def _sum_up(self):
        report = self.report
        for book in self.books:
            if book.known:
                self.until_readable(book)
            book.verify()
            report.verified += book.verified
            report.wrong += book.wrong
            report.plaintext += book.plaintext_in(f"{self.world.data}/backend")
            for what, count in book.counts.items():
                report.counts[what] = report.counts.get(what, 0) + count
            for what, slowest in book.slowest.items():
                report.slowest_ms[what] = max(report.slowest_ms.get(what, 0), slowest)
        for proxy in self.proxies:
            for operation, count in proxy.counts().items():
                report.kms[operation] = report.kms.get(operation, 0) + count
        report.counts = dict(sorted(report.counts.items()))
