//! What was said about a picture, weighed: purposes, states, policies and the decision with its trace.
//!
//! Pure: no SQL, no clock, no files, no tensors. The caller brings the evidence, the policy and the time, and gets a
//! [`Decision`] whose trace names every piece of evidence and the rule that read it. Deny by default.

mod types;

pub use types::{Authentication, Obligation, Purpose, State, UnknownWord};
