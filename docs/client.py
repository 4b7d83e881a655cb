import socket, struct, sys
link = socket.create_connection((sys.argv[1], int(sys.argv[2])))
def send(kind, rest):
    link.sendall(struct.pack(">HB", 1 + len(rest), kind) + rest)
def receive():
    length, = struct.unpack(">H", link.recv(2, socket.MSG_WAITALL))
    return link.recv(length, socket.MSG_WAITALL) or receive()  # an empty one answers a heartbeat
send(1, b"alice laptop")            # HELLO: user and device, as the demo's Manager takes them
assert receive()[0] == 2            # WELCOME
send(3, " ".join(sys.argv[3:] or ["hello, edged"]).encode())  # DATA
print(receive()[1:].decode())       # DATA, from the Manager
