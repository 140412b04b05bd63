"""paho-mqtt as one device: publishes to itself at every QoS, is refused outside its profile. Prints ok."""

import queue
import sys

import paho.mqtt.client as paho

VERSION, PORT, DEVICE, CA, CERTIFICATE, KEY = sys.argv[1:]
TOPIC = f"probe/{DEVICE}/report"
PATIENCE = 10

answers: "queue.Queue[tuple]" = queue.Queue()
client = paho.Client(
    paho.CallbackAPIVersion.VERSION2,
    client_id=DEVICE,
    protocol=paho.MQTTv5 if VERSION == "5" else paho.MQTTv311,
)
client.tls_set(CA, CERTIFICATE, KEY)
client.on_connect = lambda c, u, flags, reason, props: answers.put(("connect", reason))
client.on_subscribe = lambda c, u, mid, reasons, props: answers.put(("subscribe", reasons))
client.on_message = lambda c, u, message: answers.put(("message", message.qos, message.payload))
client.on_disconnect = lambda c, u, flags, reason, props: answers.put(("disconnect", reason))


def expect(kind):
    answer = answers.get(timeout=PATIENCE)
    assert answer[0] == kind, f"{answer} in place of {kind}"
    return answer[1:]


client.connect("127.0.0.1", int(PORT), keepalive=30)
client.loop_start()
(reason,) = expect("connect")
assert not reason.is_failure, reason
client.subscribe(TOPIC, qos=2)
(reasons,) = expect("subscribe")
assert [reason.value for reason in reasons] == [2], reasons
for qos in (0, 1, 2):
    payload = f"qos {qos}".encode()
    client.publish(TOPIC, payload, qos=qos).wait_for_publish(PATIENCE)
    got_qos, got = expect("message")
    assert (got_qos, got) == (qos, payload), (got_qos, got)
client.subscribe("#", qos=1)
(reasons,) = expect("subscribe")
assert all(reason.is_failure for reason in reasons), f"# was granted: {reasons}"
client.disconnect()
expect("disconnect")
client.loop_stop()
print("ok")
