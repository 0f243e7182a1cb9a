"""For an application in a box: floods of connections, descriptors and messages."""

import array
import errno
import os
import random
import resource
import select
import socket
import time

from asking import answer, connection, message


def hold(count):
    """So many silent connections, as far as descriptors go; how many there are."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    made = []
    try:
        for _ in range(count):
            one = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            one.setblocking(False)
            made.append(one)
            try:
                one.connect(os.environ["SANDBOXER_BROKER"])
            except BlockingIOError:  # the queue is full for now
                time.sleep(0.001)
    except OSError as problem:
        if problem.errno != errno.EMFILE:
            raise
    held.extend(made)
    return len(made)


def connect_and_leave(count):
    """So many connections, one after the other; how many were taken."""
    taken_in = 0
    for _ in range(count):
        one = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        one.connect(os.environ["SANDBOXER_BROKER"])  # waits while the queue is full
        one.close()
        taken_in += 1
    return taken_in


def served_after():
    """Seconds until a new client has got an answer, however often it has to try."""
    start = time.monotonic()
    while time.monotonic() - start < 30:
        try:
            with connection(timeout=5) as one:
                one.send(message(0))
                if answer(one)[0] == 0:
                    return time.monotonic() - start
        except OSError:
            pass
        time.sleep(0.01)
    return 99.0


def pass_descriptors(messages, each, content=None):
    """Send descriptors along with so many messages, on a connection each; what each was answered."""
    answers = set()
    for _ in range(messages):
        reader, writer = os.pipe()
        with connection() as one:
            rights = array.array("i", [writer] * each)
            one.sendmsg([content or message(0)], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
            os.close(writer)
            error, _, fds = answer(one)
            answers.add(("end" if error is None else errno.errorcode.get(error, "ok"), len(fds)))
        # nobody holds the other end any more
        answers.add(("held", os.read(reader, 1)) if select.select([reader], [], [], 5)[0] else "still open")
        os.close(reader)
    return sorted(answers, key=repr)


def nonsense(seed, count):
    """Send so many messages of random content, cut and lengthened requests among them; the errnos that came back."""
    chance = random.Random(seed)
    answers = {}
    good = message(1, b"/a/b", flags=1)
    for _ in range(count):
        kind = chance.randrange(4)
        if kind == 0:
            content = chance.randbytes(chance.randrange(1, 300))
        elif kind == 1:
            content = good[: chance.randrange(1, len(good))]
        elif kind == 2:
            content = bytearray(good)
            content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        else:
            content = good + chance.randbytes(chance.randrange(1, 20000))
        with connection() as one:
            one.send(content)
            error, _, fds = answer(one)
            assert not fds
            name = "end" if error is None else errno.errorcode.get(error, str(error))
            answers[name] = answers.get(name, 0) + 1
    return answers


def never_read(count):
    """Send requests and never read an answer; how many went before the broker hung up, or didn't take more."""
    one = connection(timeout=1)
    for number in range(count):
        try:
            one.send(message(2, b"/"))
        except (BrokenPipeError, ConnectionResetError, TimeoutError):
            return number
    return count


def slowest(seconds):
    """The longest that one answer took, of a client that asks without end for so long."""
    worst, until = 0.0, time.monotonic() + seconds
    with connection() as one:
        while time.monotonic() < until:
            start = time.monotonic()
            one.send(message(0))
            assert answer(one)[0] == 0
            worst = max(worst, time.monotonic() - start)
            time.sleep(0.002)
    return worst


held = []
