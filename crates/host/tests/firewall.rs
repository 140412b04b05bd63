//! Applying for real, in a network of two namespaces: the device's rules here, a peer on the other side of a cable.

mod common;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::Duration;

use common::cable::{Cable, PEER};
use common::{listed, nft};
use stockade_controls::engine::FirewallState;
use stockade_host::admit::{Admission, Admit as _, AdmitError};
use stockade_host::firewall::{
    Checked, Firewall, FirewallError, How, Names, Settled, Wanted, standing,
};
use stockade_host::surroundings::Told;
use stockade_host::watch::{Blocked, DEVICE_GROUP, Ground, Sight, Watch};
use stockade_profile::{Direction, HostName};

const HEAD: &str = "schema = 1

[device]
model = \"lamp-1\"
manufacturer = \"Acme\"
version = 1
class = \"linux\"
";

fn wanted(rules: &str) -> Wanted {
    let text = format!("{HEAD}\n{rules}");
    let checked = stockade_profile::check(&text);
    let profile = checked
        .profile
        .unwrap_or_else(|| panic!("{:?}", checked.faults));
    Wanted {
        profile,
        text,
        told: Told::default(),
        session: None,
    }
}

fn rule_in(port: u16) -> String {
    format!("[[firewall.in]]\nfrom = \"local-network\"\nprotocol = \"tcp\"\nport = {port}\n")
}

fn state(folder: &tempfile::TempDir) -> PathBuf {
    folder.path().join("firewall")
}

const MINUTE: How = How::Trial(Duration::from_mins(1));

#[test]
fn what_is_applied_is_in_force_confirmed_and_can_be_undone() {
    let Some(cable) = Cable::new() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let firewall = Firewall::at(&state(&folder)).expect("nft");
    let _listeners = cable.listen(&[1001, 1002]);
    assert!(
        cable.reaches(1001) && cable.reaches(1002),
        "nothing is in force"
    );
    let applied = firewall
        .apply(&wanted(&rule_in(1001)), MINUTE)
        .expect("applied");
    assert_eq!(applied.trial, Some(Duration::from_mins(1)));
    assert!(cable.reaches(1001) && !cable.reaches(1002));
    firewall.confirm().expect("confirmed");
    assert!(cable.reaches(1001) && !cable.reaches(1002));
    assert!(matches!(firewall.check(None), Ok(Checked::Same { .. })));
    // The next one on trial, and back.
    firewall
        .apply(&wanted(&rule_in(1002)), MINUTE)
        .expect("applied");
    assert!(!cable.reaches(1001) && cable.reaches(1002));
    firewall.undo().expect("undone");
    assert!(cable.reaches(1001) && !cable.reaches(1002));
    // Confirmed, and back to the one before.
    firewall
        .apply(&wanted(&rule_in(1002)), How::AtOnce)
        .expect("applied");
    assert!(!cable.reaches(1001) && cable.reaches(1002));
    firewall.undo().expect("undone");
    assert!(cable.reaches(1001) && !cable.reaches(1002));
    assert!(matches!(firewall.check(None), Ok(Checked::Same { .. })));
    firewall.off().expect("gone");
    assert_eq!(listed("list ruleset"), "");
}

#[test]
fn a_trial_that_nobody_confirms_ends_by_itself_even_if_no_process_of_ours_lives() {
    let Some(cable) = Cable::new() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let firewall = Firewall::at(&state(&folder)).expect("nft");
    let _listeners = cable.listen(&[1001, 1002]);
    firewall
        .apply(&wanted(&rule_in(1001)), How::AtOnce)
        .expect("applied");
    let five = How::Trial(Duration::from_secs(5));
    firewall
        .apply(&wanted(&rule_in(1002)), five)
        .expect("applied");
    drop(firewall);
    assert!(!cable.reaches(1001) && cable.reaches(1002));
    common::pause(Duration::from_millis(5_200));
    // Nothing ran meanwhile.
    assert!(cable.reaches(1001) && !cable.reaches(1002));
    let firewall = Firewall::at(&state(&folder)).expect("nft");
    let confirmed = firewall.confirm();
    assert!(
        matches!(confirmed, Err(FirewallError::NoTrial(_))),
        "{confirmed:?}"
    );
    let status = firewall.status().expect("a status");
    assert_eq!((status.settled, status.pending), (Settled::Quiet, None));
    assert!(
        !listed("list ruleset").contains("trial"),
        "it was tidied up"
    );
    assert!(cable.reaches(1001) && !cable.reaches(1002));
    assert!(matches!(firewall.check(None), Ok(Checked::Same { .. })));
}

#[test]
fn the_first_trial_ends_with_no_rules_as_it_began() {
    let Some(cable) = Cable::new() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let firewall = Firewall::at(&state(&folder)).expect("nft");
    let _listeners = cable.listen(&[1001]);
    let five = How::Trial(Duration::from_secs(5));
    firewall.apply(&wanted(""), five).expect("applied");
    assert!(!cable.reaches(1001));
    common::pause(Duration::from_millis(5_200));
    assert!(cable.reaches(1001));
    let status = firewall.status().expect("a status");
    assert_eq!(status.settled, Settled::Ended);
    assert_eq!(listed("list ruleset"), "");
}

#[test]
fn tightening_cuts_the_flow_that_is_forbidden_now_and_no_other() {
    let Some(cable) = Cable::new() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let firewall = Firewall::at(&state(&folder)).expect("nft");
    let both = format!("{}{}", rule_in(1001), rule_in(1002));
    firewall
        .apply(&wanted(&both), How::AtOnce)
        .expect("applied");
    let mut pairs: Vec<_> = [1001, 1002].map(|port| cable.connect(port)).into();
    let applied = firewall
        .apply(&wanted(&rule_in(1001)), MINUTE)
        .expect("applied");
    assert_eq!(applied.cut.cut.len(), 1, "{:?}", applied.cut);
    assert!(passes(&mut pairs[0]), "it is allowed by both");
    assert!(!passes(&mut pairs[1]), "it is forbidden now");
}

#[test]
fn tables_of_others_stay_as_they_were_to_the_byte() {
    let Some(_cable) = Cable::new() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let firewall = Firewall::at(&state(&folder)).expect("nft");
    let foreign = "table inet stockade_not { set s { type ipv4_addr; flags timeout; elements = { 192.0.2.1 }; }; chain c { type filter hook input priority 10; counter packets 7 bytes 7; }; }
table ip nat { chain c { type nat hook postrouting priority 100; }; }
table arp other { chain c { type filter hook input priority 0; }; }
table ip6 stockade { chain c { accept; }; }\n";
    nft(foreign);
    let before = listed("list ruleset");
    firewall
        .apply(&wanted(&rule_in(1001)), MINUTE)
        .expect("applied");
    firewall.confirm().expect("confirmed");
    firewall
        .apply(&wanted(&rule_in(1002)), How::AtOnce)
        .expect("applied");
    firewall.undo().expect("undone");
    assert!(firewall.status().expect("a status").tables);
    firewall.off().expect("gone");
    let after = listed("list ruleset");
    // A counter counts on.
    let still = |text: &str| -> String {
        text.lines()
            .filter(|line| !line.contains("counter"))
            .collect()
    };
    assert_eq!(still(&after), still(&before));
}

#[test]
fn what_others_put_into_our_tables_is_found_and_goes_with_the_next_apply() {
    let Some(_cable) = Cable::new() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let firewall = Firewall::at(&state(&folder)).expect("nft");
    firewall
        .apply(&wanted(&rule_in(1001)), How::AtOnce)
        .expect("applied");
    nft("insert rule inet stockade input accept");
    let Ok(Checked::Different(told)) = firewall.check(None) else {
        panic!("it is not as written");
    };
    assert_eq!(told.len(), 1, "{told:?}");
    nft("add rule inet stockade input quota 25 mbytes accept");
    let foreign = firewall.check(None);
    assert!(
        matches!(foreign, Err(FirewallError::Foreign(_))),
        "{foreign:?}"
    );
    firewall
        .apply(&wanted(&rule_in(1001)), How::AtOnce)
        .expect("applied");
    assert!(matches!(firewall.check(None), Ok(Checked::Same { .. })));
}

#[test]
fn addresses_of_names_survive_a_change_and_so_do_the_flows_of_addresses_that_a_name_had() {
    let Some(cable) = Cable::new() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let firewall = Firewall::at(&state(&folder)).expect("nft");
    let named = |ports: &str| {
        let mut wanted = wanted(&format!(
            "{ports}\n[[firewall.out]]\nto = \"cloud.example.org\"\nprotocol = \"tcp\"\nport = 443\n"
        ));
        wanted.told.forwarder = Some(5_053);
        wanted.told.resolver = vec![PEER.parse().expect("an address")];
        wanted
    };
    let _server = cable.listen_at_peer(443);
    firewall.apply(&named(""), How::AtOnce).expect("applied");
    assert!(
        cable.connect_out(443).is_none(),
        "the name has no address yet"
    );
    let names = Names::open(&state(&folder)).expect("the sets");
    let name: HostName = "cloud.example.org".parse().expect("a name");
    let admission = |name: &HostName| Admission {
        name: name.clone(),
        address: PEER.parse().expect("an address"),
        keep: Duration::from_mins(10),
    };
    names.admit(&[admission(&name)], &[]).expect("admitted");
    let flow = cable.connect_out(443).expect("it has one now");
    let other: HostName = "other.example.org".parse().expect("a name");
    let refused = names.admit(&[admission(&other)], &[]);
    assert!(matches!(refused, Err(AdmitError::NoRule(_))), "{refused:?}");
    // A change of other rules, on trial and for good, forgets no address.
    for how in [MINUTE, How::AtOnce] {
        let applied = firewall
            .apply(&named(&rule_in(1001)), how)
            .expect("applied");
        assert_eq!(applied.cut.cut, []);
        assert!(
            cable.connect_out(443).is_some(),
            "its address is still known"
        );
    }
    // The name moves on: nothing new, but what is open stays, through changes too.
    let gone = (name, PEER.parse().expect("an address"));
    names.admit(&[], &[gone]).expect("withdrawn");
    assert!(cable.connect_out(443).is_none());
    let applied = firewall.apply(&named(""), How::AtOnce).expect("applied");
    assert_eq!(applied.cut.cut, []);
    assert!(lives(&flow));
    // The rule goes, and the flow with it.
    let applied = firewall.apply(&wanted(""), How::AtOnce).expect("applied");
    assert!(!applied.cut.cut.is_empty());
    assert!(!lives(&flow));
}

#[test]
fn a_blocked_packet_is_explained_by_the_rule_that_would_let_it_pass() {
    let Some(cable) = Cable::new() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let firewall = Firewall::at(&state(&folder)).expect("nft");
    firewall.apply(&wanted(""), How::AtOnce).expect("applied");
    let (plan, world) = firewall.in_force().expect("readable").expect("rules");
    let ground = Ground {
        policy: Some(plan.policy),
        around: plan.around,
        world,
    };
    let mut watch = Watch::start(DEVICE_GROUP).expect("the group");
    let _listeners = cable.listen(&[1001]);
    let _server = cable.listen_at_peer(443);
    assert!(!cable.reaches(1001));
    // A program that still tries when it is looked for.
    let trying = std::thread::spawn(|| {
        let to = format!("{PEER}:443").parse().expect("an address");
        TcpStream::connect_timeout(&to, Duration::from_secs(3)).is_err()
    });
    let mut rules = Vec::new();
    for (direction, what, endpoint) in [
        (Direction::In, "tcp port 1001", "gateway"),
        (Direction::Out, "tcp port 443", "gateway"),
    ] {
        let blocked = seen(&mut watch, &ground, what);
        assert_eq!(blocked.direction, direction);
        assert_eq!(blocked.peer.map(|it| it.to_string()).as_deref(), Some(PEER));
        let owner = blocked.owner.expect("this program has the socket");
        assert_eq!(owner.pid, std::process::id());
        let rule = blocked.rule.expect("a rule would do");
        assert!(rule.contains(&format!("\"{endpoint}\"")), "{rule}");
        rules.push(rule);
    }
    assert!(trying.join().expect("an end"), "it was blocked");
    // And it does.
    firewall
        .apply(&wanted(&rules.join("\n\n")), How::AtOnce)
        .expect("applied");
    assert!(cable.reaches(1001));
    assert!(cable.connect_out(443).is_some());
}

/// The first packet of this kind that was blocked.
fn seen(watch: &mut Watch, ground: &Ground, what: &str) -> Blocked {
    for _ in 0..50 {
        let sight = watch
            .next(ground, Duration::from_millis(200))
            .expect("packets");
        if let Sight::Blocked(packets) = sight
            && let Some(found) = packets.into_iter().find(|packet| packet.what == what)
        {
            return found;
        }
    }
    panic!("{what} was not seen");
}

/// Whether the other end still answers: it sends back what it gets.
fn lives(mut flow: &TcpStream) -> bool {
    flow.write_all(b"x").expect("buffered");
    let wait = Some(Duration::from_millis(1_500));
    flow.set_read_timeout(wait).expect("a timeout");
    flow.read(&mut [0]).is_ok()
}

/// Whether a byte gets through within a moment.
fn passes((client, server): &mut (TcpStream, TcpStream)) -> bool {
    client.write_all(b"x").expect("buffered");
    let wait = Some(Duration::from_millis(1_500));
    server.set_read_timeout(wait).expect("a timeout");
    server.read(&mut [0]).is_ok()
}

#[test]
fn looking_how_the_firewall_stands_changes_nothing() {
    let Some(_cable) = Cable::new() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let state = state(&folder);
    let stands = || standing(&state).expect("seen");
    assert_eq!(stands(), FirewallState::None);
    assert!(!state.exists(), "not even a folder is made");
    let firewall = Firewall::at(&state).expect("nft");
    firewall
        .apply(&wanted(&rule_in(1001)), MINUTE)
        .expect("applied");
    let FirewallState::InForce {
        model,
        version,
        trial,
    } = stands()
    else {
        panic!("{:?}", stands());
    };
    assert_eq!((model.as_str(), version), ("lamp-1", 1));
    assert!(trial.is_some_and(|left| (1..=60).contains(&left)));
    firewall.confirm().expect("confirmed");
    assert!(matches!(
        stands(),
        FirewallState::InForce { trial: None, .. }
    ));
    nft("flush chain inet stockade input");
    let before = listed("list ruleset");
    assert!(
        matches!(stands(), FirewallState::Differs(_)),
        "{:?}",
        stands()
    );
    assert_eq!(listed("list ruleset"), before);
    nft("delete table inet stockade");
    assert!(!matches!(stands(), FirewallState::InForce { .. }));
}
