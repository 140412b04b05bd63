//! The fleet's web page and the administration API
