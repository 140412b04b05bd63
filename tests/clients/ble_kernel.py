"""A device on BlueZ's kernel stack: advertises on an adapter, takes one L2CAP channel, asks what it is told and prints the answers.

usage: ble_kernel.py ADAPTER PACKET...   (hexadecimal; each is sent, and the next message awaited; `bye` closes the connection, the next
packet waits for another)

Everything by the kernel's own interfaces: management commands (mgmt) and L2CAP sockets. Python's sockets know neither LE addresses nor
the management channel, so these are bound through libc.
"""

import ctypes
import os
import socket
import struct
import sys
import time

SERVICE = bytes.fromhex("8df804b73300496d9dfaf8fb40a236bc")[::-1]
SPSM = 0x80
BLUETOOTH, L2CAP, HCI = 31, 0, 1
LE_PUBLIC = 1
LIBC = ctypes.CDLL(None, use_errno=True)


def bound(kind, protocol, address):
    made = socket.socket(BLUETOOTH, kind, protocol)
    if LIBC.bind(made.fileno(), address, len(address)) != 0:
        raise OSError(ctypes.get_errno(), "bind")
    return made


def manage(adapter, *commands):
    """Management commands (BlueZ's doc/mgmt-api.txt), each waited for until the kernel has done it."""
    control = bound(socket.SOCK_RAW, HCI, struct.pack("<HHH", BLUETOOTH, 0xFFFF, 3))
    control.settimeout(30)
    for code, parameters in commands:
        control.send(struct.pack("<HHH", code, adapter, len(parameters)) + parameters)
        while True:
            event, _, _, answered = struct.unpack_from("<HHHH", packet := control.recv(512))
            if event in (1, 2) and answered == code:
                break
        if packet[8]:
            sys.exit(f"management command {code:#06x}: status {packet[8]}")
    return control


def main():
    adapter, packets = int(sys.argv[1]), sys.argv[2:]
    listener = bound(socket.SOCK_SEQPACKET, L2CAP, struct.pack("<HH6sHBx", BLUETOOTH, SPSM, bytes(6), 0, LE_PUBLIC))
    listener.setsockopt(274, 13, struct.pack("<H", 1152))  # SOL_BLUETOOTH, BT_RCVMTU
    listener.listen(1)
    element = bytes([19, 0x21]) + SERVICE + struct.pack("<H", SPSM)
    advertise = struct.pack("<BIHHBB", 1, 1, 0, 0, len(element), 0) + element
    control = manage(adapter, (0x000D, b"\1"), (0x0005, b"\1"), (0x003E, advertise))
    print("advertising", flush=True)
    channel = None
    for packet in packets:
        if packet == "bye":
            channel.close()
            channel = None
            continue
        if channel is None:
            while True:
                try:
                    channel = socket.socket(fileno=listener._accept()[0])
                    break
                except InterruptedError:
                    time.sleep(0.1)
            print("connected", flush=True)
        channel.send(bytes.fromhex(packet))
        print(channel.recv(2048).hex(), flush=True)
    control.close()


main()
os._exit(0)
