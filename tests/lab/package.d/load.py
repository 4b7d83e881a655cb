"""Links to a gateway without a Manager, and knocks: python3 load.py ADDRESS PORT LINKS STOPFILE

Says "ready" when all links are open and answered a heartbeat. Until STOPFILE is there it knocks: connects, has a heartbeat
answered, and closes. Then it asks all links for a heartbeat once more, and says what was lost.
"""
import os
import socket
import sys
import threading
import time

address, port, links, stop = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
PATIENCE = 8  # seconds
BYE = 6


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


lost, reasons = 0, set()
held = [connect() for _ in range(links)]
for link in held:
    alive(link)

knocks, refused, broken, slowest = 0, 0, 0, 0.0


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


print("ready", flush=True)
workers = [threading.Thread(target=knock) for _ in range(2)]
for w in workers:
    w.start()
for w in workers:
    w.join()
for link in held:
    try:
        alive(link)
    except (OSError, EOFError) as e:
        lost += 1
        reasons.add(f"link: {e}")
if os.environ.get("VERBOSE") or lost or refused or broken:
    print("why:", "; ".join(sorted(reasons)))
print(f"slowest {slowest * 1000:.0f} ms, {knocks} knocks")
print(f"{lost} of {links} links lost, {refused} refused, {broken} broken" + ("" if knocks else ", no knocks"))
