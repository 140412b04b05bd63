#!/usr/bin/env python3
"""Writes coap-messages.txt: random CoAP messages as aiocoap (0.4.17) encodes them, and damaged ones that it refuses.

Each line: type, code, message ID, token, options as number=value;…, payload, datagram; or "refused" and a datagram.
"""
import random

from aiocoap.error import UnparsableMessage
from aiocoap.message import Message
from aiocoap.numbers.codes import Code
from aiocoap.numbers.optionnumbers import OptionNumber
from aiocoap.numbers.types import Type
from aiocoap.optiontypes import OpaqueOption

CODES = [1, 2, 3, 4, 5, 6, 7, 65, 66, 67, 68, 69, 95, 128, 129, 130, 132, 136, 141, 160, 163]
NUMBERS = [1, 3, 4, 6, 7, 8, 9, 11, 12, 13, 14, 15, 17, 20, 21, 23, 27, 28, 35, 60, 252, 258, 268, 269, 281, 282, 292, 1000, 65000, 65535]

DATAGRAMS = []

chance = random.Random(7252)
print("# written by coap-messages.py with aiocoap 0.4.17")
for _ in range(200):
    message = Message(code=Code(chance.choice(CODES)), payload=chance.randbytes(chance.choice([0, 0, 1, 7, 40])))
    message.mtype = Type(chance.randrange(3))
    message.mid = chance.randrange(65536)
    message.token = chance.randbytes(chance.randrange(9))
    options = sorted(chance.choices(NUMBERS, k=chance.randrange(7)))
    values = [(n, chance.randbytes(chance.choice([0, 1, 1, 2, 2, 3, 4, 8, 12, 13, 14]))) for n in options]
    if options and chance.random() < 0.08:
        values[-1] = (options[-1], chance.randbytes(chance.choice([268, 269, 300])))
    for number, value in values:
        message.opt.add_option(OpaqueOption(OptionNumber(number), value))
    datagram = message.encode()
    if len(datagram) < 80:
        DATAGRAMS.append(datagram.hex())
    text = ";".join(f"{n}={v.hex()}" for n, v in values)
    print(int(message.mtype), int(message.code), message.mid, message.token.hex(), text, message.payload.hex(), datagram.hex())

refused = 0
while refused < 100:
    damaged = bytearray(bytes.fromhex(chance.choice(DATAGRAMS)))
    del damaged[chance.randrange(4, len(damaged) + 1):]
    damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
    try:
        Message.decode(bytes(damaged))
    except UnparsableMessage:
        print("refused", damaged.hex())
        refused += 1
    except UnicodeDecodeError:
        pass  # A value, not the message: refused where it is used.
