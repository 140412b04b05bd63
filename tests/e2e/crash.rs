//! Kills the gateway at random times: nothing it acknowledged may be lost.
