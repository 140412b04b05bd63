"""aiocoap on the other side: `client PORT` asks our server and says what is wrong; `server` offers resources and prints its port."""
import asyncio
import sys

import aiocoap
from aiocoap import Code, Message, resource

BIG = bytes(number * 7 % 251 for number in range(5000))


async def ask(context, port, path, code=Code.GET, payload=b""):
    request = Message(code=code, uri=f"coap://127.0.0.1:{port}/{path}", payload=payload)
    return await asyncio.wait_for(context.request(request).response, 20)


async def client(port):
    context = await aiocoap.Context.create_client_context(transports=["simple6"])
    answer = await ask(context, port, "hello")
    assert (answer.code, answer.payload) == (Code.CONTENT, b"hello"), answer
    assert (await ask(context, port, "missing")).code == Code.NOT_FOUND
    answer = await ask(context, port, "slow")
    assert answer.payload == b"slow", answer
    answer = await ask(context, port, "big", Code.PUT, BIG)
    assert answer.code == Code.CHANGED, answer
    answer = await ask(context, port, "big")
    assert answer.payload == BIG, len(answer.payload)
    answer = await ask(context, port, "big", Code.PUT, BIG * 3)
    assert answer.code == Code.REQUEST_ENTITY_TOO_LARGE, answer
    request = Message(code=Code.GET, uri=f"coap://127.0.0.1:{port}/count", observe=0)
    observed = context.request(request)
    seen = [int((await asyncio.wait_for(observed.response, 20)).payload)]
    async for notification in observed.observation:
        seen.append(int(notification.payload))
        if len(seen) == 10:
            break
    assert seen == sorted(seen) and len(set(seen)) == 10, seen
    observed.observation.cancel()
    await asyncio.sleep(0.5)
    print("fine", flush=True)


class Big(resource.Resource):
    content = b""

    async def render_put(self, request):
        self.content = request.payload
        return Message(code=Code.CHANGED)

    async def render_get(self, request):
        return Message(payload=self.content)


class Slow(resource.Resource):
    async def render_get(self, request):
        await asyncio.sleep(0.5)
        return Message(payload=b"slow")


class Count(resource.ObservableResource):
    value = 0

    async def count(self):
        while True:
            await asyncio.sleep(0.05)
            self.value += 1
            self.updated_state()

    async def render_get(self, request):
        return Message(payload=str(self.value).encode())

    def update_observation_count(self, count):
        print("observers", count, flush=True)


async def server():
    site, count = resource.Site(), Count()
    for path, one in [("big", Big()), ("slow", Slow()), ("count", count)]:
        site.add_resource([path], one)
    with __import__("socket").socket(type=2) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    await aiocoap.Context.create_server_context(site, bind=("127.0.0.1", port), transports=["simplesocketserver"])
    print(port, flush=True)
    await count.count()


asyncio.run(client(sys.argv[2]) if sys.argv[1] == "client" else server())
