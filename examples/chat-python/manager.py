"""The chat's Manager in Python, on code that protoc makes of api/*.proto: the Go clients of ../chat do not see a difference.

A gateway dials one stream for each of its reactors. It says what its links do in batches of items; each item carries the
link's session, so nothing has to be remembered here of who speaks. The answers are batches too: operations on links, on all
links of a user, and so on. docs/PROTOCOL.md, section 2, has the rules.
"""

import argparse
import queue
import signal
import threading
from concurrent import futures

import grpc

import client_pb2
import manager_pb2 as pb
import manager_pb2_grpc as rpc

SAY, HEAR, RESULT = (1, 0), (1, 1), (1, 2)  # the tags of ../chat
TAG_A, TAG_B, REQUEST, ERROR = 1, 2, 3, 4  # header keys; an answer repeats the first three
NOT_SENT = 16  # the first error code that is the application's
LOGIN_FAILED = 4  # reason of a BYE
STREAMS = 64  # one thread each: reactors of all gateways
BATCH = 256  # items that go together at most


def value(v):
    """A Python value as a Value of the protocol. A bool is an int in Python, so it comes first."""
    if isinstance(v, bool):
        return client_pb2.Value(bool=v)
    if isinstance(v, int):
        return client_pb2.Value(int=v)
    return client_pb2.Value(string=v)


def message(header, *body):
    """The bytes of a Message; the body's keys count from 0."""
    return client_pb2.Message(
        header={k: v if isinstance(v, client_pb2.Value) else value(v) for k, v in header.items()},
        body={k: value(v) for k, v in enumerate(body)},
    ).SerializeToString()


def tagged(tag, *body):
    return message({TAG_A: tag[0], TAG_B: tag[1]}, *body)


class Chat(rpc.ManagerServicer):
    def __init__(self):
        self.lock = threading.Lock()
        self.streams = {}  # gateway ID -> the queues of its streams that are up
        self.asked = {}  # msg_id -> the user it is for, and the gateways that may still have that user

    # One stream. Two threads serve it: gRPC's own sends what is in the queue, another one reads.

    def Relay(self, upstream, context):
        hello = next(upstream).hello
        out = queue.Queue()
        with self.lock:
            self.streams.setdefault(hello.gateway_id, []).append(out)
        context.add_callback(lambda: out.put(None))
        threading.Thread(target=self.read, args=(hello.gateway_id, upstream, out), daemon=True).start()
        try:
            while (item := out.get()) is not None:
                batch = [item]
                while len(batch) < BATCH and not out.empty():  # what is there goes together; nothing is waited for
                    if (item := out.get()) is None:
                        return
                    batch.append(item)
                yield pb.Downstream(items=batch)
        finally:
            self.gone(hello.gateway_id, out)

    def gone(self, gateway, out):
        """Forgets a stream. With a gateway's last one goes the hope that it will say what became of messages."""
        with self.lock:
            self.streams[gateway].remove(out)
            if self.streams[gateway]:
                return
            del self.streams[gateway]
            names = [name for name, (_, gateways) in self.asked.items() if gateway in gateways]
        for name in names:
            self.lost(gateway, pb.Loss(msg_id=name))

    def read(self, gateway, upstream, out):
        try:
            for batch in upstream:
                for item in batch.items:
                    self.handle(gateway, item, out)
        except grpc.RpcError:
            pass  # the gateway has left, or the stream broke; it comes back
        out.put(None)

    def handle(self, gateway, item, out):
        what = item.WhichOneof("what")
        if what == "message" and item.message.kind == pb.ClientMessage.HELLO:
            out.put(self.login(item))
        elif what == "message":
            self.data(item, out)
        elif what == "acked":
            for receipt in item.acked.receipts:
                self.outcome(receipt.msg_id)
        elif what == "undelivered":
            for loss in item.undelivered.losses:
                self.lost(gateway, loss)

    def login(self, item):
        """Lets everybody in who has a name. A real one looks at the token."""
        hello = client_pb2.Hello()
        try:
            hello.ParseFromString(item.message.payload)
        except Exception:
            hello.Clear()
        if not hello.user or "/" in hello.user:
            close = pb.Close(reason=LOGIN_FAILED, text="a name without a slash, please")
            return pb.DownItem(link=item.link, close=close)
        bind = pb.Bind(user=hello.user, device=hello.device, synced_version=hello.synced_version)
        return pb.DownItem(link=item.link, bind=bind)

    def data(self, item, out):
        try:
            call = client_pb2.Message.FromString(item.message.payload)
        except Exception:
            return  # not a client of ours
        user = item.session.values.get("user", "")
        to, text, ident = (call.body[k].string for k in range(3))
        header = {k: call.header[k] for k in (TAG_A, TAG_B, REQUEST) if k in call.header}
        tag = (call.header[TAG_A].int, call.header[TAG_B].int)
        if tag != SAY or not (user and to and ident):
            payload = message({**header, ERROR: NOT_SENT}, "to whom, what, and under which id?")
        elif self.say(user, to, text, ident):
            payload = message(header, ident, "sent")
        else:
            payload = message({**header, ERROR: NOT_SENT}, "no gateway is here")
        out.put(pb.DownItem(link=item.link, data=payload))

    def say(self, user, to, text, ident):
        """Pushes a text to all devices of a user, and expects to hear what became of it: by its name, "sender/id"."""
        name = f"{user}/{ident}"
        push = pb.Push(payload=tagged(HEAR, user, text, ident), msg_id=name, ack=pb.Push.REQUIRED, allow_gzip=True)
        with self.lock:  # nobody hears of the outcome before it is known who was asked
            gateways = self.everywhere(pb.DownItem(user=to, push=push))
            if gateways:
                self.asked[name] = (to, gateways)
        return bool(gateways)

    def everywhere(self, item):
        """Gives an item to every gateway once, over any of its streams; the lock is held. Returns which they are."""
        for streams in self.streams.values():
            streams[0].put(item)
        return set(self.streams)

    def lost(self, gateway, loss):
        """A gateway cannot deliver. It is the outcome when no other one may have the user."""
        with self.lock:
            _, gateways = self.asked.get(loss.msg_id, (None, set()))
            gateways.discard(gateway)
            last = not gateways
        if last:
            self.outcome(loss.msg_id, pb.Loss.Reason.Name(loss.reason).lower())

    def outcome(self, name, why=""):
        """Tells the sender, on all devices, what became of a message: once, by the first device that has it."""
        with self.lock:
            to, _ = self.asked.pop(name, (None, None))
            if to is None:
                return
            user, ident = name.split("/", 1)
            self.everywhere(pb.DownItem(user=user, data=tagged(RESULT, ident, to, why == "", why)))


def main():
    flags = argparse.ArgumentParser(description="The chat's Manager in Python.")
    flags.add_argument("-listen", default="127.0.0.1:7100", help="address that gateways dial")
    address = flags.parse_args().listen
    server = grpc.server(
        futures.ThreadPoolExecutor(max_workers=STREAMS),
        options=[  # a gateway asks a silent connection every 10 s whether it lives
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.min_ping_interval_without_data_ms", 5000),
            ("grpc.http2.max_ping_strikes", 0),
        ],
    )
    rpc.add_ManagerServicer_to_server(Chat(), server)
    port = server.add_insecure_port(address)
    server.start()
    end = threading.Event()
    for sign in (signal.SIGINT, signal.SIGTERM):
        signal.signal(sign, lambda *_: end.set())
    print(f"chat manager ready on {address.rsplit(':', 1)[0]}:{port}", flush=True)
    end.wait()
    server.stop(grace=1).wait()


main()
