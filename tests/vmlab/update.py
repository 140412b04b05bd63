"""The boot loader of the guest: U-Boot's environment by its own description, and RAUC's script for it.

It shares nothing with the program under test: env/common.c and contrib/uboot.sh say how it is done.
"""

import hashlib
import os
import sys
import zlib

ROOT = "/run/device"
ENV = "/dev/vdc"
SIZE = 0x4000
SLOTS = {"A": "/dev/vda", "B": "/dev/vdb"}
IMAGE = 2 * 1024 * 1024


def copies():
    with open(ENV, "rb") as device:
        return [device.read(SIZE) for _ in range(2)]


def good(copy):
    return int.from_bytes(copy[:4], "little") == zlib.crc32(copy[5:])


def read():
    one, two = copies()
    if not good(one) and not good(two):
        sys.exit("no copy of the environment is whole")
    if good(one) and good(two):
        newer = (two[4] - one[4]) & 0xFF
        current = 1 if newer == 1 else 0
    else:
        current = 0 if good(one) else 1
    copy = [one, two][current]
    data = copy[5:].split(b"\0\0")[0].decode()
    return current, copy[4], dict(line.split("=", 1) for line in data.split("\0"))


def write(current, flag, variables):
    data = b"".join(f"{name}={value}\0".encode() for name, value in variables.items()) + b"\0"
    data = data.ljust(SIZE - 5, b"\0")
    copy = zlib.crc32(data).to_bytes(4, "little") + bytes([(flag + 1) & 0xFF]) + data
    with open(ENV, "r+b") as device:
        device.seek(SIZE * (1 - current))
        device.write(copy)
        device.flush()
        os.fsync(device.fileno())


def system(slot):
    with open(SLOTS[slot], "rb") as device:
        image = device.read(IMAGE)
    if hashlib.sha256(image[:-32]).digest() != image[-32:]:
        sys.exit(f"the system in slot {slot} is not whole")
    return int(image.split(b"\n", 1)[0])


def boot():
    current, flag, variables = read()
    for slot in variables["BOOT_ORDER"].split():
        left = int(variables.get(f"BOOT_{slot}_LEFT", "3"), 16)
        if left > 0:
            variables[f"BOOT_{slot}_LEFT"] = f"{left - 1:x}"
            write(current, flag, variables)
            version = system(slot)
            with open(f"{ROOT}/proc/cmdline", "w") as file:
                file.write(f"ro rauc.slot={slot}\n")
            with open(f"{ROOT}/etc/os-release", "w") as file:
                file.write(f"IMAGE_VERSION={version}\n")
            print(version)
            return
    sys.exit("no slot has a try left")


if sys.argv[1:] == ["init"]:
    write(1, 0, {"BOOT_ORDER": "A B", "BOOT_A_LEFT": "3", "BOOT_B_LEFT": "3", "bootdelay": "2"})
else:
    boot()
