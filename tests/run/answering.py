"""A server that answers every request with 200 "ok": `python -S -E answering.py PORT [PIDFILE]`; with a pid file in the background.

Bound to the address in the environment variable ANSWER_AT, 127.0.0.1 without. Ends by itself after 20 minutes.
"""

import os
import select
import signal
import socket
import sys

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: text/plain\r\n\r\nok"

server = socket.create_server((os.environ.get("ANSWER_AT", "127.0.0.1"), int(sys.argv[1])), backlog=512)
if len(sys.argv) > 2:
    child = os.fork()
    if child:  # who waits for us finds the new pid in the file, not one of before
        draft = f"{sys.argv[2]}.draft"
        with open(draft, "w") as file:
            file.write(f"{child}\n")
        os.replace(draft, sys.argv[2])
        os._exit(0)
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for fd in range(3):
        os.dup2(null, fd)
signal.alarm(1200)
server.setblocking(False)
poll = select.poll()
poll.register(server, select.POLLIN)
clients: dict[int, socket.socket] = {}
while True:
    for fd, _ in poll.poll():
        if fd == server.fileno():
            client, _ = server.accept()
            client.setblocking(False)
            clients[client.fileno()] = client
            poll.register(client, select.POLLIN)
            continue
        try:
            asked = clients[fd].recv(65536)
            if asked:
                clients[fd].send(ANSWER * max(asked.count(b"\r\n\r\n"), 1))
                continue
        except BlockingIOError:
            continue
        except OSError:
            pass
        poll.unregister(fd)
        clients.pop(fd).close()
