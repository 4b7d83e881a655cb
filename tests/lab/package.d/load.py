"""Links to a gateway without a Manager, and knocks: python3 load.py ADDRESS PORT LINKS STOPFILE

Says "ready" when all links are open and answered a heartbeat. Until STOPFILE is there it knocks: connects, has a heartbeat
answered, and closes; and every few seconds it asks each link for a heartbeat, as a client does that does not want to be taken for
dead. At last it asks all links once more, and says what was lost.
"""
import os
import resource
import socket
import sys
import threading
import time

address, port, links, stop = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
PATIENCE = 25  # seconds; the machine may be busy with other things
BEAT = 5  # seconds; the gateway gives up who is silent for 30
BYE = 6
_, files = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))


def connect():
    link = socket.create_connection((address, port), PATIENCE)
    link.settimeout(PATIENCE)
    return link


def read(link, size):
    data = b""
    while len(data) < size:
        more = link.recv(size - len(data))
        if not more:
            raise EOFError("closed by the gateway")
        data += more
    return data


def alive(link):
    """Returns when a heartbeat was answered; a BYE, the end or silence is an error."""
    link.sendall(b"\0\0")
    while True:
        length = int.from_bytes(read(link, 2), "big")
        if length == 0:
            return
        kind = read(link, length)[0]
        if kind == BYE:
            raise EOFError("BYE")


lost, reasons = set(), set()
knocks, refused, broken, slowest = 0, 0, 0, 0.0


def beat(held):
    """Asks each link for a heartbeat."""
    for link in held:
        if link in lost:
            continue
        try:
            alive(link)
        except (OSError, EOFError) as e:
            lost.add(link)
            reasons.add(f"link: {e}")


def beats(held):
    while not os.path.exists(stop):
        began = time.monotonic()
        beat(held)
        while time.monotonic() - began < BEAT and not os.path.exists(stop):
            time.sleep(0.1)


def knock():
    global knocks, refused, broken, slowest
    while not os.path.exists(stop):
        began = time.monotonic()
        try:
            link = connect()
        except OSError as e:
            refused += 1
            reasons.add(f"connect: {e}")
            time.sleep(0.01)
            continue
        try:
            alive(link)
        except (OSError, EOFError) as e:
            broken += 1
            reasons.add(f"knock: {e}")
        link.close()
        knocks += 1
        slowest = max(slowest, time.monotonic() - began)
        time.sleep(0.002)  # the box needs the processor too


held = []
while len(held) < links:  # each lot has its heartbeat before the next one is opened: the first are not silent for long
    lot = [connect() for _ in range(min(500, links - len(held)))]
    for link in lot:
        alive(link)
    held += lot
    if len(held) % 2500 == 0:
        for link in held:
            alive(link)

print("ready", flush=True)
workers = [threading.Thread(target=knock) for _ in range(2)] + [threading.Thread(target=beats, args=(held,))]
for w in workers:
    w.start()
for w in workers:
    w.join()
beat(held)
if os.environ.get("VERBOSE") or lost or refused or broken:
    print("why:", "; ".join(sorted(reasons)))
print(f"slowest {slowest * 1000:.0f} ms, {knocks} knocks")
print(f"{len(lost)} of {links} links lost, {refused} refused, {broken} broken" + ("" if knocks else ", no knocks"))
