"""Bluetooth devices around a gateway: Bumble's virtual controllers and hosts, none of it ours.

The gateway's controller is an H4 server, or with a path as argument a terminal that has this name; each device carries datagrams between the air and a UDP port of its own, so that whoever
tests can be the device behind the radio. Prints `controller PORT` (or the path), then answers each line of its input with one line:

    add NAME ADDRESS channel|gatt [mps=N] [mtu=N]   NAME PORT      a device that advertises
    add NAME ADDRESS deaf                           NAME 0         one that never lets itself be connected
    hang-up NAME                                    ok             it ends its connection
    away NAME / back NAME                           ok             out of range: the gateway's controller notices, nobody says a word
    raw NAME CHANNEL HEX                            ok             an L2CAP packet of its connection, whatever it may be
    connections NAME                                NUMBER         how many connections it has had
"""

import asyncio
import logging
import struct
import sys

from bumble import hci, l2cap
from bumble.controller import Controller
from bumble.device import Device
from bumble.gatt import Characteristic, CharacteristicValue, Service
from bumble.host import Host
from bumble.link import LocalLink
from bumble.transport import pty, tcp_server

SERVICE = "8df804b7-3300-496d-9dfa-f8fb40a236bc"
DOWNSTREAM = "8bf52767-5625-43ca-a678-70883a366866"
UPSTREAM = "ab3720c8-7fc0-41f8-aa2a-9a45c2c01a4b"
SPSM = 0x80


class GatewayController(Controller):
    """What Bumble's controller leaves out: a connection that is called off is off (Vol 4, Part E, 7.8.13)."""

    def on_hci_le_create_connection_cancel_command(self, command):
        pending, self.pending_le_connection = self.pending_le_connection, None
        if pending is None:
            return hci.HCI_StatusReturnParameters(hci.HCI_ErrorCode.COMMAND_DISALLOWED_ERROR)
        complete = hci.HCI_LE_Connection_Complete_Event(
            status=hci.HCI_ErrorCode.UNKNOWN_CONNECTION_IDENTIFIER_ERROR, connection_handle=0, role=hci.Role.CENTRAL,
            peer_address_type=pending.peer_address_type, peer_address=pending.peer_address, connection_interval=0,
            peripheral_latency=0, supervision_timeout=0, central_clock_accuracy=0)
        asyncio.get_running_loop().call_soon(self.send_hci_packet, complete)
        return hci.HCI_StatusReturnParameters(hci.HCI_ErrorCode.SUCCESS)

    def create_le_connection(self, peer_address):
        # One that advertises and does not listen: the controller goes on trying.
        if peer_address not in self.deaf:
            super().create_le_connection(peer_address)


class Peripheral(asyncio.DatagramProtocol):
    """A device's radio."""

    def __init__(self, link, name, address, way, mps=247, mtu=517):
        self.address = hci.Address(address)
        self.controller = Controller(name, link=link)
        self.link = link
        self.device = Device(name=name, address=self.address, host=Host(self.controller, self.controller))
        self.way, self.mtu = way, mtu
        self.connection = self.channel = self.udp = self.whom = None
        self.connections = 0
        self.outgoing = asyncio.Queue(32)
        self.device.on("connection", self.on_connection)
        uuid = bytes.fromhex(SERVICE.replace("-", ""))[::-1]
        if way == "gatt":
            self.upstream = Characteristic(UPSTREAM, Characteristic.Properties.INDICATE, Characteristic.READABLE)
            downstream = Characteristic(
                DOWNSTREAM, Characteristic.Properties.WRITE | Characteristic.Properties.WRITE_WITHOUT_RESPONSE,
                Characteristic.WRITEABLE, CharacteristicValue(write=lambda _, value: self.to_device(value)))
            self.device.add_service(Service(SERVICE, [downstream, self.upstream]))
            self.device.gatt_server.max_mtu = mtu
            element = bytes([17, 0x07]) + uuid
        else:
            spec = l2cap.LeCreditBasedChannelSpec(psm=SPSM, mtu=1152, mps=mps, max_credits=8)
            self.device.create_l2cap_server(spec, self.on_channel)
            element = bytes([19, 0x21]) + uuid + struct.pack("<H", SPSM)
        self.advertisement = bytes([2, 0x01, 0x06]) + element

    async def start(self):
        loop = asyncio.get_running_loop()
        self.udp, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", 0))
        await self.device.power_on()
        await self.device.start_advertising(
            advertising_data=self.advertisement, auto_restart=True,
            advertising_interval_min=100, advertising_interval_max=100)
        self.sender = asyncio.create_task(self.send())
        return self.udp.get_extra_info("sockname")[1]

    def on_connection(self, connection):
        self.connection, self.channel = connection, None
        self.connections += 1

    def on_channel(self, channel):
        self.channel = channel
        channel.sink = self.to_device

    def to_device(self, datagram):
        if self.whom:
            self.udp.sendto(bytes(datagram), self.whom)

    def datagram_received(self, datagram, whom):
        self.whom = whom
        if datagram and not self.outgoing.full():
            self.outgoing.put_nowait(datagram)

    async def send(self):
        while True:
            datagram = await self.outgoing.get()
            try:
                if self.way == "gatt" and self.connection:
                    await self.device.indicate_subscriber(self.connection, self.upstream, datagram)
                elif self.channel and self.channel.state == self.channel.State.CONNECTED:
                    # One at a time: Bumble would join those that wait into one SDU.
                    self.channel.write(datagram)
                    await self.channel.drain()
            except Exception as error:  # A connection that ended meanwhile: lost, as on any radio.
                print(f"{self.device.name}: {error}", file=sys.stderr)


async def main():
    link = LocalLink()
    if line := sys.argv[1:]:
        gateway_link = await pty.open_pty_transport(line[0])
    else:
        gateway_link = await tcp_server.open_tcp_server_transport("127.0.0.1:0")
    controller = GatewayController("gateway", host_source=gateway_link.source, host_sink=gateway_link.sink, link=link)
    controller.deaf = set()
    # Whoever scans by the commands of 4.0 hears reports of 4.0; Bumble goes by its features alone.
    controller.le_features &= ~hci.LeFeatureMask.LE_EXTENDED_ADVERTISING
    devices = {}
    port = line[0] if line else gateway_link.server.sockets[0].getsockname()[1]
    print("controller", port, flush=True)
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := (await lines.readline()).decode().split():
        verb, name, *more = line
        answer = "ok"
        if verb == "add":
            address, way, *options = more
            options = {key: int(value) for key, value in (option.split("=") for option in options)}
            devices[name] = device = Peripheral(link, name, address, way, **options)
            port = await device.start()
            if way == "deaf":
                controller.deaf.add(device.address)
                port = 0
            answer = f"{name} {port}"
        else:
            device = devices[name]
        if verb == "hang-up":
            await device.connection.disconnect()
        elif verb == "away":
            link.remove_controller(device.controller)
            for connection in [it for it in controller.le_connections.values() if it.peer_address == device.address]:
                controller.on_le_disconnected(connection, hci.HCI_ErrorCode.CONNECTION_TIMEOUT_ERROR)
        elif verb == "back":
            for connection in list(device.controller.le_connections.values()):
                device.controller.on_le_disconnected(connection, hci.HCI_ErrorCode.CONNECTION_TIMEOUT_ERROR)
            link.add_controller(device.controller)
        elif verb == "raw":
            channel, packet = int(more[0], 0), bytes.fromhex(more[1])
            device.device.host.send_l2cap_pdu(device.connection.handle, channel, packet)
        elif verb == "connections":
            answer = str(device.connections)
        print(answer, flush=True)


logging.basicConfig(level=logging.ERROR)
asyncio.run(main())
