//! Chunks: salt[12] ‖ ciphertext ‖ tag[16], 65,536 bytes of plaintext each but the last of a part.
//!
//! All chunks of one attempt to write a part carry that attempt's salt and are sealed under its key; the nonce is the
//! index in the part and whether it is the last. So a chunk opens at its own place in its own attempt only.

mod open;
mod seal;

pub use open::{PartOpener, PartReader};
pub use seal::PartSealer;
