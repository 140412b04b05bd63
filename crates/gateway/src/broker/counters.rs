//! What the broker counts, for the console and the metrics.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Running totals since the start; gauges are named so.
        #[derive(Debug, Default)]
        pub struct Counters {
            $($(#[$doc])* pub $name: AtomicU64,)*
        }

        /// The totals at one moment.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
        #[serde(rename_all = "kebab-case")]
        pub struct CountersNow {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Counters {
            /// Reads every counter.
            pub fn now(&self) -> CountersNow {
                CountersNow { $($name: self.$name.load(Ordering::Relaxed),)* }
            }
        }
    };
}

counters! {
    /// TCP connections accepted.
    accepted,
    /// TCP connections closed at once, because there were too many.
    shed,
    /// TLS handshakes refused or given up.
    handshakes_refused,
    /// CONNECT packets answered with success.
    connected,
    /// CONNECT packets refused by the registry: unknown, revoked, superseded.
    refused_identity,
    /// CONNECT packets refused for the client id, the will, or a limit.
    refused_connect,
    /// Connections closed because a packet broke the protocol.
    protocol_errors,
    /// Publishes refused by a profile: topic, size or rate.
    refused_publish,
    /// Subscriptions refused by a profile.
    refused_subscribe,
    /// Deliveries a profile stopped.
    refused_delivery,
    /// Publishes refused because the journal takes no records.
    refused_journal,
    /// Publishes received with QoS 0.
    received_qos0,
    /// Publishes received with QoS 1.
    received_qos1,
    /// Publishes received with QoS 2.
    received_qos2,
    /// Publishes sent with QoS 0.
    sent_qos0,
    /// Publishes sent with QoS 1.
    sent_qos1,
    /// Publishes sent with QoS 2.
    sent_qos2,
    /// QoS 0 messages dropped because the reader was slow.
    dropped_slow,
    /// Messages dropped because a queue was full.
    dropped_queue,
    /// Messages dropped because they expired.
    dropped_expired,
    /// Messages dropped because the client takes no packets that large.
    dropped_large,
    /// Bytes read from clients, after TLS.
    bytes_in,
    /// Bytes written to clients, before TLS.
    bytes_out,
    /// Sessions, connected or not (gauge).
    sessions,
    /// Connections with a session (gauge).
    connections,
    /// Retained messages (gauge).
    retained,
}

/// Adds one.
pub(crate) fn bump(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Adds some.
pub(crate) fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Ordering::Relaxed);
}

/// A gauge went down by one.
pub(crate) fn drop_one(counter: &AtomicU64) {
    counter.fetch_sub(1, Ordering::Relaxed);
}
