"""The OSCORE interop list (github.com/EricssonResearch/OSCOAP, test-spec5.md) on aiocoap's side; sequence numbers are kept in FOLDER:
`server FOLDER` prints its port; `client FOLDER PORT TEST...` asks, and says which tests went as they should."""
import asyncio
import json
import pathlib
import socket
import sys

import aiocoap
from aiocoap import Code, Message, error, oscore, resource
from aiocoap.credentials import CredentialsMap
from aiocoap.oscore_sitewrapper import OscoreSiteWrapper
from aiocoap.transports.oscore import OSCOREAddress

IDS = {"a": ("", "01"), "b": ("01", ""), "c": ("", "01"), "d": ("01", "")}
HELLO = b"Hello World!"


def context(folder, name):
    """One of the contexts of the list, as its files were left."""
    folder = pathlib.Path(folder, name)
    folder.mkdir(parents=True, exist_ok=True)
    sender, recipient = IDS[name]
    secret = {"secret_hex": bytes(range(1, 17)).hex(), "salt_hex": "9e7ca92223786340", "sender-id_hex": sender}
    secret["recipient-id_hex"] = recipient
    if name in "cd":
        secret["id-context_hex"] = "37cbf3210017a2d3"
    folder.joinpath("secret.json").write_text(json.dumps(secret))
    return oscore.FilesystemSecurityContext(str(folder))


def same(what, is_so, expected):
    assert is_so == expected, f"{what} is {is_so!r}, not {expected!r}"


def check(message, code, payload=b"", **options):
    same("the code", message.code, code)
    same("the payload", message.payload, payload)
    same("what the options are", message.opt, Message(**options).opt)


class Protected(resource.Resource):
    """What is answered to a request with these options; only if it was protected."""

    def __init__(self, asked, code=Code.CONTENT, payload=HELLO, **options):
        super().__init__()
        self.asked, self.code, self.payload, self.options = asked, code, payload, options

    async def render(self, request):
        if not isinstance(request.remote, OSCOREAddress):
            raise error.Unauthorized
        given = request.opt
        # Once the server has restarted, requests have an Echo.
        given.echo = None
        if given.observe is None:
            same("what was asked", given, Message(**self.asked).opt)
        return Message(code=self.code, payload=self.payload, **self.options)


class Matched(Protected):
    """`/oscore/hello/7`."""

    async def render(self, request):
        self.asked = {"content_format": 0}
        if request.opt.if_none_match:
            self.asked["if_none_match"], self.code = True, Code.PRECONDITION_FAILED
        else:
            self.asked["if_match"], self.code = [b"\x7b"], Code.CHANGED
        return await super().render(request)


class Observed(Protected, aiocoap.interfaces.ObservableResource):
    """It says "two" as well and, if it ends, that it does."""

    ends = False

    async def add_observation(self, request, observation):
        said = [Message(code=Code.CONTENT, payload=b"two", content_format=0)]
        if self.ends:
            said.append(Message(code=Code.INTERNAL_SERVER_ERROR, payload=b"Terminate Observe", content_format=0))

        async def say():
            for message in said:
                await asyncio.sleep(0.05)
                observation.trigger(message)

        observation.accept(asyncio.create_task(say()).cancel)


class Plain(resource.Resource):
    async def render_get(self, request):
        return Message(payload=HELLO, content_format=0)


async def server(folder):
    keys = CredentialsMap()
    for name in "bd":
        keys[":" + name] = context(folder, name)
    site = resource.Site()
    ends, lasts = (Observed({}, payload=b"one", content_format=0) for _ in range(2))
    ends.ends = True
    for path, one in {
        "hello/coap": Plain(),
        "hello/1": Protected({}, content_format=0),
        "hello/2": Protected({"uri_query": ["first=1"]}, content_format=0, etag=b"\x2b"),
        "hello/3": Protected({"accept": 0}, content_format=0, max_age=5),
        "hello/6": Protected({"content_format": 0}, Code.CHANGED, b"\x4a", content_format=0),
        "hello/7": Matched({}, payload=b""),
        "observe1": ends,
        "observe2": lasts,
        "test": Protected({}, Code.DELETED, b""),
    }.items():
        site.add_resource(["oscore", *path.split("/")], one)
    with socket.socket(type=socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    bind, transports = ("127.0.0.1", port), ["simplesocketserver"]
    await aiocoap.Context.create_server_context(OscoreSiteWrapper(site, keys), bind=bind, transports=transports)
    print(port, flush=True)
    await asyncio.Event().wait()


class Client:
    def __init__(self, net, base):
        self.net, self.base = net, base

    def ask(self, path, keys="a", code=Code.GET, payload=b"", **options):
        known = self.net.client_credentials
        known.pop(self.base + "/*", None)
        if keys:
            known[self.base + "/*"] = known[":" + keys]
        request = Message(code=code, uri=f"{self.base}/oscore/{path}", payload=payload, **options)
        return self.net.request(request)

    async def answer(self, *arguments, **options):
        return await asyncio.wait_for(self.ask(*arguments, **options).response, 20)

    async def refused(self, path="hello/1"):
        """The code of an answer that is not protected."""
        try:
            return await self.answer(path)
        except oscore.NotAProtectedMessage as refusal:
            return refusal.plain_message.code

    async def run(self, test):
        keys = self.net.client_credentials[":a"]
        if test == 0:
            check(await self.answer("hello/coap", keys=None), Code.CONTENT, HELLO, content_format=0)
        elif test in (1, 2):
            check(await self.answer("hello/1", keys="ac"[test - 1]), Code.CONTENT, HELLO, content_format=0)
        elif test == 3:
            answer = await self.answer("hello/2?first=1")
            check(answer, Code.CONTENT, HELLO, content_format=0, etag=b"\x2b")
        elif test == 4:
            check(await self.answer("hello/3", accept=0), Code.CONTENT, HELLO, content_format=0, max_age=5)
        elif test == 5:
            asked = self.ask("hello/1", observe=0)
            check(await asyncio.wait_for(asked.response, 20), Code.CONTENT, HELLO, content_format=0)
        elif test in (6, 7):
            asked = self.ask(f"observe{test - 5}", observe=0)
            seen = [(await asyncio.wait_for(asked.response, 20)).payload]
            async with asyncio.timeout(20):
                async for notification in asked.observation:
                    seen.append(notification.payload)
                    if test == 7:
                        break
            ends = [b"Terminate Observe"] if test == 6 else []
            same("what was observed", seen, [b"one", b"two", *ends])
            if test == 7:
                asked.observation.cancel()
        elif test == 8:
            answer = await self.answer("hello/6", code=Code.POST, payload=b"\x4a", content_format=0)
            check(answer, Code.CHANGED, b"\x4a", content_format=0)
        elif test == 9:
            answer = await self.answer("hello/7", code=Code.PUT, payload=b"\x7a", content_format=0, if_match=[b"\x7b"])
            check(answer, Code.CHANGED)
        elif test == 10:
            answer = await self.answer("hello/7", code=Code.PUT, payload=b"\x8a", content_format=0, if_none_match=True)
            check(answer, Code.PRECONDITION_FAILED)
        elif test == 11:
            check(await self.answer("test", code=Code.DELETE), Code.DELETED)
        elif test in (12, 13, 14):
            field = ["sender_id", "sender_key", "recipient_key"][test - 12]
            right = getattr(keys, field)
            setattr(keys, field, bytes(255 - byte for byte in right) or b"other")
            try:
                code = await self.refused()
            except oscore.ProtectionInvalid:
                code = None
            setattr(keys, field, right)
            same("the refusal", code, [Code.UNAUTHORIZED, Code.BAD_REQUEST, None][test - 12])
        elif test == 15:
            check(await self.answer("hello/1"), Code.CONTENT, HELLO, content_format=0)
            keys.sender_sequence_number -= 1
            same("the refusal", await self.refused(), Code.UNAUTHORIZED)
        elif test == 16:
            same("the refusal", await self.refused("hello/coap"), Code.BAD_OPTION)
        elif test == 17:
            same("the code", (await self.answer("hello/1", keys=None)).code, Code.UNAUTHORIZED)


async def client(folder, port, *tests):
    net = await aiocoap.Context.create_client_context(transports=["oscore", "simple6"])
    for name in "ac":
        net.client_credentials[":" + name] = context(folder, name)
    one = Client(net, f"coap://127.0.0.1:{port}")
    for test in tests:
        await one.run(int(test))
        print(f"test {test}: as it should be", flush=True)


asyncio.run({"client": client, "server": server}[sys.argv[1]](*sys.argv[2:]))
