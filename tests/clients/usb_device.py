"""A USB device that says what it is told to say, at the kernel's virtual controller (Documentation/usb/usbip_protocol.rst).

usage: usb_device.py PRODUCT NUMBER:CLASS...   (all hexadecimal); unplugged when it ends
"""

import socket
import struct
import sys

product = int(sys.argv[1], 16)
interfaces = [tuple(int(part, 16) for part in word.split(":")) for word in sys.argv[2:]]
DEVICE = struct.pack("<BBHBBBBHHHBBBB", 18, 1, 0x200, 0, 0, 0, 64, 0x1209, product, 1, 1, 2, 3, 1)
BODY = b"".join(
    bytes([9, 4, number, 0, 1, kind, 0, 0, 0, 7, 5, 0x81 + number, 3, 8, 0, 10]) for number, kind in interfaces
)
CONFIGURATION = struct.pack("<BBHBBBBB", 9, 2, 9 + len(BODY), len(interfaces), 1, 0, 0x80, 50) + BODY
TEXTS = {1: "Lab", 2: "Changeling", 3: "S1"}


def control(setup):
    """The answer to a request on the pipe of control; none if the device knows no answer (USB 2.0 §9.4)."""
    kind, request, value, _, _ = struct.unpack("<BBHHH", setup)
    if not kind & 0x80:
        return b""
    if (kind, request) == (0x80, 6):
        what, index = value >> 8, value & 0xFF
        if what == 1:
            return DEVICE
        if what == 2:
            return CONFIGURATION
        if what == 3:
            text = TEXTS.get(index, "").encode("utf-16-le") if index else b"\x09\x04"
            return bytes([len(text) + 2, 3]) + text
    return b"\0\0" if request == 0 else None


ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
with open("/sys/devices/platform/vhci_hcd.0/attach", "w") as attach:
    attach.write(f"0 {theirs.fileno()} {1 << 16 | 2} 3")
theirs.close()
stream = ours.makefile("rb")
while len(head := stream.read(48)) == 48:
    command, number, device, direction, endpoint = struct.unpack(">5I", head[:20])
    if command == 2:
        ours.sendall(struct.pack(">5Ii24x", 4, number, device, direction, endpoint, -104))
        continue
    length = struct.unpack(">i", head[24:28])[0]
    if direction == 0 and length > 0:
        stream.read(length)
    if endpoint != 0:
        # Nothing ever comes from it.
        continue
    answer = control(head[40:48])
    status, data = (-32, b"") if answer is None else (0, answer[:length] if direction else b"")
    told = len(data) if direction else length
    ours.sendall(struct.pack(">5IiIiii8x", 3, number, 0, 0, 0, status, told, 0, 0, 0) + data)
