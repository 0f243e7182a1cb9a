"""
The network: a box's own, with nothing in it, or the machine's.

What comes in: `[network]`. What goes out: a flag, and with the machine's network the resolver's settings. It never
filters: `host` is all or nothing.

Abuse: with the machine's network the application reaches what listens on localhost (databases, debuggers, container
engines), every device of the local network, and can send out whatever it can read. Abstract sockets belong to the
network namespace as well; see `landlock` for what closes them.
"""

from __future__ import annotations

from collections.abc import Iterator

from sandboxer.grants.grant import Grant, Weight, Withheld
from sandboxer.host.view import FileType, Host
from sandboxer.plan.ops import Op, OpKind, PlanFlag
from sandboxer.policy.effective import Effective
from sandboxer.words import BoxPath, Origin

RESOLVER = "/etc/resolv.conf"


def grants(effective: Effective, host: Host) -> Iterator[Grant | Withheld]:
    """One grant."""
    origin = effective.origin("network.access")
    if effective.policy.network.access == "none":
        yield Grant(
            topic="network",
            words="has a network of its own with nothing in it",
            weight=Weight.NOTICE,
            origin=origin,
            flags=PlanFlag.PRIVATE_NETWORK,
        )
        words = "can't connect to anything, this machine and its abstract sockets included"
        yield Withheld(topic="network", words=words)
        return
    yield Grant(
        topic="network",
        words="can connect to whatever you can: the Internet, the local network, this machine's services",
        detail="whatever it can read, it can send out",
        weight=Weight.HOLE,
        origin=origin,
        ops=_resolver(origin, host),
    )


def _resolver(origin: Origin, host: Host) -> tuple[Op, ...]:
    """
    The file that /etc/resolv.conf leads to, bound, since it changes with the network.

    Names go to the servers that it holds. The sockets of systemd-resolved, nscd and avahi aren't shared: they answer
    more than names. glibc does without the first two; names in .local need the third.
    """
    real = host.resolve(RESOLVER)
    if real is None or host.type_of(RESOLVER) is not FileType.REGULAR:
        return ()
    return (Op(kind=OpKind.BIND, box_path=BoxPath(RESOLVER), source=real, origin=origin),)
