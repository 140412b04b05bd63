//! A lab of network namespaces: real packets through a real ruleset, and who heard them.

pub mod lab;
pub mod mud;
pub mod oracle;
pub mod packet;
pub mod port;
pub mod probes;
pub mod space;
