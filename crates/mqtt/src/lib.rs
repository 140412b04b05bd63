//! MQTT 5 and 3.1.1 packets, topic names and filters, on bytes
