"""paho-mqtt, MQTT 5: request and response, subscription identifiers, a shared subscription, a will. Prints ok.

usage: paho_features.py PORT CA ASKER ASKER_CERTIFICATE ASKER_KEY HELPER HELPER_CERTIFICATE HELPER_KEY
"""

import queue
import sys
import time

import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

PORT, CA, *DEVICES = sys.argv[1:]
PATIENCE = 10


def properties(kind, **values):
    made = Properties(kind)
    for name, value in values.items():
        setattr(made, name, value)
    return made


class Device:
    def __init__(self, name, certificate, key, slot="", will=None):
        self.report = f"probe/{name}/report"
        self.messages = queue.Queue()
        self.answers = queue.Queue()
        self.client = paho.Client(
            paho.CallbackAPIVersion.VERSION2, client_id=name + slot, protocol=paho.MQTTv5
        )
        self.client.tls_set(CA, certificate, key)
        if will:
            self.client.will_set(will, b"lost", qos=1)
        self.client.on_connect = lambda c, u, flags, reason, props: self.answers.put(reason)
        self.client.on_subscribe = lambda c, u, mid, reasons, props: self.answers.put(reasons[0])
        self.client.on_message = lambda c, u, message: self.messages.put(message)
        self.client.connect("127.0.0.1", int(PORT), keepalive=30)
        self.client.loop_start()
        self.connected = self.answers.get(timeout=PATIENCE)

    def subscribe(self, topic, identifier=None):
        props = properties(PacketTypes.SUBSCRIBE, SubscriptionIdentifier=identifier) if identifier else None
        self.client.subscribe(topic, options=paho.SubscribeOptions(qos=1), properties=props)
        reason = self.answers.get(timeout=PATIENCE)
        assert reason.value == 1, f"{topic}: {reason}"

    def publish(self, payload, **values):
        props = properties(PacketTypes.PUBLISH, **values)
        self.client.publish(self.report, payload, qos=1, properties=props).wait_for_publish(PATIENCE)

    def next(self):
        return self.messages.get(timeout=PATIENCE)

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()


asker_is, helper_is = DEVICES[:3], DEVICES[3:]
asker, helper = Device(*asker_is), Device(*helper_is)

# Request and response (MQTT 5 §4.10), and subscription identifiers (§3.8.2.1.2).
helper.subscribe(asker.report, identifier=11)
asker.subscribe(helper.report, identifier=12)
asker.publish(b"how warm?", ResponseTopic=helper.report, CorrelationData=b"\x00\x01request 7")
asked = helper.next()
assert asked.properties.SubscriptionIdentifier == [11], asked.properties
assert asked.properties.ResponseTopic == helper.report, asked.properties
helper.publish(b"21.5", CorrelationData=asked.properties.CorrelationData)
answer = asker.next()
assert (answer.payload, answer.properties.CorrelationData) == (b"21.5", b"\x00\x01request 7")
assert answer.properties.SubscriptionIdentifier == [12], answer.properties

# A shared subscription (§4.8.2): each message to one member, and none of them idle.
members = [Device(*helper_is, slot=f"/{slot}") for slot in "ab"]
for member in members:
    member.subscribe(f"$share/readers/{asker.report}")
sent = [f"message {number}".encode() for number in range(20)]
for payload in sent:
    asker.publish(payload)
for _ in sent:
    assert helper.next().payload in sent
got = [[], []]
until = time.monotonic() + PATIENCE
while sum(map(len, got)) < len(sent) and time.monotonic() < until:
    for mine, member in zip(got, members):
        while not member.messages.empty():
            mine.append(member.next().payload)
    time.sleep(0.02)
assert sorted(got[0] + got[1]) == sorted(sent), got
assert all(got), f"one member got nothing: {got}"

# A will is published when its client is lost, if the profile allows its topic; if not, it is not even let in.
dying = Device(*asker_is, slot="/dying", will=asker.report)
assert not dying.connected.is_failure, dying.connected
dying.client.loop_stop()
dying.client.socket().close()
assert helper.next().payload == b"lost"
refused = Device(*asker_is, slot="/beyond", will=helper.report)
assert refused.connected.is_failure, "a will beyond the profile was let in"

for one in (asker, helper, *members):
    one.close()
print("ok")
