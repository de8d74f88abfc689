//! An object's body on its way in: framing, checksums and the proof that all of it is what was sent.
