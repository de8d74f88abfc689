"""A gateway of a suite's own whose storage is a server behind a proxy."""

import dataclasses

import cases
import proxy
import target


class Proxied:
    """The gateway, a context for it, and the proxy that can lie to it."""

    def __init__(self, t):
        self.proxy = proxy.Proxy(t.target.backend.endpoint)
        t.closing.callback(self.proxy.close)
        server = dataclasses.replace(t.target.backend, endpoint=self.proxy.endpoint)
        gateway = target.Gateway(t.target.binary, server)
        t.closing.callback(gateway.stop)
        self.context = cases.Context(gateway, f"{t.bucket}-p", t.size)
        self.context.create_bucket(self.context.bucket)
        # The same bucket past the proxy.
        self.storage_target = t.target


def of(t) -> Proxied:
    if not hasattr(t, "proxied"):
        t.proxied = Proxied(t)
    return t.proxied
