"""aiocoap as a server that wants EDHOC: `PORT OWN_CREDENTIAL OWN_KEY PEER_CREDENTIAL`, in hexadecimal digits; port 0 is any. It prints
its port, then each body that is put to `/value`, and how many observe `/count`, which counts them."""
import asyncio
import socket
import sys

import aiocoap
import cbor2
from aiocoap import Code, Message, error, resource
from aiocoap.credentials import CredentialsMap
from aiocoap.edhoc import EdhocCredentials, EdhocResponderContext
from aiocoap.oscore_sitewrapper import OscoreSiteWrapper
from aiocoap.transports.oscore import OSCOREAddress

# aiocoap 0.4.17 looks for it when a request is replayed, and has it in no context that EDHOC made.
EdhocResponderContext.echo_recovery = None


def protected(request):
    if not isinstance(request.remote, OSCOREAddress):
        raise error.Unauthorized


class Count(resource.ObservableResource):
    count = 0

    async def render_get(self, request):
        protected(request)
        return Message(payload=str(self.count).encode())

    def update_observation_count(self, count):
        print("observers", count, flush=True)


class Value(resource.Resource):
    value = b""

    def __init__(self, count):
        super().__init__()
        self.count = count

    async def render_get(self, request):
        protected(request)
        return Message(payload=self.value)

    async def render_put(self, request):
        protected(request)
        self.value = request.payload
        self.count.count += 1
        self.count.updated_state()
        print("put", self.value.decode(), flush=True)
        return Message(code=Code.CHANGED)


async def main(port, own, key, peer):
    with socket.socket(type=socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", int(port)))
        port = free.getsockname()[1]
    own, peer = ({14: cbor2.loads(bytes.fromhex(credential))} for credential in (own, peer))
    key = {1: 2, -1: 1, -4: bytes.fromhex(key)}
    keys = CredentialsMap()
    keys[f"coap://127.0.0.1:{port}/*"] = EdhocCredentials(2, 3, own_cred_style="by-key-id", own_cred=own, private_key=key)
    keys[":peer"] = EdhocCredentials(2, 3, peer_cred=peer)
    site, count = resource.Site(), Count()
    site.add_resource(["count"], count)
    site.add_resource(["value"], Value(count))
    bind, transports = ("127.0.0.1", port), ["simplesocketserver"]
    await aiocoap.Context.create_server_context(OscoreSiteWrapper(site, keys), bind=bind, transports=transports)
    print(port, flush=True)
    await asyncio.Event().wait()


asyncio.run(main(*sys.argv[1:]))
