//! Starts the real `stockade`, enrols devices with openssl and curl, and meets it with clients of other makers.
