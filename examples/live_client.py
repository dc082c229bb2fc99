#!/usr/bin/env python3
"""A client of `splitbench serve`, from docs/wire-protocol.md alone. Needs Python's standard library only.

    splitbench serve --layer 2 --listen 127.0.0.1:7077 &
    python3 examples/live_client.py 127.0.0.1:7077 MODEL_SHA256 [--key-file FILE] < rows.txt

Each line of the input is one row, its numbers between blanks: what the client half gives for one token. They are sent without
loss, and the token that follows them is printed. Before that, a frame with a wrong sequence is sent, to show a refusal.
"""

import argparse
import hashlib
import hmac
import json
import os
import socket
import struct
import sys

AUTH, HELLO, OPEN, OPENED, ACTIVATION, TOKEN, CLOSE, ERROR = 1, 2, 3, 4, 5, 7, 10, 11
HEAD = struct.Struct("<IBQII")  # length, type, session, sequence, position


def send(connection, kind, body=b"", session=0, sequence=0, position=0):
    length = HEAD.size - 4 + len(body)
    connection.sendall(HEAD.pack(length, kind, session, sequence, position) + body)


def read(connection, count):
    data = b""
    while len(data) < count:
        more = connection.recv(count - len(data))
        if not more:
            sys.exit("the server closed the connection")
        data += more
    return data


def receive(connection, expected):
    """The body of the next frame, and None; or None, and the refusal."""
    length, kind, _session, _sequence, _position = HEAD.unpack(read(connection, HEAD.size))
    body = read(connection, length - (HEAD.size - 4))
    if kind == ERROR:
        refusal = json.loads(body)
        return None, f"refused ({refusal['kind']}): {refusal['message']}"
    if kind != expected:
        sys.exit(f"a frame of type {kind}, not {expected}")
    return body, None


def need(answer):
    body, refusal = answer
    if refusal:
        sys.exit(refusal)
    return body


def prove(connection, key):
    """Shows that this side has the key, and makes sure that the server has it."""

    def mac(role, challenge, own):
        return hmac.new(key, b"splitbench live 1 " + role + challenge + own, hashlib.sha256).digest()

    own = os.urandom(32)
    send(connection, AUTH, own)
    body = need(receive(connection, AUTH))
    theirs, answer = body[:32], body[32:]
    if not hmac.compare_digest(answer, mac(b"server", own, theirs)):
        sys.exit("the server has another key")
    send(connection, AUTH, mac(b"client", theirs, own))


def noop_packet(rows):
    """A packet of the codec noop (docs/wire-format.md)."""
    head = struct.pack("<4sBBBII", b"SPLB", 1, 0, 1, len(rows), len(rows[0]))
    return head + b"".join(struct.pack(f"<{len(row)}f", *row) for row in rows)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("address")
    parser.add_argument("model_sha256")
    parser.add_argument("--key-file")
    args = parser.parse_args()
    rows = [[float(number) for number in line.split()] for line in sys.stdin if line.strip()]
    if not rows or any(len(row) != len(rows[0]) for row in rows):
        sys.exit("no rows, or rows of different lengths")
    host, port = args.address.rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        if args.key_file:
            with open(args.key_file, "rb") as file:
                prove(connection, file.read().rstrip())
        hello = {"protocol": 1, "program": "live_client.py", "model": "mine", "model_sha256": args.model_sha256}
        hello |= {"layer": None, "hidden": len(rows[0]), "codecs": ["noop"], "most_tokens": 64, "most_rows": 64}
        send(connection, HELLO, json.dumps(hello).encode())
        server = json.loads(need(receive(connection, HELLO)))
        print(f"server: {server['model']}, cut after layer {server['layer']}")
        session = int.from_bytes(os.urandom(8), "little") | 1
        wish = {"secret": os.urandom(16).hex(), "prompt_codec": "noop", "step_codec": "noop", "most_tokens": len(rows)}
        wish["sampling"] = {"temperature": 0.0, "top_p": 1.0, "seed": 0}
        send(connection, OPEN, json.dumps(wish).encode(), session)
        need(receive(connection, OPENED))
        body = b"\0" + noop_packet(rows)
        send(connection, ACTIVATION, body, session, sequence=9)
        print(receive(connection, TOKEN)[1])
        send(connection, ACTIVATION, body, session, sequence=1)
        token, log_probability = struct.unpack_from("<Id", need(receive(connection, TOKEN)))
        print(f"token {token}, log-probability {log_probability:.6f}")
        send(connection, CLOSE, session=session)


if __name__ == "__main__":
    main()
