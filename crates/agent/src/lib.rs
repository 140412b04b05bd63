//! The device's side: enrolment and the connection to the gateway.
