//! What was said about a picture, weighed: purposes, states, policies and the decision with its trace.
//!
//! Pure: no SQL, no clock, no files, no tensors. The caller brings the evidence, the policy and the time, and gets a
//! [`Decision`] whose trace names every piece of evidence and the rule that read it. Deny by default.

pub mod cases;
mod decide;
mod decision;
mod doubt;
mod event;
mod evidence;
mod identifier;
mod ledger;
mod mention;
mod policy;
mod review;
mod said;
#[cfg(test)]
mod tests;
mod types;

pub use decide::{decide, decide_for, state};
pub use decision::{ConsentRecord, Decision, ReasonCode, RecordedEvidence, TraceLine};
pub use doubt::{Doubt, DoubtKind, Likeness, doubts};
pub use event::{Event, EventKind, Target};
pub use evidence::{Evidence, LedgerEntry, LicenseFact, Mention, Neighbour, Statement};
pub use identifier::{IdentifierError, bare_address, identifier, own_addresses};
pub use mention::{Found, Names};
pub use policy::{AcceptedLicense, Exception, Policy, PolicyError, PolicyLine};
pub use said::{EVENT_PAYLOAD_TYPE, Said};
pub use types::{Authentication, GrantProof, Obligation, Purpose, Scope, State, UnknownWord, Use};
