"""A DHCP client (RFC 2131) that says what it is told to say: a name, a MUD URL, another's address.

Prints the address it was given, or nothing. Standard library only.
"""

import argparse
import os
import socket
import struct
import sys
import time

COOKIE = bytes.fromhex("63825363")


def checksum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def message(kind, mac, transaction, options):
    head = struct.pack("!BBBBIHH", 1, 1, 6, 0, transaction, 0, 0x8000)
    body = head + b"\0" * 16 + mac + b"\0" * 10 + b"\0" * 192 + COOKIE
    for code, value in [(53, bytes([kind])), *options]:
        body += bytes([code, len(value)]) + value
    return body + b"\xff"


def frame(source, payload):
    udp = struct.pack("!HHHH", 68, 67, 8 + len(payload), 0) + payload
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 1, 0, 64, 17, 0, b"\0" * 4, b"\xff" * 4)
    head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
    return b"\xff" * 6 + source + b"\x08\x00" + head + udp


def answer(data, transaction):
    """Kind, given address and server of an answer to us; None for anything else."""
    if len(data) < 14 + 28 + 240 or data[12:14] != b"\x08\x00" or data[23] != 17:
        return None
    bootp = data[14 + (data[14] & 15) * 4 + 8 :]
    if bootp[0] != 2 or struct.unpack("!I", bootp[4:8])[0] != transaction:
        return None
    kind, server, rest = None, None, bootp[240:]
    while rest and rest[0] != 255:
        if rest[0] == 0:
            rest = rest[1:]
            continue
        code, length = rest[0], rest[1]
        value, rest = rest[2 : 2 + length], rest[2 + length :]
        if code == 53:
            kind = value[0]
        elif code == 54:
            server = value
    return kind, bootp[16:20], server


def exchange(link, source, payload, transaction, wanted, patience):
    link.send(frame(source, payload))
    until = time.monotonic() + patience
    while (left := until - time.monotonic()) > 0:
        link.settimeout(left)
        try:
            got = answer(link.recv(2048), transaction)
        except socket.timeout:
            return None
        if got and got[0] == wanted:
            return got
    return None


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("interface")
    parser.add_argument("--hostname", help="the name, with \\xNN escapes")
    parser.add_argument("--mud")
    parser.add_argument("--chaddr", help="speak in another's name")
    told = parser.parse_args()
    link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0003))
    link.bind((told.interface, 0))
    source = link.getsockname()[4]
    mac = bytes.fromhex(told.chaddr.replace(":", "")) if told.chaddr else source
    options = []
    if told.hostname is not None:
        options.append((12, told.hostname.encode().decode("unicode_escape").encode("latin-1")))
    if told.mud is not None:
        options.append((161, told.mud.encode()))
    for _ in range(4):
        transaction = int.from_bytes(os.urandom(4), "big")
        offer = exchange(link, source, message(1, mac, transaction, options), transaction, 2, 2)
        if not offer:
            continue
        wanted = [(50, offer[1]), (54, offer[2]), *options]
        if exchange(link, source, message(3, mac, transaction, wanted), transaction, 5, 2):
            print(socket.inet_ntoa(offer[1]))
            return 0
    return 1


sys.exit(main())
