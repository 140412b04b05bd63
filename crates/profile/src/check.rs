//! What must hold across sections. It works on the tree, so that a fault in one section hides no fault of another.

use crate::fault::{Faulted, Faults, Malformed, nearest, quote};
use crate::net::PortRange;
use crate::read::{Entry, Form as _, Node};
use crate::{Control, Endpoint};

/// The controls that only something inside the device can see or enforce.
pub(crate) const INSIDE: [Control; 6] = [
    Control::Boot,
    Control::Privileges,
    Control::Programs,
    Control::Mac,
    Control::Ports,
    Control::Tamper,
];

/// Reports what does not hold.
pub(crate) fn across(root: &Node, faults: &Faults) -> Result<(), Faulted> {
    let outcome = data_sets(root, faults);
    services_with_a_way_out(root, faults);
    way_to_the_gateway(root, faults);
    way_to_the_fronts(root, faults);
    services(root, faults);
    agentless(root, faults);
    outcome
}

/// A rule may only name a data set that exists; one that no rule names does nothing.
fn data_sets(root: &Node, faults: &Faults) -> Result<(), Faulted> {
    let sets = entries(root.find(&["data"]));
    let mut outcome = Ok(());
    let mut used = Vec::new();
    for rule in items(root.find(&["comms", "publish"])) {
        let Some((node, name)) = rule
            .find(&["schema"])
            .and_then(|node| Some((node, node.as_text()?)))
        else {
            continue;
        };
        used.push(name);
        if !sets.iter().any(|set| set.key == name) {
            let wrong = Malformed::new(format!("there is no data set `{}`", quote(name)));
            let near = nearest(name, sets.iter().map(|set| set.key.as_str()));
            outcome = Err(faults.missing(
                node.at,
                match near {
                    Some(near) => wrong.help(format!("did you mean \"{}\"?", quote(near))),
                    None => wrong.help(format!("define it: [data.{}]", quote(name))),
                },
            ));
        }
    }
    for usage in entries(root.find(&["vault"])) {
        if !sets.iter().any(|set| set.key == usage.key) {
            let wrong = format!("there is no data set `{}`", quote(&usage.key));
            let near = nearest(&usage.key, sets.iter().map(|set| set.key.as_str()));
            let help = match near {
                Some(near) => format!("did you mean [vault.{}]?", quote(near)),
                None => format!("define it: [data.{}]", quote(&usage.key)),
            };
            outcome = Err(faults.missing(usage.key_at, Malformed::new(wrong).help(help)));
        }
    }
    for set in sets {
        if !used.contains(&set.key.as_str()) {
            let wrong = format!("no topic fills the data set `{}`", quote(&set.key));
            let help = format!(
                "name it in a [[comms.publish]]: `schema = \"{}\"`",
                quote(&set.key)
            );
            faults.warn(set.key_at, Malformed::new(wrong).help(help));
        }
    }
    outcome
}

/// A device that publishes through its gateway must be able to reach it.
fn way_to_the_gateway(root: &Node, faults: &Faults) {
    let speaks = ["publish", "subscribe"].iter().find_map(|list| {
        root.find(&["comms", list])
            .filter(|node| !items(Some(node)).is_empty())
    });
    let Some(node) = speaks else { return };
    let gateway = Endpoint::Gateway.to_string();
    let reaches = |rule: &Node| rule.find(&["to"]).and_then(Node::as_text) == Some(&gateway);
    if !items(root.find(&["firewall", "out"])).iter().any(reaches) {
        let wrong = Malformed::new("the firewall has no way out to the gateway");
        let class = root.find(&["device", "class"]).and_then(Node::as_text);
        let help = if class == Some("constrained") {
            "add [[firewall.out]] with `to = \"gateway\"`, `protocol = \"udp\"`, `port = 5683`"
        } else {
            "add [[firewall.out]] with `to = \"gateway\"`, `protocol = \"tcp\"`, `port = 8883`"
        };
        faults.warn(node.at, wrong.help(help));
    }
}

/// A TLS front that nobody may reach does nothing.
fn way_to_the_fronts(root: &Node, faults: &Faults) {
    // Their own faults were reported where they were read.
    let quiet = Faults::default();
    let tcp = |rule: &&Node| rule.find(&["protocol"]).and_then(Node::as_text) != Some("udp");
    let open: Vec<PortRange> = items(root.find(&["firewall", "in"]))
        .iter()
        .filter(tcp)
        .filter_map(|rule| PortRange::read(rule.find(&["port"])?, &quiet).ok())
        .collect();
    for front in items(root.find(&["protocols", "front"])) {
        let Some((node, port)) = front
            .find(&["listen"])
            .and_then(|node| Some((node, node.port()?)))
        else {
            continue;
        };
        if !open.iter().any(|range| range.contains(port)) {
            let wrong = Malformed::new(format!("the firewall lets nobody in to port {port}"));
            let help = format!("add [[firewall.in]] with `protocol = \"tcp\"`, `port = {port}`");
            faults.warn(node.at, wrong.help(help));
        }
    }
}

/// A service that may not run can neither have rights nor be confined.
fn services(root: &Node, faults: &Faults) {
    let Some(list) = root.find(&["programs", "services"]) else {
        return;
    };
    let services: Vec<&str> = items(Some(list)).iter().filter_map(Node::as_text).collect();
    for path in [["privileges", "root-services"], ["mac", "confine"]] {
        for node in items(root.find(&path)) {
            let Some(name) = node.as_text() else { continue };
            if services.contains(&name) {
                continue;
            }
            let wrong = format!("`{}` is not among the services of [programs]", quote(name));
            let help = match nearest(name, services.iter().copied()) {
                Some(near) => format!("did you mean \"{}\"?", quote(near)),
                None => "add it there, or remove it here".to_owned(),
            };
            faults.warn(node.at, Malformed::new(wrong).help(help));
        }
    }
}

/// A rule for one service holds where the agent runs, and for a service that may run.
fn services_with_a_way_out(root: &Node, faults: &Faults) {
    let class = root.find(&["device", "class"]).and_then(Node::as_text);
    let agent = matches!(class, None | Some("linux"));
    let listed = root.find(&["programs", "services"]);
    let services: Vec<&str> = items(listed).iter().filter_map(Node::as_text).collect();
    for rule in items(root.find(&["firewall", "out"])) {
        let Some((node, name)) = rule
            .find(&["service"])
            .and_then(|node| Some((node, node.as_text()?)))
        else {
            continue;
        };
        if !agent {
            let wrong = "only the agent can tell services apart, and this class of device has none";
            let help = "leave `service` out, or the rule allows nothing";
            faults.warn(node.at, Malformed::new(wrong).help(help));
        } else if listed.is_some() && !services.contains(&name) {
            let wrong = format!("`{}` is not among the services of [programs]", quote(name));
            let help = match nearest(name, services.iter().copied()) {
                Some(near) => format!("did you mean \"{}\"?", quote(near)),
                None => "add it there, or remove the rule".to_owned(),
            };
            faults.warn(node.at, Malformed::new(wrong).help(help));
        }
    }
}

/// Where nothing of ours runs, these can be neither seen nor enforced.
fn agentless(root: &Node, faults: &Faults) {
    if root.find(&["device", "class"]).and_then(Node::as_text) != Some("agentless") {
        return;
    }
    for section in entries(Some(root)) {
        if INSIDE.iter().any(|control| control.as_str() == section.key) {
            let wrong = format!("an agentless device can not be held to [{}]", section.key);
            let help = "what the gateway can hold it to: comms, protocols, upnp, firewall, data";
            faults.warn(section.key_at, Malformed::new(wrong).help(help));
        }
    }
}

fn items(node: Option<&Node>) -> &[Node] {
    node.and_then(Node::as_list).unwrap_or_default()
}

fn entries(node: Option<&Node>) -> &[Entry] {
    node.and_then(Node::as_table).unwrap_or_default()
}

impl Node {
    fn find(&self, path: &[&str]) -> Option<&Self> {
        path.iter().try_fold(self, |node, key| {
            let entry = entries(Some(node)).iter().find(|entry| entry.key == *key);
            entry.map(|entry| &entry.node)
        })
    }

    fn port(&self) -> Option<u16> {
        u16::try_from(self.as_integer()?).ok()
    }
}
