"""The smallest Manager: it lets in who gives a name, and sends back what is said."""

import signal
import sys
import threading
from concurrent import futures

import grpc

import manager_pb2 as pb
import manager_pb2_grpc as rpc

LOGIN_FAILED = 4  # reason of a BYE


class Echo(rpc.ManagerServicer):
    def Relay(self, upstream, context):
        """One stream: a gateway opens one for each of its reactors, and says hello first."""
        print("a stream of", next(upstream).hello.gateway_id, flush=True)
        for batch in upstream:
            if answers := [a for item in batch.items for a in answer(item)]:
                yield pb.Downstream(items=answers)


def answer(item):
    """What is to be done about one item. Its session says who speaks: nothing has to be remembered here."""
    if item.WhichOneof("what") != "message":
        return  # opened, closed, acked, ...: nothing to do
    text = item.message.payload.decode(errors="replace")  # whatever your clients send
    if item.message.kind == pb.ClientMessage.HELLO:
        user, _, device = text.partition(" ")
        if user and device:  # a real Manager looks at a token
            yield pb.DownItem(link=item.link, bind=pb.Bind(user=user, device=device))
        else:
            yield pb.DownItem(link=item.link, close=pb.Close(reason=LOGIN_FAILED, text="say who you are: USER DEVICE"))
    else:
        yield pb.DownItem(link=item.link, data=f"{item.session.values['user']}: {text}".encode())


server = grpc.server(
    futures.ThreadPoolExecutor(max_workers=64),  # a stream takes one for good: reactors of all gateways
    options=[  # a gateway asks a silent connection every 10 s whether it lives
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", 5000),
        ("grpc.http2.max_ping_strikes", 0),
    ],
)
rpc.add_ManagerServicer_to_server(Echo(), server)
address = sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:7100"
port = server.add_insecure_port(address)
server.start()
print(f"echo manager ready on {address.rsplit(':', 1)[0]}:{port}", flush=True)
end = threading.Event()
for sign in (signal.SIGINT, signal.SIGTERM):
    signal.signal(sign, lambda *_: end.set())
end.wait()
server.stop(grace=1).wait()
