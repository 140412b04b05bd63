//! The bodies of the fuzz targets; the committed corpus runs through them in the tests too.

/// Any bytes as what a request shows for a token, and as what is stored of one.
pub fn access_token(data: &[u8]) {
    crate::token::fuzz(data);
}
