//! The seams of the server roles: `Bus` and `Store`, and their embedded implementations
