//! What a kernel must be able to do for our rules, each tried by a table that is thrown away.

/// A feature, and a table that needs nothing else. `nft --check` shows it to the kernel and takes it back.
const FEATURES: [(&str, &str); 11] = [
    (
        "nftables for IPv4 and IPv6 (CONFIG_NF_TABLES_INET)",
        "table inet stockade_probe { chain c { type filter hook input priority 0; }; }",
    ),
    (
        "connection tracking (CONFIG_NFT_CT)",
        "table inet stockade_probe { chain c { ct state established accept; }; }",
    ),
    (
        "routing look-ups (CONFIG_NFT_FIB_INET)",
        "table inet stockade_probe { chain c { type filter hook prerouting priority 0; fib saddr . iif oif 0 drop; }; }",
    ),
    (
        "limits (CONFIG_NFT_LIMIT)",
        "table inet stockade_probe { chain c { limit rate 1/second accept; }; }",
    ),
    (
        "logging to user space (CONFIG_NFT_LOG, CONFIG_NETFILTER_NETLINK_LOG)",
        "table inet stockade_probe { chain c { log group 53; }; }",
    ),
    (
        "redirection (CONFIG_NFT_REDIR)",
        "table inet stockade_probe { chain c { type nat hook output priority -100; udp dport 53 redirect to :53; }; }",
    ),
    (
        "ARP rules (CONFIG_NF_TABLES_ARP)",
        "table arp stockade_probe { chain c { type filter hook input priority 0; }; }",
    ),
    (
        "rules for frames (CONFIG_NF_TABLES_NETDEV)",
        "table netdev stockade_probe { chain c { meta protocol ip accept; }; }",
    ),
    (
        "sets with a timeout (CONFIG_NF_TABLES)",
        "table inet stockade_probe { set s { type ipv4_addr; flags timeout; }; }",
    ),
    (
        "sets of several fields with intervals (CONFIG_NF_TABLES, since Linux 5.6)",
        "table inet stockade_probe { set s { type ipv4_addr . inet_service; flags interval; elements = { 192.0.2.0/24 . 1-2 } }; }",
    ),
    (
        "rejecting packets (CONFIG_NFT_REJECT_INET)",
        "table inet stockade_probe { chain c { type filter hook input priority 0; reject; }; }",
    ),
];

/// The features for which `lacks` says that their table is refused.
pub(super) fn missing(lacks: impl Fn(&str) -> bool) -> Vec<String> {
    FEATURES
        .iter()
        .filter(|(_, table)| lacks(table))
        .map(|(feature, _)| (*feature).to_owned())
        .collect()
}
