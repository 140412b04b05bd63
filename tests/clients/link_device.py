"""A constrained device made of aiocoap and lakers: does what standard input tells it, one line of answer for each.

usage: link_device.py GATEWAY PROVISION; PROVISION is what `stockade device add --provision` wrote.

    session KEY by-value|by-key-id explicit|combined    a handshake with that key (PEM); `ok`, or why not
    critical                                            a message_1 with a critical item that nobody knows
    ask METHOD PATH [PAYLOAD]                           a request; code and payload of its answer
    observe PATH                                        the same, then `notified PAYLOAD` for each notification
    sent                                                the datagram that was sent last
"""
import asyncio
import logging
import sys

import aiocoap
import cbor2
import lakers
from aiocoap import Code, Message
from aiocoap.edhoc import EdhocCredentials
from aiocoap.oscore import NotAProtectedMessage
from aiocoap.transports import simple6
from cryptography.hazmat.primitives.serialization import load_pem_private_key

BASE = "coap://" + sys.argv[1]
PROVISION = cbor2.loads(open(sys.argv[2], "rb").read())
GATEWAY = {14: cbor2.loads(PROVISION[4])}
PATIENCE = 20
sent = []
send = simple6._Connection.send


def noted(connection, datagram):
    sent.append(datagram)
    send(connection, datagram)


simple6._Connection.send = noted


def said(message):
    payload = message.payload
    try:
        payload = payload.decode()
    except UnicodeDecodeError:
        payload = payload.hex()
    return f"{message.code.dotted} {payload}".strip()


async def answer(request):
    try:
        return said(await asyncio.wait_for(request.response, PATIENCE))
    except NotAProtectedMessage as refusal:
        return "unprotected " + said(refusal.plain_message)


def credential(key):
    """What the gateway wrote down for us, or the same with another key."""
    its = cbor2.loads(PROVISION[3])
    point = key.public_key().public_numbers()
    its[8][1].update({-2: point.x.to_bytes(32, "big"), -3: point.y.to_bytes(32, "big")})
    return {14: its}


async def session(net, path, style, how):
    key = load_pem_private_key(open(path, "rb").read(), None)
    private = {1: 2, -1: 1, -4: key.private_numbers().private_value.to_bytes(32, "big")}
    us = EdhocCredentials(
        2, 3, own_cred_style=style, own_cred=credential(key), peer_cred=GATEWAY, private_key=private,
        use_combined_edhoc=how == "combined",
    )
    remote = Message(code=Code.POST, uri=BASE).remote
    try:
        context = await us.establish_context(net, remote, None, None, logging.getLogger())
    except aiocoap.error.ResponseWrappingError as refusal:
        return "refused " + refusal.coapmessage.code.dotted
    net.client_credentials[BASE + "/*"] = context
    return "ok"


async def critical(net):
    item = lakers.EADItem(23, is_critical=True)
    message_1 = lakers.EdhocInitiator().prepare_message_1(b"\x05", [item])
    request = Message(code=Code.POST, uri=BASE + "/.well-known/edhoc", payload=b"\xf5" + message_1)
    return await answer(net.request(request))


def request(net, method, path, payload="", **options):
    message = Message(code=getattr(Code, method), uri=f"{BASE}/{path}", payload=payload.encode(), **options)
    return net.request(message)


async def notifications(observation):
    async for notification in observation:
        print("notified", notification.payload.decode(), flush=True)


async def main():
    net = await aiocoap.Context.create_client_context(transports=["oscore", "simple6"])
    lines, tasks = asyncio.StreamReader(), []
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := (await lines.readline()).decode():
        what, *rest = line.rstrip("\n").split(" ", 3)
        if what == "session":
            result = await session(net, *rest)
        elif what == "critical":
            result = await critical(net)
        elif what == "ask":
            result = await answer(request(net, *rest))
        elif what == "observe":
            observed = request(net, "GET", *rest, observe=0)
            result = await answer(observed)
            tasks.append(asyncio.create_task(notifications(observed.observation)))
        elif what == "sent":
            result = sent[-1].hex()
        print(result, flush=True)


asyncio.run(main())
