"""Frames that a firewall has to refuse, made by hand: hostile_frames.py PROCESS

Runs in the network namespace of the attacker, whose card is `far`. PROCESS is one in the namespace of the device, where the table
`inet spy` counts what got past the firewall. Prints a line for each attack: `passed NAME` or `refused NAME`.
"""

import ipaddress
import re
import socket
import struct
import subprocess
import sys
import time

DEVICE_MAC, MY_MAC = bytes.fromhex("020000000002"), bytes.fromhex("020000000001")
ME, DEVICE, ME6, DEVICE6 = "10.9.0.1", "10.9.0.2", "fd09::1", "fd09::2"
SYN = 0x02
SPY = ["nsenter", f"--net=/proc/{sys.argv[1]}/ns/net", "nft", "list", "counters", "table", "inet", "spy"]

card = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
card.bind(("far", 0))


def packed(address):
    return ipaddress.ip_address(address).packed


def checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def summed(source, destination, protocol, segment, at):
    ends = packed(source) + packed(destination)
    pseudo = ends + (struct.pack("!II", len(segment), protocol) if len(ends) == 32 else struct.pack("!HH", protocol, len(segment)))
    return segment[:at] + struct.pack("!H", checksum(pseudo + segment)) + segment[at + 2 :]


def tcp(port, flags=SYN, source=ME, destination=DEVICE, own=1111):
    segment = struct.pack("!HHIIBBHHH", own, port, 1, 0, 0x50, flags, 1024, 0, 0)
    return summed(source, destination, 6, segment, 16)


def udp(own, port, source=ME, destination=DEVICE):
    return summed(source, destination, 17, struct.pack("!HHHH", own, port, 16, 0) + b"attacked", 6)


def icmp(kind, code, body):
    message = struct.pack("!BBH", kind, code, 0) + body
    return message[:2] + struct.pack("!H", checksum(message)) + message[4:]


def icmp6(kind, body, source=ME6, destination=DEVICE6):
    return summed(source, destination, 58, struct.pack("!BBH", kind, 0, 0) + body, 2)


def ethernet(kind, payload, destination=DEVICE_MAC):
    return destination + MY_MAC + struct.pack("!H", kind) + payload


def ip4(protocol, payload, source=ME, destination=DEVICE, fragment=0, number=1, options=b"", ttl=64):
    options += b"\0" * (-len(options) % 4)
    words = 5 + len(options) // 4
    head = struct.pack("!BBHHHBBH", 0x40 | words, 0, words * 4 + len(payload), number, fragment, ttl, protocol, 0)
    head += packed(source) + packed(destination) + options
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + payload


def frame4(*arguments, to=DEVICE_MAC, **named):
    return ethernet(0x0800, ip4(*arguments, **named), to)


def ip6(header, payload, source=ME6, destination=DEVICE6, hops=64):
    return struct.pack("!IHBB", 6 << 28, len(payload), header, hops) + packed(source) + packed(destination) + payload


def frame6(*arguments, to=DEVICE_MAC, **named):
    return ethernet(0x86DD, ip6(*arguments, **named), to)


def tcp6(port, own=1111):
    return tcp(port, source=ME6, destination=DEVICE6, own=own)


def part6(header, offset, more, number):
    return struct.pack("!BBHI", header, 0, offset << 3 | more, number)


def options6(following):
    return struct.pack("!BB", following, 0) + b"\1\4\0\0\0\0"


def routing6(kind, left):
    return struct.pack("!BBBBI", 6, 2, kind, left, 0) + packed(DEVICE6)


def attacks():
    # The two that the profile allows: they prove that the probe can see.
    yield "allowed: tcp 8080", [frame4(6, tcp(8080))]
    yield "allowed: tcp 8080 over IPv6", [frame6(6, tcp6(8080))]
    yield "allowed: behind destination options", [frame6(60, options6(60) + options6(6) + tcp6(8080, 1112))]
    yield "allowed: atomic fragment", [frame6(44, part6(6, 0, 0, 40) + tcp6(8080, 1113))]
    yield "tcp 22", [frame4(6, tcp(22))]
    for name, flags in [("null", 0), ("syn-ack", 0x12), ("syn-fin", 3), ("xmas", 0x29), ("fin", 1), ("rst", 4)]:
        yield f"tcp 22 {name}", [frame4(6, tcp(22, flags, own=1200 + flags))]
    for name, flags in [("null", 0), ("syn-fin", 3), ("syn-rst", 6), ("xmas", 0x29), ("rst", 4)]:
        yield f"allowed port, {name}", [frame4(6, tcp(8080, flags, own=1300 + flags))]
    yield "port 0", [frame4(6, tcp(0))]
    for own in (53, 67, 123, 9999):
        yield f"udp from port {own}", [frame4(17, udp(own, 40000))]
    stranger = "10.9.0.77"
    yield "DHCP from a stranger", [frame4(17, udp(67, 68, stranger), source=stranger)]
    # Fragments: the first too short for its ports, and two that overlap.
    shut, allowed = tcp(22, own=1500), tcp(8080, own=1501)
    yield "tiny fragment", [frame4(6, shut[:8], fragment=0x2000, number=5), frame4(6, shut[8:], fragment=1, number=5)]
    yield "overlapping fragments", [
        frame4(6, allowed[:16], fragment=0x2000, number=6),
        frame4(6, shut[:16], fragment=0x2000, number=6),
        frame4(6, shut[16:], fragment=2, number=6),
    ]
    yield "fragment without its first", [frame4(6, allowed[8:], fragment=1, number=7)]
    shut, allowed = tcp6(22, 1600), tcp6(8080, 1601)
    yield "fragments over IPv6", [frame6(44, part6(6, 0, 1, 9) + shut[:8]), frame6(44, part6(6, 1, 0, 9) + shut[8:])]
    yield "atomic fragment", [frame6(44, part6(6, 0, 0, 10) + shut)]
    yield "overlapping fragments over IPv6", [
        frame6(44, part6(6, 0, 1, 12) + allowed[:16]),
        frame6(44, part6(6, 1, 1, 12) + shut[8:16]),
        frame6(44, part6(6, 2, 0, 12) + shut[16:]),
    ]
    # Extension headers and routes.
    yield "hop-by-hop options", [frame6(0, options6(6) + shut)]
    yield "eight destination options", [frame6(60, options6(60) * 7 + options6(6) + shut)]
    for kind in (0, 2, 3, 4):
        for left in (0, 1):
            yield f"routing header {kind}, {left} left", [frame6(43, routing6(kind, left) + tcp6(8080, 1610 + kind * 2 + left))]
        yield f"routing header {kind} behind options", [frame6(60, options6(43) + routing6(kind, 0) + tcp6(8080, 1630 + kind))]
    yield "routing header in a fragment", [
        frame6(44, part6(43, 0, 1, 20) + routing6(0, 0)),
        frame6(44, part6(43, 3, 0, 20) + tcp6(8080, 1640)),
    ]
    for name, option in [("loose", b"\x83"), ("strict", b"\x89")]:
        yield f"{name} source route", [frame4(6, tcp(8080, own=1650), options=option + b"\7\4" + packed(DEVICE))]
    # Other protocols, and flows inside flows.
    inside = ip4(6, tcp(8080))
    for protocol in (2, 4, 33, 41, 47, 50, 51, 58, 132, 136, 255):
        yield f"protocol {protocol}", [frame4(protocol, inside, ttl=255)]
    for header in (1, 4, 41, 47, 59, 132, 135, 139):
        yield f"next header {header}", [frame6(header, b"\x08\0\0\0" + b"\0" * 36)]
    # Errors about flows that are not, and messages that nobody needs.
    about = ip4(17, udp(40000, 9998, DEVICE, ME), source=DEVICE, destination=ME)
    yield "redirect", [frame4(1, icmp(5, 1, packed(stranger) + about))]
    yield "unreachable, about nothing", [frame4(1, icmp(3, 1, b"\0" * 4 + about))]
    for kind in (0, 9, 10, 13, 15, 17):
        yield f"ICMP type {kind}", [frame4(1, icmp(kind, 0, b"\0" * 16))]
    about = ip6(17, udp(1, 2, DEVICE6, ME6), source=DEVICE6, destination=ME6)
    yield "too big, about nothing", [frame6(58, icmp6(2, struct.pack("!I", 1280) + about))]
    yield "redirect over IPv6", [frame6(58, icmp6(137, b"\0" * 36, "fe80::1"), source="fe80::1", hops=255)]
    # Sources and destinations that can not be.
    for source in (DEVICE, "127.0.0.1", "224.0.0.1", "255.255.255.255", "10.9.0.255", "0.0.0.0", "192.0.2.1"):
        yield f"from {source}", [frame4(6, tcp(8080, source=source), source=source)]
    for source in (DEVICE6, "::1", "ff02::1", "::", "::ffff:10.9.0.1", "2001:db8::1"):
        yield f"from {source}", [frame6(6, tcp(8080, source=source, destination=DEVICE6), source=source)]
    for destination in ("127.0.0.1", "10.9.0.99"):
        yield f"to {destination}", [frame4(6, tcp(8080, destination=destination), destination=destination)]
    # Neighbours and routers.
    claim = struct.pack("!I", 0x20000000) + packed(DEVICE6) + b"\2\1" + MY_MAC
    yield "neighbour claims the device's address", [frame6(58, icmp6(136, claim), hops=255)]
    yield "the same behind options", [frame6(60, options6(58) + icmp6(136, claim), hops=255)]
    everybody, router = bytes.fromhex("333300000001"), struct.pack("!BBHII", 64, 0, 1800, 0, 0)
    for name, source, hops in [("from afar", "fe80::1", 64), ("with a global address", ME6, 255)]:
        message = icmp6(134, router, source, "ff02::1")
        yield f"router {name}", [frame6(58, message, source=source, destination="ff02::1", hops=hops, to=everybody)]
    # Frames in disguise.
    tagged = struct.pack("!HH", 0, 0x0800)
    yield "priority tag", [ethernet(0x8100, tagged + ip4(6, tcp(22, own=1900)))]
    yield "two tags", [ethernet(0x88A8, tagged + ip4(6, tcp(22, own=1901)))]
    yield "LLC", [ethernet(48, b"\xaa\xaa\x03\0\0\0\x08\0" + ip4(6, tcp(22, own=1902)))]
    yield "unicast in a group's frame", [frame4(6, tcp(22, own=1903), to=bytes.fromhex("01005e000001"))]


def past():
    told = subprocess.run(SPY, capture_output=True, text=True, check=True).stdout
    return int(re.search(r"packets (\d+)", told)[1])


for name, frames in attacks():
    before = past()
    for frame in frames:
        card.send(frame)
    # What is handed to a virtual cable has arrived before the next command begins; this is for a machine that is busy.
    time.sleep(0.01)
    print("passed" if past() > before else "refused", name)
