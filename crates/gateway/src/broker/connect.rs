//! CONNECT: whose session it is, what becomes of the one before, and the answer (MQTT 5 §3.1.4).

use std::net::SocketAddr;
use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;

use stockade_mqtt::{ConnAck, ConnAckProperties, Connect, ReasonCode, Text, Version};
use stockade_profile::Control;

use super::counters::bump;
use super::message::put;
use super::outbox::{Closing, Outbox};
use super::record::Record;
use super::session::{Live, Session, Will};
use super::{Broker, Handle, Now, Output, Report};
use crate::policy::{Denied, Policy};

/// By which way a device comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Over TLS, as an MQTT client: told as it connects.
    Tls,
    /// Over the link, which tells of it by itself.
    Link,
}

/// Who connects: a device the registry has admitted.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// What the device may do.
    pub policy: Arc<Policy>,
    /// Where it comes from.
    pub peer: SocketAddr,
    /// By which way.
    pub way: Way,
    /// The number of the connection; never used twice in one run.
    pub conn: u64,
    /// SHA-256 of its certificate.
    pub fingerprint: [u8; 32],
    /// When its certificate ends (milliseconds since 1970).
    pub certified_until: i64,
}

/// Why a CONNECT is refused: the code, and what to tell the operator if it is a violation.
struct Refused(ReasonCode, Option<String>);

impl Broker {
    /// A CONNECT. The answer is in the outbox; without a handle the connection is to be closed.
    pub fn handle_connect(
        &mut self,
        arrival: &Arrival,
        packet: &Connect<'_>,
        outbox: &Arc<Outbox>,
        out: &mut Output,
    ) -> Option<Handle> {
        match self.connect(arrival, packet, outbox, out) {
            Ok(handle) => Some(handle),
            Err(Refused(reason, violation)) => {
                bump(&self.counters.refused_connect);
                if let Some(reason) = violation {
                    out.reports.push(Report::Violation {
                        device: arrival.policy.device().id.clone(),
                        control: Control::Comms,
                        peer: Some(arrival.peer),
                        reason,
                    });
                }
                let listed = outbox.close(Closing::Orderly, |bytes| {
                    put_connack_error(packet.version, reason, bytes);
                    if bytes.len() > most_bytes(packet) {
                        bytes.clear();
                    }
                });
                if listed {
                    out.dirty.push(Arc::clone(outbox));
                }
                None
            }
        }
    }

    fn connect(
        &mut self,
        arrival: &Arrival,
        packet: &Connect<'_>,
        outbox: &Arc<Outbox>,
        out: &mut Output,
    ) -> Result<Handle, Refused> {
        let id = arrival.policy.device().id.as_str();
        let assigned = packet.client_id.is_empty().then(|| self.free_client(id));
        let client = assigned.as_deref().unwrap_or(packet.client_id.as_str());
        check_client(client, id)?;
        if packet.properties.authentication_method.is_some() {
            // [MQTT-4.12.0-1]: the certificate is all the authentication there is.
            return Err(Refused(ReasonCode::BadAuthenticationMethod, None));
        }
        check_will(packet, &arrival.policy)?;
        let expiry = asked_expiry(packet).min(self.limits.session_expiry);
        self.check_connack(packet, expiry, assigned.as_deref())?;
        let device = self.device_slot(&arrival.policy);
        self.set_policy(&arrival.policy, out);

        let (old, resumed) = self.take_over(client, packet.clean_start, arrival, out);
        let found = self.devices.get(device);
        let sessions = found.map_or(0, |d| d.sessions.len());
        if old.is_none() && sessions >= self.limits.sessions_per_device {
            let most = self.limits.sessions_per_device;
            let reason = format!("asks for more than {most} sessions");
            return Err(Refused(ReasonCode::QuotaExceeded, Some(reason)));
        }
        let sid = match resumed.and_then(|slot| self.sessions.get(slot)) {
            Some(session) => session.sid,
            None => self.next_sid,
        };
        let will = packet.will.as_ref().map(|w| Box::new(Will::new(w)));
        let gate = self.journal_connect(
            sid,
            client,
            packet.version,
            expiry,
            will.as_deref(),
            resumed.is_some(),
            out,
        )?;
        if let (Some(slot), None) = (old, resumed) {
            // [MQTT-3.1.2-4]: a clean start ends the session of before, will and all.
            self.end_with_will(slot, out);
            if self.sessions.get(slot).is_some() {
                self.forget_will(slot, out);
                self.end(slot, out);
            }
        }
        let slot = match resumed {
            Some(slot) => slot,
            None => self.open(sid, client, device),
        };
        let live = self.new_live(arrival, packet, outbox, out.now);
        self.schedule_end(slot, 0);
        self.schedule_will_at(slot, 0);
        if let Some(session) = self.sessions.get_mut(slot) {
            session.version = packet.version;
            session.expiry = expiry;
            session.offline_since = 0;
            session.will = will;
            session.live = Some(Box::new(live));
        }
        self.update_spread(device);
        bump(&self.counters.connected);
        bump(&self.counters.connections);
        let listed = outbox.push(gate, |bytes| {
            self.put_connack(
                packet,
                expiry,
                resumed.is_some(),
                assigned.as_deref(),
                bytes,
            );
        });
        if listed {
            out.dirty.push(Arc::clone(outbox));
        }
        self.resend(slot, out);
        self.pump(slot, out);
        if arrival.way == Way::Tls {
            tell_connected(arrival, packet.version, resumed.is_some(), out);
        }
        Ok(Handle {
            slot,
            conn: arrival.conn,
            version: packet.version,
        })
    }

    /// Whether the client takes a CONNACK that tells it all our limits; without them it cannot keep to
    /// them, and no larger packet may be sent [MQTT-3.1.2-24].
    fn check_connack(
        &self,
        packet: &Connect<'_>,
        expiry: u32,
        assigned: Option<&str>,
    ) -> Result<(), Refused> {
        let most = most_bytes(packet);
        if most == usize::MAX {
            return Ok(());
        }
        let mut connack = Vec::new();
        self.put_connack(packet, expiry, false, assigned, &mut connack);
        if connack.len() > most {
            return Err(Refused(ReasonCode::PacketTooLarge, None));
        }
        Ok(())
    }

    /// Whether this client has a session.
    pub(crate) fn knows(&self, client: &str) -> bool {
        self.by_client.contains_key(client)
    }

    /// The client id for a device that gives none: its own if that is free, else with the first free
    /// number as the slot. One that no session has [MQTT-3.2.2-16].
    fn free_client(&self, id: &str) -> String {
        let taken = |client: &String| self.by_client.contains_key(client.as_str());
        let slots = (1u32..).map(|number| format!("{id}/{number}"));
        std::iter::once(id.to_owned())
            .chain(slots)
            .find(|client| !taken(client))
            .unwrap_or_default()
    }

    /// Ends the connection that has the session now [MQTT-3.1.4-3]. Returns the session of before,
    /// and again if it is to be resumed.
    fn take_over(
        &mut self,
        client: &str,
        clean: bool,
        arrival: &Arrival,
        out: &mut Output,
    ) -> (Option<u32>, Option<u32>) {
        let Some(&slot) = self.by_client.get(client) else {
            return (None, None);
        };
        let Some(session) = self.sessions.get(slot) else {
            return (None, None);
        };
        if let Some(live) = &session.live {
            let (device, peer) = (session.device, live.peer);
            self.displaced(device, peer, arrival.peer, out);
            self.close(slot, ReasonCode::SessionTakenOver, Closing::Displaced, out);
        }
        // It may have ended with its connection.
        match self.sessions.get(slot) {
            Some(session) if *session.client == *client => {
                let resumed = !clean && session.expiry > 0;
                (Some(slot), resumed.then_some(slot))
            }
            _ => (None, None),
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of two records")]
    fn journal_connect(
        &mut self,
        sid: u64,
        client: &str,
        version: Version,
        expiry: u32,
        will: Option<&Will>,
        resumed: bool,
        out: &mut Output,
    ) -> Result<u64, Refused> {
        if expiry == 0 && !resumed {
            return Ok(0);
        }
        let (mut opened, mut willed) = (Vec::new(), Vec::new());
        Record::Opened {
            sid,
            client,
            v5: version == Version::V5,
            expiry,
        }
        .encode(&mut opened);
        let (delay, flags) = will.map_or((0, 0), |w| (w.delay, w.flags()));
        let wire: &[u8] = will.map_or(&[], |w| &w.message.wire);
        Record::Willed {
            sid,
            delay,
            flags,
            wire,
        }
        .encode(&mut willed);
        let sessions = stockade_store::Stream::Sessions;
        self.append(&[(sessions, &opened), (sessions, &willed)], out)
            .map_err(|error| match error {
                stockade_store::BusError::Full => Refused(ReasonCode::ServerBusy, None),
                _ => Refused(ReasonCode::ServerUnavailable, None),
            })
    }

    /// A new session.
    pub(crate) fn open(&mut self, sid: u64, client: &str, device: u32) -> u32 {
        self.next_sid = self.next_sid.max(sid + 1);
        let slot = self.sessions.insert(Box::new(Session {
            sid,
            client: client.into(),
            device,
            version: Version::V311,
            expiry: 0,
            offline_since: 0,
            end_at: 0,
            will_at: 0,
            subscriptions: Vec::new(),
            incoming: std::collections::BTreeSet::new(),
            outgoing: None,
            will: None,
            live: None,
        }));
        self.by_client.insert(client.into(), slot);
        self.by_sid.insert(sid, slot);
        if let Some(device) = self.devices.get_mut(device) {
            device.sessions.push(slot);
        }
        bump(&self.counters.sessions);
        slot
    }

    fn new_live(
        &self,
        arrival: &Arrival,
        packet: &Connect<'_>,
        outbox: &Arc<Outbox>,
        now: Now,
    ) -> Live {
        let p = &packet.properties;
        let keep_alive = self.server_keep_alive(packet).unwrap_or(packet.keep_alive);
        Live {
            conn: arrival.conn,
            outbox: Arc::clone(outbox),
            peer: arrival.peer,
            window: p.receive_maximum.map_or(u16::MAX, NonZeroU16::get),
            max_packet: p.maximum_packet_size.map_or(u32::MAX, NonZeroU32::get),
            // [MQTT-3.1.2-22]
            silence: u64::from(keep_alive) * 1_500,
            connected: now.mono,
            heard: now.mono,
            fingerprint: arrival.fingerprint,
            spoke: false,
            certified_until: arrival.certified_until,
            suspected: 0,
            aliases_in: Vec::new(),
            aliases_out: Vec::new(),
            aliases_out_max: p
                .topic_alias_maximum
                .unwrap_or(0)
                .min(self.limits.topic_aliases),
        }
    }

    /// The keep alive we impose, if it is not the client's (§3.2.2.3.14); 3.1.1 cannot be told.
    fn server_keep_alive(&self, packet: &Connect<'_>) -> Option<u16> {
        let most = self.limits.keep_alive;
        let own = packet.keep_alive;
        (packet.version == Version::V5 && (own == 0 || own > most)).then_some(most)
    }

    fn put_connack(
        &self,
        packet: &Connect<'_>,
        expiry: u32,
        session_present: bool,
        assigned: Option<&str>,
        out: &mut Vec<u8>,
    ) {
        let asked = packet.properties.session_expiry.unwrap_or(0);
        let connack = ConnAck {
            session_present,
            reason: ReasonCode::Success,
            properties: ConnAckProperties {
                session_expiry: (asked != expiry).then_some(expiry),
                receive_maximum: NonZeroU16::new(self.limits.receive_maximum),
                maximum_packet_size: NonZeroU32::new(self.limits.max_packet),
                assigned_client_id: assigned.and_then(|id| Text::new(id).ok()),
                topic_alias_maximum: Some(self.limits.topic_aliases).filter(|&n| n > 0),
                server_keep_alive: self.server_keep_alive(packet),
                ..ConnAckProperties::default()
            },
        };
        put(out, |out| connack.encode(packet.version, out));
    }
}

/// The largest packet the client takes.
fn most_bytes(packet: &Connect<'_>) -> usize {
    let most = packet.properties.maximum_packet_size;
    most.map_or(usize::MAX, |most| {
        usize::try_from(most.get()).unwrap_or(usize::MAX)
    })
}

/// How long the session shall outlive its connection, in seconds.
fn asked_expiry(packet: &Connect<'_>) -> u32 {
    match packet.version {
        Version::V5 => packet.properties.session_expiry.unwrap_or(0),
        Version::V311 if packet.clean_start => 0,
        // 3.1.1 knows no expiry: as long as we allow (§3.1.2.4).
        Version::V311 => u32::MAX,
    }
}

fn tell_connected(arrival: &Arrival, version: Version, resumed: bool, out: &mut Output) {
    let zone = if arrival.policy.quarantined() {
        ", in quarantine"
    } else {
        ""
    };
    let how = match (version, resumed) {
        (Version::V5, false) => "connects with MQTT 5",
        (Version::V5, true) => "connects with MQTT 5, session resumed",
        (Version::V311, false) => "connects with MQTT 3.1.1",
        (Version::V311, true) => "connects with MQTT 3.1.1, session resumed",
    };
    out.reports.push(Report::Admitted {
        device: arrival.policy.device().id.clone(),
        peer: arrival.peer,
        reason: format!("{how}{zone}"),
    });
}

/// The client id must be the device's, or `<id>/<slot>`: nobody speaks for another device.
fn check_client(client: &str, id: &str) -> Result<(), Refused> {
    let slot = match client.strip_prefix(id) {
        Some("") => return Ok(()),
        Some(rest) => rest.strip_prefix('/'),
        None => None,
    };
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    match slot {
        Some(slot) if (1..=32).contains(&slot.len()) && slot.bytes().all(plain) => Ok(()),
        _ => {
            let reason = format!(
                "connects with the client id `{client}`, its certificate allows `{id}` and `{id}/<slot>`"
            );
            Err(Refused(ReasonCode::ClientIdentifierNotValid, Some(reason)))
        }
    }
}

fn check_will(packet: &Connect<'_>, policy: &Policy) -> Result<(), Refused> {
    let Some(will) = &packet.will else {
        return Ok(());
    };
    let topic = will.topic;
    match policy.may_publish(topic, will.payload.len()) {
        Ok(_) => Ok(()),
        Err(Denied::Topic) => {
            let allowed = policy.publishes();
            let reason = format!("has a will on `{topic}`, its profile allows only {allowed}");
            Err(Refused(ReasonCode::NotAuthorized, Some(reason)))
        }
        Err(Denied::Size { max_bytes }) => {
            let size = will.payload.len();
            let reason =
                format!("has a will of {size} bytes on `{topic}`, its profile allows {max_bytes}");
            Err(Refused(ReasonCode::QuotaExceeded, Some(reason)))
        }
    }
}

/// The answer to a CONNECT that is refused, and to a version nobody speaks.
pub(crate) fn put_connack_error(version: Version, reason: ReasonCode, out: &mut Vec<u8>) {
    let connack = ConnAck {
        session_present: false,
        reason,
        properties: ConnAckProperties::default(),
    };
    put(out, |out| connack.encode(version, out));
}
